"""What a network makes of an image before it decides: the penultimate layer, and a map of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import nn

from skinlesion.learning import batches, engine


def penultimate(model: nn.Module, store: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return what goes into the last linear layer, float32 of shape (len(rows), features)."""
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    handle = head.register_forward_hook(lambda module, given, output: seen.append(given[0].float().cpu()))
    try:
        engine.logits(model, batches.open_source(store, next(model.parameters()).device), rows)
    finally:
        handle.remove()
    return torch.cat(seen).numpy()


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
