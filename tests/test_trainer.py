import dataclasses

import numpy as np
import pandas as pd
import pytest

from skinlesion import parameters, runs
from skinlesion.data import dataset, mistakes, splits
from skinlesion.learning import trainer, training
from skinlesion.learning.trainer import Inputs, Kept
from skinlesion.scoring import predictions


@pytest.fixture
def finished(tiny):
    """A run that left its files, and whose state is gone."""
    run = runs.Run(tiny)
    record = {"data": {"title": "some", "synthetic": False, "fingerprint": "f" * 64}, "weights": "none"}
    inputs = Inputs(pd.DataFrame(), np.empty(0), pd.DataFrame(), record)
    run.write_csv("history.csv", pd.DataFrame({name: [1.0, 2.0] for name in runs.COLUMNS["history.csv"]}))
    run.write_csv("split.csv", pd.DataFrame({"image_id": ["SYN_0000001"], "part": ["test"]}))
    run.write_csv("predictions.csv", pd.DataFrame({"image_id": ["SYN_0000001"]}))
    left = {"selected_epoch": 2, "device": "cpu", "precision": "float32"}
    run.write_json("manifest.json", runs.manifest(run, **record, **left))
    return run, inputs


def test_a_finished_run_is_not_trained_again(finished, monkeypatch):
    run, inputs = finished
    monkeypatch.setattr(training, "train", None)
    kept = trainer.train(run, inputs)
    assert isinstance(kept, Kept)
    assert (kept.selected_epoch, len(kept.history)) == (2, 2)
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    trainer.leave(run, inputs, kept)
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


@pytest.mark.parametrize("change", ["recipe", "data", "state", "file"])
def test_a_run_of_another_recipe_or_data_or_with_a_state_is_trained(finished, monkeypatch, change):
    run, inputs = finished
    if change == "recipe":
        run = runs.Run(run.parameters.model_copy(update={"label_smoothing": 0.25}))
    elif change == "data":
        inputs.record["data"]["fingerprint"] = "e" * 64
    elif change == "state":
        (run.folder / "checkpoint").mkdir()
    else:
        (run.folder / "predictions.csv").unlink()
    inputs = dataclasses.replace(inputs, metadata=pd.DataFrame({"dx": ["nv"]}))
    monkeypatch.setattr(training, "train", lambda *given, **more: "trained")
    monkeypatch.setattr(Inputs, "rows", lambda self, *parts: np.arange(1))
    assert trainer.train(run, inputs) == "trained"


@pytest.mark.parametrize("mistake", [None, "oversampled", "augmented"])
def test_copies_are_the_images_again_or_altered_and_the_vault_has_none(opened, tiny, tmp_path, mistake):
    chosen = tiny.model_copy(update={"split_by": "lesion", "vault_fraction": 0.15, "mistake": mistake, "seed": 1})
    run = runs.Run(chosen)
    split = splits.draw(opened.metadata, chosen)
    run.write_csv("split.csv", split)
    inputs = trainer.open_inputs(run)
    originals = len(opened.metadata)
    rows = mistakes.rows(split, opened.metadata)
    assert len(inputs.store) == len(inputs.metadata) == len(split)
    assert (len(split) > originals) == (mistake is not None)
    assert (inputs.metadata.dx.to_numpy() == opened.metadata.dx.to_numpy()[rows]).all()
    assert not inputs.split.image_id[inputs.rows(splits.VAULT)].str.contains("+", regex=False).any()
    for copy in range(originals, min(originals + 5, len(split))):
        same = (inputs.store[copy] == inputs.store[rows[copy]]).all()
        assert same == (mistake == "oversampled")
        assert np.abs(inputs.store[copy].astype(int) - inputs.store[rows[copy]]).mean() < 80
    again = trainer.open_inputs(run)
    assert (again.store == inputs.store).all()


def test_readings_are_of_training_images_and_of_the_epoch_that_is_best_on_the_test_part(monkeypatch):
    chosen = parameters.load("quick_road_clean")
    table = pd.DataFrame({"image_id": list("abcd"), "part": ["validation", "test", "test", "vault"], "dx": "nv"})
    table[predictions.COLUMNS] = 1 / 7
    right, wrong = np.eye(7)[dataset.DX.index("nv")], np.eye(7)[0]
    watched = np.array([[wrong, right, wrong, right], [right, right, right, wrong], [right, wrong, wrong, right]])
    trained = type("Trained", (), {"watched": watched.astype(np.float16)})
    monkeypatch.setattr(trainer, "_said", lambda inputs, trained, **more: table.assign(part=more["parts"][0]))
    found = trainer._readings(chosen, None, trained, table)
    assert set(found) == {"train", "test_selected"}
    assert set(found["train"].part) == {"train"}
    chosen = found["test_selected"].set_index("image_id")
    assert list(chosen.index) == ["b", "c", "d"]
    assert list(chosen.p_nv) == [1, 1, 0]  # as after the second epoch
    assert trainer._readings(parameters.load("quick"), None, trained, table) == {}
