import json
import lzma
import os
import shutil
import subprocess

import pytest
from conftest import publish

from skinlesion import errors, files, plan, runs
from skinlesion.paper import evidence, index
from skinlesion.runs import Files, RunError


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
    assert set(runs.source()) == {"commit", "clean", "protocol"}
    monkeypatch.setattr(runs, "_output", lambda *command: None)
    assert runs.source() == {"commit": None, "clean": None, "protocol": None}


def test_a_file_in_no_commit_is_seen_whatever_a_users_git_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    for name in ("status.showUntrackedFiles", "user.name", "user.email"):
        number = os.environ.get("GIT_CONFIG_COUNT", "0")
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", "no")
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(int(number) + 1))
    for name, clean in (("known", True), ("new", False)):
        files.write_text(tmp_path / "lib" / name, "")
        for command in (["init", "-q"], ["add", "lib"], ["commit", "-qm", "All"]) if clean else ():
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        assert runs.source()["clean"] is clean


def test_a_run_lies_under_its_study_and_seed(tiny, tmp_path):
    run = runs.Run(tiny.model_copy(update={"seed": 3}))
    run.write_json("x.json", {"a": 1})
    assert run.read_json("x.json") == {"a": 1}
    assert (tmp_path / "reports" / "demo" / "seed-3" / "x.json").is_file()


@pytest.fixture
def house(tmp_path, monkeypatch, tiny):
    """A run of one's own, as training leaves it, and a folder for what is published."""
    monkeypatch.setattr(runs, "PUBLISHED", tmp_path / "published")
    publish(tmp_path / "reports", "demo", 0)
    return runs.Run(tiny)


def change(run, **facts):
    manifest = run.read_json("manifest.json")
    for sitting in manifest["sittings"]:
        sitting["source"].update(facts)
    run.write_json("manifest.json", {**manifest, **{key: facts[key] for key in facts if key == "data"}})


def test_what_is_published_is_read_where_a_run_has_nothing_of_its_own_and_never_written(house, tiny, tmp_path):
    change(house, clean=True)
    written = runs.publish(house)
    assert {path.name for path in written} == {
        "manifest.json",
        "split.csv.xz",
        "history.csv",
        "predictions.csv.xz",
        "metrics.json",
    }
    elsewhere = runs.Run(tiny.model_copy(update={"output": str(tmp_path / "empty")}))
    assert elsewhere.read_csv("predictions.csv").equals(house.read_csv("predictions.csv"))
    before = {path: path.read_bytes() for path in written}
    elsewhere.write_json("metrics.json", {})
    assert elsewhere.read_json("metrics.json") == {}
    assert {path: path.read_bytes() for path in written} == before
    runs.publish(house)
    assert {path: path.read_bytes() for path in written} == before  # to the byte


def test_a_notebook_that_looks_at_what_is_published_writes_elsewhere_and_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(runs, "PUBLISHED", tmp_path / "reports")
    published = publish(tmp_path / "reports", "quick", 0) / "metrics.json"
    before = published.read_bytes()
    run = runs.open_run({"In": ['study = "quick"\noutput = "reports"'], "study": "quick", "output": "reports"})
    assert capsys.readouterr().out.endswith("this notebook writes to reports/local/quick/seed-0.\n")
    for name in ("metrics.json", "errors.json"):
        run.write_json(name, {"mine": 1})
        assert json.loads((tmp_path / "reports" / "local" / "quick" / "seed-0" / name).read_text()) == {"mine": 1}
    assert published.read_bytes() == before
    assert run.read_json("metrics.json") == json.loads(before)  # what was asked for, though there is one of one's own
    assert run.read_json("errors.json") == {"mine": 1}


def test_only_a_finished_run_of_committed_code_on_real_data_is_published(house):
    change(house, clean=False)
    with pytest.raises(RunError, match="code or parameters that no commit holds"):
        runs.publish(house)
    change(house, clean=True)
    page = house.folder / "05_error_analysis.html"
    page.write_text("<html>")
    published = runs.PUBLISHED / "demo/seed-0" / page.name
    assert published not in runs.publish(house)
    with pytest.raises(RunError, match="may show photographs: make it again with GALLERIES=false"):
        runs.publish(house, more=["pages"])
    page.write_text('<meta content="none" name="photographs"/>')
    assert published in runs.publish(house, more=["pages"])
    with pytest.raises(RunError, match=r"epochs.npz is not there"):
        runs.publish(house, more=["epochs.npz"])
    change(house, data={"synthetic": True})
    with pytest.raises(RunError, match="synthetic"):
        runs.publish(house)
    (house.folder / "history.csv").unlink()
    with pytest.raises(RunError, match="is not finished"):
        runs.publish(house)
    assert not (runs.PUBLISHED / "demo/seed-0/history.csv.xz").exists()


