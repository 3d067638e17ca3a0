"""On whom a model fails: scores of groups of images, and the gaps between them, corrected for many looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.scoring import evaluation, predictions
from skinlesion.scoring.evaluation import Bootstrap


class SubgroupError(StudyError):
    """Images cannot be grouped: the metadata table is of others."""


SMALLEST = 20
"""Fewest images (or, for a rate over some of them, fewest of those) for which a score is stated."""

SCORES = evaluation.names("subgroups")

COLUMNS: tuple[str | tuple[str, str], ...] = (
    "sex",
    "age_band",
    "localization",
    "dx_type",
    "dataset",
    ("sex", "age_band"),
    ("dataset", "dx_type"),
)
"""Columns of the metadata table, or pairs of them, by which images are grouped."""


def cases(table: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    """Return predictions without their probabilities, joined with what the metadata table knows of each image.

    Raises
    ------
    SubgroupError
        If the metadata table lacks an image, or gives one another diagnosis.
    """
    known = metadata.set_index("image_id").reindex(table.image_id).reset_index()
    other = (known.dx != table.dx.to_numpy()).to_numpy()
    if other.any():
        raise SubgroupError(
            f"the metadata table is of other data: it lacks {table.image_id[other].iloc[0]} as it is here"
        )
    joined = table.drop(columns=predictions.COLUMNS).merge(metadata.drop(columns=["lesion_id", "dx"]), on="image_id")
    return joined.assign(age_band=age_bands(joined.age))


def age_bands(age: pd.Series) -> pd.Series:
    """Put ages in years into bands of twenty years, and a missing age into ``unknown``."""
    edges = [-1, 19, 39, 59, 79, 200]
    names = ["0-19", "20-39", "40-59", "60-79", "80+"]
    return pd.cut(age, edges, labels=names).cat.add_categories("unknown").fillna("unknown")


def size_bands(area: pd.Series) -> pd.Series:
    """Put the share of the frame that a lesion covers into quarters of the images, a missing one into ``unknown``."""
    names = ["smallest quarter", "second", "third", "largest quarter"]
    if area.notna().sum() < len(names):
        return pd.Series("unknown", index=area.index)
    ranked = pd.qcut(area.rank(method="first"), 4, labels=names)
    return ranked.cat.add_categories("unknown").fillna("unknown")


def scores(
    cases: pd.DataFrame,
    probabilities: np.ndarray,
    *,
    columns: Sequence[str | tuple[str, str]],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Score every group of images, with intervals and the gap to all other images.

    Parameters
    ----------
    cases
        Rows of one part with dx, lesion_group and the `columns` to group by; a missing value is no group.
    probabilities
        Shape (N, 7), in the order of the rows.
    columns
        A column, or two of which every pair of values is a group.
    bootstrap
        Draws of the lesion groups of these rows.

    Returns
    -------
    pandas.DataFrame
        One row a group and score: column, group, score, images, lesions (lesion groups), counted (images the score is
        over), value, low, high (95% percentile interval), gap (to the images of the same column outside the group),
        gap_low, gap_high, p (two-sided, from the gap and its standard error over the draws) and p_holm (S. Holm,
        Scand. J. Stat. 6, 65 (1979): over all groups of the score). Where fewer than 20 images are counted in or
        outside the group there is no value, nor a macro score of a group whose diagnoses are not those of the images
        it is compared with. Of groups of the same images the first stands for all. A group that is all right, or all
        wrong, varies in no draw: its interval is then the exact one of Clopper and Pearson over its lesions, and its
        gap is not tested.
    """
    labels = cases.dx.map(DX.index).to_numpy(dtype=np.int64)
    rows, seen = [], set()
    for column in columns:
        keys = [column] if isinstance(column, str) else list(column)
        values = cases[keys].astype("object").agg(" × ".join, axis=1) if len(keys) > 1 else cases[keys[0]]
        for name in _names(values):
            at = (values == name).to_numpy()
            if at.tobytes() in seen:  # the same images under another name
                continue
            seen.add(at.tobytes())
            rest = ~at & values.notna().to_numpy()
            facts = {
                "column": " × ".join(keys),
                "group": str(name),
                "images": int(at.sum()),
                "lesions": cases.lesion_group[at].nunique(),
            }
            inside, outside = (
                _scores(labels[which], probabilities[which], bootstrap.only(which)) for which in (at, rest)
            )
            alike = set(labels[at]) == set(labels[rest])
            rows += [
                {**facts, "score": score, **_compared(inside[score], outside[score], facts["lesions"])}
                if alike or not evaluation.BY_NAME[score].macro
                else {**facts, "score": score, "counted": inside[score][0]}
                for score in SCORES
            ]
    return corrected(pd.DataFrame(rows, columns=FACTS))


