import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions, random_scores

from skinlesion import files
from skinlesion.reporting import tables
from skinlesion.scoring import decisions, evaluation, lesions, predictions, subgroups


def test_an_interval_is_written_beside_its_value():
    assert tables.interval(0.81234, 0.79, 0.834) == "0.812 (0.790–0.834)"
    assert tables.interval(-0.01, -0.02, 0.03, digits=2) == "-0.01 (-0.02 to 0.03)"
    assert tables.interval(0.81234, np.nan, np.nan) == "0.812"
    assert tables.interval(np.nan, np.nan, np.nan) == "–"
    rows = pd.DataFrame({"value": [0.5], "low": [0.4], "high": [0.6], "support": [3]}, index=["nv"])
    assert tables.with_interval(rows, digits=1)["nv"] == "0.5 (0.4–0.6)"
    named = pd.concat([rows, rows], keys=["f1", "accuracy"]).swaplevel()
    assert tables.with_interval(named).tolist() == ["0.50 (0.40–0.60)", "0.500 (0.400–0.600)"]


def test_a_table_has_its_caption_and_readable_words():
    frame = pd.DataFrame({"test_images": [12345], "fraction": [0.5], "agrees": [True]}, index=["macro_f1"])
    html = tables.show(frame, caption="What it is of.").to_html()
    for word in ("What it is of.", "test images", "12,345", "0.500", "yes", "macro F1"):
        assert word in html
    assert "–" in tables.show(pd.DataFrame({"x": [np.nan]}), caption="").to_html()


def test_two_levels_of_columns_become_one():
    frame = pd.DataFrame({("images", "train"): [1]})
    assert "images: train" in tables.show(frame, caption="").to_html()


@pytest.mark.parametrize("block", tables.BLOCKS)
def test_the_readme_shows_what_the_committed_reports_say(block):
    readme = (files.ROOT / "README.md").read_text()
    start, end = tables.markers(block)
    shown = readme.partition(start)[2].partition(end)[0].strip()
    assert shown == tables.BLOCKS[block](files.ROOT / "reports"), "run `make readme`"


def test_results_are_of_real_data_only_and_replace_the_old_ones(tmp_path):
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    headline = dict.fromkeys(evaluation.names("summary")[1:], score)  # a file from before there was the first
    parameters = {"image_size": 96, "epochs": 3, "split_by": "lesion", "seed": 0}
    trained = {"training_seconds": 90, "sittings": [{"environment": {"hardware": "an abacus"}}]}
    for study, synthetic in (("demo", True), ("quick", False)):
        run = tmp_path / study / "seed-0"
        files.write_json(run / "manifest.json", {**trained, "data": {"synthetic": synthetic}, "parameters": parameters})
        part = {"headline": headline, "images": 10, "lesions": 9}
        metrics = {"test": part, "test_majority_accuracy": 0.7}
        files.write_json(run / "metrics.json", metrics)
        leakage = {"image": {"all": {"fraction": 0.25}, "mel": {"fraction": 0.75}}}
        files.write_json(run / "preprocessing.json", {"leakage": leakage})
        (run / "04_evaluation.html").touch()
    (tmp_path / "quick" / "seed-1").mkdir()
    for name in ("manifest.json", "metrics.json"):  # a run without its reports is counted in the tables of the paper
        shutil.copy(run / name, tmp_path / "quick" / "seed-1")
    readme = tmp_path / "README.md"
    start, end = tables.markers("results")
    readme.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    tables.write_blocks(readme, tmp_path)
    text = readme.read_text()
    assert "not measured | 0.500 (0.400–0.600)" in text
    assert "1.5 min on an abacus" in text
    assert "25.0% of the test images and 75.0% of the melanomas" in text
    assert "demo" not in text
    assert "seed-1" not in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")


def test_the_extremes_of_the_subgroups_are_named_or_said_to_be_none():
    rows = [
        ("sex", "male", 30, 0.7, 0.6, 0.8),
        ("sex", "female", 40, 0.9, 0.8, 1.0),
        ("sex", "unknown", 3, *[np.nan] * 3),
    ]
    groups = pd.DataFrame(rows, columns=["column", "group", "counted", "value", "low", "high"]).assign(score="accuracy")
    sentence = tables.extremes(groups, "accuracy")
    assert "lowest for sex **male** (0.700 (0.600–0.800), 30 images)" in sentence
    assert "highest for sex **female**" in sentence
    assert tables.extremes(groups.iloc[2:], "accuracy") == "No group has enough images to be scored."
    assert tables.extremes(groups, "loss") == "No group has enough images to be scored."


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


