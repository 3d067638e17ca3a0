"""What a network makes of an image before it decides: the penultimate layer, and a map of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import nn

from skinlesion import files, parameters
from skinlesion.data import dataset, images
from skinlesion.data.dataset import DX
from skinlesion.learning import batches, engine, models
from skinlesion.runs import Run


def penultimate(model: nn.Module, store: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return what goes into the last linear layer, float32 of shape (len(rows), features)."""
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    handle = head.register_forward_hook(lambda module, given, output: seen.append(given[0].float().cpu()))
    try:
        engine.logits(model, batches.Source(store, next(model.parameters()).device), rows)
    finally:
        handle.remove()
    return torch.cat(seen).numpy()


def of_starting_weights(run: Run) -> np.ndarray:
    """Return what the network that a run starts from makes of every image of the data, computed once for all runs.

    Returns
    -------
    numpy.ndarray
        float32 of shape (N, features), rows as in the metadata table.

    Raises
    ------
    skinlesion.data.archives.DatasetError, skinlesion.learning.models.WeightsError
        If images or weights cannot be used.
    """
    chosen = run.parameters
    data = dataset.open_dataset(chosen)
    # A head of its own would make a file a seed; random weights are another network for each.
    seed = chosen.seed if chosen.weights == parameters.RANDOM else 0
    model = models.build(chosen.backbone, weights=chosen.weights, classes=len(DX), seed=seed)
    parts = [state.numpy().tobytes() for state in model.state_dict().values()]
    network = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    name = f"{data.key[:16]}-{chosen.image_size}-{chosen.resize}-{images.DECODER}-features-{network}.npy"

    def make(path: Path) -> None:
        store = images.open_store(data, size=chosen.image_size, cache=run.cache, resize=chosen.resize)
        with path.open("wb") as opened:
            np.save(opened, penultimate(model, store, np.arange(len(store))))

    return files.kept(run.cache / name, make=make, load=lambda path, length: np.load(path), again="computed")


def on_a_plane(features: np.ndarray, *, seed: int) -> np.ndarray:
    """Return features as points of a plane that keep their neighbours, float of shape (N, 2).

    t-SNE (van der Maaten & Hinton, 2008), from the first two principal components: near points are alike,
    distances between groups and sizes of groups mean nothing.
    """
    perplexity = min(30.0, max(2.0, (len(features) - 1) / 3))
    return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)


def alike(features: np.ndarray, values: pd.Series) -> float:
    """Return the share of images whose nearest other image, by their features of shape (N, F), has the same value."""
    nearest = NearestNeighbors(n_neighbors=1).fit(features).kneighbors(return_distance=False)[:, 0]
    return float((values.to_numpy() == values.to_numpy()[nearest]).mean())
