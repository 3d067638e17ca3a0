import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import publish

from skinlesion import files, runs
from skinlesion.data import dataset
from skinlesion.reporting import explorer
from skinlesion.scoring import decisions, evaluation, predictions, subgroups

RUN = "paper_lesion, seed 0"
OTHER = "quick, seed 0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    publish(folder, "paper_lesion", 0, hit=0.15)
    publish(folder, "quick", 0, hit=0.05)
    (folder / "quick" / "seed-1").mkdir()  # of a run that is not finished
    return folder


@pytest.fixture
def found(folder):
    return explorer.open_runs(folder, data="nowhere")


def test_finished_runs_are_opened_and_without_any_it_says_what_makes_one(found, tmp_path):
    assert list(found.runs) == [RUN, OTHER]
    assert found.data is None
    with pytest.raises(explorer.ExplorerError, match=r"no finished run in .*make report"):
        explorer.open_runs(tmp_path)


def test_copies_of_images_are_neither_counted_nor_offered(folder, tmp_path):
    shutil.copytree(folder / "quick", tmp_path / "quick")
    run = tmp_path / "quick" / "seed-0"
    for name in ("predictions.csv", "split.csv"):
        table = pd.read_csv(run / name)
        files.write_csv(run / name, pd.concat([table, table.assign(image_id=table.image_id + "+1")]))
    opened = explorer.open_runs(tmp_path, data="nowhere")
    assert opened.images.index.is_unique and not opened.images.index.str.contains("+", regex=False).any()
    assert "+" not in explorer.first_choice(opened, OTHER)


def test_each_run_says_of_an_image_what_its_predictions_say(found):
    table = found.predictions[RUN].query("part == 'test'")
    row = table.iloc[3]
    said = found.said(row.image_id).set_index("run")
    assert said.part[RUN] == "test"
    np.testing.assert_array_equal(said.loc[RUN, predictions.COLUMNS].astype(float), row[predictions.COLUMNS])
    assert said.predicted[RUN] == dataset.DX[row[predictions.COLUMNS].astype(float).argmax()]
    assert found.facts(row.image_id)["dx"].startswith(f"{row.dx}, ")


def test_of_an_image_that_it_was_trained_on_a_run_says_nothing(found):
    trained = found.splits[RUN].query("part == 'train'").image_id.iloc[0]
    said = found.said(trained)
    assert set(said.part) == {"train"}
    assert said[predictions.COLUMNS].isna().all(axis=None)
    assert found.facts(trained) == {}
    with pytest.raises(explorer.ExplorerError, match="no run here has an image 'ISIC_9999999'; ids are such as "):
        found.facts("ISIC_9999999")


def test_siblings_are_the_other_images_of_the_lesion_group(found):
    split = found.splits[RUN]
    group = split.groupby("lesion_group").image_id.agg(list).loc[lambda ids: ids.str.len() == 3].iloc[0]
    assert sorted(found.siblings(group[0], RUN).image_id) == sorted(group[1:])
    alone = split.groupby("lesion_group").image_id.agg(list).loc[lambda ids: ids.str.len() == 1].iloc[0]
    assert found.siblings(alone[0], RUN).empty


def test_what_a_threshold_gives_is_what_is_published_of_it(found, folder):
    """At the published threshold, with the published number of draws: the same values and intervals."""
    metrics = json.loads((folder / "paper_lesion/seed-0/metrics.json").read_text())
    published = metrics["test_decisions"]["melanoma"]["chosen"][decisions.RULE]
    run = runs.Files(folder / "paper_lesion" / "seed-0")
    run.manifest["parameters"]["bootstrap_draws"] = metrics["bootstrap"]["draws"]
    found.runs[RUN] = run
    decision = found.decision(RUN, "melanoma")
    assert decision.suggested == published["threshold"]
    table = decision.at(decision.suggested)
    for score, row in table.iterrows():
        assert row.tolist() == pytest.approx([published[f"{score}{end}"] for end in ("", "_low", "_high")])
    counts = decision.counts(decision.suggested)
    assert table.value.sensitivity == pytest.approx(1 - counts["missed"] / counts["yes"])
    assert decision.counts(2)["called"] == 0


def test_a_run_without_a_calibration_part_suggests_no_threshold(found):
    found.predictions[RUN] = found.predictions[RUN].query("part != 'calibration'")
    assert found.decision(RUN, "melanoma").suggested is None


