import numpy as np
import pytest
from conftest import random_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from skinlesion.scoring import decisions, evaluation
from skinlesion.scoring.decisions import DecisionError

SEEDS = st.integers(0, 10_000)


def ask(seed, images=120, coarse=False):
    labels, probabilities, lesions = random_scores(seed, images)
    truth, score = decisions.question(labels, probabilities.round(1) if coarse else probabilities, ("mel", "bcc"))
    return truth, score, lesions


def draw(lesions, draws=50):
    return evaluation.Bootstrap.draw(lesions, draws=draws, seed=0)


@settings(max_examples=30)
@given(seed=SEEDS, coarse=st.booleans())
def test_rates_agree_with_scikit_learn(seed, coarse):
    truth, score, _ = ask(seed, coarse=coarse)
    thresholds, sensitivity, specificity, precision = decisions.rates(truth, score)
    false, true, theirs = metrics.roc_curve(truth, score, drop_intermediate=False)
    assert np.allclose(thresholds[1:], theirs[1:])
    assert np.allclose(sensitivity, true)
    assert np.allclose(1 - specificity, false)
    their_precision, recall, _ = metrics.precision_recall_curve(truth, score)
    keep = len(thresholds) - 1  # scikit-learn ends with a point of its own
    assert np.allclose(precision[1:], their_precision[:keep][::-1])
    assert np.allclose(sensitivity[1:], recall[:keep][::-1])


@settings(max_examples=30)
@given(seed=SEEDS, level=st.sampled_from([0.5, 0.9, 0.95, 1.0]), coarse=st.booleans())
def test_a_chosen_threshold_reaches_its_level_and_no_better_one_does(seed, level, coarse):
    truth, score, _ = ask(seed, coarse=coarse)
    for name, side, sign in (("sensitivity", truth, 1), ("specificity", ~truth, -1)):
        threshold = decisions.choose_threshold(truth, score, **{name: level})
        reached = [(score >= t)[side].mean() if sign == 1 else (score < t)[side].mean() for t in (threshold,)]
        assert reached[0] >= level - 1e-9
        others = np.unique(score)
        stricter = others[others > threshold] if sign == 1 else others[others < threshold]
        for t in stricter:
            rate = (score >= t)[side].mean() if sign == 1 else (score < t)[side].mean()
            assert rate < level


def test_both_or_neither_level_is_refused():
    truth, score, _ = ask(0)
    with pytest.raises(DecisionError, match="give a sensitivity or a specificity"):
        decisions.choose_threshold(truth, score)
    with pytest.raises(DecisionError, match="give a sensitivity or a specificity"):
        decisions.choose_threshold(truth, score, sensitivity=0.9, specificity=0.9)


def test_a_question_that_the_images_cannot_answer_is_refused():
    _, probabilities, _ = random_scores(0, 5)
    with pytest.raises(DecisionError, match="no images are mel"):
        decisions.question(np.zeros(5, int), probabilities, ("mel",))
    with pytest.raises(DecisionError, match="all images are akiec or mel"):
        decisions.question(np.zeros(5, int), probabilities, ("akiec", "mel"))


def test_the_rates_at_a_threshold_are_those_of_the_four_cells():
    truth = np.array([True, True, True, False, False, False, False])
    score = np.array([0.9, 0.5, 0.1, 0.8, 0.5, 0.2, 0.1])
    table = decisions.at_threshold(truth, score, 0.5, draw(np.array(list("abcdefg"))))
    assert table.value.to_dict() == pytest.approx(
        {
            "sensitivity": 2 / 3,
            "specificity": 2 / 4,
            "positive_predictive_value": 2 / 4,
            "negative_predictive_value": 2 / 3,
        }
    )
    nothing = decisions.at_threshold(truth, score, np.inf, draw(np.array(list("abcdefg"))))
    assert np.isnan(nothing.value.positive_predictive_value)


def test_a_stated_prevalence_changes_the_predictive_values_as_bayes_says():
    truth, score, lesions = ask(3)
    here = decisions.at_threshold(truth, score, 0.3, draw(lesions))
    table = decisions.at_threshold(truth, score, 0.3, draw(lesions), prevalence=0.05)
    sensitivity, specificity = here.value.sensitivity, here.value.specificity
    assert table.value.sensitivity == pytest.approx(sensitivity)
    assert table.value.specificity == pytest.approx(specificity)
    positive = 0.05 * sensitivity + 0.95 * (1 - specificity)
    assert table.value.positive_predictive_value == pytest.approx(0.05 * sensitivity / positive)
    assert table.value.negative_predictive_value == pytest.approx(0.95 * specificity / (1 - positive))
    assert table.low.positive_predictive_value < table.value.positive_predictive_value
    same = decisions.at_threshold(truth, score, 0.3, draw(lesions), prevalence=truth.mean())
    assert same.value.to_dict() == pytest.approx(here.value.to_dict())


