"""Scores from probabilities, with bootstrap intervals that resample lesions, not images.

Everything here is computed from labels, probabilities and lesion groups; no image, no network. :data:`SCORES` is the
one list of scores: a score that is added there is computed, shown and verified wherever its entry says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import metrics

from skinlesion.data.dataset import BENIGN, DX, MALIGNANT
from skinlesion.scoring import calibration

BLOCK = 500
"""Draws that are scored at a time."""

COUNTED = np.float32
"""What images are counted in where nothing else is summed: exact up to 16 million, and half as much to move."""


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confusion matrix: int64 of shape (7, 7), rows the true class, columns the predicted."""
    return metrics.confusion_matrix(labels, probabilities.argmax(1), labels=range(len(DX)))


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each image's cross-entropy in nats, shape (N,); as scikit-learn, a probability is at least 2.2e-16."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(float).eps))


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
    return _of_each_class(_area, labels, probabilities, bootstrap)


def average_precision(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None = None) -> np.ndarray:
    """Return the average precision of each class against the rest: precision averaged over the steps of recall.

    Parameters and shapes are those of :func:`one_vs_rest_auc`; NaN where a class is absent.
    """
    return _of_each_class(_precision, labels, probabilities, bootstrap)


Ranking = Callable[[np.ndarray, np.ndarray, "Bootstrap"], Callable[[np.ndarray], np.ndarray]]
"""Of the truth (N,), the scores (N,) and the draws: what gives one number a draw, from some draws of the groups."""


def _of_each_class(
    of: Ranking, labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None
) -> np.ndarray:
    drawn = bootstrap or Bootstrap.once(len(labels))
    classes = [of(labels == k, probabilities[:, k], drawn) for k in range(len(DX))]
    found = np.concatenate([np.stack([each(counts) for each in classes], axis=1) for counts in drawn.blocks(COUNTED)])
    return found[0] if bootstrap is None else found


def _area(truth: np.ndarray, score: np.ndarray, bootstrap: Bootstrap) -> Callable[[np.ndarray], np.ndarray]:
    """Count by the distinct scores of one side, true or false images, whichever has fewer.

    An image of the other side is below every step above it, and half below one that it is on: one half more from its
    first step on, and one from the step after those that it is on.
    """
    sides = [np.unique(score[side]) for side in (truth, ~truth)]
    fewer = int(len(sides[1]) < len(sides[0]))
    few, steps = truth == (fewer == 0), sides[fewer]
    starts = [np.searchsorted(steps, score[~few], side=side) for side in ("left", "right")]
    halves = bootstrap.rows(np.concatenate(starts), np.flatnonzero(np.tile(~few, 2)) % len(few), len(steps) + 1)
    own = bootstrap.rows(np.searchsorted(steps, score[few]), np.flatnonzero(few), len(steps))

    def area(counts: np.ndarray) -> np.ndarray:
        hit, below = own @ counts, _sums_from_above(halves @ counts)  # of the last row, all of the other side
        wins = np.einsum("td,td->d", hit, below[:-1], dtype=float) / 2
        pairs = hit.sum(0, dtype=float) * below[-1] / 2
        return share(pairs - wins if fewer else wins, pairs)

    return area


def _precision(truth: np.ndarray, score: np.ndarray, bootstrap: Bootstrap) -> Callable[[np.ndarray], np.ndarray]:
    """Count by the distinct scores of the true images, the highest first: how many images each is below or on."""
    steps = np.unique(score[truth])
    below = len(steps) - np.searchsorted(steps, score, side="right")
    called = bootstrap.rows(below, np.arange(len(truth)), len(steps))
    true = bootstrap.rows(below[truth], np.flatnonzero(truth), len(steps))

    def precision(counts: np.ndarray) -> np.ndarray:
        hit = true @ counts
        total, every = hit.sum(0, dtype=float), _sums_from_above(called @ counts)
        above = np.divide(_sums_from_above(hit.copy()), np.maximum(every, 1), dtype=float)
        return share(np.einsum("td,td->d", hit, above), total)

    return precision


