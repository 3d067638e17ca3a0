"""A run trained: what it starts from, one call that trains it, and the files it leaves for everything after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from skinlesion import files, runs
from skinlesion.data import dataset, hashes, images, mistakes, preprocessing, splits
from skinlesion.learning import augmentation, distributed, inference, models, training
from skinlesion.learning.engine import TrainingError
from skinlesion.parameters import DECISIVE, Parameters
from skinlesion.scoring import predictions

BEFORE = -1
"""Number of the epoch whose draws alter the copies that are made before training."""

DIGITS = 5
"""Of the probabilities in ``readings.csv``."""


@dataclass(frozen=True)
class Inputs:
    """What a run is trained on.

    Attributes
    ----------
    metadata, store, split
        The data's table, the decoded images (uint8 of shape (N, H, W, 3)), and the part of each; with the copies that a
        mistake of the study adds.
    record
        For the reports and the manifest: data (title, synthetic, fingerprint) and weights, in words.
    teachers
        Networks that teach this one, by the SHA-256 of their files.
    """

    metadata: pd.DataFrame
    store: np.ndarray
    split: pd.DataFrame
    record: Mapping[str, Any]
    teachers: Mapping[str, nn.Module] = field(default_factory=dict)

    def rows(self, *parts: str) -> np.ndarray:
        """Return the rows of some parts, as :func:`skinlesion.data.splits.rows`."""
        return splits.rows(self.split, self.metadata, *parts)


def open_inputs(run: runs.Run) -> Inputs:
    """Open what a run is trained on; where it has no split yet, that is drawn and written as by notebook 02.

    Raises
    ------
    skinlesion.data.archives.DatasetError, skinlesion.learning.models.WeightsError
        If data or starting weights cannot be used.
    skinlesion.data.splits.SplitError
        If the split is of other data or parameters.
    skinlesion.learning.engine.TrainingError
        If the study has teachers, and none is there or one knows an image that this run does not train on.
    """
    chosen = run.parameters
    data = dataset.open_dataset(chosen)
    weights = models.describe_weights(chosen.backbone, chosen.weights)
    store = images.open_store(data, size=chosen.image_size, cache=run.cache, resize=chosen.resize)
    with files.alone(run.folder, "split.csv", wait=print):  # of several processes, one
        if not run.files("split.csv").find("split.csv"):
            print("there is no split yet: it is drawn as in notebook 02, which may take minutes", flush=True)
            preprocessing.preprocess(run, data, store).write(run)
    split = run.read_csv("split.csv")
    teachers = _teachers(run, split)
    if teachers:
        weights += f"; taught by {chosen.teachers} ({', '.join(f'{digest[:8]}…' for digest in teachers)})"
    record = {"data": images.describe(data, cache=run.cache), "weights": weights}
    rows = mistakes.rows(split, data.metadata)
    if (rows < 0).any() or not splits.is_of(chosen, split, data.metadata):
        raise splits.SplitError("split.csv was drawn for other data or parameters: run notebook 02 again")
    metadata = data.metadata.iloc[rows].reset_index(drop=True).assign(image_id=split.image_id)
    return Inputs(metadata, _with_copies(store, rows, chosen), split, record, teachers)


def _teachers(run: runs.Run, split: pd.DataFrame) -> dict[str, nn.Module]:
    """Return the networks of the study that teaches, by the hash of their files, in the order of their seeds."""
    study = run.parameters.teachers
    mine = set(split.image_id[split.part == "train"])
    found: dict[str, nn.Module] = {}
    for each in runs.find(files.resolve(run.parameters.output), study).values() if study else ():
        if not each.finished or not each.find("model.safetensors"):
            continue
        known = each.read_csv("split.csv").query("part == 'train'").image_id
        if not set(known) <= mine:
            raise TrainingError(
                f"{files.shown(each.folder)} cannot teach: it was trained on images that this run validates or tests "
                "on. Let both draw the same split (`split_seed`)"
            )
        path = each.require("model.safetensors")
        found[files.sha256(path)] = inference.load(path)[0]
    if study and not found:
        raise TrainingError(f"no network of {study} is here to teach: train it first (make report STUDY={study})")
    return found


def _with_copies(store: np.ndarray, rows: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Return the images of some rows of a store, whose first are all of it; the others are copies, altered or not."""
    images_there = len(store)
    if len(rows) == images_there:
        return store
    whole = np.empty((len(rows), *store.shape[1:]), np.uint8)
    whole[:images_there] = store
    uniform = augmentation.draw(parameters.drawn_with, BEFORE, len(rows))[0]
    places = np.arange(images_there, len(rows))
    for some in tqdm(np.array_split(places, len(places) // 256 + 1), desc="copy", unit="batch", leave=False):
        copied = torch.from_numpy(store[rows[some]])
        if parameters.mistake in mistakes.ALTERED:
            views = augmentation.augment(augmentation.to_float(copied), uniform[some], parameters)
            copied = (views * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        whole[some] = copied.numpy()
    return whole


@dataclass(frozen=True)
class Kept:
    """What is known of a finished run whose state is gone; names as in ``training.Trained``."""

    history: pd.DataFrame
    selected_epoch: int
    device: str
    precision: str


def train(run: runs.Run, inputs: Inputs, *, report: Callable[[str], None] = print) -> training.Trained | Kept:
    """Train a run, or finish one that was cut off; with the errors of :func:`skinlesion.learning.training.train`.

    A run of the same recipe and data that was finished here, and whose state is gone, is not trained again.

    Raises
    ------
    skinlesion.files.BusyError
        If another process trains it, naming that.
    """
    with files.alone(run.folder) if distributed.rank() == 0 else contextlib.nullcontext():
        if kept := _kept(run, inputs):
            report("this run is finished: it is not trained again")
            return kept
        return training.train(
            inputs.store,
            inputs.metadata.dx.map(dataset.DX.index).to_numpy(dtype=np.int64),
            train_rows=inputs.rows("train"),
            validation_rows=inputs.rows(mistakes.selecting(run.parameters.mistake)),
            watched_rows=inputs.rows(*splits.SCORED),
            parameters=run.parameters,
            checkpoint=run.folder / "checkpoint",
            fingerprint=" ".join((inputs.record["data"]["fingerprint"], *inputs.teachers)),
            teachers=list(inputs.teachers.values()),
            record=runs.record(),
            report=report,
        )


def _kept(run: runs.Run, inputs: Inputs) -> Kept | None:
    own = runs.Files(run.parameters.run_folder)
    if not own.finished or (run.folder / "checkpoint").exists():
        return None
    manifest, now = own.manifest, runs.manifest(run, **inputs.record)
    differing = [name for name in DECISIVE if own.parameters[name] != now["parameters"][name]]
    facts = [(each["data"]["fingerprint"], each["weights"]) for each in (manifest, now)]
    if differing or facts[0] != facts[1]:
        return None
    return Kept(own.read_csv("history.csv"), manifest["selected_epoch"], manifest["device"], manifest["precision"])


def leave(run: runs.Run, inputs: Inputs, trained: training.Trained | Kept) -> None:
    """Write what the run leaves: ``predictions.csv`` is the last file written.

    Before it, ``history.csv``, ``model.safetensors``, ``trained_on.bin``, ``epochs.npz`` and ``manifest.json``.

    Where the study asks for ``readings``, or takes several ``views``, also ``readings.csv``.

    ``epochs.npz`` holds the probabilities after every epoch, float16 of shape (epochs, n, 7), of the images of
    ``predictions.csv`` in its order.
    """
    if isinstance(trained, Kept):
        return
    with training.threads(int(trained.history.threads.iloc[-1])):  # so that these bits can be had again, too
        table = _said(inputs, trained, views=run.parameters.views)
        more = _readings(run.parameters, inputs, trained, table)
    run.write_csv("history.csv", trained.history)
    inference.save(trained.model, run.folder / "model.safetensors", run.parameters)
    note_trained_on(run, inputs)
    with files.atomic(run.folder / "epochs.npz") as temporary, temporary.open("wb") as opened:
        np.savez_compressed(opened, probabilities=trained.watched)
    manifest = runs.manifest(
        run,
        **inputs.record,
        sittings=trained.sittings,
        training_seconds=trained.history.seconds.sum(),
        selected_epoch=trained.selected_epoch,
        device=trained.device,
        precision=trained.precision,
        engine=trained.engine,
        network=files.sha256(run.folder / "model.safetensors"),
    )
    run.write_json("manifest.json", manifest)
    if more:
        run.write_csv("readings.csv", pd.concat([each.assign(reading=name) for name, each in more.items()]))
    run.write_csv("predictions.csv", table)


def _said(inputs: Inputs, trained: training.Trained, **more: Any) -> pd.DataFrame:
    return inference.predict_parts(trained.model, inputs.store, metadata=inputs.metadata, split=inputs.split, **more)


def _readings(
    parameters: Parameters, inputs: Inputs, trained: training.Trained, table: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return what else the same training says, by name; probabilities are rounded.

    ``train``: of the images it was trained on. ``test_selected``: of test and vault by the network after the epoch of
    highest test accuracy, the first of several. ``one_view``: of the images of `table` in one view each, where it
    holds means over several.
    """
    found = {}
    if parameters.views > 1:
        found["one_view"] = _said(inputs, trained)
    if parameters.readings:
        tested = (table.part == "test").to_numpy()
        right = trained.watched.argmax(2) == table.dx.map(dataset.DX.index).to_numpy()
        said = trained.watched[right[:, tested].mean(1).argmax()].astype(float)
        chosen = table.copy()
        chosen[predictions.COLUMNS] = said / said.sum(1, keepdims=True)
        found["train"] = _said(inputs, trained, parts=("train",))
        found["test_selected"] = chosen[chosen.part.isin(("test", splits.VAULT))]
    return {name: each.round(dict.fromkeys(predictions.COLUMNS, DIGITS)) for name, each in found.items()}


def note_trained_on(run: runs.Run, inputs: Inputs) -> None:
    """Write the hashes of the training images, so that ``predict`` knows them again."""
    rows = inputs.rows("train")
    files.write_bytes(run.folder / inference.TRAINED_ON, hashes.of_each(inputs.store[row] for row in rows).tobytes())
