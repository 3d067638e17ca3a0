"""Scores of a study over its trainings: the mean, its interval, the range, and where the variance comes from.

The mean over n trainings varies with the lesions that are tested and with the trainings. Diagnostic imaging knows the
same of readers and cases, and what it does is done here, a training for a reader and a lesion group for a case: N. A.
Obuchowski, H. E. Rockette, Commun. Stat. Simul. 24, 285 (1995), with the degrees of freedom of S. L. Hillis, Stat. Med.
26, 596 (2007). A bootstrap draws lesion groups, the same ones for every training whose test part has them. C is the
mean covariance of two trainings' scores over these draws, W the mean variance of one. S² is the mean square between
trainings, pooled over a family of studies whose trainings vary alike (:class:`Spread`), for two or three trainings say
little of how they vary. Then

    SE² = max(C, 0) + S² / n,   df = SE⁴ / ((S² / n)² / df of S²)

and the interval is the mean ± t SE. Of one training SE² = W + max(0, S² - V), with V the lesions' share of S², so that
less evidence never has the narrower interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from skinlesion.data.dataset import DX
from skinlesion.scoring import comparison, evaluation, predictions
from skinlesion.scoring.evaluation import Bootstrap

COLUMNS = ["mean", "low", "high", "minimum", "maximum", "between", "lesions"]
"""Of :meth:`Scores.table`."""


@dataclass(frozen=True)
class Draws:
    """Draws of lesion groups, the same for everything that is to be compared.

    Attributes
    ----------
    groups
        Sorted ids of all lesion groups, shape (groups,).
    counts
        uint8 of shape (draws, groups): how often each was drawn.
    """

    groups: np.ndarray
    counts: np.ndarray

    @classmethod
    def draw(cls, tables: Mapping[int, pd.DataFrame], part: str, *, draws: int, seed: int = 0) -> Draws:
        """Draw from the lesion groups of one part of all runs.

        Parameters
        ----------
        tables
            Predictions by seed.
        """
        groups = np.unique(np.concatenate([table.lesion_group[table.part == part] for table in tables.values()]))
        return cls.of(groups, draws=draws, seed=seed)

    @classmethod
    def of(cls, groups: np.ndarray, *, draws: int, seed: int = 0) -> Draws:
        """Draw from lesion groups, given their sorted ids."""
        return cls(groups, Bootstrap.draw(groups, draws=draws, seed=seed).counts)

    def bootstrap(self, ids: np.ndarray) -> Bootstrap:
        """Return these draws for the images of one run, given the lesion group of each."""
        groups, lesion = np.unique(ids, return_inverse=True)
        return Bootstrap(self.counts.T[np.searchsorted(self.groups, groups)].T, lesion)


Square = tuple[float, float, float]
"""A mean square between trainings, its degrees of freedom, and the lesions' share of it."""


@dataclass(frozen=True)
class Spread:
    """How the trainings of a family of studies vary in each score.

    Attributes
    ----------
    level
        Of one training's score.
    difference
        Of the difference of two trainings with the same seed on the same images.
    """

    level: Mapping[str, Square]
    difference: Mapping[str, Square]

    @classmethod
    def pooled(cls, blocks: Sequence[Sequence[Scores]]) -> Spread:
        """Pool the studies of a family, given those of the same seeds and splits together.

        A seed's split is the same in all studies of a block, so what they say of the spread is not independent: the
        mean square between seeds and that of study × seed are told apart, and the degrees of freedom are
        Satterthwaite's.
        """
        names, pairs = blocks[0][0].measured, [block for block in blocks if len(block) > 1]
        level = {name: _pooled(blocks, name, paired=False) for name in names}
        return cls(
            level, {name: _pooled(pairs, name, paired=True) if pairs else _sum(*[level[name]] * 2) for name in names}
        )

    def of_mean(self, n: int) -> Spread:
        """Return the spread of the mean of n trainings."""
        return Spread(*({name: _sum(of[name], factor=1 / n) for name in of} for of in (self.level, self.difference)))

    def plus(self, other: Spread, *, paired: bool) -> Spread:
        """Return the spread of a difference to a score of another family; `paired` of the same seeds and images."""
        if paired and self is other:
            return Spread(self.difference, self.difference)
        one, two = (each.difference if paired else each.level for each in (self, other))
        found = {name: _sum(one[name], two[name], factor=0.5 if paired else 1) for name in one}
        return Spread(found, found)