def test_net_benefit_weighs_false_positives_by_the_odds_of_the_threshold():
    truth = np.array([True, True, False, False, False])
    score = np.array([0.9, 0.15, 0.6, 0.25, 0.1])
    table = decisions.net_benefit(truth, score, draw(np.array(list("abcde"))), thresholds=[0.2, 0.5])
    assert table.value.tolist() == pytest.approx([1 / 5 - 2 / 5 * 0.25, 1 / 5 - 1 / 5])
    assert table["all"].tolist() == pytest.approx([2 / 5 - 3 / 5 * 0.25, 2 / 5 - 3 / 5])
    assert (table.low <= table.value).all()
    assert (table.value <= table.high).all()
    assert table.gain.tolist() == pytest.approx([0.1 - 0.25, 0 - 0])
    oracle = decisions.net_benefit(truth, truth.astype(float), draw(np.array(list("abcde"))))
    assert (oracle.gain_low >= 0).all()
    assert oracle.value.tolist() == pytest.approx([2 / 5] * len(oracle))  # nobody can do better


def test_operating_points_are_the_best_that_keep_the_level():
    truth, score, lesions = ask(1)
    table = decisions.operating_points(truth, score, draw(lesions))
    false, true, _ = metrics.roc_curve(truth, score, drop_intermediate=False)
    assert table.value["sensitivity at 90% specificity"] == pytest.approx(true[false <= 0.1 + 1e-9].max())
    assert table.value["specificity at 95% sensitivity"] == pytest.approx((1 - false)[true >= 0.95].max())
    assert (table.low <= table.value + 1e-9).all()
    assert (table.value <= table.high + 1e-9).all()


def test_bands_hold_their_curves_and_end_where_curves_end():
    truth, score, lesions = ask(2)
    bands = decisions.bands(truth, score, draw(lesions, 200))
    for name, table in bands.items():
        inside = (table.low <= table.value + 1e-9) & (table.value <= table.high + 1e-9)
        assert inside.mean() > 0.9, name
    assert bands["roc"].value.iloc[-1] == 1
    assert bands["precision_recall"].value.iloc[-1] == pytest.approx(
        decisions.rates(truth, score)[3][np.argmax(decisions.rates(truth, score)[1] >= 1)]
    )


def test_keeping_all_is_the_error_rate_and_the_risk_of_the_surest_comes_first():
    labels = np.array([0, 1, 2, 3])
    probabilities = np.full((4, 7), 0.01)
    for row, (k, p) in enumerate([(0, 0.9), (1, 0.8), (0, 0.7), (0, 0.6)]):
        probabilities[row, k] = p
    curve = decisions.risk_coverage(labels, probabilities)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])


def test_referral_keeps_the_surest():
    labels, probabilities, lesions = random_scores(0, 100)
    table = decisions.referral(labels, probabilities, draw(lesions))
    assert table.images.tolist() == [100, 90, 80, 70]
    hit = probabilities.argmax(1) == labels
    surest = np.argsort(-probabilities.max(1))[:70]
    assert table.accuracy.iloc[-1] == pytest.approx(hit[surest].mean())
    assert table.malignant_referred.iloc[0] == 0


def test_an_answer_uses_the_calibration_parts_thresholds_on_the_test_part():
    calibration, test = random_scores(0, 150), random_scores(1, 150)
    answer = decisions.answer(calibration, test, ("mel",), draw(test[2]))
    truth, score = decisions.question(*calibration[:2], ("mel",))
    threshold = decisions.choose_threshold(truth, score, sensitivity=0.9)
    row = answer["chosen"].loc["90% sensitivity on calibration"]
    truth, score = decisions.question(*test[:2], ("mel",))
    assert row.threshold == threshold
    assert row.sensitivity == pytest.approx((score >= threshold)[truth].mean())
    found = decisions.at_threshold(truth, score, threshold, draw(test[2]), prevalence=0.01)
    elsewhere = answer["prevalences"].loc["1%"]
    assert elsewhere.positive_predictive_value == found.value.positive_predictive_value
