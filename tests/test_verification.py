import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import publish

from skinlesion import files, parameters
from skinlesion.__main__ import main
from skinlesion.paper import collection, evidence, findings, readme, verification
from skinlesion.paper import tables as paper
from skinlesion.reporting import pages, tables
from skinlesion.runs import Files
from skinlesion.scoring import evaluation, predictions, subgroups, summary

RUNS = {"paper": 0.6, "paper_lesion": 0.3, "quick": 0.3, "quick_plain": 0.6}
WITH_ERRORS = "quick"
DRAWS = 200


def metadata_of(table):
    """A metadata table without meaning, with what subgroups are of."""
    columns = {"sex": ["female", "male"], "dx_type": ["histo", "follow_up", "histo"], "localization": ["back"]}
    columns |= {"dataset": ["a", "b"], "age": [30.0, 50.0, 70.0]}
    cycled = {name: np.resize(values, len(table)) for name, values in columns.items()}
    return table[["image_id", "lesion_id", "dx"]].assign(**cycled)


def size_rows(table):
    test = table[table.part == "test"].reset_index(drop=True)
    cases = test.assign(lesion_size=np.resize(["large", "small"], len(test)))
    probabilities, lesions = predictions.part(test, "test")[1:]
    bootstrap = evaluation.Bootstrap.draw(lesions, draws=20, seed=0)
    return subgroups.scores(cases, probabilities, columns=["lesion_size"], bootstrap=bootstrap)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What ``make paper`` leaves of some runs without meaning, its README included."""
    folder = tmp_path_factory.mktemp("published") / "reports"
    for study, hit in RUNS.items():
        publish(folder, study, 0, hit=hit)
    run = folder / WITH_ERRORS / "seed-0"
    table = pd.read_csv(run / "predictions.csv")
    told = table[table.part == "test"][["image_id", *predictions.COLUMNS]].assign(baseline="metadata alone")
    told[predictions.COLUMNS] = told[predictions.COLUMNS].to_numpy()[::-1]
    files.write_csv(run / "baselines.csv", told)
    metrics = summary.metrics(
        table, pd.read_csv(run / "split.csv"), draws=20, seed=0, baselines=pd.read_csv(run / "baselines.csv")
    )
    files.write_json(run / "metrics.json", metrics)
    sizes = size_rows(table)
    errors = summary.errors(table, metadata_of(table), draws=20, seed=0, sizes=sizes)
    files.write_json(
        run / "errors.json", errors | {"saliency_on_lesion": [{"value": 0.5}], "findings": ["**Melanoma.** One."]}
    )
    chosen = parameters.load("paper", {"output": str(folder), "bootstrap_draws": DRAWS})
    notebook = files.ROOT / "notebooks" / f"{pages.PAPER}.ipynb"
    pages.make(notebook, chosen, folder / paper.FOLDER / verification.PAGE)
    collection.make_road(folder, draws=DRAWS).write(folder / paper.FOLDER)
    evidence.write_sums(folder)
    return folder


@pytest.fixture
def published(page, tmp_path, monkeypatch):
    folder = shutil.copytree(page, tmp_path / "reports")
    path = tmp_path / "README.md"
    path.write_text("\n".join(line for block in readme.BLOCKS for line in readme.markers(block)))
    readme.write(path, folder)
    few = SimpleNamespace(load=lambda study: parameters.load(study, {"bootstrap_draws": DRAWS}))
    monkeypatch.setattr(verification, "parameters", few)
    monkeypatch.setattr(findings, "outdated", lambda numbers: [])  # these runs have no meaning
    return folder, path


def failed(published):
    folder, path = published
    return {check.what: check.faults for check in verification.verify(folder, readme=path) if check.faults}


@pytest.mark.parametrize("few", [0, verification.FEW], ids=["in processes", "in threads"])
def test_what_was_published_passes(published, monkeypatch, few):
    monkeypatch.setattr(verification, "FEW", few)
    folder, path = published
    checks = list(verification.verify(folder, readme=path))
    assert [check for check in checks if check.faults] == []
    hashes_runs_speeds_readme_road = 5
    assert len(checks) == hashes_runs_speeds_readme_road + 2 * len(RUNS) + 1 + len(collection.make(folder, draws=10))
    assert all(str(check).startswith("ok ") for check in checks)


def test_one_changed_probability_fails_even_with_a_new_hash(published):
    folder, _ = published
    path = folder / "paper" / "seed-0" / "predictions.csv"
    table = pd.read_csv(path)
    table.loc[table.part == "test", "p_nv"] *= 1.00001
    files.write_csv(path, table)
    assert "paper/seed-0/predictions.csv is not the published file" in failed(published)["files"][0]
    assert any("loss" in fault for fault in failed(published)["paper/seed-0/metrics.json"])
    evidence.write_sums(folder)
    faults = failed(published)
    assert "files" not in faults
    assert any("loss" in fault for fault in faults["paper/seed-0/metrics.json"])


def test_baselines_are_scored_again_from_what_they_said(published):
    folder, _ = published
    path = folder / WITH_ERRORS / "seed-0" / "baselines.csv"
    told = pd.read_csv(path)
    told["p_nv"] *= 1.001
    files.write_csv(path, told)
    evidence.write_sums(folder)
    [fault] = {fault.partition(" › ")[0] for fault in failed(published)[f"{WITH_ERRORS}/seed-0/metrics.json"]}
    assert fault == "baselines"


@pytest.mark.parametrize(("name", "at"), [("claims.csv", "tables/claims"), ("per_class.md", "tables/per_class")])
def test_a_number_changed_in_a_table_fails(published, name, at):
    path = published[0] / paper.FOLDER / name
    path.write_text(re.sub(r"0\.\d", "0.9", path.read_text(), count=3))
    assert at in failed(published)


def test_a_table_that_lost_its_rows_fails_once_its_runs_are_published(tmp_path):
    lost = paper.PaperTable("spread", pd.DataFrame(), pd.DataFrame(), "")
    there = {(f"quick_split_{split}", seed): Files(tmp_path) for split in range(3) for seed in range(3)}
    assert verification.lost_rows(lost, there) == ["it has no row, though all its runs of quick are published"]
    assert verification.lost_rows(lost, dict(list(there.items())[1:])) == []


def test_a_number_changed_in_the_page_or_the_readme_fails(published):
    folder, path = published
    page = folder / paper.FOLDER / verification.PAGE
    shown = collection.make(folder, draws=DRAWS)["claims"].shown["by image"][0]
    for changed in (page, path):
        assert changed.read_text().count(shown) >= 1
        changed.write_text(changed.read_text().replace(shown, "0.920 (0.900–0.940)"))
    assert {"tables/claims", "README.md"} <= set(failed(published))


def test_a_changed_metric_and_a_lost_file_fail_by_name(published):
    folder, _ = published
    path = folder / "paper_lesion" / "seed-0" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["headline"]["accuracy"]["value"] += 0.01
    files.write_json(path, metrics)
    (folder / "paper" / "seed-0" / "history.csv").unlink()
    faults = failed(published)
    said = faults["paper_lesion/seed-0/metrics.json"]
    assert len(said) == 1
    assert said[0].startswith("test › headline › accuracy › value: ")
    assert "paper/seed-0/history.csv is not there" in faults["files"]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("test_calibration › before › ece_fixed › value", 1e-6),
        ("test_decisions › melanoma › chosen › 90% sensitivity on calibration › threshold", 1e-6),
        ("test_decisions › malignant › prevalences › 5% › positive_predictive_value_low", 1e-6),
        ("test_net_benefit › 9 › high", 1e-6),
        ("test_referral › 2 › accuracy", 1e-6),
        ("test_conformal › a limit a class › nv › coverage", 1e-6),
        ("test_estimands › one vote a lesion › headline › macro_f1 › low", 1e-6),
        ("test_per_class › nv › auc › high", 1e-6),
        ("test_confusion › 0 › 3", 1),
        ("calibration › lesions", 1),
        ("temperature", 1e-6),
    ],
)
def test_every_number_of_a_runs_metrics_is_computed_again_and_named_where_it_differs(page, path, change):
    run = page / "paper" / "seed-0"
    metrics = json.loads((run / "metrics.json").read_text())
    place = metrics
    *keys, last = [int(key) if key.isdigit() else key for key in path.split(" › ")]
    for key in keys:
        place = place[key]
    place[last] += change
    found = summary.metrics(*(pd.read_csv(run / f"{name}.csv") for name in ("predictions", "split")), draws=20, seed=0)
    assert [said.partition(": ")[0] for said in verification.differences(metrics, files.plain(found))] == [path]


def test_a_difference_in_structure_is_named():
    stated = {"a": {"b": 1.0, "c": [1, 2]}, "d": None, "e": "x", "f": True}
    assert list(verification.differences(stated, stated)) == []
    found = {"a": {"c": [1], "g": 1}, "d": 0.5, "e": "y", "f": 1}
    assert list(verification.differences(stated, found)) == [
        "a › b is stated, and the predictions do not give it",
        "a › c: 2 entries are stated, the predictions give 1",
        "a › g is not stated",
        "d: None is stated, the predictions give 0.5",
        "e: x is stated, the predictions give y",
        "f: True is stated, the predictions give 1",
    ]
    close = {"a": {"b": 1 + 1e-10, "c": [1, 2]}, "d": None, "e": "x", "f": True}
    assert list(verification.differences(stated, close)) == []


@pytest.mark.parametrize("at_hand", [False, True])
def test_errors_are_computed_again_and_subgroups_where_the_datas_table_is_at_hand(page, tmp_path, at_hand):
    run = shutil.copytree(page / WITH_ERRORS / "seed-0", tmp_path / "reports" / WITH_ERRORS / "seed-0")
    evidence.write_sums(tmp_path / "reports")
    errors = json.loads((run / "errors.json").read_text())
    errors["hardest"][0]["p_true"] += 1e-6
    errors["subgroups"][0]["counted"] += 1
    errors["subgroups"][-1]["p_holm"] = 0.5  # by size: what needs the masks is taken as stated, its correction is not
    files.write_json(run / "errors.json", errors)
    metadata = metadata_of(pd.read_csv(run / "predictions.csv")) if at_hand else None
    checks = verification.verify(tmp_path / "reports", readme=files.ROOT / "README.md", metadata=metadata)
    faults = {check.what: check.faults for check in checks}[f"{WITH_ERRORS}/seed-0/errors.json"]
    expected = ["hardest › 0 › p_true"]
    if at_hand:
        expected += ["subgroups › 0 › counted", f"subgroups › {len(errors['subgroups']) - 1} › p_holm"]
    assert [fault.partition(": ")[0] for fault in faults] == expected


def test_a_run_without_the_calibration_part_fails_by_name(published):
    path = published[0] / "paper" / "seed-0" / "predictions.csv"
    table = pd.read_csv(path)
    files.write_csv(path, table[table.part != "calibration"])
    assert failed(published)["paper/seed-0/metrics.json"] == [
        "cannot be computed again: predictions have no calibration image"
    ]


def test_a_file_that_is_not_listed_is_named_and_a_run_of_ones_own_changes_nothing(published):
    publish(published[0] / "local", "paper", 1)
    assert failed(published) == {}
    (published[0] / "tables" / "another.md").write_text("0.92")
    assert failed(published)["files"][0] == "tables/another.md is not listed"


@pytest.mark.parametrize("name", ["04_evaluation.html", "05_error_analysis.html"])
def test_a_number_changed_in_a_page_of_a_run_fails(published, name):
    page = published[0] / "paper" / "seed-0" / name
    found = pd.concat(tables.with_interval(each) for each in verification._scored(summary_of(page.parent)))
    page.write_text(" ".join(found) + " 110 of 170 melanomas")
    evidence.write_sums(published[0])
    assert failed(published) == {}
    page.write_text(page.read_text().replace("110 of", "11 of"))
    assert f"paper/seed-0/{name} is not the published file" in failed(published)["files"]


@pytest.mark.parametrize("table", ["headline", "per class", "calibration"])
def test_a_number_changed_in_a_table_of_the_evaluation_fails_even_with_a_new_hash(published, table):
    page = published[0] / "paper" / "seed-0" / "04_evaluation.html"
    found = summary_of(page.parent)
    tabled = {"headline": found["validation"]["headline"], "calibration": found["test_calibration"]["after"]}
    tabled["per class"] = found["test_per_class"].loc[pd.IndexSlice[:, ["f1"]], :]
    shown = [*pd.concat(tables.with_interval(each) for each in verification._scored(found))]
    page.write_text(" ".join(shown))
    evidence.write_sums(published[0])
    assert failed(published) == {}
    [changed, *_] = tables.with_interval(tabled[table])
    page.write_text(page.read_text().replace(changed, changed[::-1]))
    evidence.write_sums(published[0])
    assert f"04_evaluation.html does not print {changed}" in failed(published)["paper/seed-0/metrics.json"]


def test_a_finding_that_a_page_does_not_say_fails(published):
    page = published[0] / WITH_ERRORS / "seed-0" / "05_error_analysis.html"
    for text, well in (("<p><b>Melanoma.</b>\nOne.</p>", True), ("<p><b>Melanoma.</b> None.</p>", False)):
        page.write_text(text)
        evidence.write_sums(published[0])
        assert (failed(published) == {}) is well


FALSE_PROSE = ["It reaches 92.3%.", "An accuracy of 0.92.", "It is right in 95 percent.", "a | b\n--- | ---\nF1 | 0.88"]


@pytest.mark.parametrize("prose", FALSE_PROSE)
def test_a_score_in_the_readme_outside_of_its_blocks_fails(published, prose):
    _, path = published
    path.write_text(f"The claim is 92%, see 10.7910/DVN, 2.8 GB, version 0.1.\n{path.read_text()}")
    assert failed(published) == {}
    path.write_text(f"{path.read_text()}\n{prose}\n")
    assert "outside of its blocks" in failed(published)["README.md"][0]


def test_a_block_that_is_there_twice_fails(published):
    _, path = published
    path.write_text(path.read_text() * 2)
    assert "its block `answer` is there 2 times" in failed(published)["README.md"]


@pytest.mark.parametrize("gone", ["manifest.json", "split.csv"])
def test_a_run_that_is_not_whole_fails_even_with_a_new_list(published, gone):
    (published[0] / "quick" / "seed-0" / gone).write_text("") if gone.endswith("json") else (
        published[0] / "quick" / "seed-0" / gone
    ).unlink()
    evidence.write_sums(published[0])
    assert "quick/seed-0 lacks one of" in failed(published)["runs"][0]


def test_speeds_that_are_not_those_of_their_record_fail(published):
    folder = published[0] / "benchmarks"
    rows = [{"benchmark": "b", "side": 96, "images_per_second": speed, "times_the_loop": speed / 2} for speed in (2, 9)]
    files.write_json(folder / "speed.json", {"rows": rows})
    files.write_csv(folder / "speed.csv", pd.DataFrame(rows))
    evidence.write_sums(published[0])
    assert failed(published) == {}
    files.write_csv(folder / "speed.csv", pd.DataFrame(rows).replace(9, 99))
    evidence.write_sums(published[0])
    assert failed(published)["benchmarks"] == ["speed.csv says something else than speed.json"]
    rows[1]["times_the_loop"] = 45.0
    files.write_json(folder / "speed.json", {"rows": rows})
    files.write_csv(folder / "speed.csv", pd.DataFrame(rows))
    assert "times_the_loop" in failed(published)["benchmarks"][0]


def test_costs_that_are_not_those_of_their_record_fail(published):
    folder = published[0] / "benchmarks"
    files.write_json(folder / "costs.json", {"rows": [{"network": "resnet18", "megabytes": 45.0}]})
    files.write_csv(folder / "costs.csv", pd.DataFrame([{"network": "resnet18", "megabytes": 4.5}]))
    assert failed(published)["benchmarks"] == ["costs.csv says something else than costs.json"]


def summary_of(run):
    return summary.metrics(*(pd.read_csv(run / f"{name}.csv") for name in ("predictions", "split")), draws=20, seed=0)


def test_the_page_says_what_it_is_of_and_has_every_table(page):
    text = (page / paper.FOLDER / verification.PAGE).read_text()
    assert "drawn at random" in text
    assert 'href="../index.html"' in text
    made = collection.make(page, draws=10).values()
    assert text.count("<caption") == sum(len(table.numbers) > 0 for table in made) < len(made)
    assert "No run is here yet." in text[text.index("Left out") :]
    assert len(text) < 2_000_000
    assert not list((page / paper.FOLDER).glob("*.partial.ipynb"))


def test_what_is_committed_passes_and_says_so_in_few_lines(capsys):
    assert main(["verify"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("All ")
    assert len(said) <= 3


def test_the_command_ends_in_an_error_where_a_check_fails(monkeypatch, capsys):
    checks = [verification.Check("one", [], "well"), verification.Check("other", ["a fault"], "")]
    monkeypatch.setattr(verification, "verify", lambda folder, **given: iter(checks))
    assert main(["verify"]) == 1
    said = capsys.readouterr()
    assert "FAILED  other: a fault" in said.out
    assert "1 of 2 checks failed" in said.err
    assert "git checkout -- reports" in said.err  # however many faults there are


def test_a_clone_that_turns_line_ends_has_the_published_bytes(tmp_path):
    """Git for Windows is installed with core.autocrlf=true."""
    if not (files.ROOT / ".git").exists():
        pytest.skip("this copy is no clone")
    clone = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", "clone", "--quiet", "--depth=1"]
    subprocess.run([*clone, files.ROOT.as_uri(), str(tmp_path / "clone")], check=True)
    check = verification._hashes(tmp_path / "clone" / "reports")
    assert check.faults == []
    assert b"\r\n" not in (tmp_path / "clone" / "README.md").read_bytes()


@pytest.mark.parametrize(("printed", "fault"), [("", False), ("Accuracy is 0.920 (0.900–0.940).", True)])
def test_a_value_with_its_interval_in_a_sentence_is_one_of_the_metrics(published, printed, fault):
    run = Files(published[0] / WITH_ERRORS / "seed-0")
    found = verification.summary.metrics(
        run.read_csv("predictions.csv"), run.read_csv("split.csv"), **verification._given(run)
    )
    cells = {each for table in verification._scored(found) for each in tables.with_interval(table)}
    (run.folder / "04_evaluation.html").write_text(f"<p>{' | '.join(sorted(cells))}</p><p>{printed}</p>")
    faults = verification._metrics(run)[0]
    assert faults == (["04_evaluation.html says 0.920 (0.900–0.940)"] if fault else [])
