import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions
from sklearn import metrics

from skinlesion.data.dataset import DX
from skinlesion.scoring import evaluation, predictions, subgroups
from skinlesion.scoring.subgroups import SubgroupError


@pytest.fixture
def cases():
    table = random_predictions(400)
    rng = np.random.default_rng(0)
    table["sex"] = rng.choice(["female", "male"], 400)
    table.loc[:4, "sex"] = "unknown"
    table["dataset"] = np.where(np.arange(400) < 200, "a", "b")
    return table


def score(table, columns, draws=200):
    bootstrap = evaluation.Bootstrap.draw(table.lesion_group.to_numpy(), draws=draws, seed=0)
    return subgroups.scores(table, table[predictions.COLUMNS].to_numpy(), columns=columns, bootstrap=bootstrap)


def test_the_scores_of_a_group_are_those_of_its_images(cases):
    table = score(cases, ["sex"]).set_index(["group", "score"])
    men = cases[cases.sex == "male"]
    labels, probabilities = predictions.part(men.assign(part="test"), "test")[:2]
    wanted = evaluation.headline(labels, probabilities).value
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss"):
        assert table.value["male", name] == pytest.approx(wanted[name])
    called = np.isin(probabilities.argmax(1), [0, 1, 4])
    malignant = np.isin(labels, [0, 1, 4])
    assert table.value["male", "malignant_sensitivity"] == pytest.approx(called[malignant].mean())
    assert table.value["male", "malignant_specificity"] == pytest.approx((~called)[~malignant].mean())
    assert table.counted["male", "malignant_sensitivity"] == malignant.sum()
    assert table.images["male", "accuracy"] == len(men)


def test_a_class_that_a_draw_loses_is_left_out_of_a_groups_macro_scores(cases):
    """One melanoma, drawn in two of three draws, and a nevus called melanoma in all of them."""
    group = cases.index[:30]
    cases["dx"] = np.resize(["mel", "nv"], len(cases))
    cases.loc[group, "sex"] = "other"
    cases.loc[group, "dx"] = ["mel"] + ["nv"] * 29
    called = np.array([DX.index(dx) for dx in ["mel"] * 2 + ["nv"] * 28])
    cases.loc[group, predictions.COLUMNS] = np.eye(7)[called]
    cases["lesion_group"] = cases.image_id
    table = score(cases, ["sex"]).set_index(["group", "score"])
    weights = evaluation.Bootstrap.draw(cases.lesion_group.to_numpy(), draws=200, seed=0).weights()[:, group]
    expected = {"macro_f1": metrics.f1_score, "balanced_accuracy": metrics.recall_score}
    for name, metric in expected.items():
        drawn = []
        for weight in weights.astype(int):
            truth, given = (np.repeat(of, weight) for of in (cases.dx[group].map(DX.index), called))
            drawn.append(metric(truth, given, labels=np.unique(truth), average="macro"))
        assert table.loc[("other", name), ["low", "high"]].tolist() == pytest.approx(np.percentile(drawn, [2.5, 97.5]))


def test_the_gap_is_to_all_other_images(cases):
    table = score(cases, ["dataset"]).set_index(["group", "score"])
    assert table.gap["a", "accuracy"] == pytest.approx(table.value["a", "accuracy"] - table.value["b", "accuracy"])
    assert table.gap["a", "accuracy"] == pytest.approx(-table.gap["b", "accuracy"])
    assert table.gap_low["a", "accuracy"] < table.gap["a", "accuracy"] < table.gap_high["a", "accuracy"]


def test_a_small_group_has_counts_and_no_value(cases):
    table = score(cases, ["sex"]).set_index(["group", "score"])
    row = table.loc["unknown", "accuracy"]
    assert row.images == 5
    assert row[["value", "low", "high", "gap", "p", "p_holm"]].isna().all()


def test_a_group_that_is_all_right_has_the_exact_interval_and_no_test(cases):
    at = cases.index[cases.sex == "male"][:25]
    cases.loc[at, "sex"] = "other"
    good = np.eye(7)[cases.dx.map(evaluation.DX.index)] * 0.9 + 0.1 / 7
    cases.loc[at, predictions.COLUMNS] = good[cases.index.isin(at)]
    row = score(cases, ["sex"]).set_index(["group", "score"]).loc["other", "accuracy"]
    assert (row.value, row.high) == (1, 1)
    assert row.low == pytest.approx(0.025 ** (1 / row.lesions))
    assert row[["gap", "p", "p_holm"]].isna().all()


