import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import random_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from skinlesion.data.dataset import DX
from skinlesion.scoring import evaluation

SEEDS = st.integers(0, 10_000)


@settings(max_examples=40)
@given(seed=SEEDS, images=st.integers(1, 60), sharpness=st.sampled_from([0.2, 1.0, 20.0]))
def test_headline_agrees_with_scikit_learn(seed, images, sharpness):
    labels, probabilities, _ = random_scores(seed, images, sharpness=sharpness)
    ours = evaluation.headline(labels, probabilities).value
    predicted = probabilities.argmax(1)
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    recalls = metrics.recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert ours.balanced_accuracy == pytest.approx(recalls)
    present = {"labels": np.unique(labels), "average": "macro", "zero_division": 0}
    assert ours.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, **present))
    assert ours.weighted_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="weighted", zero_division=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one class only, where kappa is not a number
        kappa = metrics.cohen_kappa_score(labels, predicted)
    assert ours.kappa == pytest.approx(kappa, nan_ok=True)
    assert ours.mcc == pytest.approx(metrics.matthews_corrcoef(labels, predicted))
    assert ours.loss == pytest.approx(metrics.log_loss(labels, probabilities, labels=range(7)), rel=1e-6)


@settings(max_examples=40)
@given(seed=SEEDS, images=st.integers(2, 60), coarse=st.booleans())
def test_auc_agrees_with_scikit_learn_with_weights_and_ties(seed, images, coarse):
    labels, probabilities, _ = random_scores(seed, images)
    probabilities = probabilities.round(1) if coarse else probabilities  # ties
    weights = np.random.default_rng(seed).integers(0, 4, (3, images))
    ours = evaluation.one_vs_rest_auc(labels, probabilities, evaluation.Bootstrap(weights, np.arange(images)))
    for draw, k in np.ndindex(3, 7):
        drawn = weights[draw] > 0
        if len(np.unique(labels[drawn] == k)) < 2:
            assert np.isnan(ours[draw, k])
        else:
            theirs = metrics.roc_auc_score(
                labels[drawn] == k, probabilities[drawn, k], sample_weight=weights[draw][drawn]
            )
            assert ours[draw, k] == pytest.approx(theirs)
    assert np.allclose(
        evaluation.one_vs_rest_auc(labels, probabilities),
        evaluation.one_vs_rest_auc(labels, probabilities, evaluation.Bootstrap.once(images))[0],
        equal_nan=True,
    )


@settings(max_examples=20)
@given(seed=SEEDS)
def test_average_precision_agrees_with_scikit_learn_with_weights_and_ties(seed):
    labels, probabilities, _ = random_scores(seed, 60)
    probabilities = probabilities.round(1) if seed % 2 else probabilities  # ties
    weights = np.random.default_rng(seed).integers(0, 4, (3, 60))
    ours = evaluation.average_precision(labels, probabilities, evaluation.Bootstrap(weights, np.arange(60)))
    for draw, k in np.ndindex(3, 7):
        drawn = weights[draw] > 0
        if not (labels[drawn] == k).any():
            assert np.isnan(ours[draw, k])
        else:
            theirs = metrics.average_precision_score(
                labels[drawn] == k, probabilities[drawn, k], sample_weight=weights[draw][drawn]
            )
            assert ours[draw, k] == pytest.approx(theirs)
    assert np.allclose(
        evaluation.average_precision(labels, probabilities),
        evaluation.average_precision(labels, probabilities, evaluation.Bootstrap.once(60))[0],
        equal_nan=True,
    )


@settings(max_examples=20)
@given(seed=SEEDS)
def test_per_class_agrees_with_scikit_learn(seed):
    labels, probabilities, _ = random_scores(seed, 50)
    ours = evaluation.per_class(labels, probabilities).value.unstack("score")
    theirs = metrics.precision_recall_fscore_support(labels, probabilities.argmax(1), labels=range(7), zero_division=0)
    present = theirs[3] > 0
    for score, values in zip(("precision", "recall", "f1"), theirs[:3], strict=True):
        assert np.allclose(ours.loc[list(DX), score][present], values[present])
    assert ours.loc[list(DX), "f1"][~present].isna().all()
    for k in np.flatnonzero(present):
        specificity = metrics.recall_score(labels != k, probabilities.argmax(1) != k)
        assert ours.specificity[DX[k]] == pytest.approx(specificity)


