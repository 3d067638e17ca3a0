"""Scores of a study over its seeds: the mean, its interval, and the range.

The interval is the 95% percentile interval of a bootstrap in two stages: in each draw lesions are drawn with
replacement, the same ones for every seed whose test part has them, and of n seeds n - 1 with replacement, so that few
seeds do not look more alike than they are. Seeds differ in their test parts too, which the draws of lesions count once
more: the interval is rather too wide than too narrow. With one seed it is the bootstrap over lesions of that run, and
says nothing of the spread between seeds.

Source: A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application" (1997), 3.8; for n - 1, J. N. K. Rao,
C. F. J. Wu, "Resampling inference with complex survey data", J. Am. Stat. Assoc. 83 (1988), 231–241.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skinlesion.data.dataset import DX
from skinlesion.scoring import comparison, evaluation, predictions
from skinlesion.scoring.evaluation import Bootstrap


@dataclass(frozen=True)
class Draws:
    """Draws of lesions and of seeds, the same for everything that is to be compared.

    Attributes
    ----------
    lesions
        Sorted ids of all lesions, shape (lesions,).
    counts
        float64 of shape (draws, lesions): how often each was drawn.
    chosen
        int64 of shape (draws, max(1, seeds - 1)): places of the seeds drawn.
    """

    lesions: np.ndarray
    counts: np.ndarray
    chosen: np.ndarray

    @classmethod
    def draw(cls, tables: Mapping[int, pd.DataFrame], part: str, *, draws: int, seed: int = 0) -> Draws:
        """Draw from the lesions of one part of all runs, and from the seeds.

        Parameters
        ----------
        tables
            Predictions by seed.
        """
        lesions = np.unique(np.concatenate([table.lesion_id[table.part == part] for table in tables.values()]))
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(len(lesions), np.full(len(lesions), 1 / len(lesions)), size=draws).astype(float)
        return cls(lesions, counts, rng.integers(0, len(tables), size=(draws, max(1, len(tables) - 1))))

    def bootstrap(self, lesion_ids: np.ndarray) -> Bootstrap:
        """Return these draws for the images of one run, given the lesion of each."""
        return Bootstrap(self.counts, np.searchsorted(self.lesions, lesion_ids))

    def mean(self, drawn: np.ndarray) -> np.ndarray:
        """Return the mean over the drawn seeds, shape (draws,), of each seed's drawn scores, shape (seeds, draws)."""
        return np.take_along_axis(drawn.T, self.chosen, axis=1).mean(axis=1)


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
    """

    measured: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]
    draws: Draws

    def table(self) -> pd.DataFrame:
        """Return one row a score: mean, low, high (95% interval of the mean), minimum, maximum."""
        rows = {}
        for name, values in self.measured.items():
            low, high = evaluation.interval(self.draws.mean(self.drawn[name]))
            rows[name] = (values.mean(), low, high, values.min(), values.max())
        return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high", "minimum", "maximum"])

    def minus(self, other: Scores) -> Scores:
        """Return the differences to `other`, seed by seed and draw by draw; both must be of the same draws."""
        if self.draws is not other.draws:
            raise ValueError("scores of different draws have no paired difference")
        return Scores(
            {name: values - other.measured[name] for name, values in self.measured.items()},
            {name: drawn - other.drawn[name] for name, drawn in self.drawn.items()},
            self.draws,
        )


def headline(tables: Mapping[int, pd.DataFrame], part: str, draws: Draws) -> Scores:
    """Return the scores of :func:`skinlesion.scoring.evaluation.headline` for every seed."""
    values, drawn = [], []
    for table in tables.values():
        labels, probabilities, lesions = predictions.part(table, part)
        values.append(evaluation.values(labels, probabilities))
        drawn.append(evaluation.values(labels, probabilities, draws.bootstrap(lesions)))
    return _stacked(values, drawn, draws)


def per_class(tables: Mapping[int, pd.DataFrame], part: str, draws: Draws) -> dict[str, Scores]:
    """Return the scores of each class that the paper shows for every seed."""
    where = "paper class"
    values, drawn = [], []
    for table in tables.values():
        labels, probabilities, lesions = predictions.part(table, part)
        values.append(evaluation.values(labels, probabilities, where=where))
        drawn.append(evaluation.values(labels, probabilities, draws.bootstrap(lesions), where=where))
    return {
        dx: _stacked(
            [{name: found[k] for name, found in each.items()} for each in values],
            [{name: found[:, k] for name, found in each.items()} for each in drawn],
            draws,
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


def _stacked(values: list, drawn: list, draws: Draws) -> Scores:
    return Scores(
        {name: np.array([each[name] for each in values], dtype=float) for name in values[0]},
        {name: np.stack([each[name] for each in drawn]) for name in drawn[0]},
        draws,
    )
