"""Sets of diagnoses that hold the true one with a stated probability, calibrated on validation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.data.dataset import DX
from skinlesion.scoring.evaluation import Bootstrap, interval


def calibrate(labels: np.ndarray, probabilities: np.ndarray, *, coverage: float, by_class: bool = False) -> np.ndarray:
    """Return how improbable a diagnosis may be to stay in the set: one limit on ``1 - p`` a class, shape (7,).

    The limit is the ⌈(n + 1) · coverage⌉-th smallest ``1 - p`` of the true classes of n calibration images
    (Sadinle, Lei & Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels", 2019): a new
    image drawn as these were is covered with at least this probability. With `by_class` each class has its own,
    and the promise holds for each. A class with too few images for it, or none, is in every set.
    """
    improbable = 1 - probabilities[np.arange(len(labels)), labels]
    if by_class:
        return np.array([_limit(improbable[labels == k], coverage) for k in range(len(DX))])
    return np.full(len(DX), _limit(improbable, coverage))


def sets(probabilities: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return which diagnoses are in each image's set: bool of shape (N, 7)."""
    return 1 - probabilities <= limits


def summary(labels: np.ndarray, included: np.ndarray, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return how often the sets hold the true diagnosis, and how large they are, with 95% intervals.

    Returns
    -------
    pandas.DataFrame
        Rows ``all`` and the classes; columns images, coverage, low, high, mean_size, single (share of sets with
        one diagnosis), empty (share with none). A class without images has no values.
    """
    covered, size = included[np.arange(len(labels)), labels], included.sum(1)
    rows = {}
    for name, at in {"all": np.ones(len(labels), bool), **{dx: labels == k for k, dx in enumerate(DX)}}.items():
        row: dict[str, float] = {"images": int(at.sum())}
        if at.any():
            sums = bootstrap.total(np.column_stack([at & covered, at]).astype(float))
            drawn = sums[sums[:, 1] > 0]
            low, high = interval(drawn[:, 0] / drawn[:, 1])
            row |= {"coverage": covered[at].mean(), "low": low, "high": high, "mean_size": size[at].mean()}
            row |= {"single": (size[at] == 1).mean(), "empty": (size[at] == 0).mean()}
        rows[name] = row
    names = ["images", "coverage", "low", "high", "mean_size", "single", "empty"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def _limit(improbable: np.ndarray, coverage: float) -> float:
    rank = int(np.ceil((len(improbable) + 1) * coverage - 1e-9))
    return float(np.sort(improbable)[rank - 1]) if rank <= len(improbable) else float("inf")