def test_a_bootstrap_draw_is_the_score_of_the_drawn_lesions():
    """Of more draws than are scored at a time, with every class in each: scikit-learn on the drawn images says so."""
    labels, probabilities, lesions = random_scores(1, 300)
    bootstrap = evaluation.Bootstrap.draw(lesions, draws=evaluation.BLOCK + 10, seed=0)
    drawn = evaluation.values(labels, probabilities, bootstrap)
    classes = evaluation.values(labels, probabilities, bootstrap, where="class")
    for draw in (0, 1, evaluation.BLOCK - 1, evaluation.BLOCK, evaluation.BLOCK + 9):
        repeated = np.repeat(np.arange(300), bootstrap.weights()[draw].astype(int))
        y, p = labels[repeated], probabilities[repeated]
        areas = [metrics.roc_auc_score(y == k, p[:, k]) for k in range(7)]
        averages = [metrics.average_precision_score(y == k, p[:, k]) for k in range(7)]
        expected = {
            "accuracy": metrics.accuracy_score(y, p.argmax(1)),
            "balanced_accuracy": metrics.balanced_accuracy_score(y, p.argmax(1)),
            "macro_f1": metrics.f1_score(y, p.argmax(1), average="macro"),
            "weighted_f1": metrics.f1_score(y, p.argmax(1), average="weighted"),
            "kappa": metrics.cohen_kappa_score(y, p.argmax(1)),
            "mcc": metrics.matthews_corrcoef(y, p.argmax(1)),
            "macro_auc": np.mean(areas),
            "macro_average_precision": np.mean(averages),
            "loss": metrics.log_loss(y, p, labels=range(7)),
        }
        assert {name: drawn[name][draw] for name in expected} == pytest.approx(expected, rel=1e-12)
        assert classes["auc"][draw] == pytest.approx(areas, rel=1e-12)
        assert classes["average_precision"][draw] == pytest.approx(averages, rel=1e-12)
        assert classes["precision"][draw] == pytest.approx(metrics.precision_score(y, p.argmax(1), average=None))


def test_a_class_that_a_draw_loses_is_left_out_and_not_zero():
    """Two nevi, one called melanoma, and a melanoma called so: without the melanoma only the nevi count, by hand."""
    labels = np.array([DX.index(dx) for dx in ("nv", "nv", "mel")])
    called = np.array([DX.index(dx) for dx in ("nv", "mel", "mel")])
    bootstrap = evaluation.Bootstrap(np.array([[1, 1, 1], [1, 2, 0], [0, 0, 3]]), np.arange(3))
    drawn = evaluation.values(labels, np.eye(7)[called], bootstrap)
    assert drawn["balanced_accuracy"] == pytest.approx([3 / 4, 1 / 3, 1])
    assert drawn["macro_f1"] == pytest.approx([2 / 3, 1 / 2, 1])
    assert drawn["weighted_f1"] == pytest.approx([2 / 3, 1 / 2, 1])
    assert drawn["macro_auc"] == pytest.approx([3 / 4, np.nan, np.nan], nan_ok=True)
    assert drawn["macro_average_precision"] == pytest.approx([(5 / 6 + 1 / 2) / 2, 1, 1])
    classes = evaluation.values(labels, np.eye(7)[called], bootstrap, where="class")
    melanoma = {name: values[:, DX.index("mel")] for name, values in classes.items()}
    assert melanoma["recall"] == pytest.approx([1, np.nan, 1], nan_ok=True)
    assert melanoma["precision"] == pytest.approx([1 / 2, np.nan, 1], nan_ok=True)
    assert melanoma["specificity"][:2] == pytest.approx([1 / 2, np.nan], nan_ok=True)
    assert melanoma["f1"] == pytest.approx([2 / 3, np.nan, 1], nan_ok=True)
    table = evaluation.per_class(labels, np.eye(7)[called], bootstrap)
    assert table.loc[("mel", "recall"), ["value", "low", "high"]].tolist() == [1, 1, 1]
    assert table.loc["bcc", ["value", "low", "high"]].isna().all(axis=None)


def test_a_score_is_shown_where_its_entry_says_and_nowhere_else(monkeypatch):
    def geometric_mean(sample):
        return np.exp(np.nanmean(np.log(evaluation.recall(sample)), axis=-1))

    added = evaluation.Score("geometric_mean", geometric_mean, ("headline",), "geometric mean of recalls")
    monkeypatch.setattr(evaluation, "SCORES", (*evaluation.SCORES, added))
    monkeypatch.setitem(evaluation.BY_NAME, added.name, added)
    labels = np.repeat(np.arange(7), 30)
    probabilities = np.eye(7)[np.where(np.arange(210) % 3, labels, (labels + 1) % 7)] * 0.9 + 0.1 / 7
    table = evaluation.headline(labels, probabilities, evaluation.Bootstrap.draw(np.arange(210), draws=30, seed=0))
    assert table.value.geometric_mean == pytest.approx(2 / 3)
    assert table.low.geometric_mean < 2 / 3 < table.high.geometric_mean
    assert "geometric_mean" not in evaluation.headline(labels, probabilities, where="calibration").index


def test_every_score_has_a_name_of_its_own_and_known_places():
    assert len(evaluation.BY_NAME) == len(evaluation.SCORES)
    assert {place for score in evaluation.SCORES for place in score.shown} == set(evaluation.PLACES)


