import json

import pandas as pd
import pytest
from conftest import metadata_of, publish

from skinlesion import files
from skinlesion.paper import card, verification
from skinlesion.reporting import tables
from skinlesion.runs import Files
from skinlesion.scoring import evaluation, summary


@pytest.fixture
def run(tmp_path):
    run = publish(tmp_path, "paper_lesion", 0, hit=0.4)
    table = pd.read_csv(run / "predictions.csv")
    errors = summary.errors(table, metadata_of(table), draws=20, seed=0)
    files.write_json(run / "errors.json", errors | {"findings": ["**Melanoma.** Some are missed."]})
    return run


def test_a_card_says_what_for_what_licence_how_good_and_on_whom_it_fails(run):
    text = card.write(run).read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    for words in ("license: cc-by-nc-4.0", "never for a diagnosis", "drawn at random", "an abacus", "Some are missed."):
        assert words in text
    assert tables.interval(**metrics["test"]["headline"]["accuracy"]) in text
    recall = metrics["test_per_class"]["mel"]["recall"]
    assert tables.interval(recall["value"], recall["low"], recall["high"], digits=2) in text
    assert "\nsex: " in text
    assert "nan" not in text.lower().replace("nance", "")


def test_it_says_when_a_picture_is_seen_in_several_views_and_who_taught_the_network(run):
    assert not {"symmetries", "taught"} & set(card.text(run).split())
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["parameters"] |= {"views": 8, "teachers": "improved"}
    files.write_json(run / "manifest.json", manifest)
    assert "(squash); what it says of a picture is the mean over its eight symmetries." in card.text(run)
    assert " and taught by the networks of `improved`.\n" in card.text(run)


def test_the_official_test_and_the_forms_are_there_once_they_were_measured(run):
    assert not {"## The official ISIC 2018 test", "## Its forms"} & set(card.text(run).splitlines())
    headline = {name: {"value": 0.7, "low": 0.6, "high": 0.8} for name in evaluation.names("paper")}
    official = {"data": {"title": "The official set, resized"}, "receipt": {"started": "2026-01-02T03:04"}}
    official["squashed"] = {"balanced_accuracy": {"difference": 0.04, "low": 0.01, "high": 0.07}}
    files.write_json(run / "official.json", official | {"headline": headline})
    row = {"form": "ONNX, int8", "megabytes": 2.6, "accuracy": 0.8, "balanced_accuracy": 0.7, "difference": 0.01}
    row |= {"milliseconds": 4.2, "images_per_second": 300, "hardware": "an abacus"}
    files.write_csv(run / "portable.csv", pd.DataFrame([row]))
    text = card.text(run)
    assert "The official set, resized: scored once, on 2026-01-02" in text
    assert "by +0.040 (0.010–0.070)" in text
    assert "\nONNX, int8 | 2.6 | 0.800 | 0.700 | 1.0e-02 | 4.2 | 300\n" in text


def test_verify_names_a_card_that_cannot_be_written_from_what_is_there(run):
    card.write(run)
    metrics = json.loads((run / "metrics.json").read_text())
    files.write_json(run / "metrics.json", {key: value for key, value in metrics.items() if key != "temperature"})
    faults = {check.what: check.faults for check in verification.check_run(Files(run))}
    assert "temperature" in faults["paper_lesion/seed-0/MODEL_CARD.md"][0]
