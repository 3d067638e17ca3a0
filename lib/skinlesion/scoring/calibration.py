"""Whether a probability means what it says: reliability, calibration error, Brier score, and temperature scaling."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from skinlesion.scoring.evaluation import Bootstrap, interval, log_losses

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


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, *, adaptive: bool = False, bins: int = BINS
) -> float:
    """Return the mean distance between confidence and accuracy over the bins, weighted by their images.

    With equally wide bins it is that of Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning" (2015); with equally full ones its adaptive form (Nixon et al., "Measuring Calibration in Deep
    Learning", 2019).
    """
    table = reliability(labels, probabilities, adaptive=adaptive, bins=bins).query("images > 0")
    return float(np.average((table.accuracy - table.confidence).abs(), weights=table.images))


def brier_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each image's Brier score: the squared distance to its label, summed over classes; 0 to 2, shape (N,).

    Source: G. W. Brier, "Verification of forecasts expressed in terms of probability" (1950).
    """
    return np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(1)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature that minimises the loss, between 0.05 and 20; above one, the model was too sure.

    It is fitted on validation. Source: Guo et al. (2017), 4.2.
    """

    def loss(log_temperature: float) -> float:
        return float(log_losses(labels, with_temperature(probabilities, np.exp(log_temperature))).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the softmax of the logits divided by `temperature`; which class is largest does not change."""
    logits = np.log(np.maximum(probabilities, np.finfo(float).tiny)) / temperature
    scaled = np.exp(logits - logits.max(1, keepdims=True))
    return scaled / scaled.sum(1, keepdims=True)


def scores(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return calibration error (fixed and adaptive bins), Brier score and loss, with 95% intervals.

    Calibration errors are biased upwards in small samples, and more so in draws from them: their intervals
    begin above the truth when the model is well calibrated.

    Returns
    -------
    pandas.DataFrame
        Rows ece_fixed, ece_adaptive, brier, loss; columns value, low, high.
    """
    brier, losses = brier_scores(labels, probabilities), log_losses(labels, probabilities)
    sums = bootstrap.total(np.column_stack([brier, losses, np.ones(len(labels))]))
    drawn = {"brier": sums[:, 0] / sums[:, 2], "loss": sums[:, 1] / sums[:, 2]}
    value = {"brier": brier.mean(), "loss": losses.mean()}
    for name, adaptive in (("ece_fixed", False), ("ece_adaptive", True)):
        value[name] = expected_calibration_error(labels, probabilities, adaptive=adaptive)
        drawn[name] = _drawn_errors(labels, probabilities, bootstrap, adaptive=adaptive)
    rows = {name: [value[name], *interval(drawn[name])] for name in ROWS}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])


ROWS = ("ece_fixed", "ece_adaptive", "brier", "loss")


def _drawn_errors(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap, *, adaptive: bool) -> np.ndarray:
    """Return each draw's calibration error in the bins of the sample: shape (draws,)."""
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
    ends = edges(confidence, adaptive=adaptive)
    member = np.eye(len(ends) - 1)[_place(confidence, ends)]
    gap = bootstrap.total(member * (hit - confidence)[:, None])
    return np.abs(gap).sum(1) / bootstrap.total(np.ones((len(labels), 1)))[:, 0]


def _place(confidence: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(ends, confidence, side="right") - 1, 0, len(ends) - 2)