def test_findings_are_three_to_six_sentences_with_numbers_from_what_was_given():
    table, probabilities, groups = scored_cases()
    wrong = evaluation.mistakes(table, probabilities)
    given = {
        "cases": table,
        "wrong": wrong,
        "groups": groups,
        "consistency": {"lesions": 40, "images": 90, "inconsistent": 13, "torn": 11},
        "doubtful": pd.DataFrame(
            {"images": [150, 150], "candidates": [7, 3], "fraction": [0.047, 0.02]}, index=["histo", "follow_up"]
        ),
        "on_lesion": None,
        "without": None,
        "corrupted": None,
    }
    few = tables.findings(**given)
    without = pd.DataFrame(
        {"balanced_accuracy": [0.8, 0.3, 0.7]}, index=["untouched", "lesion removed", "background removed"]
    )
    corrupted = pd.DataFrame(
        {
            "corruption": ["blur", "blur", "hair", "hair"],
            "severity": [0, 4, 0, 4],
            "balanced_accuracy": [0.8, 0.2, 0.8, 0.6],
        }
    )
    many = tables.findings(**{**given, "without": without, "corrupted": corrupted})
    assert 3 <= len(few) < len(many) <= 6
    missed = wrong[wrong.dx == "mel"]
    assert f"{len(missed)} of {(table.dx == 'mel').sum()} melanoma images are missed" in few[0]
    assert "0 are below the others in accuracy beyond chance" in few[2]  # one sex only: there is nothing to compare
    assert "Furthest below" not in few[2]
    assert "10 labels are in doubt, most often with dx_type histo (4.7% of 150); 13 of 40 lesions" in few[3]
    assert "0.80; 0.30 with the lesion painted over, 0.70 with the background painted over" in many[4]
    assert "falls to 0.20 under the severest blur and least under hair (0.60)" in many[5]


def test_transfer_has_a_row_for_each_source_left_out(tmp_path):
    assert tables.transfer(tmp_path).empty
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    run = tmp_path / "transfer" / "seed-1"
    part = {"images": 10, "headline": {"accuracy": score, "balanced_accuracy": score}}
    files.write_json(run / "metrics.json", {"test": part, "validation": part})
    files.write_json(run / "preprocessing.json", {"left_out": "vidir_modern"})
    files.write_json(run / "manifest.json", {"data": {"fingerprint": "a", "synthetic": False}})
    table = tables.transfer(tmp_path)
    assert table["left out"].tolist() == ["vidir_modern"]
    assert table["accuracy on it"].tolist() == ["0.500 (0.400–0.600)"]
    assert len(tables.transfer(tmp_path, fingerprint="a")) == 1
    assert tables.transfer(tmp_path, fingerprint="b").empty  # such as the demo's: its page shows nothing of other data
    assert "vidir_modern | 10 | 0.500 (0.400–0.600)" in tables.sources(tmp_path)
    assert tables.sources(tmp_path / "nowhere") == "Not measured yet."


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


def test_speeds_are_those_of_the_benchmark_and_what_was_not_measured_is_said(tmp_path):
    assert tables.speeds(tmp_path) == "Not measured yet."
    rows = {
        "benchmark": ["training", "prediction", "paper study"],
        "side": 96,
        "method": ["engine", "predict", "25 epochs"],
        "images_per_second": [20.0, 300.4, np.nan],
        "times_the_loop": [1.5, 3.0, np.nan],
        "times_the_floor": [2.25, np.nan, np.nan],
        "peak_memory_mb": [1500.0, 800.0, np.nan],
        "note": ["", "", "not measured: no GPU here"],
    }
    files.write_csv(tmp_path / "benchmarks" / "speed.csv", pd.DataFrame(rows))
    facts = {"environment": {"hardware": "an abacus"}, "repeats": 3}
    files.write_json(tmp_path / "benchmarks" / "speed.json", facts)
    text = tables.speeds(tmp_path)
    assert "training, 96×96 | engine | 20 | 1.50 | 2.2 | 1.5 GB" in text
    assert "prediction, 96×96 | predict | 300 | 3.00 | – | 0.8 GB" in text
    assert "25 epochs | not measured: no GPU here" in text
    assert text.endswith("an abacus; medians of 3 turns.")


def test_a_table_of_the_paper_is_shown_whole_or_in_part(tmp_path):
    text = "a | b | c\n--- | --- | ---\n1 | x | 3\n4 | y | 6\n\nOf what.\n"
    files.write_text(tmp_path / "tables" / "some.md", text)
    assert tables.paper_table(tmp_path, name="some") == text.strip()
    part = tables.paper_table(tmp_path, name="some", only="y", without=["b"])
    assert part == "a | c\n--- | ---\n4 | 6\n\nOf what."
    assert tables.paper_table(tmp_path, name="other") == "Not measured yet."
