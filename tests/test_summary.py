import json

import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions

from skinlesion import files
from skinlesion.scoring import calibration, conformal, decisions, evaluation, predictions, subgroups, summary
from skinlesion.scoring.predictions import PredictionsError

HERE = {"draws": 30, "seed": 0}


def split_of(table):
    return table[["image_id", "lesion_group", "part"]]


@pytest.fixture(scope="module")
def table():
    return random_predictions(240)


@pytest.fixture(scope="module")
def found(table):
    other = table.assign(**{name: table[name].to_numpy()[::-1] for name in predictions.COLUMNS})
    return summary.metrics(table, split_of(table), **HERE, other=("quick", other))


def test_what_is_fitted_is_fitted_on_calibration_and_on_nothing_else(table, found):
    held_out = table[table.part == "calibration"]
    labels, probabilities, lesions = predictions.part(held_out, "calibration")
    assert found["temperature"] == calibration.fit_temperature(labels, probabilities)
    truth, score = decisions.question(labels, probabilities, ("mel",))
    threshold = decisions.choose_threshold(truth, score, specificity=0.95)
    assert found["test_decisions"]["melanoma"]["chosen"].threshold["95% specificity on calibration"] == threshold
    limits = conformal.calibrate(labels, probabilities, lesions=lesions, coverage=0.9)
    y, p, groups = predictions.part(table, "test")
    sets = conformal.summary(y, conformal.sets(p, limits), evaluation.Bootstrap.draw(groups, **HERE))
    pd.testing.assert_frame_equal(found["test_conformal"]["one limit"], sets)
    turned = table.copy()  # other numbers on validation change its own scores and nothing else
    at = turned.part == "validation"
    turned.loc[at, predictions.COLUMNS] = turned.loc[at, predictions.COLUMNS].to_numpy()[:, ::-1]
    other = files.plain(summary.metrics(turned, split_of(turned), **HERE))
    before = files.plain(summary.metrics(table, split_of(table), **HERE))
    assert {key for key in other if other[key] != before[key]} == {"validation"}


def test_a_table_without_a_part_is_refused_by_its_name(table):
    for part in summary.PARTS:
        with pytest.raises(PredictionsError, match=f"no {part} image"):
            summary.metrics(table[table.part != part], split_of(table), **HERE)


def test_it_is_all_of_metrics_json_and_survives_being_written(found, tmp_path):
    files.write_json(tmp_path / "metrics.json", found)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == files.plain(found)
    assert set(written["test"]["headline"]) == set(evaluation.names("headline"))
    assert set(written["test_per_class"]["mel"]) == set(evaluation.names("class"))
    assert written["compared"]["with"] == "quick"
    assert set(written["compared"]["scores"]) == set(evaluation.names("headline"))
    assert [row["referred"] for row in written["test_referral"]] == [0, 0.1, 0.2, 0.3]


def cases(table, opened):
    rows = opened.metadata.iloc[: len(table)]
    return table.assign(
        image_id=rows.image_id.to_numpy(), lesion_group=rows.lesion_id.to_numpy(), dx=rows.dx.to_numpy()
    )


def test_errors_are_of_the_test_part_and_need_the_metadata_table_for_groups_alone(opened):
    table = cases(random_predictions(min(120, len(opened.metadata))), opened)
    test = table[table.part == "test"]
    few, all_of_it = summary.errors(table, **HERE), summary.errors(table, opened.metadata, **HERE)
    assert set(all_of_it) - set(few) == {"subgroups", "label_candidates_by_dx_type", "proven"}
    assert files.plain({key: all_of_it[key] for key in few}) == files.plain(few)
    called = np.array(predictions.DX)[test[predictions.COLUMNS].to_numpy().argmax(1)]
    assert few["wrong"] == few["pairs"].images.sum() == (called != test.dx).sum()
    assert few["hardest"].p_true.is_monotonic_increasing
    histo = test.image_id.isin(opened.metadata.image_id[opened.metadata.dx_type == "histo"])
    assert all_of_it["proven"]["images"] == histo.sum()
    assert all_of_it["proven"]["headline"].value.accuracy == pytest.approx((called == test.dx)[histo].mean())


def test_p_values_are_corrected_over_the_rows_by_size_too(opened):
    table = cases(random_predictions(min(120, len(opened.metadata))), opened)
    test = table[table.part == "test"].reset_index(drop=True)
    known = subgroups.cases(test, opened.metadata)
    known["lesion_size"] = np.where(np.arange(len(known)) % 2, "small", "large")
    bootstrap = evaluation.Bootstrap.draw(predictions.part(test, "test")[2], **HERE)
    sizes = subgroups.scores(known, test[predictions.COLUMNS].to_numpy(), columns=["lesion_size"], bootstrap=bootstrap)
    groups = summary.errors(table, opened.metadata, **HERE, sizes=sizes)["subgroups"]
    assert {"lesion_size", "sex", "dataset × dx_type"} <= set(groups.column)
    pd.testing.assert_frame_equal(groups, subgroups.corrected(groups))
