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
        limits = conformal.calibrate(
            labels[:200], probabilities[:200], lesions=np.arange(200), coverage=0.9, by_class=by_class
        )
        included = conformal.sets(probabilities[200:], limits)
        found.append(included[np.arange(200), labels[200:]].mean())
    assert 0.89 < np.mean(found) < (0.96 if by_class else 0.92)


def test_the_limit_is_the_right_order_statistic():
    probabilities = np.eye(7)[[0] * 19] * np.linspace(0.05, 0.95, 19)[:, None]
    labels = np.zeros(19, int)
    each = {"lesions": np.arange(19)}
    assert conformal.calibrate(labels, probabilities, **each, coverage=0.9)[0] == pytest.approx(1 - 0.1)  # 18th of 19
    assert conformal.calibrate(labels, probabilities, **each, coverage=0.96)[0] == np.inf  # too few images for it


def lesions_of_unequal_size(rng, number):
    """Improbability of the truth by image: alike within a lesion, and small where a lesion has many images."""
    level = rng.normal(0, 2, number)
    images = np.where(level < -1, 25, rng.integers(1, 3, number))
    lesion = np.repeat(np.arange(number), images)
    improbable = 1 / (1 + np.exp(-(level[lesion] + rng.normal(0, 0.3, len(lesion)))))
    return np.column_stack([1 - improbable, improbable, *[np.zeros(len(lesion))] * 5]), lesion


def test_the_promise_holds_for_a_new_lesion_where_a_few_lesions_have_most_images():
    rng = np.random.default_rng(0)
    kept = {"lesions": [], "images": []}
    for _ in range(600):
        (seen, lesion), (new, new_lesion) = (lesions_of_unequal_size(rng, 60) for _ in range(2))
        order = rng.permutation(len(new))
        one_each = order[np.unique(new_lesion[order], return_index=True)[1]]
        for unit, units in (("lesions", lesion), ("images", np.arange(len(lesion)))):
            limits = conformal.calibrate(np.zeros(len(seen), int), seen, lesions=units, coverage=0.9)
            kept[unit].append(conformal.sets(new, limits)[:, 0][one_each].mean())
    assert 0.9 <= np.mean(kept["lesions"]) + 0.003 <= 0.9 + 2 / 61 + 0.006
    assert np.mean(kept["images"]) < 0.85  # what counting images would do


def test_a_class_that_was_never_seen_is_in_every_set():
    labels, probabilities, _ = random_scores(0, 60)
    labels[labels == 3] = 0
    limits = conformal.calibrate(labels, probabilities, lesions=np.arange(60), coverage=0.9, by_class=True)
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
    pairs = conformal.summary(labels, included, evaluation.Bootstrap.draw(np.array(list("aab")), draws=20, seed=0))
    assert pairs.coverage["all"] == pytest.approx((1 / 2 + 1) / 2)  # the first two are of one lesion
    assert np.isnan(table.coverage["mel"])
