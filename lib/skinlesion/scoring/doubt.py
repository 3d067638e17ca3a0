"""Labels to look at again: images whose label a model that never saw them finds implausible."""

from __future__ import annotations

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from skinlesion.data.dataset import DX
from skinlesion.scoring import predictions


def candidates(table: pd.DataFrame) -> pd.DataFrame:
    """Return the images whose label is in doubt by confident learning, the most doubtful first.

    They are candidates, not errors: a model that is wrong where it is sure makes them too.

    Source: Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (2021), as
    cleanlab has it.

    Parameters
    ----------
    table
        Predictions on images the model was not trained on.

    Returns
    -------
    pandas.DataFrame
        image_id, lesion_id, dx, suggested (the most probable class), quality (0 doubtful to 1 plausible).
    """
    labels = table.dx.map(DX.index).to_numpy(dtype=np.int64)
    present = np.unique(labels)
    # cleanlab wants every class to occur.
    place = np.searchsorted(present, labels)
    probabilities = table[predictions.COLUMNS].to_numpy()[:, present]
    total = probabilities.sum(1, keepdims=True)
    probabilities = np.divide(probabilities, total, out=np.full_like(probabilities, 1 / len(present)), where=total > 0)
    if len(present) < 2:
        return pd.DataFrame(columns=COLUMNS)
    found = find_label_issues(place, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    quality = get_label_quality_scores(place, probabilities, method="self_confidence")
    rows = table.iloc[found]
    suggested = np.array(DX)[present[probabilities.argmax(1)]][found]
    return rows.assign(suggested=suggested, quality=quality[found])[COLUMNS].reset_index(drop=True)


COLUMNS = ["image_id", "lesion_id", "dx", "suggested", "quality"]


def by(candidates: pd.DataFrame, cases: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return how many of each group's images are candidates.

    Returns
    -------
    pandas.DataFrame
        Indexed by the values of `column`: images, candidates, fraction.
    """
    marked = cases.assign(candidate=cases.image_id.isin(candidates.image_id))
    table = marked.groupby(column, observed=True).candidate.agg(images="size", candidates="sum", fraction="mean")
    return table.sort_values("fraction", ascending=False)


def null(table: pd.DataFrame, *, share: float, repeats: int, seed: int) -> pd.DataFrame:
    """Say what confident learning finds where labels are known to be wrong: some are exchanged for another at random.

    A candidate is worth looking at as far as exchanged labels are found more often than others are.

    Parameters
    ----------
    share
        Of the images, whose label is exchanged for that of another image with another diagnosis.
    repeats, seed
        How often, with other images each time.

    Returns
    -------
    pandas.DataFrame
        One row a repeat: flipped (images), recall (share of them that are candidates), others (share of the other
        images that are).
    """
    rng, rows = np.random.default_rng(seed), []
    others = {dx: table.dx[table.dx != dx].to_numpy() for dx in table.dx.unique()}
    for _ in range(repeats):
        flipped = rng.choice(len(table), round(share * len(table)), replace=False)
        labels = table.dx.to_numpy().copy()
        for row in flipped:
            labels[row] = rng.choice(others[labels[row]])
        found = table.image_id.isin(candidates(table.assign(dx=labels)).image_id).to_numpy()
        at = np.isin(np.arange(len(table)), flipped)
        rows.append({"flipped": len(flipped), "recall": found[at].mean(), "others": found[~at].mean()})
    return pd.DataFrame(rows)
