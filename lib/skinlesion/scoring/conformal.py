"""Sets of diagnoses that hold the true one with a stated probability, calibrated on the calibration part.

What is exchangeable is lesions, not images: the promise is for an image of a lesion that was not seen, each lesion
counting the same however many images it has.

Source: the setting is that of R. Dunn, L. Wasserman, A. Ramdas, "Distribution-Free Prediction Sets for Two-Layer
Hierarchical Models", J. Am. Stat. Assoc. 118, 2491 (2023); they draw one observation a group, or pool the groups'
distributions. Weighting each observation by one over its group's size pools them with a guarantee in samples of any
size and draws nothing: Y. Lee, R. F. Barber, R. Willett, "Distribution-free inference with hierarchical data",
arXiv:2306.06342 (2023), hierarchical conformal prediction.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.data.dataset import DX
from skinlesion.scoring.evaluation import Bootstrap, interval

KINDS = {"one limit": False, "a limit a class": True}
"""Both ways to calibrate, and whether they are by class."""

COVERAGE = 0.9


def calibrate(
    labels: np.ndarray, probabilities: np.ndarray, *, lesions: np.ndarray, coverage: float, by_class: bool = False
) -> np.ndarray:
    """Return how improbable a diagnosis may be to stay in the set: one limit on ``1 - p`` a class, shape (7,).

    The limit is the smallest ``1 - p`` of a true class (Sadinle, Lei & Wasserman, "Least Ambiguous Set-Valued
    Classifiers With Bounded Error Levels", 2019) up to which the images of L lesions hold the share `coverage`, where
    an image of a lesion with n images holds 1 / (n (L + 1)): an image of a new lesion drawn as these were is covered
    with at least this probability. With `by_class` each class has its own limit, and the promise holds for each. A
    class with too few lesions for it, or none, is in every set.

    Parameters
    ----------
    lesions
        The lesion of each image, shape (N,).
    """
    improbable = 1 - probabilities[np.arange(len(labels)), labels]
    if by_class:
        return np.array([_limit(improbable[labels == k], lesions[labels == k], coverage) for k in range(len(DX))])
    return np.full(len(DX), _limit(improbable, lesions, coverage))


def sets(probabilities: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return which diagnoses are in each image's set: bool of shape (N, 7)."""
    return 1 - probabilities <= limits


def summary(labels: np.ndarray, included: np.ndarray, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return how often the sets hold the true diagnosis, and how large they are, with 95% intervals.

    As in the promise every lesion counts the same: these are means over lesions of their images' means.

    Returns
    -------
    pandas.DataFrame
        Rows ``all`` and the classes; columns images, coverage, low, high, mean_size, single (share of sets with
        one diagnosis), empty (share with none). A class without images has no values.
    """
    covered, size = included[np.arange(len(labels)), labels], included.sum(1)
    share = 1 / np.bincount(bootstrap.lesion)[bootstrap.lesion]
    rows = {}
    for name, at in {"all": np.ones(len(labels), bool), **{dx: labels == k for k, dx in enumerate(DX)}}.items():
        row: dict[str, float] = {"images": int(at.sum())}
        if at.any():
            sums = bootstrap.total(np.column_stack([share * (at & covered), share * at]))
            drawn = sums[sums[:, 1] > 0]
            low, high = interval(drawn[:, 0] / drawn[:, 1])
            means = {"coverage": covered, "mean_size": size, "single": size == 1, "empty": size == 0}
            row |= {name: np.average(each[at], weights=share[at]) for name, each in means.items()}
            row |= {"low": low, "high": high}
        rows[name] = row
    names = ["images", "coverage", "low", "high", "mean_size", "single", "empty"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def _limit(improbable: np.ndarray, lesions: np.ndarray, coverage: float) -> float:
    _, lesion, images = np.unique(lesions, return_inverse=True, return_counts=True)
    order = np.argsort(improbable)
    held = np.cumsum(1 / images[lesion[order]]) / (len(images) + 1)
    enough = np.flatnonzero(held >= coverage - 1e-9)
    return float(improbable[order[enough[0]]]) if len(enough) else float("inf")
