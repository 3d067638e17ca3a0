"""What is published is what the predictions give: each kind of tampering fails the check that it is the matter of."""

import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import metadata_of, publish

from skinlesion import files, parameters, runs
from skinlesion.__main__ import main
from skinlesion.checks import Check, differences
from skinlesion.paper import collection, evidence, findings, readme, verification
from skinlesion.paper import tables as paper
from skinlesion.reporting import tables
from skinlesion.runs import Files
from skinlesion.scoring import evaluation, predictions, subgroups, summary

RUNS = {"paper": 0.6, "paper_lesion": 0.3, "quick": 0.3}
WITH_ERRORS = "quick/seed-0"
DRAWS = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What ``make paper`` leaves of some runs without meaning, and the tables that it writes."""
    folder = tmp_path_factory.mktemp("published") / "reports"
    for study, hit in RUNS.items():
        publish(folder, study, 0, hit=hit)
    run = folder / WITH_ERRORS
    table, split = (pd.read_csv(run / f"{name}.csv") for name in ("predictions", "split"))
    told = table[table.part == "test"][["image_id", *predictions.COLUMNS]].assign(baseline="metadata alone")
    told[predictions.COLUMNS] = told[predictions.COLUMNS].to_numpy()[::-1]
    files.write_csv(run / "baselines.csv", told)
    metrics = summary.metrics(table, split, draws=DRAWS, seed=0, baselines=pd.read_csv(run / "baselines.csv"))
    files.write_json(run / "metrics.json", metrics)
    said = " | ".join(verification._printed(metrics))
    (run / "04_evaluation.html").write_text(f"<p>{said}</p>")
    test = table[table.part == "test"].reset_index(drop=True)
    cases = test.assign(lesion_size=np.resize(["large", "small"], len(test)))
    _, probabilities, lesions = predictions.part(test, "test")
    bootstrap = evaluation.Bootstrap.draw(lesions, draws=DRAWS, seed=0)
    sizes = subgroups.scores(cases, probabilities, columns=["lesion_size"], bootstrap=bootstrap)
    errors = summary.errors(table, metadata_of(table), draws=DRAWS, seed=0, sizes=sizes)
    errors |= {"saliency_on_lesion": [{"value": 0.5}], "findings": ["**Melanoma.** One."]}
    files.write_json(run / "errors.json", errors)
    (run / "05_error_analysis.html").write_text("<p><b>Melanoma.</b>\nOne.</p>")
    rows = [{"benchmark": "b", "side": 96, "images_per_second": speed, "times_the_loop": speed / 2} for speed in (2, 9)]
    files.write_json(folder / "benchmarks" / "speed.json", {"rows": rows})
    files.write_csv(folder / "benchmarks" / "speed.csv", pd.DataFrame(rows))
    tabled = collection.make(folder, draws=DRAWS)
    tabled["road"] = collection.make_road(folder, draws=DRAWS)
    shown = [each.show().to_html() for each in tabled.values() if len(each.numbers)]
    for each in tabled.values():
        each.write(folder / paper.FOLDER)
    for page in (verification.PAGE, verification.ROAD_PAGE):
        (folder / paper.FOLDER / page).write_text("".join(shown))
    path = folder.parent / "README.md"
    path.write_text("\n".join(line for block in readme.BLOCKS for line in readme.markers(block)))
    readme.write(path, folder)
    evidence.write_sums(folder)
    return folder, tabled


@pytest.fixture
def reports(made, tmp_path):
    """A copy, to be tampered with; the README lies beside it."""
    shutil.copy(made[0].parent / "README.md", tmp_path)
    return shutil.copytree(made[0], tmp_path / "reports")


def faults_of(reports, name, metadata=None):
    """What is wrong with a run's file, or its files with each other, as a reader is told."""
    run = Files(reports / name.rpartition("/")[0] if "." in name else reports / name)
    return {check.what: check.faults for check in verification.check_run(run, metadata)}[name]


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    files.write_json(path, content)