def test_what_was_measured_of_a_published_run_afterwards_is_added_to_it(house, tiny, tmp_path):
    later = runs.Run(tiny.model_copy(update={"output": str(tmp_path / "later")}))
    later.write_json("official.json", {"images": 3})
    with pytest.raises(RunError, match="is not finished"):
        runs.publish(later)
    change(house, clean=True)
    before = {path: path.read_bytes() for path in runs.publish(house)}
    assert [path.name for path in runs.publish(later)] == ["official.json"]
    assert house.read_json("manifest.json") == runs.Files(runs.PUBLISHED / "demo" / "seed-0").manifest
    later.write_json("metrics.json", {})  # a notebook's: then it is a run of its own
    with pytest.raises(RunError, match="is not finished"):
        runs.publish(later)
    assert {path: path.read_bytes() for path in before} == before


def flipped(content):
    """One bit of what is packed is another."""
    packed = bytearray(lzma.compress(content))
    packed[len(packed) // 2] ^= 4
    return bytes(packed)


DAMAGES = {
    "empty": lambda content: b"",
    "cut in a line": lambda content: content[:-7],
    "half": lambda content: content[: len(content) // 2],
    "noise": lambda content: bytes(range(128, 256)),
    "zeros": lambda content: bytes(len(content)),
    "its head alone": lambda content: content.partition(b"\n")[0] + b"\n",
}
LEFT = ("split.csv", "history.csv", "predictions.csv", "manifest.json", "metrics.json")


def damaged(folder, name, damage):
    path = publish(folder, "quick", 0) / name
    path.write_bytes(damage(path.read_bytes()))
    return runs.Files(path.parent)


@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_run_is_named_in_one_sentence_with_the_way_out(tmp_path, name, damage):
    run = damaged(tmp_path, name, DAMAGES[damage])
    with pytest.raises(RunError, match=rf"{name} cannot be read: [^\n]+ is made again by notebook 0\d") as error:
        (run.read_json if name.endswith("json") else run.read_csv)(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [flipped, lambda content: lzma.compress(content)[:-9], lambda content: b"\xfd7zXZ"])
def test_a_damaged_packed_table_is_named(tmp_path, damage):
    run = publish(tmp_path, "quick", 0)
    for name in ("split.csv", "predictions.csv"):
        (run / f"{name}.xz").write_bytes(damage((run / name).read_bytes()))
        (run / name).unlink()
        with pytest.raises(RunError, match=rf"{name}.xz cannot be read"):
            runs.Files(run).read_csv(name)


def test_json_of_another_kind_is_named(tmp_path):
    for text in ("[1, 2]", "null", "7", "[" * 100_000):
        with pytest.raises(RunError, match=r"manifest.json cannot be read"):
            damaged(tmp_path, "manifest.json", lambda content, text=text: text.encode()).read_json("manifest.json")


@pytest.mark.parametrize("name", ["manifest.json", "metrics.json"])
@pytest.mark.parametrize("damage", ["empty", "half"])
def test_one_damaged_run_stops_neither_index_nor_plan_nor_tables(tmp_path, name, damage, capsys):
    publish(tmp_path, "quick", 1)
    damaged(tmp_path, name, DAMAGES[damage])
    errors.say_once.cache_clear()
    assert "quick, seed 1" in index.write(tmp_path).read_text()
    assert [run.folder.name for run in plan.here(tmp_path).values() if run.folder.is_relative_to(tmp_path)] == [
        "seed-1"
    ]
    assert evidence.find(tmp_path, "quick").seeds == [1]
    said = capsys.readouterr().err.splitlines()
    assert [line[: line.index(" cannot")] for line in said] == [f"left out: {name}"]


def test_a_list_names_each_once_however_it_was_joined():
    assert runs.listed(["one", "two and one", "two", "three"]) == "one and two and three"


def test_runs_of_one_training_count_once(tmp_path):
    there = {(study, 0): Files(publish(tmp_path, study, 0)) for study in ("quick", "quick_split_0", "quick_plain")}
    shutil.copy(there["quick", 0].require("predictions.csv"), there["quick_split_0", 0].folder)
    changed = there["quick_plain", 0].read_csv("predictions.csv").sample(frac=1, random_state=0)
    files.write_csv(there["quick_plain", 0].folder / "predictions.csv", changed)
    assert set(runs.originals(there).values()) == {("quick", 0), ("quick_plain", 0)}


def test_a_folder_that_is_named_almost_like_a_runs_stands_for_none(tmp_path):
    for name in ("seed-1", "seed-02", "seed-²", "seed-x"):
        (tmp_path / "quick" / name).mkdir(parents=True)
    assert {key: run.folder.name for key, run in runs.find(tmp_path).items()} == {("quick", 1): "seed-1"}
