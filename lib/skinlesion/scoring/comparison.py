"""Two models on the same images: the difference of their scores, and whether it could be chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from skinlesion.errors import StudyError
from skinlesion.scoring import evaluation, predictions
from skinlesion.scoring.evaluation import Bootstrap


class ComparisonError(StudyError):
    """Two tables of predictions have nothing to be compared on."""


def common(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the test rows of both tables for the images that both have, in the same order.

    Raises
    ------
    ComparisonError
        If there is no such image, or one has two diagnoses.
    """
    tables = [table[table.part == "test"].set_index("image_id") for table in (first, second)]
    shared = tables[0].index.intersection(tables[1].index)
    if not len(shared):
        raise ComparisonError("the two runs have no test image in common: compare runs with the same test part")
    one, other = (table.loc[shared].reset_index() for table in tables)
    if (one.dx != other.dx).any():
        raise ComparisonError(f"image {one.image_id[(one.dx != other.dx).idxmax()]} has two diagnoses in the two runs")
    return one, other


def paired(first: pd.DataFrame, second: pd.DataFrame, *, draws: int, seed: int) -> pd.DataFrame:
    """Return every headline score of both, and the difference with its interval, drawing the same lesions for both.

    Parameters
    ----------
    first, second
        From :func:`common`.

    Returns
    -------
    pandas.DataFrame
        Index as :func:`skinlesion.scoring.evaluation.headline`; columns first, second, difference (second minus first),
        low, high (95% percentile interval of the difference).
    """
    labels, one, lesions = predictions.part(first, "test")
    _, other, _ = predictions.part(second, "test")
    bootstrap = Bootstrap.draw(lesions, draws=draws, seed=seed)
    drawn = [evaluation.values(labels, each, bootstrap) for each in (one, other)]
    table = pd.DataFrame(
        {name: evaluation.headline(labels, each).value for name, each in (("first", one), ("second", other))}
    )
    table["difference"] = table.second - table["first"]
    table[["low", "high"]] = [evaluation.interval(drawn[1][name] - drawn[0][name]) for name in table.index]
    return table


def against(table: pd.DataFrame, others: pd.DataFrame, *, draws: int, seed: int) -> dict[str, pd.DataFrame]:
    """Score baselines on a network's test part, and what the network has more than each, drawing the same lesions.

    Parameters
    ----------
    table
        Predictions of the network.
    others
        Rows of baseline, image_id and the seven probabilities.

    Returns
    -------
    dict of pandas.DataFrame
        By baseline: one row a score; columns value, low, high, difference (network minus baseline), difference_low,
        difference_high; 95% percentile intervals.

    Raises
    ------
    ComparisonError
        If a baseline says nothing of a test image.
    """
    labels, probabilities, lesions = predictions.part(table, "test")
    bootstrap = Bootstrap.draw(lesions, draws=draws, seed=seed)
    images = table.image_id[table.part == "test"]
    told: dict[str, np.ndarray] = {}
    for name, rows in others.groupby("baseline", sort=False):
        told[name] = rows.set_index("image_id")[predictions.COLUMNS].reindex(images).to_numpy()
        if np.isnan(told[name]).any():
            raise ComparisonError(f"baseline `{name}` lacks a test image: run notebook 04 again")
    value, drawn = (
        {name: score(each) for name, each in ({"": probabilities} | told).items()}
        for score in (
            lambda each: evaluation.measured(labels, each, where="paper"),
            lambda each: evaluation.values(labels, each, bootstrap, where="paper"),
        )
    )
    columns = ["value", "low", "high", "difference", "difference_low", "difference_high"]
    found = {}
    for name in told:
        rows = {
            score: (
                value[name][score],
                *evaluation.interval(drawn[name][score]),
                value[""][score] - value[name][score],
                *evaluation.interval(drawn[""][score] - drawn[name][score]),
            )
            for score in value[name]
        }
        found[name] = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=float)
    return found


def mcnemar(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, float]:
    """Return McNemar's exact test on the images that only one of the two gets right.

    Images of one lesion are counted as if they were independent, which they are not quite: the interval of
    :func:`paired` has no need of that.

    Source: Q. McNemar, Psychometrika 12, 153 (1947); exact binomial form.

    Returns
    -------
    dict
        images, only_first_right, only_second_right, p (two-sided).
    """
    labels, one, _ = predictions.part(first, "test")
    _, other, _ = predictions.part(second, "test")
    right = [each.argmax(1) == labels for each in (one, other)]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    discordant = only_first + only_second
    p = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return {"images": len(labels), "only_first_right": only_first, "only_second_right": only_second, "p": p}