def test_what_was_published_passes(reports, monkeypatch):
    few = SimpleNamespace(load=lambda study: parameters.load(study, {"bootstrap_draws": DRAWS}))
    monkeypatch.setattr(verification, "parameters", few)
    monkeypatch.setattr(findings, "outdated", lambda numbers: [])  # these runs have no meaning
    checks = list(verification.verify(reports, readme=reports.parent / "README.md"))
    assert [str(check) for check in checks if check.faults] == []
    assert all(str(check).startswith("ok ") for check in checks)
    names = {check.what for check in checks}
    assert names > {"files", "runs", "benchmarks", "README.md", "tables/claims", "tables/road", WITH_ERRORS}
    assert names > {f"{WITH_ERRORS}/{name}.json" for name in ("metrics", "errors")}


def test_runs_are_looked_at_in_processes_where_there_are_many(made):
    with verification._side_by_side(verification.FEW) as pool:
        (checks,) = pool.map(verification.check_run, [Files(made[0] / "paper" / "seed-0")])
    assert [check.faults for check in checks] == [[], []]


def test_a_changed_a_lost_and_an_added_file_are_named_with_the_way_back(reports):
    publish(reports / "local", "paper", 1)
    assert verification.check_hashes(reports).faults == []  # a run of one's own changes nothing
    (reports / "paper" / "seed-0" / "metrics.json").write_text("{}")
    (reports / "paper" / "seed-0" / "history.csv").unlink()
    (reports / "tables" / "another.md").write_text("0.92")
    assert verification.check_hashes(reports).faults == [
        "tables/another.md is not listed",
        "paper/seed-0/history.csv is not there",
        "paper/seed-0/metrics.json is not the published file",
    ]


@pytest.mark.parametrize("gone", ["manifest.json", "split.csv"])
def test_a_run_that_is_not_whole_is_named(reports, gone):
    (reports / WITH_ERRORS / gone).unlink()
    published = [run for run in runs.find(reports).values() if run.finished]
    assert [fault.partition(" lacks")[0] for fault in verification.check_runs(reports, published).faults] == [
        WITH_ERRORS
    ]


def test_one_changed_probability_fails(reports):
    path = reports / "paper" / "seed-0" / "predictions.csv"
    table = pd.read_csv(path)
    table.loc[table.part == "test", "p_nv"] *= 1.00001
    files.write_csv(path, table)
    assert any("loss" in fault for fault in faults_of(reports, "paper/seed-0/metrics.json"))


def test_a_part_that_is_gone_is_a_fault_and_no_traceback(reports):
    path = reports / "paper" / "seed-0" / "predictions.csv"
    table = pd.read_csv(path)
    files.write_csv(path, table[table.part != "calibration"])
    assert faults_of(reports, "paper/seed-0/metrics.json") == [
        "cannot be computed again: predictions have no calibration image"
    ]


def test_baselines_are_scored_again_from_what_they_said(reports):
    path = reports / WITH_ERRORS / "baselines.csv"
    told = pd.read_csv(path)
    files.write_csv(path, told.assign(p_nv=told.p_nv * 1.001))
    (fault,) = {fault.partition(" › ")[0] for fault in faults_of(reports, f"{WITH_ERRORS}/metrics.json")}
    assert fault == "baselines"


@pytest.mark.parametrize(
    "path",
    [
        "test › headline › accuracy › value",
        "test_calibration › before › ece_fixed › value",
        "test_decisions › melanoma › chosen › 90% sensitivity on calibration › threshold",
        "test_net_benefit › 9 › high",
        "test_conformal › a limit a class › nv › coverage",
        "test_estimands › one vote a lesion › headline › macro_f1 › low",
        "test_confusion › 0 › 3",
        "temperature",
    ],
)
def test_every_number_of_a_runs_metrics_is_named_where_it_is_another(made, path):
    stated = json.loads((made[0] / "paper" / "seed-0" / "metrics.json").read_text())
    changed, place = json.loads(json.dumps(stated)), None
    *keys, last = [int(key) if key.isdigit() else key for key in path.split(" › ")]
    place = changed
    for key in keys:
        place = place[key]
    place[last] += 1e-6
    assert [said.partition(": ")[0] for said in differences(changed, stated)] == [path]