def test_a_group_is_scored_as_the_error_analysis_scores_it(found):
    tested = found.tested(RUN)
    rows = tested.iloc[::2].sample(frac=1, random_state=0)  # in whatever order
    assert len(rows) >= subgroups.SMALLEST
    found_scores = found.scored(RUN, rows)
    assert found_scores.value.accuracy == pytest.approx((rows.dx == rows.predicted).mean())
    assert found_scores.low.accuracy < found_scores.value.accuracy < found_scores.high.accuracy
    rest = tested.iloc[1::2]
    assert found_scores.gap.accuracy == pytest.approx(found_scores.value.accuracy - (rest.dx == rest.predicted).mean())
    assert found.scored(RUN, rows.head(subgroups.SMALLEST - 1)).value.isna().all()


def test_a_filter_leaves_the_images_that_have_its_values_the_most_confident_mistakes_first(found):
    tested = found.tested(RUN)
    rows = explorer.chosen(tested, {"dx": "nv"})
    assert set(rows.image_id) == set(tested.image_id[tested.dx == "nv"])
    assert rows.outcome.tolist() == sorted(rows.outcome, reverse=True)
    wrong = rows[rows.outcome == "wrong"]
    assert wrong.confidence.is_monotonic_decreasing
    assert explorer.options(tested, found.columns())["dx"] == list(dataset.DX)


def test_all_images_have_the_published_accuracy(found, folder):
    metrics = json.loads((folder / "paper_lesion/seed-0/metrics.json").read_text())
    accuracy = found.scored(RUN, found.tested(RUN)).value.accuracy
    assert accuracy == pytest.approx(metrics["test"]["headline"]["accuracy"]["value"])


def test_two_runs_are_compared_on_the_images_that_both_have(found):
    first, second = found.predictions[RUN], found.predictions[OTHER]
    scores, told = explorer.side_by_side(first, second)
    assert set(told.image_id) == set(first[first.part == "test"].image_id)
    right = {name: (told[name] == told.dx).mean() for name in ("first", "second")}
    assert scores.difference.accuracy == pytest.approx(right["second"] - right["first"])
    only = told[told.outcome == explorer.OUTCOMES[0]]
    assert (only["first"] == only.dx).all()
    assert (only.second != only.dx).all()
    assert set(told.outcome) <= set(explorer.OUTCOMES)


def test_it_begins_with_the_melanoma_that_got_the_least_probability(found):
    rows = found.tested(RUN).set_index("image_id").query("dx == 'mel'")
    assert explorer.first_choice(found, RUN) == rows.p_mel.idxmin()


def test_with_the_data_there_are_pictures_and_more_to_filter_by(drawn, tmp_path):
    metadata = dataset.read_metadata(dataset.find_table(drawn))
    run = publish(tmp_path, "paper_lesion", 0)
    for name in ("split.csv", "predictions.csv"):
        table = pd.read_csv(run / name)
        known = metadata.set_index("image_id").dx.reindex(table.image_id).to_numpy()
        table = table[pd.notna(known)]
        if "dx" in table:
            table = table.assign(dx=known[pd.notna(known)])
        files.write_csv(run / name, table)
    found = explorer.open_runs(tmp_path, data=drawn)
    assert {"sex", "age_band", "localization", "dx_type", "dataset"} <= set(found.columns())
    image = metadata.image_id[5]
    [picture] = found.pictures([image, "ISIC_9999999"]).values()
    assert picture.shape == (120, 160, 3)
    assert found.facts(image)["sex"] == metadata.sex[5]
    values = explorer.options(found.tested(RUN), ["sex"])["sex"]
    rows = explorer.chosen(found.tested(RUN), {"sex": values[0]})
    assert set(rows.image_id) <= set(metadata.image_id[metadata.sex == values[0]])


def test_data_that_is_damaged_or_of_other_images_counts_as_none(folder, drawn, tmp_path):
    assert explorer.open_runs(folder, data=drawn).data is None
    broken = shutil.copytree(drawn, tmp_path / "broken")
    (broken / "HAM10000_metadata").write_text("no table")
    assert explorer.open_runs(folder, data=broken).data is None


def test_its_intervals_are_of_the_draws_of_the_published_ones(found):
    table = found.predictions[RUN]
    draws = evaluation.Bootstrap.draw(predictions.part(table, "test")[2], draws=10_000, seed=0)
    np.testing.assert_array_equal(found.bootstrap(RUN).counts, draws.counts)
