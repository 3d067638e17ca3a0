"""The official ISIC 2018 test: scored once by a finished network, with a receipt."""

from __future__ import annotations

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
from skinlesion.scoring import evaluation, isic, predictions
from skinlesion.scoring.evaluation import Bootstrap

SET = "isic2018_test"


class OfficialError(StudyError):
    """The official test cannot be scored, or has been; the message says why."""


def take(run: runs.Run, folder: Path) -> dict[str, Any]:
    """Score a run's network on the official test; write ``official.csv``, and ``official.json`` with the receipt.

    Pictures come before the network undistorted, whatever their shape (:func:`skinlesion.data.images.decode_any`).

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
    pixels = images.undistorted(data, size=facts["image_size"], resize=facts["resize"])
    source = batches.open_source(pixels, torch.device("cpu"))
    scores = engine.logits(model, source, np.arange(len(pixels)), views=run.parameters.views)
    table = metadata[["image_id", "lesion_id", "dx"]].copy()
    table[predictions.COLUMNS] = torch.softmax(scores.double(), dim=1).numpy()
    chosen = run.parameters
    found = {
        "data": {"title": data.title, "key": data.key},
        "views": chosen.views,
        **summary(table, draws=chosen.bootstrap_draws, seed=chosen.seed),
        "receipt": {**runs.record(), "network": files.sha256(run.require("model.safetensors"))},
    }
    run.write_csv("official.csv", table)
    run.write_json("official.json", found)
    return found


def summary(table: pd.DataFrame, *, draws: int, seed: int) -> dict[str, Any]:
    """Return the scores of a table of the official test: image_id, lesion_id, dx and probabilities.

    Returns
    -------
    dict
        images (without those that the official scorer leaves out), headline (with 95% intervals, from draws of lesions
        where they are known, else of images), and isic: the official scorer's numbers.
    """
    kept = table[~table.image_id.isin(isic.WITHOUT_WEIGHT)]
    labels = kept.dx.map(dataset.DX.index).to_numpy(dtype=np.int64)
    bootstrap = Bootstrap.draw(kept.lesion_id.to_numpy(), draws=draws, seed=seed)
    return {
        "images": len(kept),
        "headline": evaluation.headline(labels, kept[predictions.COLUMNS].to_numpy(), bootstrap),
        "isic": isic.scores(isic.truth(table), isic.submission(table)),
        "bootstrap": {"draws": draws, "seed": seed},
    }
