"""What a probability is good for: yes or no at a threshold, and sending the doubtful cases to somebody else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from skinlesion.data.dataset import DX, MALIGNANT
from skinlesion.errors import StudyError
from skinlesion.scoring.evaluation import Bootstrap, interval, share

QUESTIONS: dict[str, tuple[str, ...]] = {"melanoma": ("mel",), "malignant": MALIGNANT}
"""Yes-or-no questions and the diagnoses that are a yes."""

LEVELS = (0.9, 0.95)

RULE = "90% sensitivity on calibration"
"""By which the threshold is chosen that figures and sentences speak of."""

PREVALENCES = (0.01, 0.05, 0.2)
"""Shares of a yes for which predictive values are stated: how frequent it is among these images is no clinic's."""

THRESHOLDS = tuple(np.arange(1, 51) / 100)
"""Probabilities at which somebody may act: 1% to 50%."""


class DecisionError(StudyError):
    """A question that the images cannot answer."""


def question(labels: np.ndarray, probabilities: np.ndarray, yes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth of a yes-or-no question, bool (N,), and the score for yes, the summed probability (N,).

    Raises
    ------
    DecisionError
        If the answer is yes, or no, for every image.
    """
    places = [DX.index(dx) for dx in yes]
    truth = np.isin(labels, places)
    if truth.all() or not truth.any():
        raise DecisionError(f"{'all' if truth.all() else 'no'} images are {' or '.join(yes)}: nothing to tell apart")
    return truth, probabilities[:, places].sum(1)


def rates(
    truth: np.ndarray, score: np.ndarray, drawn: tuple[Bootstrap, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what every threshold gives, from none called positive to all.

    Parameters
    ----------
    drawn
        The images' lesions, and one of :meth:`skinlesion.scoring.evaluation.Bootstrap.blocks`; absent, each image
        counts once.

    Returns
    -------
    tuple of numpy.ndarray
        Thresholds (T,), descending from infinity; sensitivity, specificity and positive predictive value, each
        (draws, T), or (T,) without draws. An image is called positive at or above the threshold. The predictive
        value is one where nothing is called positive.
    """
    thresholds, place = np.unique(-score, return_inverse=True)
    bootstrap, counts = drawn or (once := Bootstrap.once(len(truth)), next(once.blocks()))
    sides = (bootstrap.rows(place[side], np.flatnonzero(side), len(thresholds)) @ counts for side in (truth, ~truth))
    hit, false = (np.cumsum(np.pad(side.T, ((0, 0), (1, 0))), axis=1) for side in sides)
    with np.errstate(invalid="ignore"):
        sensitivity, specificity = hit / hit[:, -1:], 1 - false / false[:, -1:]
    called = hit + false
    predictive = np.divide(hit, called, out=np.ones_like(hit), where=called > 0)
    found = sensitivity, specificity, predictive
    ends = np.r_[np.inf, -thresholds]
    return (ends, *(rate[0] for rate in found)) if drawn is None else (ends, *found)


def operating_points(truth: np.ndarray, score: np.ndarray, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return the best sensitivity at 90% and 95% specificity, and the other way round, with 95% intervals.

    The threshold is the best one for these very images: a description of the curve, not a rule to use.

    Returns
    -------
    pandas.DataFrame
        Columns value, low, high.
    """
    asked = {
        f"{name} at {level:.0%} {other}": (ask, given, level)
        for name, other, ask, given in (("sensitivity", "specificity", 1, 2), ("specificity", "sensitivity", 2, 1))
        for level in LEVELS
    }

    def best(found: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        return [_best(found[ask], found[given], level) for ask, given, level in asked.values()]

    step = np.searchsorted(np.unique(score[truth]), score, side="right")  # nothing is best between two true scores
    drawn = [best(rates(truth, step, (bootstrap, counts))) for counts in bootstrap.blocks()]
    rows = [
        (value, *interval(values))
        for value, values in zip(best(rates(truth, score)), np.concatenate(drawn, axis=1), strict=True)
    ]
    return pd.DataFrame(rows, index=list(asked), columns=["value", "low", "high"])


def choose_threshold(
    truth: np.ndarray, score: np.ndarray, *, sensitivity: float | None = None, specificity: float | None = None
) -> float:
    """Return the threshold that reaches a sensitivity (the highest one), or a specificity (the lowest one).

    It is to be chosen on the calibration part and used on the test part.

    Raises
    ------
    DecisionError
        If not exactly one of the two is given.
    """
    if (sensitivity is None) == (specificity is None):
        raise DecisionError("give a sensitivity or a specificity to reach")
    thresholds, found_sensitivity, found_specificity, _ = rates(truth, score)
    if sensitivity is not None:
        return float(thresholds[np.argmax(found_sensitivity >= sensitivity - 1e-12)])
    return float(thresholds[np.flatnonzero(found_specificity >= (specificity or 0) - 1e-12)[-1]])


def at_threshold(
    truth: np.ndarray, score: np.ndarray, threshold: float, bootstrap: Bootstrap, *, prevalence: float | None = None
) -> pd.DataFrame:
    """Return sensitivity, specificity and both predictive values at a threshold, with 95% intervals.

    Parameters
    ----------
    prevalence
        Where a yes is as frequent as this, at the same sensitivity and specificity (Bayes' rule; D. G. Altman,
        J. M. Bland, "Diagnostic tests 2: predictive values", BMJ 309, 102 (1994)); absent, as frequent as here.

    Returns
    -------
    pandas.DataFrame
        Rows sensitivity, specificity, positive_predictive_value, negative_predictive_value; columns value, low,
        high. A ratio without a denominator is NaN.
    """
    called = score >= threshold
    cells = np.column_stack([truth & called, truth & ~called, ~truth & called, ~truth & ~called]).astype(float)
    rows = {}
    whole, drawn = (_with_prevalence(table, prevalence) for table in (cells.sum(0)[None], bootstrap.total(cells)))
    for name, hit, miss in (
        ("sensitivity", 0, 1),
        ("specificity", 3, 2),
        ("positive_predictive_value", 0, 2),
        ("negative_predictive_value", 3, 1),
    ):
        value, values = (share(table[:, hit], table[:, hit] + table[:, miss]) for table in (whole, drawn))
        rows[name] = [float(value[0]), *interval(values)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])


def bands(truth: np.ndarray, score: np.ndarray, bootstrap: Bootstrap, *, points: int = 101) -> dict[str, pd.DataFrame]:
    """Return the ROC and the precision–recall curve on a grid, each with a pointwise 95% band.

    Returns
    -------
    dict of pandas.DataFrame
        ``roc`` (x: one minus specificity, value: sensitivity) and ``precision_recall`` (x: recall, value: the
        precision at the highest threshold that reaches it); columns x, value, low, high.
    """
    grid = np.linspace(0, 1, points)
    curves = {"roc": _roc_on, "precision_recall": _precision_on}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in curves}
    for counts in bootstrap.blocks():
        _, *found = rates(truth, score, (bootstrap, counts))
        for name, curve in curves.items():
            drawn[name].append(curve(grid, *found))
    whole = [rate[None] for rate in rates(truth, score)[1:]]
    tables = {}
    for name, curve in curves.items():
        value, values = curve(grid, *whole)[0], np.concatenate(drawn[name])
        low, high = np.nanpercentile(values, [2.5, 97.5], axis=0)
        tables[name] = pd.DataFrame({"x": grid, "value": value, "low": low, "high": high})
    return tables


def risk_coverage(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return the error rate among the most confident images, for every share of them that is kept.

    Source: El-Yaniv & Wiener, "On the Foundations of Noise-free Selective Classification" (2010).

    Returns
    -------
    pandas.DataFrame
        coverage (share kept, ascending to one) and risk (share of those that are wrong), one row a distinct
        confidence.
    """
    confidence = probabilities.max(1)
    order = np.argsort(-confidence, kind="stable")
    wrong = (probabilities.argmax(1) != labels)[order]
    ends = np.flatnonzero(np.r_[np.diff(confidence[order]) != 0, True])
    kept = ends + 1
    return pd.DataFrame({"coverage": kept / len(labels), "risk": np.cumsum(wrong)[ends] / kept})


def referral(
    labels: np.ndarray,
    probabilities: np.ndarray,
    bootstrap: Bootstrap,
    *,
    fractions: Sequence[float] = (0.0, 0.1, 0.2, 0.3),
) -> pd.DataFrame:
    """Return the accuracy on what is left when the least certain images are referred to somebody else.

    Returns
    -------
    pandas.DataFrame
        referred (fraction aimed at), images (left), accuracy, low, high, malignant_referred (share of the
        malignant images among those that are referred away).
    """
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
    malignant = np.isin(labels, [DX.index(dx) for dx in MALIGNANT])
    rows = []
    for fraction in fractions:
        kept = confidence >= np.quantile(confidence, fraction, method="higher")
        sums = bootstrap.total(np.column_stack([kept & hit, kept]).astype(float))
        low, high = interval(share(sums[:, 0], sums[:, 1]))
        rows.append(
            {
                "referred": fraction,
                "images": int(kept.sum()),
                "accuracy": float(hit[kept].mean()),
                "low": low,
                "high": high,
                "malignant_referred": float((malignant & ~kept).sum() / malignant.sum()) if malignant.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)


def net_benefit(
    truth: np.ndarray, score: np.ndarray, bootstrap: Bootstrap, *, thresholds: Sequence[float] = THRESHOLDS
) -> pd.DataFrame:
    """Return what acting on the score is worth, in true positives an image, beside acting on all and on none.

    Who acts at a probability of ``t`` holds a missed yes to be ``(1 - t) / t`` times as bad as a needless act: the net
    benefit is the share of true positives less ``t / (1 - t)`` times that of false ones. Acting on none is worth zero.

    Source: A. J. Vickers, E. B. Elkin, "Decision curve analysis", Med. Decis. Making 26, 565 (2006).

    Parameters
    ----------
    score
        Probability of a yes, which should be calibrated.

    Returns
    -------
    pandas.DataFrame
        threshold, value, low, high, all (acting on all), gain (over acting on all or on none, whichever is better),
        gain_low, gain_high; 95% percentile intervals.
    """
    at = np.array(thresholds)
    acting = np.where(truth[:, None], 1, -at / (1 - at))
    worth = np.hstack([acting * (score[:, None] >= at), acting])
    value, everyone = np.split(worth.mean(0), 2)
    drawn, drawn_all = np.split(bootstrap.total(worth) / bootstrap.total(np.ones((len(truth), 1))), 2, axis=1)
    table = pd.DataFrame({"threshold": at, "value": value, "low": 0.0, "high": 0.0, "all": everyone})
    table["gain"] = value - np.maximum(everyone, 0)
    table[["low", "high"]] = np.percentile(drawn, [2.5, 97.5], axis=0).T
    table[["gain_low", "gain_high"]] = np.percentile(drawn - np.maximum(drawn_all, 0), [2.5, 97.5], axis=0).T
    return table


def answer(
    calibration: tuple[np.ndarray, np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray, np.ndarray],
    yes: Sequence[str],
    bootstrap: Bootstrap,
) -> dict[str, pd.DataFrame]:
    """Ask a yes-or-no question: choose thresholds on the calibration part, score them on the test part.

    Parameters
    ----------
    calibration, test
        From :func:`skinlesion.scoring.predictions.part`.
    yes
        The diagnoses that are a yes.
    bootstrap
        Of the test part's lesions.

    Returns
    -------
    dict of pandas.DataFrame
        ``points``, from :func:`operating_points`; ``chosen``, one row a rule, such as :data:`RULE`: the threshold
        chosen on the calibration part, and what it gives on the test part, from :func:`at_threshold`; ``prevalences``,
        one row each of :data:`PREVALENCES`: what the threshold of :data:`RULE` would give there. The last two have the
        columns ``<score>``, ``<score>_low`` and ``<score>_high``.
    """
    chooser, scored = (question(labels, probabilities, yes) for labels, probabilities, _ in (calibration, test))
    rows = {}
    for score in ("sensitivity", "specificity"):
        for level in LEVELS:
            sought = (level, None) if score == "sensitivity" else (None, level)
            threshold = choose_threshold(*chooser, sensitivity=sought[0], specificity=sought[1])
            found = at_threshold(*scored, threshold, bootstrap)
            rows[f"{level:.0%} {score} on calibration"] = {"threshold": threshold, **_in_a_row(found)}
    elsewhere = {}
    for prevalence in PREVALENCES:
        found = at_threshold(*scored, rows[RULE]["threshold"], bootstrap, prevalence=prevalence)
        elsewhere[f"{prevalence:.0%}"] = _in_a_row(
            found.loc[["positive_predictive_value", "negative_predictive_value"]]
        )
    return {
        "points": operating_points(*scored, bootstrap),
        "chosen": pd.DataFrame.from_dict(rows, orient="index"),
        "prevalences": pd.DataFrame.from_dict(elsewhere, orient="index"),
    }


def _best(asked: np.ndarray, given: np.ndarray, level: float) -> np.ndarray:
    """Return the best of one rate over the thresholds at which the other reaches a level."""
    best = np.where(given >= level - 1e-12, asked, 0).max(-1)
    return np.where(np.isnan(asked).any(-1) | np.isnan(given).any(-1), np.nan, best)


def _with_prevalence(cells: np.ndarray, prevalence: float | None) -> np.ndarray:
    """Return cells (draws, 4), of which the first two are of a yes, with this share in these two."""
    if prevalence is None:
        return cells
    with np.errstate(invalid="ignore"):  # a draw may have no yes
        yes, no = (side / side.sum(1, keepdims=True) for side in (cells[:, :2], cells[:, 2:]))
    return np.hstack([prevalence * yes, (1 - prevalence) * no])


def _in_a_row(table: pd.DataFrame) -> dict[str, float]:
    """Return value, low and high of each score as ``<score>``, ``<score>_low`` and ``<score>_high``."""
    row: dict[str, float] = {}
    for name, found in table.iterrows():
        row |= {str(name): found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row


def _roc_on(grid: np.ndarray, sensitivity: np.ndarray, specificity: np.ndarray, predictive: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(grid, 1 - spec, sens) for sens, spec in zip(sensitivity, specificity, strict=True)])


def _precision_on(
    grid: np.ndarray, sensitivity: np.ndarray, specificity: np.ndarray, predictive: np.ndarray
) -> np.ndarray:
    first = [np.searchsorted(sens, grid - 1e-12) for sens in sensitivity]
    return np.stack([value[np.minimum(at, len(value) - 1)] for value, at in zip(predictive, first, strict=True)])