def test_a_difference_in_structure_is_named_and_the_order_of_a_sum_is_none():
    stated = {"a": {"b": 1.0, "c": [1, 2]}, "d": None, "e": "x", "f": True}
    found = {"a": {"c": [1], "g": 1}, "d": 0.5, "e": "y", "f": 1}
    assert list(differences(stated, found)) == [
        "a › b is stated, and does not follow",
        "a › c › 1 is stated, and does not follow",
        "d: None is stated, 0.5 follows",
        "e: x is stated, y follows",
        "f: True is stated, 1 follows",
        "a › g is not stated",
    ]
    assert list(differences(stated, {**stated, "a": {"b": 1 + 1e-10, "c": [1, 2]}})) == []


@pytest.mark.parametrize("at_hand", [False, True])
def test_errors_are_computed_again_and_subgroups_where_the_datas_table_is_at_hand(reports, at_hand):
    path = reports / WITH_ERRORS / "errors.json"

    def change(errors):
        errors["hardest"][0]["p_true"] += 1e-6
        errors["subgroups"][0]["counted"] += 1
        errors["subgroups"][-1]["p_holm"] = 0.5  # by size: what needs the masks is as stated, its correction is not

    edit(path, change)
    metadata = metadata_of(pd.read_csv(path.parent / "predictions.csv")) if at_hand else None
    expected = ["hardest › 0 › p_true"]
    if at_hand:
        last = len(json.loads(path.read_text())["subgroups"]) - 1
        expected += ["subgroups › 0 › counted", f"subgroups › {last} › p_holm"]
    found = faults_of(reports, f"{WITH_ERRORS}/errors.json", metadata)
    assert [fault.partition(": ")[0] for fault in found] == expected


@pytest.mark.parametrize("of", ["headline", "per class", "calibration"])
def test_a_score_that_the_page_of_the_evaluation_no_longer_prints_fails(reports, of):
    page = reports / WITH_ERRORS / "04_evaluation.html"
    run = Files(page.parent)
    found = summary.metrics(run.read_csv("predictions.csv"), run.read_csv("split.csv"), draws=DRAWS, seed=0)
    tabled = {"headline": found["validation"]["headline"], "calibration": found["test_calibration"]["after"]}
    tabled["per class"] = found["test_per_class"].loc[pd.IndexSlice[:, ["f1"]], :]
    [changed, *_] = tables.with_interval(tabled[of])
    page.write_text(page.read_text().replace(changed, changed[::-1]))
    assert f"04_evaluation.html does not print {changed}" in faults_of(reports, f"{WITH_ERRORS}/metrics.json")


def test_a_sentence_of_a_page_that_the_numbers_do_not_say_fails(reports):
    page = reports / WITH_ERRORS / "04_evaluation.html"
    page.write_text(f"{page.read_text()}<p>Accuracy is 0.920 (0.900–0.940).</p>")
    assert faults_of(reports, f"{WITH_ERRORS}/metrics.json") == ["04_evaluation.html says 0.920 (0.900–0.940)"]
    (page.parent / "05_error_analysis.html").write_text("<p><b>Melanoma.</b> None.</p>")
    said = faults_of(reports, f"{WITH_ERRORS}/errors.json")
    assert said == ["05_error_analysis.html does not say: **Melanoma.** One."]


@pytest.mark.parametrize("name", ["claims.csv", "per_class.md", "scores.tex", verification.PAGE])
def test_a_number_changed_in_a_table_or_its_page_fails(made, reports, name):
    path = reports / paper.FOLDER / name
    path.write_text(re.sub(r"0\.\d", "0.9", path.read_text()))
    table = made[1][path.stem if path.stem in made[1] else "claims"]
    check = verification.check_table(table, reports, verification.cells_of(reports / paper.FOLDER / verification.PAGE))
    assert check.faults


