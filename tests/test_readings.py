import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from skinlesion.data.dataset import DX, MALIGNANT
from skinlesion.scoring import evaluation, predictions, readings
from skinlesion.scoring.readings import Left


@pytest.fixture
def left():
    """700 images: 300 trained on and all told right, 100 of each other part told right six times in ten."""
    rng = np.random.default_rng(0)
    part = np.repeat(["train", "train", "train", "validation", "calibration", "test", "vault"], 100)
    labels = np.tile(np.arange(7), 100)
    right = (part == "train") | (rng.random(700) < 0.6)
    answer = np.where(right, labels, (labels + rng.integers(1, 7, 700)) % 7)
    table = pd.DataFrame({"image_id": [f"ISIC_{k:07d}" for k in range(700)], "part": part, "dx": np.array(DX)[labels]})
    table["lesion_id"] = table["lesion_group"] = [f"HAM_{k // 2 if k % 4 < 2 else k:07d}" for k in range(700)]
    table[predictions.COLUMNS] = 0.9 * np.eye(7)[answer] + 0.1 * rng.dirichlet(np.ones(7), 700)
    seen, others = table[table.part == "train"], table[table.part != "train"]
    perfect = others[others.part.isin(("test", "vault"))].copy()
    perfect[predictions.COLUMNS] = np.eye(7)[perfect.dx.map(DX.index)]
    more = pd.concat([seen.assign(reading="train"), perfect.assign(reading="test_selected")])
    return Left(others, more, table[["image_id", "lesion_id", "lesion_group", "part"]], seed=3)


def scores(table):
    labels, probabilities, _ = predictions.part(table.assign(part="test"), "test")
    return evaluation.measured(labels, probabilities, where="road")


def test_every_reading_is_of_images_once_that_can_be_scored(left):
    for reading in [*readings.REREAD.values(), *readings.TRAINED[None].values()]:
        for said in (reading.printed(left), reading.vault(left)):
            assert len(predictions.check(said))
        assert set(reading.vault(left).image_id) == set(left.part("vault").image_id)


def test_training_images_and_the_epoch_selected_on_the_test_part_are_read_from_what_is_kept(left):
    assert scores(readings.REREAD["training images"].printed(left))["accuracy"] == 1
    chosen = readings.REREAD["selected on test"]
    assert (scores(chosen.printed(left))["accuracy"], scores(chosen.vault(left))["accuracy"]) == (1, 1)


def test_a_test_part_drawn_anew_is_as_large_as_the_old_and_mostly_of_images_that_were_trained_on(left):
    drawn = readings.REREAD["test drawn anew"].printed(left)
    old = left.part("test")
    assert drawn.dx.value_counts().to_dict() == old.dx.value_counts().to_dict()
    assert not drawn.part.eq("vault").any()
    assert drawn.part.eq("train").mean() == pytest.approx(0.5, abs=0.15)
    assert drawn.equals(readings.REREAD["test drawn anew"].printed(left))


def test_single_image_lesions_are_those_of_the_whole_data(left):
    chosen = readings.REREAD["single-image lesions"].printed(left)
    counts = left.split.lesion_group.value_counts()
    assert 0 < len(chosen) < 100
    assert (counts[chosen.lesion_group] == 1).all()


def test_dropped_diagnoses_are_neither_asked_nor_answered(left):
    chosen = readings.REREAD["rare dropped"].printed(left)
    answers = chosen[predictions.COLUMNS].to_numpy().argmax(1)
    assert not set(chosen.dx) & set(readings.RARE)
    assert not set(np.array(DX)[answers]) & set(readings.RARE)
    expected = metrics.f1_score(chosen.dx.map(DX.index), answers, average="macro")
    assert scores(chosen)["macro_f1"] == pytest.approx(expected)


def test_two_classes_are_scored_as_two_classes(left):
    test = left.part("test")
    bad = test[[f"p_{dx}" for dx in MALIGNANT]].sum(axis=1) > 0.5
    found = scores(readings.REREAD["malignant or not"].printed(left))
    assert found["accuracy"] == pytest.approx((bad == test.dx.isin(MALIGNANT)).mean())
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(test.dx.isin(MALIGNANT), bad, average="macro"))


def test_each_output_alone_is_right_more_often_than_all_together(left):
    test = left.part("test")
    outputs = test[predictions.COLUMNS].to_numpy() > 0.5
    truth = pd.get_dummies(test.dx)[list(DX)].to_numpy()
    assert scores(test)["output_accuracy"] == pytest.approx((outputs == truth).mean())
    assert scores(test)["output_accuracy"] > scores(test)["accuracy"] + 0.2


def test_copies_are_left_out_where_it_says_so(left):
    copied = left.predictions.assign(image_id=left.predictions.image_id + np.where(np.arange(400) % 2, "+1", ""))
    there = Left(copied, None, left.split, 0)
    assert len(readings.TRAINED["oversampled"]["oversampled"].printed(there)) == 100
    assert len(readings.TRAINED["oversampled"]["oversampled, natural mix"].printed(there)) == 50
    with pytest.raises(ValueError, match="keeps no readings"):
        readings.REREAD["training images"].printed(there)
