import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions
from scipy import stats

from skinlesion.scoring import comparison, evaluation, predictions, seeds

SEEDS = 5
TESTED = 200
"""Lesion groups in a simulated test part."""

SIZES = np.array([1, 1, 1, 2, 3])
"""Images of a simulated lesion group, each size as likely as another."""

EFFECT = 0.25
"""A lesion is that much easier, or harder, than the chance of a hit."""

IMAGES = SIZES.mean() * TESTED
COMMON = EFFECT**2 * (SIZES**2).sum() / len(SIZES) * TESTED / IMAGES**2
"""Variance of a simulated seed's score from what all seeds find easy or hard in its lesions."""

LESIONS = COMMON + (0.25 - EFFECT**2) / IMAGES
"""Variance of a simulated seed's score from its lesions in all."""


def runs(*numbers: int) -> dict[int, pd.DataFrame]:
    return {seed: random_predictions(200, seed=seed) for seed in numbers}


def row(tables: dict[int, pd.DataFrame], *, draws: int) -> pd.Series:
    return seeds.headline(tables, "test", seeds.Draws.draw(tables, "test", draws=draws)).table().loc["accuracy"]


def test_one_seed_has_the_interval_of_its_own_bootstrap():
    tables = runs(0)
    labels, probabilities, groups = predictions.part(tables[0], "test")
    bootstrap = evaluation.Bootstrap.draw(groups, draws=100, seed=0)
    expected = evaluation.headline(labels, probabilities, bootstrap, where="paper")
    found = seeds.headline(tables, "test", seeds.Draws.draw(tables, "test", draws=100)).table()
    np.testing.assert_array_equal(found.loc[expected.index, ["mean", "low", "high"]], expected)
    assert (found["minimum"] == found["maximum"]).all()
    assert found.between.isna().all()
    right = evaluation.values(labels, probabilities, bootstrap)["accuracy"]
    assert found.lesions["accuracy"] == pytest.approx(right.std(ddof=1))


def test_several_seeds_have_their_mean_and_their_range():
    tables = runs(0, 1, 2)
    each = []
    for table in tables.values():
        labels, probabilities, _ = predictions.part(table, "test")
        each.append((probabilities.argmax(1) == labels).mean())
    found = row(tables, draws=200)
    assert (found["mean"], found.minimum, found.maximum) == pytest.approx((np.mean(each), min(each), max(each)))
    assert found.low < found["mean"] < found.high


def test_equal_runs_have_the_interval_of_one_and_unequal_ones_a_wider_one():
    one = random_predictions(400)
    right = one.dx.map(predictions.DX.index).to_numpy()
    perfect = one.assign(**dict(zip(predictions.COLUMNS, np.eye(7)[right].T, strict=True)))
    alone, equal, unequal = (row(dict(enumerate(each)), draws=400) for each in ([one], [one, one], [one, perfect]))
    names = ["mean", "low", "high", "lesions"]
    assert equal[names].tolist() == pytest.approx(alone[names].tolist())
    assert equal["between"] == pytest.approx(0, abs=1e-6)
    assert unequal.high - unequal.low > 10 * (equal.high - equal.low)  # two seeds say little of how trainings vary


def test_what_varies_between_seeds_beyond_their_lesions_is_added_to_the_lesions():
    """Trainings that hit a share of the images whatever the lesion: the sources are known."""
    rng = np.random.default_rng(0)
    chances = np.array([0.3, 0.4, 0.5, 0.6, 0.7])
    drawn = chances[:, None] + 0.02 * rng.standard_normal((5, 100_000))
    found = seeds.Scores({"score": chances}, {"score": drawn}, seeds.Draws.draw(runs(0), "test", draws=2)).table()
    between, lesions = chances.var(ddof=1) - 0.02**2, 0.02**2 / 5
    assert found.loc["score", ["between", "lesions"]].tolist() == pytest.approx([between**0.5, lesions**0.5], rel=0.01)
    t, z = stats.t.ppf(0.975, 4), stats.norm.ppf(0.975)
    half = np.sqrt(z**2 * lesions + (t**2 * (between + 0.4 * 0.02**2) - z**2 * 0.4 * 0.02**2) / 5)
    assert found.loc["score", ["low", "high"]].tolist() == pytest.approx([0.5 - half, 0.5 + half], abs=1e-4)


def test_a_draw_in_which_a_seed_has_no_score_is_left_out():
    draws = seeds.Draws.draw(runs(0), "test", draws=2)
    drawn = np.array([[0.1, 0.2, 0.3, np.nan], [0.2, 0.3, 0.4, 0.9]])
    values = {"score": np.array([0.2, 0.3])}
    with_gap, without = (seeds.Scores(values, {"score": each}, draws).table() for each in (drawn, drawn[:, :3]))
    assert with_gap.equals(without)
    never = seeds.Scores({"score": np.array([np.nan, 0.3])}, {"score": drawn * np.nan}, draws).table()
    assert never[["mean", "low", "high", "between", "lesions"]].isna().all(axis=None)


def test_a_lesion_group_counts_the_same_in_every_seed_that_tests_it():
    tables = {seed: table.assign(lesion_group="g" + table.lesion_id.str[-2:]) for seed, table in runs(0, 1).items()}
    draws = seeds.Draws.draw(tables, "test", draws=5)
    tested = {seed: table.lesion_group[table.part == "test"].to_numpy() for seed, table in tables.items()}
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
    assert {seed: len(table) for seed, table in one.items()} == {0: 100}
    found = seeds.difference(one, other, seeds.Draws.draw(one, "test", draws=100)).table()
    names = evaluation.names("paper")
    np.testing.assert_allclose(
        found.loc[names, ["mean", "low", "high"]], expected.loc[names, ["difference", "low", "high"]]
    )