def test_a_share_is_of_the_images_it_is_over():
    labels = np.array([DX.index(dx) for dx in ("mel", "mel", "bcc", "nv", "df")])
    called = np.eye(7)[[DX.index(dx) for dx in ("mel", "bcc", "nv", "df", "mel")]]
    found = evaluation.measured(labels, called)
    assert found["melanoma_sensitivity"] == 1 / 2
    assert found["malignant_sensitivity"] == pytest.approx(2 / 3)
    assert found["malignant_specificity"] == 1 / 2
    assert np.isnan(evaluation.measured(labels[2:], called[2:])["melanoma_sensitivity"])


def test_images_of_a_lesion_are_drawn_together():
    lesions = np.array(["a", "b", "a", "c", "b", "a"])
    weights = evaluation.Bootstrap.draw(lesions, draws=200, seed=0).weights()
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, 0] != weights[:, 1]).any()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()


def test_an_interval_is_wider_when_images_of_a_lesion_go_together():
    """Four identical images of each lesion carry no more than one: the interval must know."""
    labels, probabilities, _ = random_scores(2, 60)
    single = np.arange(60).astype(str)
    four = [np.repeat(values, 4, axis=0) for values in (labels, probabilities, single)]

    def width(labels, probabilities, lesions):
        bootstrap = evaluation.Bootstrap.draw(lesions, draws=2000, seed=0)
        row = evaluation.headline(labels, probabilities, bootstrap).loc["accuracy"]
        return row.high - row.low

    assert width(*four) == pytest.approx(width(labels, probabilities, single), rel=0.1)
    assert width(*four[:2], np.arange(240).astype(str)) < 0.6 * width(*four)


def test_an_interval_covers_what_it_says():
    """Over 200 samples of a known accuracy, about 95% of the intervals hold it."""
    rng = np.random.default_rng(0)
    covered = 0
    for repeat in range(200):
        labels = rng.integers(0, 7, 100)
        right = rng.random(100) < 0.7
        probabilities = np.eye(7)[np.where(right, labels, (labels + 1) % 7)]
        bootstrap = evaluation.Bootstrap.draw(np.arange(100).astype(str), draws=200, seed=repeat)
        row = evaluation.headline(labels, probabilities, bootstrap).loc["accuracy"]
        covered += row.low <= 0.7 <= row.high
    assert 0.88 <= covered / 200 <= 0.99


def test_all_correct_and_one_image_are_scored():
    labels = np.arange(7)
    perfect = evaluation.headline(labels, np.eye(7), evaluation.Bootstrap.draw(labels.astype(str), draws=50, seed=0))
    assert (perfect.drop("loss")[["value", "low", "high"]] == 1).all(axis=None)
    assert perfect.value.loss == 0
    one = evaluation.headline(labels[:1], np.eye(7)[:1])
    assert one.value.accuracy == 1
    assert np.isnan(one.value.macro_auc)


def test_a_probability_of_zero_for_the_truth_gives_a_finite_loss():
    assert np.isfinite(evaluation.log_losses(np.array([1]), np.eye(7)[:1])).all()


def test_mistakes_and_pairs_are_counted_by_hand():
    cases = pd.DataFrame({"image_id": list("abcd"), "dx": ["mel", "mel", "nv", "bcc"]})
    probabilities = np.full((4, 7), 0.02)
    for row, (dx, p) in enumerate([("nv", 0.9), ("nv", 0.8), ("nv", 0.7), ("mel", 0.88)]):
        probabilities[row, DX.index(dx)] = p
    wrong = evaluation.mistakes(cases, probabilities)
    assert list(wrong.image_id) == ["a", "d", "b"]
    assert list(wrong.p_true) == [0.02, 0.02, 0.02]
    pairs = evaluation.confused_pairs(wrong, cases.dx.value_counts())
    assert pairs.iloc[0].tolist() == ["mel", "nv", 2, pytest.approx(0.85), 1.0]


@pytest.mark.parametrize("images", [1, 7, 21])
def test_all_correct_scores_one_and_has_no_width(images):
    labels = np.arange(images) % 7
    bootstrap = evaluation.Bootstrap.draw(np.arange(images).astype(str), draws=50, seed=0)
    table = evaluation.headline(labels, np.eye(7)[labels], bootstrap)
    sure = ["accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "macro_average_precision"]
    assert (table.loc[sure] == 1).all(axis=None)
    assert table.value.loss == pytest.approx(0)
    if images == 1:  # one class: nothing to rank, and chance would agree always
        assert table.value[["macro_auc", "kappa"]].isna().all()
        assert table.value.mcc == 0
    else:
        assert table.value[["macro_auc", "kappa", "mcc"]].tolist() == pytest.approx([1, 1, 1])
