import subprocess

import pandas as pd
import pytest
from conftest import publish

from skinlesion.paper import evidence
from skinlesion.paper.evidence import EvidenceError
from skinlesion.runs import RunError


def test_only_finished_runs_count_in_the_order_of_their_seeds(tmp_path):
    for seed in (10, 2):
        publish(tmp_path, "paper", seed)
    (publish(tmp_path, "paper", 3) / "predictions.csv").unlink()
    found = evidence.find(tmp_path, "paper")
    assert found.seeds == [2, 10]
    assert list(found.predictions) == [2, 10]
    assert evidence.find(tmp_path, "paper_lesion").seeds == []
    assert found.hardware == "an abacus"
    assert found.said("data", "title") == "drawn at random"
    assert not found.synthetic


def test_a_damaged_file_is_named(tmp_path):
    run = publish(tmp_path, "paper", 0)
    table = pd.read_csv(run / "predictions.csv")
    (run / "history.csv").write_text("")
    with pytest.raises(RunError, match=r"history.csv cannot be read"):
        _ = evidence.find(tmp_path, "paper").histories
    (run / "predictions.csv").write_text("image_id\nISIC_1\n")
    with pytest.raises(RunError, match=r"predictions.csv cannot be read: it lacks the column"):
        _ = evidence.find(tmp_path, "paper").predictions
    table.assign(p_nv=2).to_csv(run / "predictions.csv", index=False)
    with pytest.raises(EvidenceError, match=r"cannot be used: predictions, line 2"):
        _ = evidence.find(tmp_path, "paper").predictions


def test_the_list_of_hashes_is_of_every_published_file_and_one_that_sha256sum_reads(tmp_path):
    run = publish(tmp_path, "paper", 0)
    publish(tmp_path / "local", "paper", 1)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "page.html").write_text("0.92")
    path = evidence.write_sums(tmp_path)
    listed = {f"paper/seed-0/{name.name}" for name in run.iterdir()} | {"tables/page.html"}
    assert set(evidence.read_sums(tmp_path)) == listed
    check = ["sha256sum", "--check", "--quiet", path.name]
    assert subprocess.run(check, cwd=tmp_path, check=False).returncode == 0
    (run / "history.csv").write_text("")
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode != 0


def test_without_a_list_it_is_said_what_writes_it(tmp_path):
    with pytest.raises(EvidenceError, match="SHA256SUMS is not there: `make paper` writes it"):
        evidence.read_sums(tmp_path)
