"""Scores from probabilities, with bootstrap intervals that resample lesions, not images.

Everything here is computed from labels, probabilities and lesion ids; no image, no network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn import metrics

from skinlesion.data.dataset import DX


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confusion matrix: int64 of shape (7, 7), rows the true class, columns the predicted."""
    return metrics.confusion_matrix(labels, probabilities.argmax(1), labels=range(len(DX)))


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each image's cross-entropy in nats, shape (N,); as scikit-learn, a probability is at least 2.2e-16."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(float).eps))


def headline_from(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores that need nothing but the predicted classes, of one or many confusion matrices.

    Balanced accuracy and macro F1 are means over the classes that occur: for balanced accuracy those
    with a true image, for macro F1 those with a true or predicted one, as scikit-learn has it. Cohen's kappa
    (J. Cohen, Educ. Psychol. Meas. 20, 37 (1960)) is NaN where chance alone would agree always; Matthews'
    correlation (J. Gorodkin, Comput. Biol. Chem. 28, 367 (2004)) is then zero.

    Parameters
    ----------
    confusions
        Counts or weights, shape (..., 7, 7).

    Returns
    -------
    dict of numpy.ndarray
        accuracy, balanced_accuracy, macro_f1, weighted_f1, kappa, mcc: each of shape (...).
    """
    scores = per_class_from(confusions)
    support = confusions.sum(-1)
    present = support > 0
    occurs = present | (confusions.sum(-2) > 0)
    total = support.sum(-1)
    hit = np.trace(confusions, axis1=-2, axis2=-1)
    predicted = confusions.sum(-2)
    chance = (support * predicted).sum(-1)
    spread = np.sqrt((total**2 - (predicted**2).sum(-1)) * (total**2 - (support**2).sum(-1)).astype(float))
    beyond = (total**2 - chance).astype(float)
    return {
        "accuracy": hit / total,
        "balanced_accuracy": np.where(present, scores["recall"], 0).sum(-1) / present.sum(-1),
        "macro_f1": np.where(occurs, scores["f1"], 0).sum(-1) / occurs.sum(-1),
        "weighted_f1": (support * scores["f1"]).sum(-1) / total,
        "kappa": np.divide(hit * total - chance, beyond, out=np.full(np.shape(beyond), np.nan), where=beyond > 0),
        "mcc": _ratio(hit * total - chance, spread),
    }


def per_class_from(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall, specificity and F1 per class; a ratio without a denominator is zero.

    Parameters
    ----------
    confusions
        Counts or weights, shape (..., 7, 7).

    Returns
    -------
    dict of numpy.ndarray
        Each of shape (..., 7).
    """
    hit = np.diagonal(confusions, axis1=-2, axis2=-1)
    true, predicted = confusions.sum(-1), confusions.sum(-2)
    others = confusions.sum((-2, -1))[..., None] - true
    return {
        "precision": _ratio(hit, predicted),
        "recall": _ratio(hit, true),
        "specificity": _ratio(others - (predicted - hit), others),
        "f1": _ratio(2 * hit, true + predicted),
    }


def one_vs_rest_auc(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the area under the ROC curve of each class against the rest, ties counted half.

    Parameters
    ----------
    labels, probabilities
        Shapes (N,) and (N, 7).
    weights
        Shape (draws, N): how often each image counts in each draw; absent, each counts once.

    Returns
    -------
    numpy.ndarray
        Shape (draws, 7), or (7,) without weights; NaN where a class, or its rest, is absent.
    """
    areas = []
    for k in range(len(DX)):
        weight, below, upto, total = _ranks(labels == k, probabilities[:, k], weights)
        negatives_below, negatives_upto = below[0] - below[1], upto[0] - upto[1]
        pairs = total[1] * (total[0] - total[1])
        wins = (weight * (negatives_below + negatives_upto)).sum(1) / 2
        areas.append(np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
    return np.stack(areas, axis=1)[0] if weights is None else np.stack(areas, axis=1)


def average_precision(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the average precision of each class against the rest: precision averaged over the steps of recall.

    Parameters and shapes are those of :func:`one_vs_rest_auc`; NaN where a class is absent.
    """
    averages = []
    for k in range(len(DX)):
        weight, below, _, total = _ranks(labels == k, probabilities[:, k], weights)
        called, hit = (each[:, None] - under for each, under in zip(total, below, strict=True))
        sums = (weight * _ratio(hit, called)).sum(1)
        averages.append(np.divide(sums, total[1], out=np.full(len(sums), np.nan), where=total[1] > 0))
    return np.stack(averages, axis=1)[0] if weights is None else np.stack(averages, axis=1)


def _ranks(
    truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return what lies below each true image by score, without going through the false ones: they are the many.

    Returns
    -------
    tuple
        The weight of each true image, (draws, P). Then pairs, each for all images and for the true ones: weight with a
        lower score than it, and with no higher one, (draws, P) each; and total weight, (draws,) each.
    """
    weight = np.ones((1, len(truth))) if weights is None else weights
    order = np.argsort(score, kind="stable")
    true = order[truth[order]]
    below, upto, total = [], [], []
    for images in (order, true):
        sums = np.zeros((len(weight), len(images) + 1))
        np.cumsum(weight[:, images], axis=1, out=sums[:, 1:])
        below.append(sums[:, np.searchsorted(score[images], score[true], side="left")])
        upto.append(sums[:, np.searchsorted(score[images], score[true], side="right")])
        total.append(sums[:, -1])
    return weight[:, true], tuple(below), tuple(upto), tuple(total)


@dataclass(frozen=True)
class Bootstrap:
    """Draws of lesions with replacement, the same for every score computed from them.

    Attributes
    ----------
    counts
        float64 of shape (draws, lesions): how often each lesion was drawn.
    lesion
        int64 of shape (N,): the lesion of each image as a column of `counts`.
    """

    counts: np.ndarray
    lesion: np.ndarray

    @classmethod
    def draw(cls, lesion_ids: np.ndarray, *, draws: int, seed: int) -> Bootstrap:
        """Draw as many lesions as there are, `draws` times (the cluster bootstrap).

        Source: A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application" (1997), 3.8.
        """
        lesions, lesion = np.unique(lesion_ids, return_inverse=True)
        equal = np.full(len(lesions), 1 / len(lesions))
        drawn = np.random.default_rng(seed).multinomial(len(lesions), equal, size=draws)
        return cls(drawn.astype(float), lesion)

    def weights(self) -> np.ndarray:
        """Return how often each image counts in each draw: shape (draws, N)."""
        return self.counts[:, self.lesion]

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum per-image values, shape (N, k), over each draw: shape (draws, k)."""
        sums = np.zeros((self.counts.shape[1], values.shape[1]))
        np.add.at(sums, self.lesion, values)
        return self.counts @ sums

    def confusions(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return each draw's confusion matrix: shape (draws, 7, 7)."""
        cells = np.zeros((len(labels), len(DX) ** 2))
        cells[np.arange(len(labels)), labels * len(DX) + probabilities.argmax(1)] = 1
        return self.total(cells).reshape(-1, len(DX), len(DX))


def headline(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None = None) -> pd.DataFrame:
    """Return the scores of a part, with 95% percentile intervals where a bootstrap is given.

    Returns
    -------
    pandas.DataFrame
        Rows accuracy, balanced_accuracy, macro_f1, weighted_f1, kappa, mcc, macro_auc and
        macro_average_precision (one class against the rest, mean over the classes that occur) and loss (mean
        cross-entropy, nats); columns value, low, high.
    """
    value = dict(headline_from(confusion(labels, probabilities)))
    value["macro_auc"] = _nanmean(one_vs_rest_auc(labels, probabilities))
    value["macro_average_precision"] = _nanmean(average_precision(labels, probabilities))
    value["loss"] = log_losses(labels, probabilities).mean()
    return _with_intervals(value, {} if bootstrap is None else drawn_headline(labels, probabilities, bootstrap))


def drawn_headline(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    """Return the scores of :func:`headline` in every draw, each of shape (draws,)."""
    drawn = headline_from(bootstrap.confusions(labels, probabilities))
    weights = bootstrap.weights()
    drawn["macro_auc"] = _nanmean(one_vs_rest_auc(labels, probabilities, weights))
    drawn["macro_average_precision"] = _nanmean(average_precision(labels, probabilities, weights))
    sums = bootstrap.total(np.column_stack([log_losses(labels, probabilities), np.ones(len(labels))]))
    drawn["loss"] = sums[:, 0] / sums[:, 1]
    return drawn


def per_class(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None = None) -> pd.DataFrame:
    """Return the scores of every class, with intervals where a bootstrap is given.

    Returns
    -------
    pandas.DataFrame
        Index (dx, score), the scores being precision, recall, specificity, f1, auc and average_precision; columns
        value, low, high, support (true images of the class). A class without a true image has no value.
    """
    value = per_class_from(confusion(labels, probabilities))
    value["auc"] = one_vs_rest_auc(labels, probabilities)
    value["average_precision"] = average_precision(labels, probabilities)
    support = np.bincount(labels, minlength=len(DX))
    drawn: dict[str, np.ndarray] = {}
    if bootstrap is not None:
        drawn = per_class_from(bootstrap.confusions(labels, probabilities))
        drawn["auc"] = one_vs_rest_auc(labels, probabilities, bootstrap.weights())
        drawn["average_precision"] = average_precision(labels, probabilities, bootstrap.weights())
    tables = []
    for k in range(len(DX)):
        table = _with_intervals(
            {name: values[k] for name, values in value.items()},
            {name: values[:, k] for name, values in drawn.items()},
        )
        table["support"] = support[k]
        if support[k] == 0:
            table[["value", "low", "high"]] = np.nan
        tables.append(table)
    return pd.concat(tables, keys=DX, names=["dx", "score"])


def roc(labels: np.ndarray, probabilities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates of class `k` against the rest, over all thresholds."""
    false_positive, true_positive, _ = metrics.roc_curve(labels == k, probabilities[:, k])
    return false_positive, true_positive


def precision_recall(labels: np.ndarray, probabilities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision of class `k` against the rest, over all thresholds."""
    precision, recall, _ = metrics.precision_recall_curve(labels == k, probabilities[:, k])
    return recall, precision


def interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 95% percentile interval of the draws that are numbers; NaN twice where none is."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def majority_accuracy(labels: np.ndarray) -> float:
    """Return the accuracy of always naming the most frequent class."""
    return float(np.bincount(labels).max() / len(labels))


def mistakes(predictions: pd.DataFrame, probabilities: np.ndarray) -> pd.DataFrame:
    """Return the wrong predictions, the most confident first.

    Parameters
    ----------
    predictions
        Rows of one part, with dx and whatever else is to be shown.
    probabilities
        Shape (N, 7), in the order of the rows.

    Returns
    -------
    pandas.DataFrame
        The wrong rows with predicted, confidence (probability of the predicted class) and p_true.
    """
    place = predictions.dx.map(DX.index).to_numpy()
    table = predictions.assign(
        predicted=np.array(DX)[probabilities.argmax(1)],
        confidence=probabilities.max(1),
        p_true=probabilities[np.arange(len(place)), place],
    )
    wrong = table[table.predicted != table.dx]
    return wrong.sort_values(["confidence", "image_id"], ascending=[False, True], ignore_index=True)


def confused_pairs(wrong: pd.DataFrame, support: pd.Series) -> pd.DataFrame:
    """Count each pair of true and predicted class among the mistakes.

    Parameters
    ----------
    wrong
        From :func:`mistakes`.
    support
        True images of each class in the part, by dx.

    Returns
    -------
    pandas.DataFrame
        dx, predicted, images, fraction (of the true class's images), median_confidence; most first.
    """
    groups = wrong.groupby(["dx", "predicted"]).confidence
    table = groups.agg(images="size", median_confidence="median").reset_index()
    table["fraction"] = table.images / table.dx.map(support)
    return table.sort_values(["images", "fraction"], ascending=False, ignore_index=True)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    shape = np.broadcast(numerator, denominator).shape
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator > 0)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values that are numbers; NaN where none is."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    total = np.where(known, values, 0).sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def _with_intervals(value: dict[str, np.ndarray], drawn: dict[str, np.ndarray]) -> pd.DataFrame:
    table = pd.DataFrame({"value": value}, dtype=float)
    limits = [interval(drawn.get(score, np.empty(0))) for score in table.index]
    table[["low", "high"]] = np.array(limits)
    return table
