import numpy as np
import pytest
import torch
from conftest import random_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from skinlesion.scoring import calibration, evaluation

SEEDS = st.integers(0, 10_000)


def error(labels, probabilities, **bins):
    once = evaluation.Bootstrap.once(len(labels))
    return evaluation.calibration_error(evaluation.Sample(labels, probabilities, once), **bins)[0]


@settings(max_examples=40)
@given(seed=SEEDS, images=st.integers(1, 80), sharpness=st.sampled_from([0.3, 1.0, 30.0]), bins=st.integers(1, 20))
def test_the_calibration_error_agrees_with_torchmetrics(seed, images, sharpness, bins):
    labels, probabilities, _ = random_scores(seed, images, sharpness=sharpness)
    ours = error(labels, probabilities, bins=bins)
    theirs = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=7, n_bins=bins, norm="l1"
    )
    assert ours == pytest.approx(float(theirs), abs=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
def test_one_image_and_all_the_same_confidence(adaptive):
    one = np.array([[0.6, 0.4, 0, 0, 0, 0, 0]])
    assert error(np.array([0]), one, adaptive=adaptive) == pytest.approx(0.4)
    labels = np.array([0, 0, 0, 1, 1])
    same = np.repeat(one, 5, axis=0)
    assert error(labels, same, adaptive=adaptive) == pytest.approx(0)


def test_sure_and_right_is_calibrated():
    labels = np.arange(7)
    for adaptive in (False, True):
        assert error(labels, np.eye(7), adaptive=adaptive) == 0
    assert calibration.brier_scores(labels, np.eye(7)).tolist() == [0] * 7
    assert calibration.brier_scores(np.array([1]), np.eye(7)[:1]).tolist() == [2]


def test_adaptive_bins_have_equally_many_images():
    labels, probabilities, _ = random_scores(0, 150, sharpness=3)
    table = calibration.reliability(labels, probabilities, adaptive=True, bins=10)
    assert table.images.sum() == 150
    assert (table.images - 15).abs().max() <= 1


@settings(max_examples=20)
@given(seed=SEEDS, temperature=st.floats(0.3, 4))
def test_a_temperature_that_was_applied_is_found_again(seed, temperature):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(7, 0.8), 4000)
    labels = np.array([rng.choice(7, p=row) for row in probabilities])  # calibrated by construction
    spoilt = calibration.with_temperature(probabilities, 1 / temperature)
    assert calibration.fit_temperature(labels, spoilt) == pytest.approx(temperature, rel=0.15)


def test_temperature_changes_no_prediction_and_is_the_softmax_of_scaled_logits():
    logits = torch.randn(30, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled = calibration.with_temperature(torch.softmax(logits, 1).numpy(), 2.5)
    assert np.allclose(scaled, torch.softmax(logits / 2.5, 1).numpy())
    assert np.isfinite(calibration.with_temperature(np.eye(7), 0.05)).all()


def test_scores_have_intervals_around_them():
    labels, probabilities, lesions = random_scores(3, 200, sharpness=4)
    bootstrap = evaluation.Bootstrap.draw(lesions, draws=200, seed=0)
    table = evaluation.headline(labels, probabilities, bootstrap, where="calibration")
    assert (table.low <= table.high).all()
    assert table.low.brier < table.value.brier < table.high.brier
    assert table.value.loss == pytest.approx(evaluation.headline(labels, probabilities).value.loss)
    draw = np.repeat(np.arange(200), bootstrap.weights()[0].astype(int))
    drawn = evaluation.values(labels, probabilities, bootstrap, where="calibration")["ece_fixed"][0]
    assert drawn == pytest.approx(error(labels[draw], probabilities[draw]))
