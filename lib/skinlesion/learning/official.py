"""The official ISIC 2018 test: scored once by a finished network, with a receipt."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from skinlesion import files, runs
from skinlesion.data import archives, dataset, images
from skinlesion.data.dataset import Dataset
from skinlesion.errors import StudyError
from skinlesion.learning import batches, engine, inference
from skinlesion.scoring import isic, predictions

SET = "isic2018_test"

SHAPES = {isic.UNDISTORTED: images.decode_any, isic.SQUASHED: images.decode}
"""How pictures come before the network: as ``predict`` does it, which counts; and squashed as they are."""


class OfficialError(StudyError):
    """The official test cannot be scored, or has been; the message says why."""


def take(run: runs.Run, folder: Path) -> dict[str, Any]:
    """Score a run's network on the official test; write ``official.csv``, and ``official.json`` with the receipt.

    Pictures come before the network undistorted, whatever their shape (:func:`skinlesion.data.images.decode_any`). What
    it says of them when they are squashed as they are is beside it, to tell what that is worth.

    Parameters
    ----------
    folder
        Where the test set lies, as the ISIC challenge or Dataverse publish it.

    Returns
    -------
    dict
        What ``official.json`` holds.

    Raises
    ------
    OfficialError
        If the run has been scored before.
    skinlesion.data.archives.DatasetError, skinlesion.learning.inference.InferenceError
        If the test set or the network cannot be used.
    """
    before = run.files("official.json").find("official.json")
    if before:
        taken = run.read_json("official.json")["receipt"]["started"]
        raise OfficialError(f"{files.shown(before)} says that this network was scored on {taken}: it is scored once")
    model, facts = inference.load(run.require("model.safetensors"))
    metadata = dataset.read_metadata(dataset.find_table(folder, SET))
    data = Dataset(folder, metadata, archives.index(folder, SET), SET)
    dataset.check(data.metadata, data.members, folder=folder)
    said = []
    for shape, decode in SHAPES.items():
        how = partial(decode, size=facts["image_size"], resize=facts["resize"])
        pixels = images.decode_all(data, how, size=facts["image_size"])
        source = batches.Source(pixels, torch.device("cpu"))
        scores = engine.logits(model, source, np.arange(len(pixels)), views=run.parameters.views)
        table = metadata[["image_id", "lesion_id", "dx"]].assign(shape=shape)
        table[predictions.COLUMNS] = torch.softmax(scores.double(), dim=1).numpy()
        said.append(table)
    told = pd.concat(said, ignore_index=True)
    chosen = run.parameters
    found = {
        "data": {"title": data.title, "key": data.key},
        "views": chosen.views,
        **isic.summary(told, draws=chosen.bootstrap_draws, seed=chosen.seed),
        "receipt": {**runs.record(), "network": files.sha256(run.require("model.safetensors"))},
    }
    run.write_csv("official.csv", told)
    run.write_json("official.json", found)
    return found
