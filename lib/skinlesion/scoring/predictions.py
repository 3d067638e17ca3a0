"""The seven probabilities of every validation and test image: all that evaluation needs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion import files
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError

COLUMNS = [f"p_{dx}" for dx in DX]
"""Names of the probability columns, in the order of :data:`skinlesion.data.dataset.DX`."""


APART = 1e-3
"""Largest difference between two probabilities that one network gives one image which other processors and versions of
libraries may make."""


class PredictionsError(StudyError):
    """The table of predictions cannot be scored; the message names the row and the fault."""


def check(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` if it can be scored.

    Raises
    ------
    PredictionsError
        If a column is missing, an image occurs twice, a diagnosis is unknown, or the probabilities of a
        row are not between zero and one with sum one (± 0.0001).
    """
    missing = [name for name in ["image_id", "lesion_id", "lesion_group", "part", "dx", *COLUMNS] if name not in table]
    if missing:
        raise PredictionsError(f"predictions lack the column(s) {', '.join(missing)}")
    probability = table[COLUMNS].to_numpy()
    faults = {
        "occurs twice": table.image_id.duplicated().to_numpy(),
        "has an unknown diagnosis": ~table.dx.isin(DX).to_numpy(),
        "has a probability that is not between 0 and 1": ~((probability >= 0) & (probability <= 1)).all(1),
        "has probabilities that do not sum to one": np.abs(probability.sum(1) - 1) > 1e-4,
    }
    for fault, at in faults.items():
        if at.any():
            row = int(np.argmax(at))
            raise PredictionsError(f"predictions, line {row + 2}: image {table.image_id.iloc[row]} {fault}")
    return table


def part(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (N,), probabilities (N, 7) and lesion groups (N,) of one part.

    The groups are those that the split keeps together, and so what a bootstrap has to draw.

    Raises
    ------
    PredictionsError
        If the part has no image.
    """
    rows = check(table)[table.part == name]
    if rows.empty:
        raise PredictionsError(f"predictions have no {name} image")
    labels = rows.dx.map(DX.index).to_numpy(dtype=np.int64)
    return labels, rows[COLUMNS].to_numpy(), rows.lesion_group.to_numpy()


def after_epochs(path: Path, *, images: int) -> np.ndarray:
    """Return what a run said after every epoch: float16 of shape (epochs, images, 7).

    Parameters
    ----------
    path
        The run's ``epochs.npz``.
    images
        Rows of its table of predictions.

    Raises
    ------
    PredictionsError
        If the file is damaged or of other images.
    """
    try:
        said = np.load(path, allow_pickle=False)["probabilities"]
        if said.shape[1:] != (images, len(DX)):
            raise ValueError(f"shape {said.shape}, not (epochs, {images}, {len(DX)})")
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise PredictionsError(
            f"{files.shown(path)} cannot be used ({error}): delete it to go on without it, or train again"
        ) from error
    return said
