"""Random views of training images: a function of (seed, epoch, image), batched on the device."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skinlesion.data.images import MEAN, STD
from skinlesion.parameters import Augmentation

NAMES = (
    "flip_x",
    "flip_y",
    "rotation",
    "zoom",
    "translation_x",
    "translation_y",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "cut_x",
    "cut_y",
    "mix",
)
"""What is drawn for each image and epoch, one uniform number each, by the name it is seeded with."""

_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""From RGB to luma and the two axes of chroma, in whose plane hue is an angle (NTSC)."""

_LUMA, _CHROMA, _TURNED = (
    tuple(map(tuple, (np.linalg.inv(_YIQ) @ np.array(inner) @ _YIQ).tolist()))
    for inner in (np.diag([1, 0, 0]), np.diag([0, 1, 1]), [[0, 0, 0], [0, 0, -1], [0, 1, 0]])
)
"""On RGB: the grey of a pixel, what it has besides, and that turned by a right angle."""


def draw(seed: int, epoch: int, images: int, *, occurrences: int = 1) -> Tensor:
    """Draw the random numbers of one epoch, for every image of the data.

    An image's row does not depend on the batch it falls into, so a resumed run sees the same views; and each column is
    seeded by its name, so that an augmentation that is added changes no other.

    Parameters
    ----------
    occurrences
        How often an image can come up in the epoch: each time it is seen in another view.

    Returns
    -------
    torch.Tensor
        float32 of shape (occurrences, images, len(NAMES)), uniform in [0, 1).
    """
    columns = []
    for name in NAMES:
        digest = hashlib.sha256(f"{seed} {epoch} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        columns.append(torch.rand(occurrences, images, generator=generator))
    return torch.stack(columns, dim=2)


def to_float(batch: Tensor) -> Tensor:
    """Turn uint8 of shape (B, H, W, 3) into float32 of shape (B, 3, H, W) in [0, 1]."""
    return batch.permute(0, 3, 1, 2).contiguous().float().div_(255)


def normalise(batch: Tensor) -> Tensor:
    """Normalise float32 of shape (B, 3, H, W) in [0, 1] with ImageNet's mean and deviation; channels last."""
    mean, std = _constant(MEAN, batch.device).view(3, 1, 1), _constant(STD, batch.device).view(3, 1, 1)
    return ((batch - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(batch: Tensor, uniform: Tensor, strengths: Augmentation) -> Tensor:
    """Return one random view of each image.

    Flips, rotation, zoom and translation are one affine map, so an image is resampled once (bilinear,
    reflected at the border). Its colours go through another: saturation scales and hue turns the chroma of
    the YIQ space, contrast scales the distance from the image's own mean, and brightness is added. ``cutout`` greys a
    square of that share of the side (T. DeVries, G. Taylor, arXiv:1708.04552 (2017)).

    Parameters
    ----------
    batch
        float32 of shape (B, 3, H, W) in [0, 1]. Contiguous is fastest: on a CPU, resampling channels-last
        images takes two to three times as long.
    uniform
        float32 of shape (B, len(NAMES)) in [0, 1), rows of :func:`draw`.

    Returns
    -------
    torch.Tensor
        As `batch`, clipped to [0, 1].
    """
    u = dict(zip(NAMES, uniform.to(batch.device).unbind(1), strict=True))
    signed = {name: 2 * column - 1 for name, column in u.items()}
    grid = _grid(u, signed, batch.shape[2:], strengths)
    view = functional.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)
    mean = view.mean(dim=(1, 2, 3), keepdim=True).flatten(2)
    contrast = _each(1 + signed["contrast"] * strengths.contrast)
    offset = (1 - contrast) * mean + _each(signed["brightness"] * strengths.brightness)
    view = torch.baddbmm(offset, contrast * _colour(signed, strengths), view.flatten(2)).clamp_(0, 1).view_as(view)
    return _cut(view, signed, strengths.cutout) if strengths.cutout else view


def _cut(view: Tensor, signed: dict[str, Tensor], share: float) -> Tensor:
    """Grey a square of each image, its centre anywhere in the frame."""
    inside = [
        (_centres(size, view.device)[None] - signed[name][:, None]).abs() < share
        for name, size in zip(("cut_y", "cut_x"), view.shape[2:], strict=True)
    ]
    return view.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.5)


def _centres(size: int, device: torch.device) -> Tensor:
    """Return where the pixels of an axis lie, the frame running from -1 to 1."""
    return (2 * torch.arange(size, device=device) + 1) / size - 1


def _grid(u: dict[str, Tensor], signed: dict[str, Tensor], size: Sequence[int], strengths: Augmentation) -> Tensor:
    """Return where each pixel is taken from: (B, H, W, 2), x then y, the frame running from -1 to 1."""
    height, width = size
    flip = [torch.where(u[name] < 0.5 if strengths.flip else u[name] < 0, -1.0, 1.0) for name in ("flip_x", "flip_y")]
    angle = signed["rotation"] * math.radians(strengths.rotation_degrees)
    scale = 1 + signed["zoom"] * strengths.zoom
    shift = torch.stack([signed["translation_x"], signed["translation_y"]], dim=1) * 2 * strengths.translation
    cos, sin = angle.cos() * scale, angle.sin() * scale
    x, y = _centres(width, angle.device), _centres(height, angle.device)
    # Two outer sums: torch's affine_grid multiplies matrices for the same result, at a multiple of the time.
    across = torch.stack([flip[0] * cos, sin], dim=1)[:, None] * x[:, None] + shift[:, None]
    down = torch.stack([-sin, flip[1] * cos], dim=1)[:, None] * y[:, None]
    return across[:, None] + down[:, :, None]


def _colour(signed: dict[str, Tensor], strengths: Augmentation) -> Tensor:
    """Return saturation and hue as one matrix on RGB, (B, 3, 3)."""
    luma, chroma, turned = (_constant(matrix, signed["hue"].device) for matrix in (_LUMA, _CHROMA, _TURNED))
    saturation = _each(1 + signed["saturation"] * strengths.saturation)
    angle = _each(signed["hue"] * 2 * math.pi * strengths.hue)
    return luma + saturation * (angle.cos() * chroma + angle.sin() * turned)


def _each(values: Tensor) -> Tensor:
    """Return one number an image, (B,), so that it meets a matrix an image, (B, 3, 3)."""
    return values.view(-1, 1, 1)


@functools.cache
def _constant(values: tuple, device: torch.device) -> Tensor:
    """Return `values` on the device, copied there once."""
    return torch.tensor(values, dtype=torch.float32, device=device)
