"""The ISIC challenge's format of predictions, and its scores, so that other people's scorers can be used.

Source: ISIC 2018 challenge, task 3 (N. Codella et al., arXiv:1902.03368); the official scorer is the Python package
``isic-challenge-scoring``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skinlesion.data import archives, images
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.scoring import comparison, evaluation, predictions
from skinlesion.scoring.evaluation import Bootstrap

CATEGORIES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
"""The challenge's columns, in its order."""

WITHOUT_WEIGHT = (archives.WITHOUT_WEIGHT,)
"""Images of the challenge's test set that its scorer leaves out."""


UNDISTORTED, SQUASHED = "undistorted", "squashed"
"""How pictures of the test set come before a network; the first counts."""


class IsicError(StudyError):
    """Predictions and truth are not of the same images, or two images have one name."""


def check_names(paths: Sequence[Path]) -> None:
    """Refuse pictures that the format cannot tell apart: it knows them by their files' names without the suffix.

    Raises
    ------
    IsicError
        Naming two of them. What is no picture does not count.
    """
    stems = Counter(path.stem for path in paths)
    seen: dict[str, Path] = {}
    for path in paths:
        if stems[path.stem] > 1 and images.is_picture(path) and (other := seen.setdefault(path.stem, path)) != path:
            raise IsicError(
                f"{other} and {path} would both be {path.stem} in the challenge's format: rename one of them, or do "
                "without --isic"
            )


def submission(table: pd.DataFrame) -> pd.DataFrame:
    """Return predictions as the challenge wants them: image, and the probability of each category.

    Parameters
    ----------
    table
        image_id (or image), and the probabilities ``p_akiec`` … ``p_vasc``.

    Raises
    ------
    IsicError
        If an image occurs twice.
    """
    names = table["image_id" if "image_id" in table else "image"]
    if names.duplicated().any():
        raise IsicError(f"image {names[names.duplicated()].iloc[0]} occurs twice in what is to be submitted")
    columns = {category: table[f"p_{category.lower()}"] for category in CATEGORIES}
    return pd.DataFrame({"image": names, **columns}).reset_index(drop=True)


def truth(table: pd.DataFrame) -> pd.DataFrame:
    """Return diagnoses as the challenge publishes them: image, and a one in the column of its category.

    Parameters
    ----------
    table
        image_id and dx.
    """
    columns = {category: (table.dx == category.lower()).astype(float) for category in CATEGORIES}
    return pd.DataFrame({"image": table.image_id, **columns}).reset_index(drop=True)


def scores(truth: pd.DataFrame, submission: pd.DataFrame) -> dict[str, float]:
    """Score a submission with this library's own scores, in the challenge's names.

    Returns
    -------
    dict
        balanced_accuracy (the challenge's goal); the areas under the ROC curve ``auc_MEL`` …; the average precisions
        ``ap_MEL`` ….

    Raises
    ------
    IsicError
        If the two tables are not of the same images.
    """
    expected, given = (table.set_index("image") for table in (truth, submission))
    if set(expected.index) != set(given.index) or not given.index.is_unique:
        raise IsicError("the submission must have every image of the truth, each once, and no other")
    kept = expected.index.difference(WITHOUT_WEIGHT)
    ours = [dx.upper() for dx in DX]
    labels = expected.loc[kept, ours].to_numpy().argmax(1)
    probabilities = given.loc[kept, ours].to_numpy()
    found = {"balanced_accuracy": float(evaluation.measured(labels, probabilities)["balanced_accuracy"])}
    for name, values in (
        ("auc", evaluation.one_vs_rest_auc(labels, probabilities)),
        ("ap", evaluation.average_precision(labels, probabilities)),
    ):
        found |= {f"{name}_{dx.upper()}": float(value) for dx, value in zip(DX, np.asarray(values), strict=True)}
    return found


def summary(table: pd.DataFrame, *, draws: int, seed: int) -> dict[str, Any]:
    """Score what a network says of the official test.

    Parameters
    ----------
    table
        image_id, lesion_id, dx, shape (:data:`UNDISTORTED` or :data:`SQUASHED`) and the seven probabilities.

    Returns
    -------
    dict
        images (without those that the official scorer leaves out), headline (with 95% intervals, from draws of
        lesions), isic (the official scorer's numbers), squashed (the scores of pictures that are squashed as they are,
        as ``first``, beside those that count, as ``second``).
    """
    kept = tested(table)
    sides = [kept[kept["shape"] == shape] for shape in (SQUASHED, UNDISTORTED)]
    labels, probabilities, lesions = predictions.part(sides[1], "test")
    counts = table[table["shape"] == UNDISTORTED]
    bootstrap = Bootstrap.draw(lesions, draws=draws, seed=seed)
    return {
        "images": len(labels),
        "headline": evaluation.headline(labels, probabilities, bootstrap),
        "isic": scores(truth(counts), submission(counts)),
        "squashed": comparison.paired(*sides, draws=draws, seed=seed),
        "bootstrap": {"draws": draws, "seed": seed},
    }


def tested(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``official.csv`` that the scorer counts, as those of a test part."""
    kept = table[~table.image_id.isin(WITHOUT_WEIGHT)]
    return kept.assign(part="test", lesion_group=kept.lesion_id).reset_index(drop=True)
