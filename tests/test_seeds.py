from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions
from scipy import stats

from skinlesion.scoring import comparison, evaluation, predictions, seeds
from skinlesion.scoring.seeds import Draws, Scores, Spread

NO_DRAWS = Draws(np.empty(0), np.empty((0, 0)))


def runs(*numbers: int) -> dict[int, pd.DataFrame]:
    return {seed: random_predictions(200, seed=seed) for seed in numbers}


def table(tables: dict[int, pd.DataFrame], *, draws: int) -> pd.DataFrame:
    return seeds.headline(tables, "test", Draws.draw(tables, "test", draws=draws)).table()


def of(measured: object, drawn: object, **more: object) -> Scores:
    return Scores({"score": np.array(measured, float)}, {"score": np.array(drawn, float)}, NO_DRAWS, **more)


def test_several_seeds_have_their_mean_and_their_range():
    each = []
    for said in runs(0, 1, 2).values():
        labels, probabilities, _ = predictions.part(said, "test")
        each.append((probabilities.argmax(1) == labels).mean())
    found = table(runs(0, 1, 2), draws=50).loc["accuracy"]
    assert (found["mean"], found.minimum, found.maximum) == pytest.approx((np.mean(each), min(each), max(each)))
    assert found.low < found["mean"] < found.high


def test_a_draw_in_which_a_seed_has_no_score_is_left_out():
    drawn = np.array([[0.1, 0.2, 0.3, np.nan], [0.2, 0.3, 0.4, 0.9]])
    assert of([0.2, 0.3], drawn).table().equals(of([0.2, 0.3], drawn[:, :3]).table())
    never = of([np.nan, 0.3], drawn * np.nan).table()
    assert never[["mean", "low", "high", "between", "lesions"]].isna().all(axis=None)


def test_a_lesion_group_counts_the_same_in_every_seed_that_tests_it():
    tables = {seed: said.assign(lesion_group="g" + said.lesion_id.str[-2:]) for seed, said in runs(0, 1).items()}
    draws = Draws.draw(tables, "test", draws=5)
    tested = {seed: said.lesion_group[said.part == "test"].to_numpy() for seed, said in tables.items()}
    assert set(draws.groups) == set(tested[0]) | set(tested[1])
    assert (draws.counts.sum(1) == len(draws.groups)).all()
    for groups in tested.values():
        at = np.searchsorted(draws.groups, groups)
        np.testing.assert_array_equal(draws.bootstrap(groups).weights(), draws.counts[:, at])


def test_a_paired_difference_of_one_seed_is_that_of_the_comparison():
    first, second = random_predictions(200), random_predictions(200)
    second[predictions.COLUMNS] = second[predictions.COLUMNS].to_numpy()[:, ::-1]
    expected = comparison.paired(*comparison.common(first, second), draws=100, seed=0)
    one, other = seeds.pairs({0: first}, {0: second})
    assert {seed: len(said) for seed, said in one.items()} == {0: 100}
    found = seeds.difference(one, other, Draws.draw(one, "test", draws=100)).table()
    names = evaluation.names("paper")
    np.testing.assert_allclose(found.loc[names, "mean"], expected.loc[names, "difference"])


def test_scores_of_other_draws_are_not_subtracted():
    one, other = (seeds.headline(runs(0), "test", Draws.draw(runs(0), "test", draws=10)) for _ in range(2))
    with pytest.raises(ValueError, match="different draws"):
        one.minus(other)


def test_every_class_has_the_scores_of_the_evaluation():
    labels, probabilities, _ = predictions.part(runs(0)[0], "test")
    expected = evaluation.per_class(labels, probabilities).value
    for dx, scores in seeds.per_class(runs(0), "test", Draws.draw(runs(0), "test", draws=5)).items():
        found = scores.table()["mean"]
        np.testing.assert_array_equal(found, expected.loc[dx].loc[found.index])


def test_the_interval_is_the_one_of_obuchowski_and_rockette_with_hillis_degrees_of_freedom():
    """Two draws with a known covariance: C = 2, W = 8 (each seed ± 2 around 0 in its own draws, and shared ± 1)."""
    drawn = np.array([[2.0, -2.0, 2.0, -2.0], [2.0, -2.0, -2.0, 2.0], [1.0, -1.0, 1.0, -1.0]])
    square, freedom = 9.0, 5.0
    found = of([1, 2, 3], drawn, spread=Spread({"score": (square, freedom, 0.0)}, {})).table().loc["score"]
    covariance = np.cov(drawn)
    shared = covariance[np.triu_indices(3, 1)].mean()
    error = shared + square / 3
    half = stats.t.ppf(0.975, error**2 / ((square / 3) ** 2 / freedom)) * error**0.5
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


