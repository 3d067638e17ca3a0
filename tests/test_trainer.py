import dataclasses
import os

import numpy as np
import pandas as pd
import pytest
import torch

from skinlesion import files, parameters, runs
from skinlesion.data import dataset, mistakes, splits
from skinlesion.learning import inference, models, trainer, training
from skinlesion.learning.engine import TrainingError
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


def test_a_run_that_another_process_trains_is_left_to_it_which_is_named_and_keeps_its_split(finished):
    run, inputs = finished
    with files.alone(run.folder):
        for act in (lambda: trainer.train(run, inputs), lambda: run.write_csv("split.csv", pd.DataFrame())):
            with pytest.raises(
                files.BusyError, match=rf"process {os.getpid()} on .* is at work on seed-0: wait for it"
            ):
                act()
        run.write_json("eda.json", {})  # nobody trains on this


@pytest.mark.parametrize("change", ["recipe", "arithmetic", "a new parameter", "weights", "data", "state", "file"])
def test_a_run_of_another_recipe_or_data_or_with_a_state_is_trained(finished, monkeypatch, change):
    run, inputs = finished
    if change == "recipe":
        run = runs.Run(run.parameters.model_copy(update={"label_smoothing": 0.25}))
    elif change == "arithmetic":
        run = runs.Run(run.parameters.model_copy(update={"precision": "float32"}))
    elif change == "a new parameter":  # the run is older
        manifest = run.read_json("manifest.json")
        del manifest["parameters"]["sharpness"]
        run.write_json("manifest.json", manifest)
        run = runs.Run(run.parameters.model_copy(update={"sharpness": 0.05}))
    elif change == "weights":
        inputs = dataclasses.replace(inputs, record={**inputs.record, "weights": "others"})
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
    other = runs.Run(chosen.model_copy(update={"split_seed": 7}))
    with pytest.raises(splits.SplitError, match="drawn for other data or parameters: run notebook 02 again"):
        trainer.open_inputs(other)


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


def test_only_networks_that_know_no_other_image_teach(tiny, opened):
    run = runs.Run(tiny.model_copy(update={"study": "taught", "teachers": "demo", "taught": 0.5}))
    split = splits.draw(opened.metadata, tiny)
    run.write_csv("split.csv", split)
    with pytest.raises(TrainingError, match="no network of demo is here to teach: train it first"):
        trainer.open_inputs(run)
    network = models.build("mobilenet_v2", weights="none", classes=7, seed=0)
    for seed in (0, 1):
        teacher = runs.Run(tiny.model_copy(update={"seed": seed}))
        inference.save(network, teacher.folder / "model.safetensors", teacher.parameters)
        for name in ("history.csv", "predictions.csv"):
            teacher.write_csv(name, pd.DataFrame({each: [1.0] for each in runs.COLUMNS[name]}))
        teacher.write_json("manifest.json", {"data": {}})
        teacher.write_csv("split.csv", split)
    inputs = trainer.open_inputs(run)
    digests = [files.sha256(teacher.folder.with_name(f"seed-{seed}") / "model.safetensors") for seed in (0, 1)]
    assert list(inputs.teachers) == digests
    assert inputs.record["weights"].endswith(f"; taught by demo ({digests[0][:8]}…, {digests[1][:8]}…)")
    tested = np.flatnonzero(split.part == "test")[0]
    teacher.write_csv("split.csv", split.assign(part=split.part.where(split.index != tested, "train")))
    with pytest.raises(TrainingError, match=r"seed-1 cannot teach: it was trained on images that this run validates"):
        trainer.open_inputs(run)


def test_a_taught_run_learns_from_its_teachers_and_another_state_is_not_gone_on_with(tiny, task, tmp_path):
    chosen = tiny.model_copy(update={"study": "taught", "teachers": "demo", "taught": 0.5, "epochs": 1})
    networks = {name: models.build("mobilenet_v2", weights="none", classes=7, seed=0) for name in "ab"}
    for k, network in enumerate(networks.values()):
        torch.nn.init.constant_(network.classifier[1].bias[k], 3.0)  # each has a class of its own
    metadata = pd.DataFrame({"image_id": [f"SYN_{k}" for k in range(84)], "dx": np.array(dataset.DX)[task[1]]})
    part = np.array(["train", "train", "validation", "calibration", "test"])[np.arange(84) % 5]
    split = metadata[["image_id"]].assign(part=part)
    record = {"data": {"fingerprint": "f" * 64}, "weights": "none"}
    left, said = {}, []
    for name, network in networks.items():
        inputs = Inputs(metadata, task[0], split, record, {name: network.eval()})
        left[name] = trainer.train(runs.Run(chosen), inputs, report=said.append)
    assert (left["a"].history.train_loss != left["b"].history.train_loss).all()
    assert not any("resumed" in each for each in said)
