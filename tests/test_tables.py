import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions, random_scores

from skinlesion.reporting import tables
from skinlesion.scoring import decisions, evaluation, lesions, predictions, subgroups


def test_an_interval_is_written_beside_its_value():
    assert tables.interval(0.81234, 0.79, 0.834) == "0.812 (0.790–0.834)"
    assert tables.interval(-0.01, -0.02, 0.03, digits=2) == "−0.01 (−0.02 to 0.03)"
    assert tables.interval(0.81234, np.nan, np.nan) == "0.812"
    assert tables.interval(np.nan, np.nan, np.nan) == "–"
    assert tables.interval(0.022, -0.01, 0.054, sign=True) == "+0.022 (−0.010 to 0.054)"
    assert tables.interval(1.0, 1.0, 1.0) == "1.000 (same in all draws)"  # eight of eight are no certainty
    rows = pd.DataFrame({"value": [0.5], "low": [0.4], "high": [0.6], "support": [3]}, index=["nv"])
    assert tables.with_interval(rows, digits=1)["nv"] == "0.5 (0.4–0.6)"
    named = pd.concat([rows, rows], keys=["f1", "accuracy"]).swaplevel()
    assert tables.with_interval(named).tolist() == ["0.50 (0.40–0.60)", "0.500 (0.400–0.600)"]


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(-0.0004, False, "0.000"), (-0.0004, True, "0.000"), (0.5, True, "+0.500"), (-1234.5, False, "−1,234.500")],
)
def test_a_number_has_a_true_minus_and_zero_has_no_sign(value, sign, text):
    assert tables.number(value, sign=sign) == text


def test_a_table_has_its_caption_and_readable_words():
    frame = pd.DataFrame({"test_images": [12345], "fraction": [0.5], "agrees": [True]}, index=["macro_f1"])
    html = tables.show(frame, caption="What it is of.").to_html()
    for word in ("What it is of.", "test images", "12,345", "0.500", "yes", "macro F1"):
        assert word in html
    assert "–" in tables.show(pd.DataFrame({"x": [np.nan]}), caption="").to_html()


def test_two_levels_of_columns_become_one():
    frame = pd.DataFrame({("images", "train"): [1]})
    assert "images: train" in tables.show(frame, caption="").to_html()


def scored_cases():
    table = random_predictions(300).assign(
        dx_type="histo", sex="female", age_band="0-19", localization="back", dataset="a"
    )
    table.loc[::2, "dx_type"] = "follow_up"
    probabilities = table[predictions.COLUMNS].to_numpy()
    bootstrap = evaluation.Bootstrap.draw(table.lesion_group.to_numpy(), draws=50, seed=0)
    groups = subgroups.scores(table, probabilities, columns=["sex", "dx_type"], bootstrap=bootstrap)
    return table, probabilities, groups


def test_subgroups_have_one_row_each_and_a_column_a_score():
    _, _, groups = scored_cases()
    wide = tables.subgroups(groups, ["accuracy", "loss"])
    assert wide.group.tolist() == ["female", "follow_up", "histo"]
    assert list(wide)[4:] == ["accuracy", "loss"]
    assert "–" in wide.accuracy[0]


def test_decisions_are_shown_with_intervals():
    calibration, test = random_scores(0, 120), random_scores(1, 120)
    bootstrap = evaluation.Bootstrap.draw(test[2], draws=20, seed=0)
    answer = decisions.answer(calibration, test, ("mel",), bootstrap)
    shown = tables.decisions(answer["chosen"])
    assert list(shown) == ["threshold", "sensitivity", "specificity", "PPV", "NPV"]
    assert len(shown) == 4
    elsewhere = tables.decisions(answer["prevalences"])
    assert list(elsewhere) == ["PPV", "NPV"]
    assert elsewhere.index.tolist() == ["1%", "5%", "20%"]


def test_ways_to_count_have_a_row_each_with_intervals():
    table = random_predictions(80)
    found = lesions.estimands(table, table, draws=20, seed=0)
    shown = tables.estimands(found)
    assert shown.index.tolist() == list(found)
    assert shown.rows["one vote a lesion"] == table.lesion_group[table.part == "test"].nunique()
    value = found["one vote a lesion"]["headline"].loc["accuracy"]
    assert shown.accuracy["one vote a lesion"] == tables.interval(*value)


def test_text_from_data_is_text_and_not_markup():
    hostile = "<script>alert(1)</script>"
    frame = pd.DataFrame({hostile: [hostile]}, index=[hostile])
    shown = tables.show(frame, caption=hostile).to_html()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 4
    assert "<script" not in tables.markdown(frame)
    assert tables.markdown(pd.DataFrame({"a": ["x|y"]})).endswith("x\\|y")
