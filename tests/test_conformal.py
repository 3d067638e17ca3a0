import numpy as np
import pytest
from conftest import random_scores

from skinlesion.scoring import conformal, evaluation


def calibrated(seed, images):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(7, 0.5), images)
    return np.array([rng.choice(7, p=row) for row in probabilities]), probabilities


@pytest.mark.parametrize("by_class", [False, True])
def test_the_promise_is_kept_on_average(by_class):
    found = []
    for seed in range(40):
        labels, probabilities = calibrated(seed, 400)
        limits = conformal.calibrate(labels[:200], probabilities[:200], coverage=0.9, by_class=by_class)
        included = conformal.sets(probabilities[200:], limits)
        found.append(included[np.arange(200), labels[200:]].mean())
    assert 0.89 < np.mean(found) < (0.96 if by_class else 0.92)


def test_the_limit_is_the_right_order_statistic():
    probabilities = np.eye(7)[[0] * 19] * np.linspace(0.05, 0.95, 19)[:, None]
    labels = np.zeros(19, int)
    assert conformal.calibrate(labels, probabilities, coverage=0.9)[0] == pytest.approx(1 - 0.1)  # 18th of 19
    assert conformal.calibrate(labels, probabilities, coverage=0.96)[0] == np.inf  # too few images for it


def test_a_class_that_was_never_seen_is_in_every_set():
    labels, probabilities, _ = random_scores(0, 60)
    labels[labels == 3] = 0
    limits = conformal.calibrate(labels, probabilities, coverage=0.9, by_class=True)
    assert conformal.sets(probabilities, limits)[:, 3].all()


def test_the_summary_counts_sets():
    labels = np.array([0, 0, 1])
    included = np.zeros((3, 7), bool)
    included[0, 0] = included[2, [1, 2]] = True
    table = conformal.summary(labels, included, evaluation.Bootstrap.draw(np.array(list("abc")), draws=20, seed=0))
    assert table.coverage["all"] == pytest.approx(2 / 3)
    assert table.mean_size["all"] == 1
    assert table["single"]["all"] == table["empty"]["all"] == pytest.approx(1 / 3)
    assert table.coverage["akiec"] == 0.5
    assert table.images["mel"] == 0
    assert np.isnan(table.coverage["mel"])