def _sums_from_above(rows: np.ndarray) -> np.ndarray:
    """Add to each row those above it, in place."""
    for above, row in pairwise(rows):  # row by row: numpy.cumsum goes down each column, many times slower
        row += above
    return rows


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
        return cls(_drawn(len(groups), draws, seed), lesion)

    @classmethod
    def once(cls, images: int) -> Bootstrap:
        """Return the sample itself as the only draw: every image once."""
        return cls(np.ones((1, images), np.uint8), np.arange(images))

    def only(self, at: np.ndarray) -> Bootstrap:
        """Return the same draws for some of the images, bool (N,)."""
        groups, lesion = np.unique(self.lesion[at], return_inverse=True)
        return Bootstrap(self.counts.T[groups].T, lesion)

    def blocks(self, kind: type = float) -> Iterator[np.ndarray]:
        """Yield the counts a few draws at a time, of shape (groups, some draws): they fit a cache."""
        for start in range(0, len(self.counts), BLOCK):
            yield self.counts[start : start + BLOCK].T.astype(kind, order="C")

    def rows(self, places: np.ndarray, images: np.ndarray, number: int) -> sparse.csr_array:
        """Return how many of some images of each group have each place, (number, groups); other places are left out."""
        kept = places < number
        at = places[kept], self.lesion[images[kept]]
        return sparse.csr_array((np.ones(len(at[0]), COUNTED), at), shape=(number, self.counts.shape[1]))

    def weights(self) -> np.ndarray:
        """Return how often each image counts in each draw: float64 of shape (draws, N)."""
        return self.counts[:, self.lesion].astype(float)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum per-image values, shape (N, k), over each draw: shape (draws, k)."""
        sums = np.zeros((self.counts.shape[1], values.shape[1]))
        np.add.at(sums, self.lesion, values)
        rows = sums.T if np.count_nonzero(sums) > sums.size / 4 else sparse.csr_array(sums.T)
        return np.concatenate([rows @ counts for counts in self.blocks()], axis=1).T

    def confusions(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return each draw's confusion matrix: shape (draws, 7, 7)."""
        cells = np.zeros((len(labels), len(DX) ** 2))
        cells[np.arange(len(labels)), labels * len(DX) + probabilities.argmax(1)] = 1
        return self.total(cells).T.reshape(len(DX), len(DX), -1).transpose(2, 0, 1)


@lru_cache(maxsize=8)
def _drawn(groups: int, draws: int, seed: int) -> np.ndarray:
    """Return the counts of :meth:`Bootstrap.draw`, each group's draws side by side in memory; they are shared."""
    rng = np.random.default_rng(seed)
    counts = np.empty((groups, draws), np.uint8)  # that one is drawn 256 times has a chance of 1e-500
    for start in range(0, draws, BLOCK):
        some = rng.integers(0, groups, (min(BLOCK, draws - start), groups))
        some += groups * np.arange(len(some))[:, None]  # so that one call counts all
        counts[:, start : start + BLOCK] = np.bincount(some.ravel(), minlength=some.size).reshape(some.shape).T
    counts.flags.writeable = False
    return counts.T


