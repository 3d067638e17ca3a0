import numpy as np
import pandas as pd
import pytest

from skinlesion.scoring import variance


def simulated(rng, deviations, *, splits=3, trainings=3):
    split, training, both = deviations
    values = rng.normal(0, split, (splits, 1)) + rng.normal(0, training, (1, trainings))
    return pd.DataFrame(0.8 + values + rng.normal(0, both, (splits, trainings)))


def test_the_parts_of_the_variance_are_those_of_the_mean_squares_by_hand():
    table = variance.components(pd.DataFrame([[1.0, 2.0], [4.0, 9.0]]))
    # mean squares: splits 25, trainings 9, both 4; one degree of freedom each
    assert table.deviation.tolist() == pytest.approx([(25 - 4) ** 0.5 / 2**0.5, (9 - 4) ** 0.5 / 2**0.5, 2.0])
    assert table.share.sum() == pytest.approx(1)


def test_what_differs_by_split_alone_is_the_splits():
    table = variance.components(pd.DataFrame([[0.7] * 3, [0.8] * 3, [0.9] * 3]))
    assert table.share.tolist() == pytest.approx([1, 0, 0], abs=1e-9)
    assert table.deviation["split"] == pytest.approx(0.1)
    assert np.isnan(table.low["training"])


def test_the_variances_are_right_on_average():
    rng = np.random.default_rng(0)
    found = [variance.components(simulated(rng, (0.04, 0.02, 0.01), splits=20, trainings=20)) for _ in range(60)]
    mean = (pd.concat(found).deviation ** 2).groupby(level=0).mean()
    assert mean["split"] == pytest.approx(0.04**2, rel=0.15)
    assert mean["training"] == pytest.approx(0.02**2, rel=0.15)
    assert mean["both"] == pytest.approx(0.01**2, rel=0.05)


def test_an_interval_holds_the_deviation_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = [variance.components(simulated(rng, (0.04, 0.01, 0.01))).loc["split"] for _ in range(800)]
    held = [row.low <= 0.04 <= row.high for row in found if row.deviation > 0]
    assert 0.90 < np.mean(held) < 0.99
