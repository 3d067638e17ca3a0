"""Lesions in place of images: one vote a lesion, and what the choice of the unit does to a score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.scoring import evaluation, predictions
from skinlesion.scoring.evaluation import Bootstrap


def votes(
    labels: np.ndarray, probabilities: np.ndarray, lesions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one row a lesion, in the order of their ids: its first image's label, its images' mean probabilities.

    Returns
    -------
    tuple of numpy.ndarray
        Labels (L,), probabilities (L, 7) and lesion ids (L,).
    """
    ids, first, lesion, images = np.unique(lesions, return_index=True, return_inverse=True, return_counts=True)
    sums = np.zeros((len(ids), probabilities.shape[1]))
    np.add.at(sums, lesion, probabilities)
    return labels[first], sums / images[:, None], ids


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
    alone = table.image_id.isin(split.image_id[~split.duplicated("lesion_group", keep=False)])
    found = {"one vote a lesion": votes(*predictions.part(table, "test"))}
    if (alone & (table.part == "test")).any():
        found["lesions with one image"] = predictions.part(table[alone], "test")
    return {name: scored(*each, draws=draws, seed=seed) for name, each in found.items()}
