"""Scores of a study over its seeds: the mean, its interval, the range, and where the variance comes from.

The mean over n seeds varies with the lesions that are tested and with the trainings. A bootstrap draws lesion groups,
the same ones for every seed whose test part has them, and takes the mean over the seeds in each draw: its percentile
interval is the lesions' part. The same draws say what variance V between the seeds' scores the lesions alone make, for
seeds differ in their test parts and in what they get right. The sample variance S² of the measured scores less V is
that between trainings (a method-of-moments estimator, as in R. DerSimonian, N. Laird, Control. Clin. Trials 7, 177
(1986)). The interval's ends then move away from the mean so that the square of their distance grows by

    max(0, t² (S² - kV) - z² (1 - k) V) / n,   k = (n - 2) / n,

with the 97.5% quantiles t of Student's distribution with n - 1 degrees of freedom, and z of the normal one. Squared
half-widths that each have the quantile of their own variance add up to an interval that covers no less than it says
(S. K. Banerjee, Sankhyā 22, 357 (1960)); G. Y. Zou, A. Donner, Stat. Med. 27, 1693 (2008) add them at uneven ends.
With k = 0 the seeds' part would be the interval of J. Hartung, G. Knapp, Stat. Med. 20, 3875 (2001), never narrower
than the lesions alone make it (C. Röver, G. Knapp, T. Friede, BMC Med. Res. Methodol. 15, 99 (2015)): it covers, and is
wide where trainings vary little. With k = 1 all of V would be taken off, which few seeds cannot bear, since S² is often
below V by chance: the intervals of two would cover as little as 86%. The k above is a choice between these: for normal
scores, 95% intervals cover 94% to 99%, whatever n and the ratio of the two variances. Two seeds say very little of how
trainings vary, and their intervals are wide. One seed says nothing: its interval is of the lesions alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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

    def table(self) -> pd.DataFrame:
        """Return one row a score.

        Returns
        -------
        pandas.DataFrame
            mean, low, high (95% interval of the mean), minimum, maximum, and two standard deviations: between
            (of trainings on the same lesions; NaN with one seed) and lesions (of the mean, for the lesions alone).
        """
        rows = {name: _row(values, self.drawn[name]) for name, values in self.measured.items()}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
        if self.shares:
            ends = ["low", "high"]
            table[ends] = table[ends].clip(0, np.where(table.index == "loss", np.inf, 1), axis=0)
        return table

    def mean(self) -> Scores:
        """Return the mean over the seeds as one: its interval is of the lesions alone."""
        measured, drawn = (
            {name: values.mean(0, keepdims=True) for name, values in each.items()}
            for each in (self.measured, self.drawn)
        )
        return Scores(measured, drawn, self.draws, self.shares)

    def minus(self, other: Scores) -> Scores:
        """Return the differences to `other`, seed by seed and draw by draw; both must be of the same draws."""
        if self.draws is not other.draws:
            raise ValueError("scores of different draws have no paired difference")
        return Scores(
            {name: values - other.measured[name] for name, values in self.measured.items()},
            {name: drawn - other.drawn[name] for name, drawn in self.drawn.items()},
            self.draws,
        )


def headline(tables: Mapping[int, pd.DataFrame], part: str, draws: Draws, *, where: str = "paper") -> Scores:
    """Return the scores of :func:`skinlesion.scoring.evaluation.values` for every seed."""
    return _over(tables, part, draws, where=where)


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


def _row(values: np.ndarray, drawn: np.ndarray) -> tuple[float, ...]:
    """Return the :data:`COLUMNS` of one score, leaving out the draws in which a seed has none."""
    n, mean = len(values), values.mean()
    known = drawn[:, ~np.isnan(drawn).any(0)]
    low, high = evaluation.interval(known.mean(0))
    covariance = np.atleast_2d(np.cov(known)) if known.shape[1] > 1 else np.full((n, n), np.nan)
    lesions, between = covariance.mean(), np.nan
    if n > 1:
        alone, spread, kept = (np.trace(covariance) - n * lesions) / (n - 1), values.var(ddof=1), (n - 2) / n
        between = np.sqrt(np.maximum(0, spread - alone))
        t, z = stdtrit(n - 1, 0.975), ndtri(0.975)
        more = np.sqrt(np.maximum(0, t**2 * (spread - kept * alone) - z**2 * (1 - kept) * alone) / n)
        below, above = max(0, mean - low), max(0, high - mean)
        low, high = low + below - np.hypot(below, more), high - above + np.hypot(above, more)
    return mean, low, high, values.min(), values.max(), between, np.sqrt(lesions)


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