def _sum(*squares: Square, factor: float = 1.0) -> Square:
    """Add independent mean squares; the degrees of freedom are Satterthwaite's."""
    total = sum(square for square, _, _ in squares)
    freedom = total**2 / sum(square**2 / freedom for square, freedom, _ in squares) if total else np.inf
    return factor * total, freedom, factor * sum(lesions for *_, lesions in squares)


def _pooled(blocks: Sequence[Sequence[Scores]], name: str, *, paired: bool) -> Square:
    """Return the mean square of one score, or `paired` that of differences between the studies of a block."""
    found = []
    for block in blocks:
        values, first = np.stack([each.measured[name] for each in block]), block[0].drawn[name] if paired else 0
        studies, seeds = values.shape
        centred = values - values.mean(1, keepdims=True)
        seed, crossed = centred.mean(0), (centred - centred.mean(0)).var(1, ddof=1).sum() / max(1, studies - 1)
        degrees = (studies - 1) * (seeds - 1)
        share = float(np.mean([_own(each.drawn[name] - first) for each in (block[1:] if paired else block)]))
        apart = [(2 * crossed, degrees, share)]
        if not paired:
            apart = [(seed.var(ddof=1), seeds - 1, share), (crossed * (1 - 1 / studies), degrees or np.inf, 0.0)]
        found.append((_sum(*apart), studies * (seeds - 1)))
    total = sum(weight for _, weight in found)
    return _sum(
        *((weight / total * square, freedom, weight / total * share) for (square, freedom, share), weight in found)
    )


def _own(drawn: np.ndarray) -> float:
    """Return the variance of a training's score over the draws less the covariance with another's."""
    covariance = np.cov(drawn[:, ~np.isnan(drawn).any(0)])
    n, own = len(covariance), np.trace(covariance)
    return (own - (covariance.sum() - own) / (n - 1)) / n


@dataclass(frozen=True)
class Scores:
    """Scores of several runs, as measured and as drawn.

    Attributes
    ----------
    measured
        By score, shape (seeds,).
    drawn
        By score, shape (seeds, draws).
    draws
        What was drawn.
    shares
        Whether all lie between 0 and 1, a loss from 0 up, and their intervals with them: differences do not.
    """

    measured: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]
    draws: Draws
    shares: bool = False
    spread: Spread | None = None

    def table(self) -> pd.DataFrame:
        """Return one row a score.

        Returns
        -------
        pandas.DataFrame
            mean, low, high (95% interval of the mean), minimum, maximum, and two standard deviations: between
            (of trainings on the same lesions; NaN with one seed) and lesions (of the mean, for the lesions alone).
        """
        squares = self.spread.level if self.spread else {}
        rows = {name: _row(values, self.drawn[name], squares.get(name)) for name, values in self.measured.items()}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
        if self.shares:
            ends = ["low", "high"]
            table[ends] = table[ends].clip(0, np.where(table.index == "loss", np.inf, 1), axis=0)
        return table

    def unpooled(self) -> pd.DataFrame:
        """Return own_low and own_high of each score: the interval that this study's trainings alone give.

        It was the study's before the spread was pooled: percentiles of the draws, moved away from the mean so that the
        square of their distance grows by max(0, t² (S² - kV) - z² (1 - k) V) / n with k = (n - 2) / n.
        """
        rows = {}
        for name, values in self.measured.items():
            known = self.drawn[name][:, ~np.isnan(self.drawn[name]).any(0)]
            n, mean, (low, high) = len(values), values.mean(), evaluation.interval(known.mean(0))
            if n > 1:
                own, kept = _own(known), (n - 2) / n
                grown = (
                    stdtrit(n - 1, 0.975) ** 2 * (values.var(ddof=1) - kept * own)
                    - ndtri(0.975) ** 2 * (1 - kept) * own
                )
                more = np.sqrt(max(0.0, grown) / n)
                low, high = mean - np.hypot(mean - low, more), mean + np.hypot(high - mean, more)
            rows[name] = low, high
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["own_low", "own_high"])
        return table.clip(0, np.where(table.index == "loss", np.inf, 1)[:, None]) if self.shares else table

    def mean(self) -> Scores:
        """Return the mean over the trainings as one score, which varies less than that of one."""
        measured, drawn = (
            {name: values.mean(0, keepdims=True) for name, values in each.items()}
            for each in (self.measured, self.drawn)
        )
        return replace(self, measured=measured, drawn=drawn, spread=self.spread and self.spread.of_mean(self._seeds))

    @property
    def _seeds(self) -> int:
        return len(next(iter(self.measured.values())))

    def minus(self, other: Scores, *, paired: bool = True) -> Scores:
        """Return the differences to `other`, seed by seed and draw by draw; both must be of the same draws.

        Parameters
        ----------
        paired
            Whether both are of the same images.
        """
        if self.draws is not other.draws:
            raise ValueError("scores of different draws have no paired difference")
        spread = self.spread.plus(other.spread, paired=paired) if self.spread and other.spread else None
        return Scores(
            {name: values - other.measured[name] for name, values in self.measured.items()},
            {name: drawn - other.drawn[name] for name, drawn in self.drawn.items()},
            self.draws,
            spread=spread,
        )


