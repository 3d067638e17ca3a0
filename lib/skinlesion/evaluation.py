"""Scores from probabilities, with bootstrap intervals that resample lesions, not images.

Everything here is computed from labels, probabilities and lesion ids; no image, no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn import metrics

from skinlesion.dataset import DX

SMALLEST = 20
"""Fewest images of a subgroup for which a score is stated."""


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confusion matrix: int64 of shape (7, 7), rows the true class, columns the predicted."""
    return metrics.confusion_matrix(labels, probabilities.argmax(1), labels=range(len(DX)))


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each image's cross-entropy in nats, shape (N,); as scikit-learn, a probability is at least 2.2e-16."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(float).eps))


def headline_from(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, balanced accuracy, macro F1 and weighted F1 of one or many confusion matrices.

    Balanced accuracy and macro F1 are means over the classes that occur: for balanced accuracy those
    with a true image, for macro F1 those with a true or predicted one, as scikit-learn has it.

    Parameters
    ----------
    confusions
        Counts or weights, shape (..., 7, 7).

    Returns
    -------
    dict of numpy.ndarray
        Each of shape (...).
    """
    scores = per_class_from(confusions)
    support = confusions.sum(-1)
    present = support > 0
    occurs = present | (confusions.sum(-2) > 0)
    total = support.sum(-1)
    return {
        "accuracy": np.trace(confusions, axis1=-2, axis2=-1) / total,
        "balanced_accuracy": np.where(present, scores["recall"], 0).sum(-1) / present.sum(-1),
        "macro_f1": np.where(occurs, scores["f1"], 0).sum(-1) / occurs.sum(-1),
        "weighted_f1": (support * scores["f1"]).sum(-1) / total,
    }


def per_class_from(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 per class; a ratio without a denominator is zero.

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
    return {
        "precision": _ratio(hit, predicted),
        "recall": _ratio(hit, true),
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
    weight = np.ones((1, len(labels))) if weights is None else weights
    areas = np.empty((len(weight), len(DX)))
    for k in range(len(DX)):
        order = np.argsort(probabilities[:, k], kind="stable")
        score, sorted_weight = probabilities[order, k], weight[:, order]
        # One column for each distinct score: weight of the class and of the rest that have it.
        starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
        is_class = labels[order] == k
        positive = np.add.reduceat(sorted_weight * is_class, starts, axis=1)
        negative = np.add.reduceat(sorted_weight * ~is_class, starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative
        pairs = positive.sum(1) * negative.sum(1)
        wins = (positive * (below + negative / 2)).sum(1)
        areas[:, k] = np.divide(wins, pairs, out=np.full(len(weight), np.nan), where=pairs > 0)
    return areas[0] if weights is None else areas


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
        Rows accuracy, balanced_accuracy, macro_f1, weighted_f1, macro_auc (one class against the rest,
        mean over the classes that occur) and loss (mean cross-entropy, nats); columns value, low, high.
    """
    losses = log_losses(labels, probabilities)
    value = dict(headline_from(confusion(labels, probabilities)))
    value["macro_auc"] = _nanmean(one_vs_rest_auc(labels, probabilities))
    value["loss"] = losses.mean()
    drawn: dict[str, np.ndarray] = {}
    if bootstrap is not None:
        drawn = headline_from(bootstrap.confusions(labels, probabilities))
        drawn["macro_auc"] = _nanmean(one_vs_rest_auc(labels, probabilities, bootstrap.weights()))
        sums = bootstrap.total(np.column_stack([losses, np.ones(len(losses))]))
        drawn["loss"] = sums[:, 0] / sums[:, 1]
    return _with_intervals(value, drawn)


def per_class(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None = None) -> pd.DataFrame:
    """Return precision, recall, F1 and AUC of every class, with intervals where a bootstrap is given.

    Returns
    -------
    pandas.DataFrame
        Index (dx, score), columns value, low, high, support (true images of the class). A class without
        a true image has no value.
    """
    value = per_class_from(confusion(labels, probabilities))
    value["auc"] = one_vs_rest_auc(labels, probabilities)
    support = np.bincount(labels, minlength=len(DX))
    drawn: dict[str, np.ndarray] = {}
    if bootstrap is not None:
        drawn = per_class_from(bootstrap.confusions(labels, probabilities))
        drawn["auc"] = one_vs_rest_auc(labels, probabilities, bootstrap.weights())
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


def average_precision(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the average precision of each class against the rest, shape (7,); NaN for an absent class."""
    return np.array(
        [
            metrics.average_precision_score(labels == k, probabilities[:, k]) if (labels == k).any() else np.nan
            for k in range(len(DX))
        ]
    )


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


def subgroups(
    predictions: pd.DataFrame,
    probabilities: np.ndarray,
    *,
    columns: Sequence[str],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Score every group of the images: accuracy and balanced accuracy with intervals.

    Parameters
    ----------
    predictions
        Rows of one part with lesion_id, dx and the `columns` to group by (a missing value is a group).
    probabilities
        Shape (N, 7), in the order of the rows.

    Returns
    -------
    pandas.DataFrame
        column, group, images, lesions, malignant_fraction, and for each score value, _low and _high. A
        group of fewer than 20 images has its counts and no score.
    """
    labels = predictions.dx.map(DX.index).to_numpy(dtype=np.int64)
    malignant = predictions.dx.isin(MALIGNANT).to_numpy()
    rows = []
    for column in columns:
        values = predictions[column]
        names = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else sorted(set(values))
        for name in names:
            at = (values == name).to_numpy()
            if not at.any():
                continue
            row: dict[str, object] = {
                "column": column,
                "group": str(name),
                "images": int(at.sum()),
                "lesions": predictions.lesion_id[at].nunique(),
                "malignant_fraction": float(malignant[at].mean()),
            }
            if at.sum() >= SMALLEST:
                lesions = predictions.lesion_id[at].to_numpy()
                bootstrap = Bootstrap.draw(lesions, draws=draws, seed=seed)
                scores = headline(labels[at], probabilities[at], bootstrap)
                for score in ("accuracy", "balanced_accuracy"):
                    row[score] = scores.value[score]
                    row[f"{score}_low"], row[f"{score}_high"] = scores.low[score], scores.high[score]
            rows.append(row)
    scores = [f"{score}{end}" for score in ("accuracy", "balanced_accuracy") for end in ("", "_low", "_high")]
    names = ["column", "group", "images", "lesions", "malignant_fraction", *scores]
    return pd.DataFrame(rows, columns=names)


MALIGNANT = ("akiec", "bcc", "mel")
"""Diagnoses that are malignant or, as actinic keratosis, a step before it."""


def age_bands(age: pd.Series) -> pd.Series:
    """Put ages in years into bands of twenty years, and a missing age into ``unknown``."""
    edges = [-1, 19, 39, 59, 79, 200]
    names = ["0-19", "20-39", "40-59", "60-79", "80+"]
    return pd.cut(age, edges, labels=names).cat.add_categories("unknown").fillna("unknown")


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
    for name, percent in (("low", 2.5), ("high", 97.5)):
        table[name] = [_percentile(drawn.get(score), percent) for score in table.index]
    return table


def _percentile(values: np.ndarray | None, percent: float) -> float:
    known = np.empty(0) if values is None else values[~np.isnan(values)]
    return float(np.percentile(known, percent)) if len(known) else float("nan")
