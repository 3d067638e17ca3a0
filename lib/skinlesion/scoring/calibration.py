"""Whether a probability means what it says: reliability, calibration error, Brier score, and temperature scaling."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from sklearn import metrics

BINS = 15
"""Bins of confidence, as in Guo et al., "On Calibration of Modern Neural Networks" (2017)."""


def edges(confidence: np.ndarray, *, adaptive: bool, bins: int = BINS) -> np.ndarray:
    """Return the bins' edges, from 0 to 1: equally wide, or with equally many images in each.

    Returns
    -------
    numpy.ndarray
        Increasing, at most ``bins + 1`` numbers; a bin holds its lower edge and not its upper one, the last both.
    """
    if not adaptive:
        return np.linspace(0, 1, bins + 1)
    inner = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1], method="higher")
    return np.unique(np.r_[0.0, inner, 1.0])


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, *, adaptive: bool = False, bins: int = BINS
) -> pd.DataFrame:
    """Return what the images of each bin of confidence claim and what they achieve.

    Returns
    -------
    pandas.DataFrame
        Columns low, high (edges), images, confidence and accuracy (means; NaN in an empty bin).
    """
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
    ends = edges(confidence, adaptive=adaptive, bins=bins)
    place = _place(confidence, ends)
    count = np.bincount(place, minlength=len(ends) - 1)
    filled = np.where(count > 0, count, np.nan)
    return pd.DataFrame(
        {
            "low": ends[:-1],
            "high": ends[1:],
            "images": count,
            "confidence": np.bincount(place, confidence, len(count)) / filled,
            "accuracy": np.bincount(place, hit, len(count)) / filled,
        }
    )


def gaps(labels: np.ndarray, probabilities: np.ndarray, *, adaptive: bool = False, bins: int = BINS) -> np.ndarray:
    """Return by how much each image raises the gap between accuracy and confidence in its bin: shape (N, bins).

    The absolute sums of these over images, added up and divided by the number of images, are the expected calibration
    error: the mean distance between confidence and accuracy over the bins, weighted by their images. With equally wide
    bins it is that of Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (2015); with
    equally full ones its adaptive form (Nixon et al., "Measuring Calibration in Deep Learning", 2019). It is biased
    upwards in small samples, and more so in draws from them: its interval begins above the truth when the model is well
    calibrated.
    """
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
    ends = edges(confidence, adaptive=adaptive, bins=bins)
    return np.eye(len(ends) - 1)[_place(confidence, ends)] * (hit - confidence)[:, None]


def brier_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each image's Brier score: the squared distance to its label, summed over classes; 0 to 2, shape (N,).

    Source: G. W. Brier, "Verification of forecasts expressed in terms of probability" (1950).
    """
    return np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(1)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature that minimises the loss, between 0.05 and 20; above one, the model was too sure.

    It is fitted on the calibration part. Source: Guo et al. (2017), 4.2.
    """

    def loss(log_temperature: float) -> float:
        scaled = with_temperature(probabilities, np.exp(log_temperature))
        return metrics.log_loss(labels, scaled, labels=range(probabilities.shape[1]))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the softmax of the logits divided by `temperature`; which class is largest does not change."""
    logits = np.log(np.maximum(probabilities, np.finfo(float).tiny)) / temperature
    scaled = np.exp(logits - logits.max(1, keepdims=True))
    return scaled / scaled.sum(1, keepdims=True)


def _place(confidence: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(ends, confidence, side="right") - 1, 0, len(ends) - 2)