def headline(
    tables: Mapping[int, pd.DataFrame], part: str, draws: Draws, *, where: str = "paper", spread: Spread | None = None
) -> Scores:
    """Return the scores of :func:`skinlesion.scoring.evaluation.values` for every seed, with their family's spread."""
    return replace(_over(tables, part, draws, where=where), spread=spread)


def per_class(tables: Mapping[int, pd.DataFrame], part: str, draws: Draws) -> dict[str, Scores]:
    """Return the scores of each class that the paper shows for every seed."""
    found = _over(tables, part, draws, where="paper class")
    return {
        dx: Scores(
            {name: values[:, k] for name, values in found.measured.items()},
            {name: values[:, :, k] for name, values in found.drawn.items()},
            draws,
            shares=True,
        )
        for k, dx in enumerate(DX)
    }


def pairs(
    first: Mapping[int, pd.DataFrame], second: Mapping[int, pd.DataFrame]
) -> tuple[dict[int, pd.DataFrame], dict[int, pd.DataFrame]]:
    """Return the test rows of both, of the same seeds, for the images that both runs of a seed have."""
    shared = {seed: comparison.common(first[seed], second[seed]) for seed in first}
    one, other = ({seed: pair[k] for seed, pair in shared.items()} for k in (0, 1))
    return one, other


def difference(first: Mapping[int, pd.DataFrame], second: Mapping[int, pd.DataFrame], draws: Draws) -> Scores:
    """Return second minus first on the test part; both from :func:`pairs`."""
    return headline(second, "test", draws).minus(headline(first, "test", draws))


def _row(values: np.ndarray, drawn: np.ndarray, spread: tuple[float, float, float] | None) -> tuple[float, ...]:
    """Return the :data:`COLUMNS` of one score, leaving out the draws in which a training has none."""
    n, mean = len(values), values.mean()
    known = drawn[:, ~np.isnan(drawn).any(0)]
    covariance = np.atleast_2d(np.cov(known)) if known.shape[1] > 1 else np.full((n, n), np.nan)
    own = np.trace(covariance) / n
    shared = (covariance.sum() - n * own) / (n * (n - 1)) if n > 1 else np.nan
    between = np.sqrt(np.maximum(0.0, values.var(ddof=1) - own + shared)) if n > 1 else np.nan
    if spread is None:
        spread = (values.var(ddof=1), n - 1, 0.0) if n > 1 else (0.0, np.inf, 0.0)
    square, freedom, lesions = spread
    trained = square / n if n > 1 else max(0.0, square - lesions)
    error = trained + (np.maximum(shared, 0) if n > 1 else own)
    surer = max(1.0, error * n / square) if square else np.inf  # than the mean square alone is known
    half = stdtrit(freedom * surer**2, 0.975) * np.sqrt(error)
    return mean, mean - half, mean + half, values.min(), values.max(), between, np.sqrt(covariance.mean())


def _over(tables: Mapping[int, pd.DataFrame], part: str, draws: Draws, *, where: str) -> Scores:
    """Return the scores that a place shows (:data:`skinlesion.scoring.evaluation.PLACES`) of every seed."""
    whole, drawn = [], []
    for table in tables.values():
        labels, probabilities, groups = predictions.part(table, part)
        whole.append(evaluation.measured(labels, probabilities, where=where))
        drawn.append(evaluation.values(labels, probabilities, draws.bootstrap(groups), where=where))
    return Scores(
        {name: np.stack([each[name] for each in whole]) for name in whole[0]},
        {name: np.stack([each[name] for each in drawn]) for name in drawn[0]},
        draws,
        shares=True,
    )
