import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions

from skinlesion.scoring import comparison, evaluation, predictions
from skinlesion.scoring.comparison import ComparisonError
from skinlesion.scoring.lesions import scored as lesions_scored


@pytest.fixture
def pair():
    first = random_predictions(120)
    second = first.copy()
    shuffled = second[predictions.COLUMNS].to_numpy()[::-1]
    second[predictions.COLUMNS] = shuffled
    return comparison.common(first, second.sample(frac=1, random_state=0))


def test_rows_are_brought_into_one_order(pair):
    first, second = pair
    assert (first.image_id == second.image_id).all()
    assert (first.part == "test").all()


def told(table, name, probabilities):
    rows = table[table.part == "test"][["image_id"]].assign(baseline=name)
    rows[predictions.COLUMNS] = probabilities
    return rows


def test_a_baseline_is_scored_on_the_same_images_and_draws(pair):
    network = random_predictions(120)
    labels, probabilities, lesions = predictions.part(network, "test")
    others = [
        told(network, "itself", probabilities),
        told(network, "constant", np.full(probabilities.shape, 1 / 7)).sample(frac=1, random_state=0),
    ]
    found = comparison.against(network, pd.concat(others), draws=60, seed=3)
    assert list(found) == ["itself", "constant"]
    stated = lesions_scored(labels, probabilities, lesions, draws=60, seed=3)["headline"].loc[found["itself"].index]
    assert np.allclose(found["itself"][["value", "low", "high"]], stated)
    assert (found["itself"][["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    constant = found["constant"]
    assert constant.value["macro_auc"] == 0.5
    assert constant.value["accuracy"] == (labels == 0).mean()
    assert np.allclose(constant.difference, stated.value - constant.value)
    assert (constant.difference_low <= constant.difference_high).all()
    with pytest.raises(ComparisonError, match="lacks a test image"):
        comparison.against(network, others[0][1:], draws=10, seed=0)


def test_the_difference_is_that_of_the_headlines_and_nothing_between_a_run_and_itself(pair):
    first, second = pair
    table = comparison.paired(first, second, draws=50, seed=0)
    scores = [evaluation.headline(*predictions.part(each, "test")[:2]).value for each in pair]
    assert np.allclose(table.difference, scores[1] - scores[0])
    assert (table.low <= table.high).all()
    same = comparison.paired(first, first, draws=50, seed=0)
    assert (same[["difference", "low", "high"]] == 0).all(axis=None)


def test_mcnemar_is_the_exact_binomial_test():
    first = random_predictions(80).query("part == 'test'").reset_index(drop=True)
    first["dx"] = "nv"
    right, wrong = np.eye(7)[5], np.eye(7)[4]
    outcomes = np.array([[True, False]] * 10 + [[False, True]] * 2 + [[True, True]] * 20 + [[False, False]] * 8)
    tables = [first.assign(**dict(zip(predictions.COLUMNS, np.where(o[:, None], right, wrong).T, strict=True)))
              for o in outcomes.T]  # fmt: skip
    found = comparison.mcnemar(*tables)
    assert (found["images"], found["only_first_right"], found["only_second_right"]) == (40, 10, 2)
    assert found["p"] == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert comparison.mcnemar(tables[0], tables[0])["p"] == 1


def test_runs_without_a_common_image_or_with_two_labels_are_refused(pair):
    first, second = pair
    with pytest.raises(ComparisonError, match="no test image in common"):
        comparison.common(first, second.assign(image_id=second.image_id + "x"))
    with pytest.raises(ComparisonError, match="has two diagnoses in the two runs"):
        comparison.common(first, second.assign(dx="nv"))
