"""What a network leans on: its scores on images that a clinic would blur, light or cover, or with a part removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as v2
from tqdm.auto import tqdm

from skinlesion.learning import batches, engine
from skinlesion.scoring import evaluation

SEVERITIES = (1, 2, 3, 4)


def _blur(images: Tensor, severity: int) -> Tensor:
    sigma = images.shape[-1] / 224 * severity
    return v2.gaussian_blur(images, kernel_size=2 * int(np.ceil(3 * sigma)) + 1, sigma=sigma)


def _jpeg(images: Tensor, severity: int) -> Tensor:
    quality = {1: 50, 2: 25, 3: 12, 4: 6}[severity]
    return torch.stack([v2.jpeg(image, quality) for image in images])


def _hair(images: Tensor, severity: int) -> Tensor:
    """Draw dark hairs, curved and thin, as many again with each severity."""

    def draw(pen: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
        for _ in range(6 * severity):
            ends, bend = rng.uniform(-0.1, 1.1, (2, 2)) * side, rng.normal(0, 0.1, 2) * side
            t = np.linspace(0, 1, 20)[:, None]
            line = ends[0] * (1 - t) + ends[1] * t + bend * 4 * t * (1 - t)
            shade = int(rng.integers(20, 70))
            pen.line([tuple(point) for point in line.tolist()], fill=(shade, shade * 3 // 4, shade // 2), width=1)

    return _overlay(images, draw)


def _ruler(images: Tensor, severity: int) -> Tensor:
    """Draw the scale of a dermatoscope along one edge, further into the image with each severity."""

    def draw(pen: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
        depth, low = side * 0.03 * severity, side * 0.97
        for number, x in enumerate(np.arange(side * 0.1, side * 0.9, side / 32)):
            pen.line([(x, low), (x, low - depth * (1 if number % 5 == 0 else 0.5))], fill=(15, 15, 15), width=1)
        pen.line([(side * 0.1, low), (side * 0.9, low)], fill=(15, 15, 15), width=1)

    return _overlay(images, draw)


def _overlay(images: Tensor, draw: Callable[[ImageDraw.ImageDraw, int, np.random.Generator], None]) -> Tensor:
    done = []
    for number, image in enumerate(images):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        draw(ImageDraw.Draw(picture), picture.width, np.random.default_rng(number))
        done.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return torch.stack(done)


CORRUPTIONS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "blur": _blur,
    "darkness": lambda images, severity: v2.adjust_brightness(images, 1 - 0.15 * severity),
    "brightness": lambda images, severity: v2.adjust_brightness(images, 1 + 0.15 * severity),
    "low contrast": lambda images, severity: v2.adjust_contrast(images, 1 - 0.2 * severity),
    "JPEG": _jpeg,
    "hair": _hair,
    "ruler": _ruler,
    "rotation": lambda images, severity: v2.rotate(
        images, 20.0 * severity, interpolation=v2.InterpolationMode.BILINEAR, fill=[128.0]
    ),
}
"""From uint8 images (B, 3, H, W) on the CPU and a severity from 1 to 4 to such images.

Blur: a Gaussian of as many pixels of 224. Brightness: 15% a step. Contrast: 20% less a step. JPEG: quality 50, 25,
12, 6. Hair: 6 more a step. Ruler: 3% of the frame further in a step. Rotation: 20 degrees a step.
"""


def curves(model: nn.Module, pixels: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Return the scores under every corruption and severity.

    Parameters
    ----------
    pixels
        uint8 of shape (N, H, W, 3).
    labels
        int64 of shape (N,).

    Returns
    -------
    pandas.DataFrame
        corruption, severity (0 is untouched), accuracy, balanced_accuracy, loss.
    """
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    untouched = _scores(model, pixels, labels)
    rows = []
    with tqdm(total=len(CORRUPTIONS) * len(SEVERITIES), desc="corruptions", leave=False) as bar:
        for name, corrupt in CORRUPTIONS.items():
            rows.append({"corruption": name, "severity": 0, **untouched})
            for severity in SEVERITIES:
                changed = corrupt(images, severity).permute(0, 2, 3, 1).contiguous().numpy()
                rows.append({"corruption": name, "severity": severity, **_scores(model, changed, labels)})
                bar.update()
    return pd.DataFrame(rows)


def without_parts(model: nn.Module, pixels: np.ndarray, labels: np.ndarray, masks: np.ndarray) -> pd.DataFrame:
    """Return the scores with the lesion removed, with the background removed, and with neither.

    What is removed gets the mean colour of the image's background; without a background, of the image. The mask is
    widened by a fiftieth of the frame first, so that no rim of the lesion stays.

    Returns
    -------
    pandas.DataFrame
        Rows untouched, lesion removed, background removed; columns accuracy, balanced_accuracy, loss.
    """
    wide = ndimage.binary_dilation(masks, np.ones((1, 3, 3)), iterations=max(1, masks.shape[1] // 50))
    outside = ~wide
    count = outside.sum((1, 2))
    skin = np.where(
        count[:, None] > 0,
        np.einsum("nhwc,nhw->nc", pixels.astype(float), outside) / np.maximum(count, 1)[:, None],
        pixels.mean((1, 2)),
    ).astype(np.uint8)[:, None, None]
    variants = {
        "untouched": pixels,
        "lesion removed": np.where(wide[..., None], skin, pixels),
        "background removed": np.where(outside[..., None], skin, pixels),
    }
    return pd.DataFrame.from_dict(
        {name: _scores(model, each, labels) for name, each in variants.items()}, orient="index"
    )


def _scores(model: nn.Module, pixels: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    source = batches.Source(pixels, next(model.parameters()).device)
    scores = engine.logits(model, source, np.arange(len(pixels)))
    probabilities = torch.softmax(scores.double(), dim=1).numpy()
    return {name: float(value) for name, value in evaluation.measured(labels, probabilities, where="probes").items()}
