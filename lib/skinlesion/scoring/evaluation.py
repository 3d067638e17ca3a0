"""Scores from probabilities, with bootstrap intervals that resample lesions, not images.

Everything here is computed from labels, probabilities and lesion groups; no image, no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import metrics

from skinlesion.data.dataset import DX

BLOCK = 250
"""Draws that are scored at a time."""


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confusion matrix: int64 of shape (7, 7), rows the true class, columns the predicted."""
    return metrics.confusion_matrix(labels, probabilities.argmax(1), labels=range(len(DX)))


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each image's cross-entropy in nats, shape (N,); as scikit-learn, a probability is at least 2.2e-16."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(float).eps))


def headline_from(confusions: np.ndarray, sample: np.ndarray | bool = False) -> dict[str, np.ndarray]:
    """Return the scores that need nothing but the predicted classes, of one or many confusion matrices.

    Balanced accuracy and macro F1 are means over the classes that occur: for balanced accuracy those
    with a true image, for macro F1 those with a true or predicted one, as scikit-learn has it; :class:`Bootstrap` says
    what a draw leaves out. Cohen's kappa (J. Cohen, Educ. Psychol. Meas. 20, 37 (1960)) is NaN where chance alone would
    agree always; Matthews' correlation (J. Gorodkin, Comput. Biol. Chem. 28, 367 (2004)) is then zero.

    Parameters
    ----------
    confusions
        Counts or weights, shape (..., 7, 7).
    sample
        If these are draws: which classes have a true image in what they are drawn from, bool of shape (7,).

    Returns
    -------
    dict of numpy.ndarray
        accuracy, balanced_accuracy, macro_f1, weighted_f1, kappa, mcc: each of shape (...).
    """
    scores = per_class_from(confusions)
    support, predicted = confusions.sum(-1), confusions.sum(-2)
    called = (support == 0) & (predicted > 0) & np.logical_not(sample)
    total = support.sum(-1)
    hit = np.trace(confusions, axis1=-2, axis2=-1)
    chance = (support * predicted).sum(-1)
    spread = np.sqrt((total**2 - (predicted**2).sum(-1)) * (total**2 - (support**2).sum(-1)).astype(float))
    beyond = (total**2 - chance).astype(float)
    return {
        "accuracy": hit / total,
        "balanced_accuracy": _nanmean(scores["recall"]),
        "macro_f1": _nanmean(np.where(called, 0, scores["f1"])),
        "weighted_f1": np.nansum(support * scores["f1"], axis=-1) / total,
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
        Each of shape (..., 7); NaN for a class without a true image.
    """
    hit = np.diagonal(confusions, axis1=-2, axis2=-1)
    true, predicted = confusions.sum(-1), confusions.sum(-2)
    others = confusions.sum((-2, -1))[..., None] - true
    scores = {
        "precision": _ratio(hit, predicted),
        "recall": _ratio(hit, true),
        "specificity": _ratio(others - (predicted - hit), others),
        "f1": _ratio(2 * hit, true + predicted),
    }
    return {name: np.where(true > 0, values, np.nan) for name, values in scores.items()}


def one_vs_rest_auc(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None = None) -> np.ndarray:
    """Return the area under the ROC curve of each class against the rest, ties counted half.

    Parameters
    ----------
    labels, probabilities
        Shapes (N,) and (N, 7).
    bootstrap
        Draws of these images' lesions; absent, each image counts once.

    Returns
    -------
    numpy.ndarray
        Shape (draws, 7), or (7,) without a bootstrap; NaN where a class, or its rest, is absent.
    """
    areas = _rankings(labels, probabilities, bootstrap or Bootstrap.once(len(labels)))["auc"]
    return areas[0] if bootstrap is None else areas


def average_precision(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None = None) -> np.ndarray:
    """Return the average precision of each class against the rest: precision averaged over the steps of recall.

    Parameters and shapes are those of :func:`one_vs_rest_auc`; NaN where a class is absent.
    """
    averages = _rankings(labels, probabilities, bootstrap or Bootstrap.once(len(labels)))["average_precision"]
    return averages[0] if bootstrap is None else averages


def _rankings(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    """Return auc and average_precision of each class in every draw, each of shape (draws, 7).

    Images count only by which of the true images' scores they lie between, or have: two sparse products with the counts
    of the lesion groups say how many do in each draw, and their sums from the lowest up what lies below.
    """
    found: dict[str, list[np.ndarray]] = {"auc": [], "average_precision": []}
    places = [_places(labels == k, probabilities[:, k], bootstrap) for k in range(len(DX))]
    for counts in bootstrap.blocks():
        areas, averages = zip(*(_ranked(counts, *place) for place in places), strict=True)
        found["auc"].append(np.stack(areas, axis=1))
        found["average_precision"].append(np.stack(averages, axis=1))
    return {name: np.concatenate(blocks) for name, blocks in found.items()}


def _places(truth: np.ndarray, score: np.ndarray, bootstrap: Bootstrap) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return how many images of each lesion group have each place among the T distinct scores of the true images.

    Returns
    -------
    tuple of scipy.sparse.csr_array
        All images, (2T + 1, groups): in row 2t those between two true scores, in row 2t + 1 those that have one. Then
        the true images, (T, groups).
    """
    steps = np.unique(score[truth])
    place = np.searchsorted(steps, score, side="left") + np.searchsorted(steps, score, side="right")
    groups, once = bootstrap.counts.shape[1], np.ones(len(score))
    everything = sparse.csr_array((once, (place, bootstrap.lesion)), shape=(2 * len(steps) + 1, groups))
    true = (once[truth], (place[truth] // 2, bootstrap.lesion[truth]))
    return everything, sparse.csr_array(true, shape=(len(steps), groups))


def _ranked(counts: np.ndarray, everything: sparse.csr_array, true: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Return area and average precision of one class in a block of draws, given its :func:`_places`."""
    upto, hit = everything @ counts, true @ counts
    hit_upto = hit.copy()
    for sums in (upto, hit_upto):
        for below, row in pairwise(sums):  # row by row: numpy.cumsum goes down each column, many times slower
            row += below
    if not len(hit):
        return (absent := np.full(counts.shape[1], np.nan)), absent
    total, positive, below = upto[-1], hit_upto[-1], upto[:-1:2]
    wins = np.einsum("td,td->d", hit, below + upto[1::2] - 2 * hit_upto + hit) / 2
    sums = np.einsum("td,td->d", hit, (positive - hit_upto + hit) / np.maximum(total - below, 1))
    with np.errstate(invalid="ignore"):
        return wins / (positive * (total - positive)), sums / positive


@dataclass(frozen=True)
class Bootstrap:
    """Draws of lesion groups with replacement, the same for every score computed from them.

    The groups are those that a split keeps together (``lesion_group``): images of one lesion, and of lesions that a
    duplicate joins. A draw may lose a class, with no true image of it. The class is then left out of that draw's macro
    scores (balanced accuracy, macro F1, macro AUC, macro average precision), and its own scores are NaN in that draw
    and left out of their intervals: a class is never counted as zero because it was not drawn.

    Attributes
    ----------
    counts
        Whole numbers, uint8, of shape (draws, groups): how often each group was drawn.
    lesion
        int64 of shape (N,): the group of each image as a column of `counts`.
    """

    counts: np.ndarray
    lesion: np.ndarray

    @classmethod
    def draw(cls, ids: np.ndarray, *, draws: int, seed: int) -> Bootstrap:
        """Draw as many groups as there are, `draws` times (the cluster bootstrap), given the group of each image.

        Source: A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application" (1997), 3.8.
        """
        groups, lesion = np.unique(ids, return_inverse=True)
        rng = np.random.default_rng(seed)
        counts = np.empty((draws, len(groups)), np.uint8)  # that one is drawn 256 times has a chance of 1e-500
        for row in counts:
            row[:] = np.bincount(rng.integers(0, len(groups), len(groups)), minlength=len(groups))
        return cls(counts, lesion)

    @classmethod
    def once(cls, images: int) -> Bootstrap:
        """Return the sample itself as the only draw: every image once."""
        return cls(np.ones((1, images), np.uint8), np.arange(images))

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the counts a few draws at a time, as float64 of shape (groups, some draws): they fit a cache."""
        for start in range(0, len(self.counts), BLOCK):
            yield self.counts[start : start + BLOCK].T.astype(float, order="C")

    def weights(self) -> np.ndarray:
        """Return how often each image counts in each draw: float64 of shape (draws, N)."""
        return self.counts[:, self.lesion].astype(float)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum per-image values, shape (N, k), over each draw: shape (draws, k)."""
        sums = np.zeros((self.counts.shape[1], values.shape[1]))
        np.add.at(sums, self.lesion, values)
        return np.concatenate([counts.T @ sums for counts in self.blocks()])

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
    value = drawn_headline(labels, probabilities, Bootstrap.once(len(labels)))
    drawn = {} if bootstrap is None else drawn_headline(labels, probabilities, bootstrap)
    return _with_intervals({name: values[0] for name, values in value.items()}, drawn)


def drawn_headline(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    """Return the scores of :func:`headline` in every draw, each of shape (draws,)."""
    drawn = headline_from(bootstrap.confusions(labels, probabilities), np.isin(np.arange(len(DX)), labels))
    rankings = _rankings(labels, probabilities, bootstrap)
    drawn["macro_auc"] = _nanmean(rankings["auc"])
    drawn["macro_average_precision"] = _nanmean(rankings["average_precision"])
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
    value = drawn_per_class(labels, probabilities, Bootstrap.once(len(labels)))
    drawn = {} if bootstrap is None else drawn_per_class(labels, probabilities, bootstrap)
    tables = []
    for k in range(len(DX)):
        table = _with_intervals(
            {name: values[0, k] for name, values in value.items()},
            {name: values[:, k] for name, values in drawn.items()},
        )
        tables.append(table.assign(support=(labels == k).sum()))
    return pd.concat(tables, keys=DX, names=["dx", "score"])


def drawn_per_class(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    """Return the scores of :func:`per_class` in every draw, each of shape (draws, 7)."""
    return per_class_from(bootstrap.confusions(labels, probabilities)) | _rankings(labels, probabilities, bootstrap)


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
