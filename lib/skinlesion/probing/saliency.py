"""Where a network looks: Grad-CAM, how much of it lies on the lesion, and whether it depends on what was learnt."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from tqdm.auto import tqdm

from skinlesion.data.dataset import DX
from skinlesion.learning import augmentation, batches, engine, inference
from skinlesion.scoring.evaluation import Bootstrap, interval

BATCH = 16


def maps(model: nn.Module, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the Grad-CAM of each image for one class, from the last convolution.

    Source: R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"
    (2017).

    Parameters
    ----------
    pixels
        uint8 of shape (N, H, W, 3).
    classes
        int64 of shape (N,).

    Returns
    -------
    numpy.ndarray
        float32 of shape (N, H, W), each scaled to [0, 1].
    """
    last = [module for module in model.modules() if isinstance(module, nn.Conv2d)][-1]
    device = next(model.parameters()).device
    found = []
    with GradCAM(model=model.eval(), target_layers=[last]) as cam:
        for start in tqdm(range(0, len(pixels), BATCH), desc="saliency", unit="batch", leave=False):
            part = slice(start, start + BATCH)
            batch = augmentation.to_float(torch.from_numpy(np.ascontiguousarray(pixels[part])).to(device))
            targets = [ClassifierOutputTarget(int(k)) for k in classes[part]]
            found.append(cam(input_tensor=augmentation.normalise(batch), targets=targets))
    return np.concatenate(found).astype(np.float32)


@lru_cache(maxsize=2)
def _network(path: Path) -> tuple[nn.Module, dict]:
    return inference.load(path)


def look(network: Path, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Return what a network sees of one image of the data, where it looks, and the diagnosis that it names.

    Parameters
    ----------
    network
        ``model.safetensors`` of a run.
    picture
        uint8 of shape (height, width, 3), as it lies in the archive.

    Returns
    -------
    tuple
        uint8 of shape (H, W, 3); float32 of shape (H, W), Grad-CAM of the diagnosis named; this diagnosis.

    Raises
    ------
    skinlesion.learning.inference.InferenceError
        If the network is not there or cannot be used.
    """
    model, facts = _network(network)
    size, image = (facts["image_size"],) * 2, Image.fromarray(picture)
    square = ImageOps.fit if facts["resize"] == "center_crop" else Image.Image.resize
    seen = np.array(square(image, size, Image.Resampling.BILINEAR))
    source = batches.Source(seen[None], next(model.parameters()).device)
    named = engine.logits(model, source, np.array([0])).argmax(1).numpy()
    return seen, maps(model, seen[None], named)[0], DX[named[0]]


def inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map that lies on the lesion, shape (N,); NaN where a map is zero everywhere."""
    total = maps.sum((1, 2))
    return np.divide((maps * masks).sum((1, 2)), total, out=np.full(len(maps), np.nan), where=total > 0)


def choose(labels: np.ndarray, probabilities: np.ndarray, *, most: int, seed: int) -> np.ndarray:
    """Return rows of at most `most` hits and as many misses of each class, in order."""
    rng = np.random.default_rng(seed)
    hit = probabilities.argmax(1) == labels
    chosen = []
    for k in range(len(DX)):
        for outcome in (True, False):
            rows = np.flatnonzero((labels == k) & (hit == outcome))
            chosen.append(rng.permutation(rows)[:most])
    return np.sort(np.concatenate(chosen))


def on_lesion(
    cases: pd.DataFrame, hit: np.ndarray, maps: np.ndarray, masks: np.ndarray, *, draws: int, seed: int
) -> pd.DataFrame:
    """Return the mean share of the saliency on the lesion, per class, for hits and misses, with intervals.

    Parameters
    ----------
    cases
        dx and lesion_group of each map.

    Returns
    -------
    pandas.DataFrame
        dx, outcome (hit or miss), images, area (mean share of the frame that the lesion covers: what a map that
        looks everywhere would get), value, low, high (95%, lesion groups drawn).
    """
    share, area = inside(maps, masks), masks.mean((1, 2))
    rows = []
    for dx in DX:
        for outcome, which in (("hit", hit), ("miss", ~hit)):
            at = (cases.dx == dx).to_numpy() & which & ~np.isnan(share)
            row: dict[str, object] = {"dx": dx, "outcome": outcome, "images": int(at.sum())}
            if at.any():
                bootstrap = Bootstrap.draw(cases.lesion_group.to_numpy()[at], draws=draws, seed=seed)
                sums = bootstrap.total(np.column_stack([share[at], np.ones(at.sum())]))
                low, high = interval(sums[:, 0] / sums[:, 1])
                row |= {"area": area[at].mean(), "value": share[at].mean(), "low": low, "high": high}
            rows.append(row)
    return pd.DataFrame(rows, columns=["dx", "outcome", "images", "area", "value", "low", "high"])


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean rank correlation of pairs of maps (Spearman), maps without any contrast left out.

    A map that hardly changes when the weights are random shows the image, not what was learnt (Adebayo et al.,
    "Sanity Checks for Saliency Maps", 2018).
    """
    ranked = [pd.DataFrame(maps.reshape(len(maps), -1)).rank(axis=1).to_numpy() for maps in (first, second)]
    centred = [values - values.mean(1, keepdims=True) for values in ranked]
    norm = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    known = norm > 0
    return float(((centred[0] * centred[1]).sum(1)[known] / norm[known]).mean()) if known.any() else float("nan")
