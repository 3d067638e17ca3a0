"""What a trained network can be asked again: its weights, and the test images, where they are at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from skinlesion import processors
from skinlesion.data import dataset, images, masks
from skinlesion.data.dataset import DX
from skinlesion.learning import inference
from skinlesion.runs import Run


@dataclass(frozen=True)
class Inputs:
    """A network and the test images.

    Attributes
    ----------
    absent
        Why there are none, in a sentence; empty if there are.
    model
        The network with the run's weights, in evaluation mode.
    pixels
        uint8 of shape (N, H, W, 3): the images in the order of the cases.
    masks
        bool of shape (N, H, W), or None where the data has no masks.
    """

    absent: str
    model: nn.Module
    pixels: np.ndarray
    masks: np.ndarray | None


def open_inputs(run: Run, cases: pd.DataFrame) -> Inputs:
    """Open the run's network and the images of some cases, or say in a sentence what is not there.

    Parameters
    ----------
    cases
        image_id of each image wanted.
    """
    chosen = run.parameters
    nothing = np.empty((0, chosen.image_size, chosen.image_size, 3), np.uint8)
    try:
        model, _ = inference.load(run.files("model.safetensors").folder / "model.safetensors")
        data = dataset.open_dataset(chosen)
    except (inference.InferenceError, dataset.DatasetError) as error:
        return Inputs(f"Not computed: {error}.", nn.Identity(), nothing, None)
    store = images.open_store(data, size=chosen.image_size, cache=run.cache, resize=chosen.resize)
    rows = data.metadata.reset_index().set_index("image_id")["index"].loc[cases.image_id].to_numpy()
    processors.keep_memory()
    found = None
    if masks.available(chosen.data_folder) and chosen.resize == "squash":
        found = masks.read(chosen.data_folder, list(cases.image_id), size=chosen.image_size)
    return Inputs("", model, store[rows], found)


def sample(labels: np.ndarray, *, most: int, seed: int) -> np.ndarray:
    """Return rows of at most `most` images of each class, in order: few enough to score many times."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(labels == k))[:most] for k in range(len(DX))]
    return np.sort(np.concatenate(chosen))


def area(found: np.ndarray | None, count: int) -> pd.Series:
    """Return the share of the frame that each lesion covers, missing without masks."""
    return pd.Series(np.full(count, np.nan) if found is None else found.mean((1, 2)))
