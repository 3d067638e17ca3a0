import json

import pytest

from skinlesion import runs


def test_a_missing_file_names_the_notebook_that_writes_it(tiny):
    with pytest.raises(runs.RunError, match=r"predictions.csv is not there: run notebook 03 first"):
        runs.Run(tiny).read_csv("predictions.csv")


def test_the_manifest_says_what_the_numbers_came_from_and_no_path(tiny):
    run = runs.Run(tiny.model_copy(update={"weights": "some/where/weights.pth"}))
    manifest = runs.manifest(run, training_seconds=3.0)
    assert manifest["parameters"]["epochs"] == tiny.epochs
    assert manifest["parameters"]["weights"] == "weights.pth"
    assert manifest["parameters"]["data"] == "sample"
    assert manifest["training_seconds"] == 3.0
    assert "some/where" not in json.dumps(manifest)


def test_a_record_says_when_from_what_and_on_what():
    record = runs.record()
    assert record["environment"]["packages"]["torch"]
    assert "core" in record["environment"]["hardware"]
    assert record["started"].endswith("+00:00")


def test_the_source_is_a_commit_or_said_to_be_none(monkeypatch):
    assert set(runs.source()) == {"commit", "clean"}
    monkeypatch.setattr(runs, "_output", lambda *command: None)
    assert runs.source() == {"commit": None, "clean": None}


def test_a_run_lies_under_its_study_and_seed(tiny, tmp_path):
    run = runs.Run(tiny.model_copy(update={"seed": 3}))
    run.write_json("x.json", {"a": 1})
    assert run.read_json("x.json") == {"a": 1}
    assert (tmp_path / "reports" / "demo" / "seed-3" / "x.json").is_file()