def test_one_training_is_never_surer_than_three():
    rng = np.random.default_rng(0)
    drawn = 0.01 * (rng.standard_normal(400) + rng.standard_normal((3, 400)))
    spread = Spread({"score": (2e-4, 10.0, 1e-4)}, {})
    three, one = of([0.7, 0.8, 0.9], drawn, spread=spread), of([0.8], drawn[:1], spread=spread)
    width = [float((each.table().high - each.table().low).iloc[0]) for each in (three, one)]
    assert width[1] > width[0]
    mean = three.mean().table().loc["score"]
    assert mean["mean"] == pytest.approx(0.8)
    assert mean.high - mean.low == pytest.approx(width[0], rel=0.2)


SHARED, OWN, TRAINED = 5e-5, 5e-5, 1e-4
"""Variances of a simulated score: from the lesions, in all seeds and in one; from the training."""


def simulated(studies: int, n: int, *, uneven: float, rng: np.random.Generator) -> np.ndarray:
    """Say whether the intervals of a mean, of one training, and of a difference hold the truth, and are wide enough."""
    basis = np.linalg.qr(rng.standard_normal((200, 1 + n + studies * n)))[0].T * 199**0.5
    basis -= basis.mean(1, keepdims=True)
    truth, lesions = rng.normal(0, 0.01, studies), rng.normal(0, OWN**0.5, n) + rng.normal(0, SHARED**0.5)
    deviation = TRAINED**0.5 * np.where(np.arange(studies) == 0, uneven, 1)[:, None]
    values = truth[:, None] + lesions + deviation * rng.standard_normal((studies, n))
    drawn = SHARED**0.5 * basis[0] + OWN**0.5 * basis[1 : n + 1]
    block = [of(each, drawn + 1e-9 * basis[n + 1 : 2 * n + 1]) for each in values]
    spread = Spread.pooled([block])
    first, second = (replace(each, spread=spread) for each in block[:2])
    alone = of(values[0][:1], drawn[:1], spread=spread)
    found = [first.table(), alone.table(), first.minus(second).table()]
    wanted = [truth[0], truth[0], truth[0] - truth[1]]
    return np.array([bool((t.low <= w).all() and (w <= t.high).all()) for t, w in zip(found, wanted, strict=True)])


@pytest.mark.parametrize(("studies", "n", "uneven", "least"), [(8, 3, 1, 0.94), (4, 2, 1, 0.94), (4, 3, 2, 0.89)])
def test_intervals_cover_what_they_say_also_where_trainings_of_one_study_vary_twice_as_much(studies, n, uneven, least):
    rng = np.random.default_rng(1)
    covered = np.mean([simulated(studies, n, uneven=uneven, rng=rng) for _ in range(1000)], axis=0)
    assert (covered >= least - 2 * (least * (1 - least) / 1000) ** 0.5).all()


def test_a_family_pools_what_its_studies_vary_by_and_pairs_count_study_by_seed():
    values = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 3.0]])
    drawn = np.random.default_rng(0).standard_normal((2, 3, 50))
    spread = Spread.pooled([[of(*each) for each in zip(values, drawn, strict=True)], [of([5, 7], drawn[0, :2])]])
    within = (values.var(1, ddof=1).mean() * 4 + 2.0 * 1) / 5
    assert spread.level["score"][0] == pytest.approx(within)
    assert spread.difference["score"][0] == pytest.approx((values[0] - values[1]).var(ddof=1))
    assert spread.difference["score"][1] == 2


def test_an_interval_of_a_share_stays_within_it_that_of_a_loss_above_zero_that_of_a_difference_is_free():
    drawn = np.random.default_rng(0).uniform(0.4, 0.9, (2, 50))
    values = {name: np.array([0.5, 0.95]) for name in ("accuracy", "loss")}
    free, share = (
        Scores(values, dict.fromkeys(values, drawn), NO_DRAWS, shares=given).table() for given in (False, True)
    )
    assert free.high["accuracy"] > 1
    assert free.low["accuracy"] < 0
    assert (share.low["accuracy"], share.high["accuracy"]) == (0, 1)
    assert (share.low["loss"], share.high["loss"]) == (0, free.high["loss"])
    whole = Scores(values, dict.fromkeys(values, drawn), NO_DRAWS, shares=True)
    assert not whole.minus(whole).shares