def test_pairs_of_columns_are_groups(cases):
    table = score(cases, [("sex", "dataset")])
    assert set(table.group) == {f"{sex} × {source}" for sex in ("female", "male", "unknown") for source in "ab"} - {
        "unknown × b"
    }
    assert set(table.column) == {"sex × dataset"}


def test_a_real_gap_is_found_and_chance_is_not(cases):
    good = np.eye(7)[cases.dx.map(evaluation.DX.index)] * 0.9 + 0.1 / 7
    most = (cases.dataset == "a") & (cases.index > 5)
    cases.loc[most, predictions.COLUMNS] = good[most]
    table = score(cases, ["sex", "dataset"]).set_index(["group", "score"])
    assert table.p_holm["a", "accuracy"] < 1e-6
    assert table.p_holm["male", "accuracy"] > 0.05


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert subgroups.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert subgroups.holm(np.array([0.5, 0.9])) == pytest.approx([1, 1])
    assert subgroups.holm(np.array([])).size == 0


def test_p_values_are_corrected_over_all_rows_of_a_score(cases):
    both = score(cases, ["sex", "dataset"])
    apart = pd.concat([score(cases, ["sex"]), score(cases, ["dataset"])], ignore_index=True)
    assert not apart.p_holm.equals(both.p_holm)
    pd.testing.assert_frame_equal(subgroups.corrected(apart), both)


def test_cases_have_what_the_metadata_table_knows_and_other_data_is_refused(opened):
    rows = opened.metadata.sample(30, random_state=0)
    table = random_predictions(30).assign(image_id=rows.image_id.to_numpy(), dx=rows.dx.to_numpy())
    found = subgroups.cases(table, opened.metadata)
    assert found.image_id.tolist() == rows.image_id.tolist()
    assert found.sex.tolist() == rows.sex.tolist()
    assert found.age_band.tolist() == list(subgroups.age_bands(rows.age))
    with pytest.raises(SubgroupError, match=f"other data: .*{table.image_id[3]}"):
        subgroups.cases(table, opened.metadata[opened.metadata.image_id != table.image_id[3]])
    with pytest.raises(SubgroupError, match="other data"):
        subgroups.cases(table.assign(dx=np.roll(table.dx, 1)), opened.metadata)


def test_consistency_counts_lesions_with_several_images():
    table = pd.DataFrame({"lesion_id": list("aabbcd"), "dx": ["akiec"] * 6})
    probabilities = np.eye(7)[[0, 1, 2, 2, 0, 0]]
    assert subgroups.consistency(table, probabilities) == {"lesions": 2, "images": 4, "inconsistent": 1, "torn": 1}


def test_age_bands_cover_every_age_and_its_absence():
    bands = subgroups.age_bands(pd.Series([0, 19, 20, 59, 60, 85, np.nan]))
    assert list(bands) == ["0-19", "0-19", "20-39", "40-59", "60-79", "80+", "unknown"]


def test_sizes_are_quarters_and_their_absence():
    bands = subgroups.size_bands(pd.Series([0.1, 0.2, 0.3, 0.4, np.nan]))
    assert list(bands) == ["smallest quarter", "second", "third", "largest quarter", "unknown"]
    assert set(subgroups.size_bands(pd.Series([np.nan] * 3))) == {"unknown"}


def test_no_macro_score_is_compared_between_groups_of_other_diagnoses(cases):
    cases.loc[:199, "dx"] = "nv"  # source a has nevi alone, as follow-up has
    table = score(cases, ["dataset"]).set_index(["group", "score"])
    for group in "ab":
        assert (
            table.loc[[(group, "balanced_accuracy"), (group, "macro_f1")], ["value", "gap", "p"]].isna().all(axis=None)
        )
        assert table.loc[(group, "accuracy"), ["value", "gap", "p"]].notna().all()


def test_groups_of_the_same_images_are_one_group(cases):
    cases["dx_type"] = np.where(cases.dataset == "a", "histo", cases.sex)
    table = score(cases, ["dataset", "dx_type", ("dataset", "dx_type")])
    names = table[["column", "group"]].drop_duplicates().to_numpy().tolist()
    assert ["dataset", "a"] in names
    assert ["dx_type", "histo"] not in names
    assert ["dataset × dx_type", "a × histo"] not in names
    tested = table[(table.score == "accuracy") & table.p.notna()]
    assert len(tested) == len(tested[["value", "counted"]].drop_duplicates())
