"""A run trained: what it starts from, one call that trains it, and the files it leaves for everything after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skinlesion import files, runs
from skinlesion.data import dataset, hashes, images, splits
from skinlesion.learning import inference, models, training


@dataclass(frozen=True)
class Inputs:
    """What a run is trained on.

    Attributes
    ----------
    data, store, split
        The data set, its decoded images (uint8 of shape (N, H, W, 3)), and the part of each.
    record
        For the reports and the manifest: data (title, synthetic, fingerprint) and weights, in words.
    """

    data: dataset.Dataset
    store: np.ndarray
    split: pd.DataFrame
    record: Mapping[str, Any]


def open_inputs(run: runs.Run) -> Inputs:
    """Open what a run is trained on; its split must have been drawn (notebook 02).

    Raises
    ------
    skinlesion.runs.RunError
        If there is no split yet.
    skinlesion.data.archives.DatasetError, skinlesion.learning.models.WeightsError
        If data or starting weights cannot be used.
    """
    chosen = run.parameters
    data = dataset.open_dataset(chosen)
    split = run.read_csv("split.csv")
    record = {
        "data": images.describe(data, cache=run.cache),
        "weights": models.describe_weights(chosen.backbone, chosen.weights),
    }
    store = images.open_store(data, size=chosen.image_size, cache=run.cache, resize=chosen.resize)
    return Inputs(data, store, split, record)


def train(run: runs.Run, inputs: Inputs, *, report: Callable[[str], None] = print) -> training.Trained:
    """Train a run, or finish one that was cut off; with the errors of :func:`skinlesion.learning.training.train`."""
    return training.train(
        inputs.store,
        inputs.data.labels,
        train_rows=splits.rows(inputs.split, inputs.data.metadata, "train"),
        validation_rows=splits.rows(inputs.split, inputs.data.metadata, "validation"),
        watched_rows=splits.rows(inputs.split, inputs.data.metadata, *splits.PARTS[1:]),
        parameters=run.parameters,
        checkpoint=run.folder / "checkpoint",
        fingerprint=inputs.record["data"]["fingerprint"],
        record=runs.record(),
        report=report,
    )


def leave(run: runs.Run, inputs: Inputs, trained: training.Trained) -> None:
    """Write what the run leaves: ``predictions.csv`` is the last file written.

    Before it, ``history.csv``, ``model.safetensors``, ``trained_on.bin``, ``epochs.npz`` and ``manifest.json``.

    ``epochs.npz`` holds the probabilities after every epoch, float16 of shape (epochs, n, 7), of the images of
    ``predictions.csv`` in its order.
    """
    table = inference.predict_parts(trained.model, inputs.store, metadata=inputs.data.metadata, split=inputs.split)
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
    run.write_csv("predictions.csv", table)


def note_trained_on(run: runs.Run, inputs: Inputs) -> None:
    """Write the hashes of the training images, so that ``predict`` knows them again."""
    rows = splits.rows(inputs.split, inputs.data.metadata, "train")
    files.write_bytes(run.folder / inference.TRAINED_ON, hashes.of_each(inputs.store[row] for row in rows).tobytes())
