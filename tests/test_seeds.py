import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions

from skinlesion.scoring import comparison, evaluation, predictions, seeds


def runs(*numbers: int) -> dict[int, pd.DataFrame]:
    return {seed: random_predictions(200, seed=seed) for seed in numbers}


def test_one_seed_has_the_interval_of_its_own_bootstrap():
    tables = runs(0)
    labels, probabilities, lesions = predictions.part(tables[0], "test")
    expected = evaluation.headline(labels, probabilities, evaluation.Bootstrap.draw(lesions, draws=100, seed=0))
    found = seeds.headline(tables, "test", seeds.Draws.draw(tables, "test", draws=100)).table()
    shared = list(expected.index)
    np.testing.assert_array_equal(found.loc[shared, ["mean", "low", "high"]], expected)
    assert (found["minimum"] == found["maximum"]).all()


def test_several_seeds_have_their_mean_and_their_range():
    tables = runs(0, 1, 2)
    found = seeds.headline(tables, "test", seeds.Draws.draw(tables, "test", draws=200)).table()
    each = []
    for table in tables.values():
        labels, probabilities, _ = predictions.part(table, "test")
        each.append((probabilities.argmax(1) == labels).mean())
    row = found.loc["accuracy"]
    assert (row["mean"], row.minimum, row.maximum) == pytest.approx((np.mean(each), min(each), max(each)))
    assert row.low < row["mean"] < row.high


def test_equal_runs_have_the_interval_of_one_and_unequal_ones_a_wider_one():
    one = random_predictions(400)
    right = one.dx.map(predictions.DX.index).to_numpy()
    perfect = one.copy()
    perfect[predictions.COLUMNS] = np.eye(7)[right]
    width = {}
    for name, tables in {"equal": {0: one, 1: one}, "unequal": {0: one, 1: perfect}}.items():
        draws = seeds.Draws.draw(tables, "test", draws=400)
        row = seeds.headline(tables, "test", draws).table().loc["accuracy"]
        width[name] = row.high - row.low
    alone = {0: one}
    row = seeds.headline(alone, "test", seeds.Draws.draw(alone, "test", draws=400)).table().loc["accuracy"]
    assert width["equal"] == pytest.approx(row.high - row.low)
    assert width["unequal"] > 2 * width["equal"]


def test_few_seeds_spread_as_the_standard_error_of_their_mean():
    scores = np.array([0.1, 0.4, 0.6])
    draws = seeds.Draws.draw(runs(0, 1, 2), "test", draws=20_000)
    spread = draws.mean(np.repeat(scores[:, None], 20_000, axis=1)).std()
    assert spread == pytest.approx(scores.std(ddof=1) / np.sqrt(3), rel=0.02)


def test_a_lesion_counts_the_same_in_every_seed_that_tests_it():
    tables = runs(0, 1)
    draws = seeds.Draws.draw(tables, "test", draws=5)
    assert set(draws.lesions) == {
        lesion for table in tables.values() for lesion in table.lesion_group[table.part == "test"]
    }
    for table in tables.values():
        lesions = table.lesion_group[table.part == "test"].to_numpy()
        at = np.searchsorted(draws.lesions, lesions)
        np.testing.assert_array_equal(draws.bootstrap(lesions).weights(), draws.counts[:, at])


def test_a_paired_difference_of_one_seed_is_that_of_the_comparison():
    first, second = random_predictions(200), random_predictions(200)
    second[predictions.COLUMNS] = second[predictions.COLUMNS].to_numpy()[:, ::-1]
    expected = comparison.paired(*comparison.common(first, second), draws=100, seed=0)
    one, other = seeds.pairs({0: first}, {0: second})
    assert {seed: len(table) for seed, table in one.items()} == {0: 100}
    found = seeds.difference(one, other, seeds.Draws.draw(one, "test", draws=100)).table()
    names = list(expected.index)
    np.testing.assert_allclose(found.loc[names, ["mean", "low", "high"]], expected[["difference", "low", "high"]])


def test_scores_of_other_draws_are_not_subtracted():
    tables = runs(0)
    one, other = (seeds.headline(tables, "test", seeds.Draws.draw(tables, "test", draws=10)) for _ in range(2))
    with pytest.raises(ValueError, match="different draws"):
        one.minus(other)


def test_every_class_has_the_scores_of_the_evaluation():
    tables = runs(0)
    labels, probabilities, _ = predictions.part(tables[0], "test")
    expected = evaluation.per_class(labels, probabilities).value
    found = seeds.per_class(tables, "test", seeds.Draws.draw(tables, "test", draws=10))
    for dx, scores in found.items():
        for name, row in scores.table().iterrows():
            assert row["mean"] == pytest.approx(expected[dx, name])
