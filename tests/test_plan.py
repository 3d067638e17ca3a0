import json

import numpy as np
import pytest
from conftest import publish

from skinlesion import parameters, plan, runs, studies


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Two runs of quick on this machine, 90 s each, and one of paper on another."""
    monkeypatch.setattr(runs, "PUBLISHED", tmp_path / "published")
    for study, seed, machine in (
        ("quick", 0, runs.hardware()),
        ("quick", 2, runs.hardware()),
        ("paper", 0, "an abacus"),
    ):
        path = publish(tmp_path / "own", study, seed) / "manifest.json"
        path.write_text(path.read_text().replace("an abacus", machine))
    return plan.here(tmp_path / "own")


def test_planned_runs_that_are_not_there_are_missing(found):
    planned = studies.everything()
    left = plan.missing(planned, found)
    assert ("quick", 1) in left
    assert ("quick", 0) not in left
    same = {("quick_split_0", 0), ("quick_split_2", 2)}  # the trainings of quick, seeds 0 and 2
    assert same.isdisjoint(left) and ("quick_split_0", 2) in left
    assert len(left) == sum(study.seeds for study in planned.values()) - 3 - len(same)
    table = plan.table(planned, found).set_index("study")
    assert table.runs["quick"] == "2 of 3"
    assert "demo" not in table.index


def test_a_published_run_is_there_though_what_one_has_of_it_is_not_finished(found, tmp_path):
    publish(tmp_path / "published", "quick", 1)
    publish(tmp_path / "own", "quick", 1)
    (tmp_path / "own" / "quick" / "seed-1" / "history.csv").unlink()
    here = plan.here(tmp_path / "own")
    assert here["quick", 1].folder == tmp_path / "published" / "quick" / "seed-1"
    assert here["quick", 0].folder == found["quick", 0].folder


def test_time_goes_with_epochs_and_pixels_of_the_nearest_run_on_this_machine(found):
    one = plan.estimate(parameters.load("quick"), found)
    assert one == pytest.approx(90)
    larger = parameters.load("quick", {"image_size": 192, "epochs": 5})
    assert plan.estimate(larger, found) == pytest.approx(90 * 4 / 2)
    elsewhere = {key: run for key, run in found.items() if key[0] == "paper"}
    assert np.isnan(plan.estimate(larger, elsewhere))


def test_inputs_are_those_of_the_study_and_of_every_file(tmp_path):
    (tmp_path / "part").mkdir()
    image = tmp_path / "part" / "a.jpg"
    image.write_bytes(b"12")
    chosen = parameters.load("quick", {"data": str(tmp_path), "seed": 3})
    facts = plan.inputs(chosen)
    assert facts["files"][str(image)][0] == 2
    assert facts == plan.inputs(chosen.model_copy(update={"seed": 4}))
    assert facts != plan.inputs(chosen.model_copy(update={"epochs": 4}))
    json.dumps(facts)