FACTS = [
    "column",
    "group",
    "score",
    "images",
    "lesions",
    "counted",
    "value",
    "low",
    "high",
    "gap",
    "gap_low",
    "gap_high",
    "p",
]


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows of :func:`scores` with p_holm over all of them, score by score."""
    tested = table.p.dropna().astype(float)
    return table.assign(p_holm=tested.groupby(table.score).transform(lambda p: holm(p.to_numpy())))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected by Holm's step-down method: the chance of any false alarm is then the level."""
    order = np.argsort(p)
    factors = len(p) - np.arange(len(p))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return corrected


def consistency(cases: pd.DataFrame, probabilities: np.ndarray) -> dict[str, float]:
    """Say how often images of one lesion get different predictions.

    Returns
    -------
    dict
        lesions (with several images), images (of those), inconsistent (lesions whose images are given more than one
        diagnosis), torn (lesions of which some images are right and some wrong).
    """
    table = pd.DataFrame({"lesion_id": cases.lesion_id.to_numpy(), "predicted": probabilities.argmax(1)})
    table["right"] = table.predicted == cases.dx.map(DX.index).to_numpy()
    groups = table.groupby("lesion_id")
    several = groups.size() > 1
    return {
        "lesions": int(several.sum()),
        "images": int(groups.size()[several].sum()),
        "inconsistent": int((groups.predicted.nunique()[several] > 1).sum()),
        "torn": int((groups.right.nunique()[several] > 1).sum()),
    }


def _names(values: pd.Series) -> list[object]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [name for name in values.cat.categories if (values == name).any()]
    return sorted(set(values.dropna()))


def _scores(
    labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap
) -> dict[str, tuple[int, float, np.ndarray]]:
    """Return how many images each score counts, its value, and its draws; no value where it counts too few."""
    counted = {
        score: int(np.isin(labels, [DX.index(dx) for dx in evaluation.BY_NAME[score].over]).sum()) for score in SCORES
    }
    if len(labels) < SMALLEST:
        return {score: (number, np.nan, np.empty(0)) for score, number in counted.items()}
    value = evaluation.measured(labels, probabilities, where="subgroups")
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may have no image of the group
        drawn = evaluation.values(labels, probabilities, bootstrap, where="subgroups")
    return {score: (counted[score], float(value[score]), drawn[score]) for score in SCORES}


def _compared(
    inside: tuple[int, float, np.ndarray], outside: tuple[int, float, np.ndarray], lesions: int
) -> dict[str, float]:
    counted, value, draws = inside
    row: dict[str, float] = {"counted": counted}
    if counted < SMALLEST:
        return row
    low, high = evaluation.interval(draws)
    same = low == high and value in (0, 1)
    if same:
        exact = stats.binomtest(round(value * min(lesions, counted)), min(lesions, counted)).proportion_ci()
        low, high = exact.low, exact.high
    row |= {"value": value, "low": low, "high": high}
    if outside[0] < SMALLEST or same:
        return row
    gaps = draws - outside[2]
    low, high = evaluation.interval(gaps)
    gap, error = value - outside[1], np.nanstd(gaps)
    p = 2 * stats.norm.sf(abs(gap) / error) if error > 0 else float(gap == 0)
    return row | {"gap": gap, "gap_low": low, "gap_high": high, "p": float(p)}