def test_a_table_that_lost_its_rows_fails_once_its_runs_are_published(tmp_path):
    lost = paper.PaperTable("spread", pd.DataFrame(), pd.DataFrame(), "")
    there = {(f"quick_split_{split}", seed): Files(tmp_path) for split in range(3) for seed in range(3)}
    assert verification.lost_rows(lost, there) == ["it has no row, though all its runs of quick are published"]
    assert verification.lost_rows(lost, dict(list(there.items())[1:])) == []


FALSE_PROSE = ["It reaches 92.3%.", "An accuracy of 0.92.", "It is right in 95 percent.", "a | b\n--- | ---\nF1 | 0.88"]


def test_the_readme_says_what_the_reports_say_and_no_other_score(reports, monkeypatch):
    monkeypatch.setattr(findings, "outdated", lambda numbers: [])  # these runs have no meaning
    path = reports.parent / "README.md"
    text = f"The claim is 92%, see 10.7910/DVN, 2.8 GB, version 0.1.\n{path.read_text()}"

    def faults(text):
        path.write_text(text)
        return verification.check_readme(path, reports).faults

    assert faults(text) == []
    for prose in FALSE_PROSE:
        assert "outside of its blocks" in faults(f"{text}\n{prose}\n")[0]
    assert faults(re.sub(r"0\.\d\d\d \(", "0.920 (", text))
    assert "its block `answer` is there 2 times" in faults(text * 2)


@pytest.mark.parametrize("name", ["speed", "costs"])
def test_speeds_and_costs_that_are_not_those_of_their_record_fail(reports, name):
    folder = reports / "benchmarks"
    rows = [{"network": "resnet18", "megabytes": 45.0}]
    rows = json.loads((folder / "speed.json").read_text())["rows"] if name == "speed" else rows
    files.write_json(folder / f"{name}.json", {"rows": rows})
    files.write_csv(folder / f"{name}.csv", pd.DataFrame(rows).replace([9.0, 45.0], 99.0))
    said = f"{name}.csv says something else than {name}.json"
    assert verification.check_benchmarks(reports).faults == [said]
    edit(folder / "speed.json", lambda record: record["rows"][1].update(times_the_loop=45.0))
    assert "another times_the_loop" in " ".join(verification.check_benchmarks(reports).faults)


def test_what_is_committed_passes():
    """Hashes, README and the released run, whose scores are computed again with all draws; `make verify` does all."""
    reports = files.ROOT / "reports"
    checks = [verification.check_hashes(reports), verification.check_readme(files.ROOT / "README.md", reports)]
    checks += [verification.check_benchmarks(reports), *verification.check_run(Files(reports / "improved" / "seed-1"))]
    assert [str(check) for check in checks if check.faults] == []
    assert len(checks) == 8


@pytest.mark.parametrize("faults", [[], ["a fault"]])
def test_the_command_says_what_failed_and_ends_in_an_error(monkeypatch, capsys, faults):
    checks = [Check("one", [], "well"), Check("other", faults, "well")]
    monkeypatch.setattr(verification, "verify", lambda folder, **given: iter(checks))
    assert main(["verify"]) == len(faults)
    said = capsys.readouterr()
    assert ("FAILED  other: a fault" in said.out) == bool(faults)
    assert ("1 of 2 checks failed" in said.err) == bool(faults)
    assert said.out.startswith("All 2 checks passed") != bool(faults)


def test_a_clone_that_turns_line_ends_has_the_published_bytes(tmp_path):
    """Git for Windows is installed with core.autocrlf=true."""
    if not (files.ROOT / ".git").exists():
        pytest.skip("this copy is no clone")
    clone = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", "clone", "--quiet", "--depth=1"]
    subprocess.run([*clone, files.ROOT.as_uri(), str(tmp_path / "clone")], check=True)
    assert verification.check_hashes(tmp_path / "clone" / "reports").faults == []
    assert b"\r\n" not in (tmp_path / "clone" / "README.md").read_bytes()
