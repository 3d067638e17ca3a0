"""Lesions in place of images: one vote a lesion, and what the choice of the unit does to a score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.scoring import evaluation, predictions
from skinlesion.scoring.evaluation import Bootstrap


def votes(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a lesion group and part, in the order of their first images: the mean of their probabilities."""
    first = dict.fromkeys(["image_id", "lesion_id", "dx"], "first")
    mean = dict.fromkeys(predictions.COLUMNS, "mean")
    return table.groupby(["lesion_group", "part"], sort=False, as_index=False).agg(first | mean)


def alone(table: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of predictions whose image is the only one of its lesion group, in whatever part."""
    return table[table.image_id.isin(split.image_id[~split.duplicated("lesion_group", keep=False)])]


def scored(
    labels: np.ndarray, probabilities: np.ndarray, lesions: np.ndarray, *, draws: int, seed: int
) -> dict[str, int | pd.DataFrame]:
    """Return images (rows), lesions and the headline scores, with 95% intervals of draws of lesions."""
    bootstrap = Bootstrap.draw(lesions, draws=draws, seed=seed)
    return {
        "images": len(labels),
        "lesions": len(set(lesions)),
        "headline": evaluation.headline(labels, probabilities, bootstrap),
    }


def estimands(table: pd.DataFrame, split: pd.DataFrame, *, draws: int, seed: int) -> dict[str, dict]:
    """Score the test part in other ways than over its images: over its lesions, and over lesions with one image alone.

    Parameters
    ----------
    table
        Predictions.
    split
        Every image of the data with its lesion_group: says which image is the only one, in whatever part.

    Returns
    -------
    dict
        ``one vote a lesion`` (mean probability; a row is a lesion) and ``lesions with one image``, each as
        :func:`scored`. The latter is left out where there is none.
    """
    kinds = {"one vote a lesion": votes(table), "lesions with one image": alone(table, split)}
    found = {name: predictions.part(kind, "test") for name, kind in kinds.items() if (kind.part == "test").any()}
    return {name: scored(*each, draws=draws, seed=seed) for name, each in found.items()}