def test_scores_of_other_draws_are_not_subtracted():
    tables = runs(0)
    one, other = (seeds.headline(tables, "test", seeds.Draws.draw(tables, "test", draws=10)) for _ in range(2))
    with pytest.raises(ValueError, match="different draws"):
        one.minus(other)


def test_every_class_has_the_scores_of_the_evaluation():
    tables = runs(0)
    labels, probabilities, groups = predictions.part(tables[0], "test")
    expected = evaluation.per_class(labels, probabilities, evaluation.Bootstrap.draw(groups, draws=50, seed=0))
    found = seeds.per_class(tables, "test", seeds.Draws.draw(tables, "test", draws=50))
    for dx, scores in found.items():
        table = scores.table()
        np.testing.assert_array_equal(table[["mean", "low", "high"]], expected.loc[dx].loc[table.index].iloc[:, :3])


def simulated(overlap: str, ratio: float, *, studies: int, draws: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return, for one to five seeds, how often the interval of the mean share of hits holds the truth, and its width.

    A hit is likelier in some lesions, in all seeds, and in some seeds, in all lesions; the seeds' variance is `ratio`
    times the lesions'. What is true is the mean over all trainings and lesions, for one seed that of its training. The
    width is in units of that which one could have who knew both variances, with the same quantiles.
    """
    lesions = {"shared": TESTED, "partly": round(TESTED / 0.15), "disjoint": SEEDS * TESTED}[overlap]
    of_seed = np.arange(lesions).reshape(-1, TESTED) if overlap == "disjoint" else None
    sizes = rng.choice(SIZES, lesions)
    effect = rng.choice([-EFFECT, EFFECT], (lesions, studies)).astype(np.float32)
    trained = np.sqrt(ratio * LESIONS) * rng.standard_normal((SEEDS, studies), dtype=np.float32)
    tables, hits = {}, {}
    for seed in range(SEEDS):
        tested = rng.choice(lesions, TESTED, replace=False) if of_seed is None else of_seed[seed]
        tables[seed] = pd.DataFrame({"part": "test", "lesion_group": np.repeat(tested, sizes[tested])})
        chance = 0.5 + effect[tables[seed].lesion_group] + trained[seed]
        hits[seed] = rng.random(chance.shape, dtype=np.float32) < chance
    correlation = {"shared": 1, "partly": 0.15, "disjoint": 0}[overlap] * COMMON
    rows = []
    for n in range(1, SEEDS + 1):
        some = {seed: tables[seed] for seed in range(n)}
        lot = seeds.Draws.draw(some, "test", draws=draws, seed=int(rng.integers(2**32)))
        drawn = np.stack([mean_hits(lot.bootstrap(some[seed].lesion_group.to_numpy()), hits[seed]) for seed in some])
        measured = np.stack([hits[seed].mean(0) for seed in some])
        scores = [dict(enumerate(np.moveaxis(each, -1, 0))) for each in (measured, drawn)]
        table = seeds.Scores(*scores, lot).table()
        truth = 0.5 + (trained[0] if n == 1 else 0)
        known = stats.norm.ppf(0.975) ** 2 * (LESIONS + (n - 1) * correlation) / n
        known += stats.t.ppf(0.975, n - 1) ** 2 * ratio * LESIONS / n if n > 1 else 0
        covered = ((table.low <= truth) & (truth <= table.high)).mean()
        rows.append((n, covered, (table.high - table.low).mean() / 2 / known**0.5))
    return pd.DataFrame(rows, columns=["seeds", "covered", "width"]).set_index("seeds")


def mean_hits(bootstrap: evaluation.Bootstrap, hits: np.ndarray) -> np.ndarray:
    sums = bootstrap.total(np.column_stack([hits, np.ones(len(hits))]))
    return sums[:, :-1] / sums[:, -1:]


@pytest.mark.parametrize("ratio", [0.25, 1, 4, 8])
@pytest.mark.parametrize("overlap", ["shared", "partly", "disjoint"])
def test_an_interval_over_seeds_covers_what_it_says_and_is_not_much_wider_than_it_must_be(overlap, ratio):
    """Test parts wholly shared, partly (15% of all lesions drawn anew by each seed) or not at all (folds)."""
    found = simulated(overlap, ratio, studies=1000, draws=200, rng=np.random.default_rng(0))
    assert (found.covered >= 0.94 - 3 * (0.94 * 0.06 / 1000) ** 0.5).all()  # three standard errors of 1,000 studies
    assert found.width[5] == pytest.approx(1, abs=0.15)


def test_an_interval_of_a_share_stays_within_it_that_of_a_loss_above_zero_that_of_a_difference_is_free():
    drawn = np.random.default_rng(0).uniform(0.4, 0.9, (2, 50))
    values = {name: np.array([0.5, 0.95]) for name in ("accuracy", "loss")}
    of = dict.fromkeys(values, drawn), seeds.Draws.draw(runs(0), "test", draws=2)
    free, share = (seeds.Scores(values, *of, shares=shares).table() for shares in (False, True))
    assert free.high["accuracy"] > 1
    assert free.low["accuracy"] < 0
    assert (share.low["accuracy"], share.high["accuracy"]) == (0, 1)
    assert free.low["loss"] < 0
    assert (share.low["loss"], share.high["loss"]) == (0, free.high["loss"])
    assert not seeds.Scores(values, *of, shares=True).minus(seeds.Scores(values, *of, shares=True)).shares
