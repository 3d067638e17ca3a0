import json
import re
import shutil

import pandas as pd
import pytest
from conftest import publish

from skinlesion import files, parameters
from skinlesion.__main__ import main
from skinlesion.paper import claims, evidence, verification
from skinlesion.reporting import pages, tables

RUNS = {"paper": 0.6, "paper_lesion": 0.3, "quick_clean": 0.3, "quick_injected": 0.6}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What ``make paper`` leaves of some runs without meaning, its README included."""
    folder = tmp_path_factory.mktemp("published") / "reports"
    for study, hit in RUNS.items():
        publish(folder, study, 0, hit=hit)
    chosen = parameters.load("paper", {"output": str(folder), "bootstrap_draws": 1000})
    notebook = files.ROOT / "notebooks" / f"{pages.PAPER}.ipynb"
    pages.make(notebook, chosen, folder / claims.FOLDER / verification.PAGE)
    return folder


@pytest.fixture
def published(page, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCKS", {"claims": tables.BLOCKS["claims"]})
    folder = shutil.copytree(page, tmp_path / "reports")
    readme = tmp_path / "README.md"
    readme.write_text("\n".join(tables.markers("claims")))
    tables.write_blocks(readme, folder)
    return folder, readme


def failed(published):
    folder, readme = published
    return {check.what: check.faults for check in verification.verify(folder, readme=readme) if check.faults}


def test_what_was_published_passes(published):
    folder, readme = published
    checks = list(verification.verify(folder, readme=readme))
    assert [check for check in checks if check.faults] == []
    assert len(checks) == 2 * len(RUNS) + len(claims.make(folder, draws=10)) + 1
    assert all(str(check).startswith("ok ") for check in checks)


def test_one_changed_probability_fails_even_with_a_new_hash(published):
    folder, _ = published
    path = folder / "paper" / "seed-0" / "predictions.csv"
    table = pd.read_csv(path)
    table.loc[table.part == "test", "p_nv"] *= 1.00001
    files.write_csv(path, table)
    assert "paper/seed-0/predictions.csv is not the published file" in failed(published)["paper/seed-0"][0]
    assert any("loss" in fault for fault in failed(published)["paper/seed-0/metrics.json"])
    evidence.write_sums(folder)
    faults = failed(published)
    assert "paper/seed-0" not in faults
    assert any("loss" in fault for fault in faults["paper/seed-0/metrics.json"])


@pytest.mark.parametrize(("name", "at"), [("claims.csv", "tables/claims"), ("per_class.md", "tables/per_class")])
def test_a_number_changed_in_a_table_fails(published, name, at):
    path = published[0] / claims.FOLDER / name
    path.write_text(re.sub(r"0\.\d", "0.9", path.read_text(), count=3))
    assert at in failed(published)


def test_a_number_changed_in_the_page_or_the_readme_fails(published):
    folder, readme = published
    path = folder / claims.FOLDER / verification.PAGE
    shown = claims.make(folder, draws=1000)["claims"].shown["by image"][0]
    assert path.read_text().count(shown) >= 1
    path.write_text(path.read_text().replace(shown, "0.920 (0.900–0.940)"))
    readme.write_text(readme.read_text().replace(shown, "0.920 (0.900–0.940)"))
    assert {"tables/claims", "README.md"} <= set(failed(published))


def test_a_changed_metric_and_a_lost_file_fail_by_name(published):
    folder, _ = published
    path = folder / "paper_lesion" / "seed-0" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["headline"]["accuracy"]["value"] += 0.01
    files.write_json(path, metrics)
    (folder / "paper" / "seed-0" / "history.csv").unlink()
    faults = failed(published)
    assert any("test accuracy, value" in fault for fault in faults["paper_lesion/seed-0/metrics.json"])
    assert "paper/seed-0/history.csv is not there" in faults["paper/seed-0"]


def test_a_run_that_was_not_published_changes_nothing(published):
    publish(published[0], "paper", 1)
    assert failed(published) == {}


def test_the_page_says_what_it_is_of_and_has_every_table(page):
    text = (page / claims.FOLDER / verification.PAGE).read_text()
    assert "drawn at random" in text
    assert 'href="../index.html"' in text
    assert text.count("<caption") == len(claims.make(page, draws=10))
    assert len(text) < 2_000_000
    assert not list((page / claims.FOLDER).glob("*.partial.ipynb"))


def test_what_is_committed_passes_and_says_so_line_by_line(capsys):
    assert main(["verify"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert f"All {len(lines)} checks passed" in last


def test_the_command_ends_in_an_error_where_a_check_fails(monkeypatch, capsys):
    checks = [verification.Check("one", [], "well"), verification.Check("other", ["a fault"], "")]
    monkeypatch.setattr(verification, "verify", lambda folder, *, readme: iter(checks))
    assert main(["verify"]) == 1
    said = capsys.readouterr()
    assert "FAILED  other: a fault" in said.out
    assert "1 of 2 checks failed" in said.err