@dataclass(frozen=True)
class Sample:
    """Images that are to be scored, in every draw of their lesions; each ingredient is computed once.

    Attributes
    ----------
    labels, probabilities
        Shapes (N,) and (N, 7).
    bootstrap
        Draws of these images' lesions; :meth:`Bootstrap.once` for the images as they are.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    bootstrap: Bootstrap

    @cached_property
    def confusions(self) -> np.ndarray:
        """Confusion matrices (draws, 7, 7): rows the true class, columns the predicted."""
        return self.bootstrap.confusions(self.labels, self.probabilities)

    @cached_property
    def true(self) -> np.ndarray:
        """Images of each class, (draws, 7)."""
        return self.confusions.sum(-1)

    @cached_property
    def called(self) -> np.ndarray:
        """Images that are called each class, (draws, 7)."""
        return self.confusions.sum(-2)

    @cached_property
    def hit(self) -> np.ndarray:
        """Images of each class that are called it, (draws, 7)."""
        return np.diagonal(self.confusions, axis1=-2, axis2=-1)

    @cached_property
    def total(self) -> np.ndarray:
        """Images, (draws,)."""
        return self.true.sum(-1)

    @cached_property
    def areas(self) -> np.ndarray:
        """Area under the ROC curve of each class against the rest, (draws, 7)."""
        return one_vs_rest_auc(self.labels, self.probabilities, self.bootstrap)

    @cached_property
    def precisions(self) -> np.ndarray:
        """Average precision of each class against the rest, (draws, 7)."""
        return average_precision(self.labels, self.probabilities, self.bootstrap)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over images of values (N, k): shape (draws, k)."""
        return share(self.bootstrap.total(values), self.total[:, None])

    def of_class(self, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Return a ratio of each class, (draws, 7): zero without a denominator, NaN where it has no true image."""
        return np.where(self.true > 0, _ratio(part, whole), np.nan)


def precision(sample: Sample) -> np.ndarray:
    """Return the share of the images called each class that are of it, (draws, 7)."""
    return sample.of_class(sample.hit, sample.called)


def recall(sample: Sample) -> np.ndarray:
    """Return the share of the images of each class that are called it, (draws, 7)."""
    return sample.of_class(sample.hit, sample.true)


def specificity(sample: Sample) -> np.ndarray:
    """Return the share of all other images that are not called each class, (draws, 7)."""
    others = sample.total[..., None] - sample.true
    return sample.of_class(others - (sample.called - sample.hit), others)


def f1(sample: Sample) -> np.ndarray:
    """Return the harmonic mean of precision and recall of each class, (draws, 7)."""
    return sample.of_class(2 * sample.hit, sample.true + sample.called)


def accuracy(sample: Sample) -> np.ndarray:
    """Return the share of the images that are called what they are."""
    return share(sample.hit.sum(-1), sample.total)


def output_accuracy(sample: Sample) -> np.ndarray:
    """Return the share of right answers of the seven outputs, each asked for its class: yes above one half."""
    right = (sample.probabilities > 0.5) == (sample.labels[:, None] == np.arange(len(DX)))
    return sample.mean(right).mean(-1)


def balanced_accuracy(sample: Sample) -> np.ndarray:
    """Return the mean recall of the classes that have a true image, as scikit-learn."""
    return _nanmean(recall(sample))


def macro_f1(sample: Sample) -> np.ndarray:
    """Return the mean F1 of the classes that have a true image; one that is only predicted does not count as zero."""
    return _nanmean(f1(sample))


def weighted_f1(sample: Sample) -> np.ndarray:
    """Return the mean F1 of the classes, weighted by their true images."""
    return share(np.nansum(sample.true * f1(sample), axis=-1), sample.total)


def kappa(sample: Sample) -> np.ndarray:
    """Return Cohen's kappa, NaN where chance alone would agree always.

    Source: J. Cohen, Educ. Psychol. Meas. 20, 37 (1960).
    """
    total, chance = sample.total, (sample.true * sample.called).sum(-1)
    return share(sample.hit.sum(-1) * total - chance, total**2 - chance)


def mcc(sample: Sample) -> np.ndarray:
    """Return Matthews' correlation, zero where all images are of one class or called one.

    Source: J. Gorodkin, Comput. Biol. Chem. 28, 367 (2004).
    """
    total, true, predicted = sample.total, sample.true, sample.called
    spread = np.sqrt((total**2 - (predicted**2).sum(-1)) * (total**2 - (true**2).sum(-1)).astype(float))
    return _ratio(sample.hit.sum(-1) * total - (true * predicted).sum(-1), spread)


def sensitivity(sample: Sample, yes: tuple[str, ...]) -> np.ndarray:
    """Return the share of the images of some diagnoses that are called one of them, NaN without any such image."""
    places = [DX.index(dx) for dx in yes]
    true = sample.confusions[..., places, :]
    return share(true[..., places].sum((-2, -1)), true.sum((-2, -1)))


def calibration_error(sample: Sample, *, adaptive: bool = False, bins: int = calibration.BINS) -> np.ndarray:
    """Return the expected calibration error in the bins of the sample (:func:`skinlesion.scoring.calibration.gaps`)."""
    gaps = calibration.gaps(sample.labels, sample.probabilities, adaptive=adaptive, bins=bins)
    return np.abs(sample.mean(gaps)).sum(-1)


def brier(sample: Sample) -> np.ndarray:
    """Return the mean Brier score."""
    return sample.mean(calibration.brier_scores(sample.labels, sample.probabilities)[:, None])[..., 0]


def loss(sample: Sample) -> np.ndarray:
    """Return the mean cross-entropy, in nats."""
    return sample.mean(log_losses(sample.labels, sample.probabilities)[:, None])[..., 0]


@dataclass(frozen=True)
class Score:
    """A score, and all that is said of it.

    Attributes
    ----------
    name
        In files and columns.
    of
        Computes it of a sample: shape (draws,), or (draws, 7) for a score of each class.
    shown
        In which of :data:`PLACES`.
    heading
        How a reader knows it, where that is not its name in words.
    lower_is_better
        Which way is better.
    digits
        After the point.
    over
        The diagnoses whose images it is over.
    macro
        Whether it is a mean over the diagnoses that are there: of images of other diagnoses it is another score.
    """

    name: str
    of: Callable[[Sample], np.ndarray]
    shown: tuple[str, ...]
    heading: str = ""
    lower_is_better: bool = False
    digits: int = 3
    over: tuple[str, ...] = DX
    macro: bool = False


PLACES = {
    "headline": "metrics.json and notebook 04, of every part",
    "calibration": "metrics.json and notebook 04, before and after temperature scaling",
    "class": "metrics.json and notebook 04, of every diagnosis",
    "subgroups": "errors.json, of every subgroup",
    "groups": "the table of subgroups in notebook 05",
    "paper": "the paper's tables, the model card, and a run that is made again",
    "paper class": "the tables of diagnoses in the paper and the model card",
    "card": "the table of subgroups in the model card",
    "summary": "the README's table of runs, the index of the reports, and lesions beside images in notebook 04",
    "sources": "the table of the sources left out",
    "effects": "the figure of effects",
    "probes": "errors.json, of changed images",
    "road": "the table of what mistakes of protocol print",
}
"""Where scores are shown."""

_MOST = ("headline", "subgroups", "groups", "paper", "summary", "sources", "effects", "probes")

SCORES = (
    Score("accuracy", accuracy, (*_MOST, "card", "road")),
    Score("balanced_accuracy", balanced_accuracy, _MOST, macro=True),
    Score("macro_f1", macro_f1, ("headline", "subgroups", "paper", "summary", "road"), "macro F1", macro=True),
    Score("weighted_f1", weighted_f1, ("headline", "road"), "weighted F1"),
    Score("output_accuracy", output_accuracy, ("road",)),
    Score("kappa", kappa, ("headline",)),
    Score("mcc", mcc, ("headline",), "MCC"),
    Score("macro_auc", lambda sample: _nanmean(sample.areas), ("headline", "paper", "effects"), "macro AUC"),
    Score("macro_average_precision", lambda sample: _nanmean(sample.precisions), ("headline",)),
    Score(
        "melanoma_sensitivity",
        partial(sensitivity, yes=("mel",)),
        ("headline", "subgroups", "groups", "paper", "summary", "card"),
        over=("mel",),
    ),
    Score(
        "malignant_sensitivity",
        partial(sensitivity, yes=MALIGNANT),
        ("headline", "subgroups", "groups"),
        over=MALIGNANT,
    ),
    Score("malignant_specificity", partial(sensitivity, yes=BENIGN), ("headline", "subgroups", "groups"), over=BENIGN),
    Score(
        "ece_fixed",
        partial(calibration_error, adaptive=False),
        ("calibration",),
        "ECE, equally wide bins",
        lower_is_better=True,
    ),
    Score(
        "ece_adaptive",
        partial(calibration_error, adaptive=True),
        ("calibration",),
        "ECE, equally full bins",
        lower_is_better=True,
    ),
    Score("brier", brier, ("calibration",), "Brier score", lower_is_better=True),
    Score(
        "loss",
        loss,
        ("headline", "calibration", "subgroups", "paper", "summary", "effects", "probes", "road"),
        "loss (nats)",
        lower_is_better=True,
    ),
    Score("recall", recall, ("class", "paper class"), digits=2),
    Score("precision", precision, ("class", "paper class"), digits=2),
    Score("specificity", specificity, ("class",), digits=2),
    Score("f1", f1, ("class", "paper class"), "F1", digits=2),
    Score("auc", lambda sample: sample.areas, ("class", "paper class"), "AUC", digits=2),
    Score("average_precision", lambda sample: sample.precisions, ("class",), digits=2),
)
"""Every score, in the order of every table. Malignant sensitivity and specificity: a malignant image called malignant,
a benign one called benign, whichever of the diagnoses of that kind it is called."""

BY_NAME = {score.name: score for score in SCORES}


def names(where: str) -> list[str]:
    """Return the names of the scores that one of :data:`PLACES` shows, in their order."""
    return [score.name for score in SCORES if where in score.shown]


def values(
    labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap, *, where: str = "headline"
) -> dict[str, np.ndarray]:
    """Return the scores that one of :data:`PLACES` shows in every draw.

    Returns
    -------
    dict of numpy.ndarray
        By name: shape (draws,), or (draws, 7) for a score of each class.
    """
    sample = Sample(labels, probabilities, bootstrap)
    return {name: BY_NAME[name].of(sample) for name in names(where)}


def measured(labels: np.ndarray, probabilities: np.ndarray, *, where: str = "headline") -> dict[str, np.ndarray]:
    """Return the scores that one of :data:`PLACES` shows, of the images as they are: as :func:`values` of one draw."""
    found = values(labels, probabilities, Bootstrap.once(len(labels)), where=where)
    return {name: value[0] for name, value in found.items()}


def headline(
    labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None = None, *, where: str = "headline"
) -> pd.DataFrame:
    """Return the scores that one of :data:`PLACES` shows, with 95% percentile intervals where a bootstrap is given.

    Returns
    -------
    pandas.DataFrame
        One row a score; columns value, low, high.
    """
    drawn = {} if bootstrap is None else values(labels, probabilities, bootstrap, where=where)
    return _with_intervals(measured(labels, probabilities, where=where), drawn)


def per_class(labels: np.ndarray, probabilities: np.ndarray, bootstrap: Bootstrap | None = None) -> pd.DataFrame:
    """Return the scores of every class, with intervals where a bootstrap is given.

    Returns
    -------
    pandas.DataFrame
        Index (dx, score); columns value, low, high, support (true images of the class). A class without a true image
        has no value.
    """
    value = measured(labels, probabilities, where="class")
    drawn = {} if bootstrap is None else values(labels, probabilities, bootstrap, where="class")
    tables = []
    for k in range(len(DX)):
        table = _with_intervals(
            {name: found[k] for name, found in value.items()},
            {name: found[:, k] for name, found in drawn.items()},
        )
        tables.append(table.assign(support=(labels == k).sum()))
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


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return a ratio, NaN without a denominator."""
    shape = np.broadcast(part, whole).shape
    return np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of the values that are numbers; NaN where none is."""
    return share(np.nansum(values, axis=-1), (~np.isnan(values)).sum(-1))


def _with_intervals(value: dict[str, np.ndarray], drawn: dict[str, np.ndarray]) -> pd.DataFrame:
    table = pd.DataFrame({"value": value}, dtype=float)
    limits = [interval(drawn.get(score, np.empty(0))) for score in table.index]
    table[["low", "high"]] = np.array(limits)
    return table
