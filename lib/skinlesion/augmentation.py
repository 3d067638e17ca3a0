"""Random views of training images: a function of (seed, epoch, image), batched on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from skinlesion.images import MEAN, STD
from skinlesion.parameters import Parameters

DRAWS = 8
"""Uniform numbers an image needs per epoch: two flips, rotation, zoom, two translations, brightness,
contrast."""


def draw(seed: int, epoch: int, images: int) -> Tensor:
    """Draw the random numbers of one epoch, for every image of the data.

    An image's row does not depend on the batch it falls into, so a resumed run sees the same views.

    Returns
    -------
    torch.Tensor
        float32 of shape (images, 8), uniform in [0, 1).
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.rand(images, DRAWS, generator=generator)


def to_float(batch: Tensor) -> Tensor:
    """Turn uint8 of shape (B, H, W, 3) into float32 of shape (B, 3, H, W) in [0, 1], channels last."""
    return batch.permute(0, 3, 1, 2).float().div_(255)


def normalise(batch: Tensor) -> Tensor:
    """Normalise float32 of shape (B, 3, H, W) in [0, 1] with ImageNet's mean and deviation."""
    mean = torch.tensor(MEAN, device=batch.device).view(3, 1, 1)
    std = torch.tensor(STD, device=batch.device).view(3, 1, 1)
    return (batch - mean) / std


def augment(batch: Tensor, uniform: Tensor, parameters: Parameters) -> Tensor:
    """Return one random view of each image.

    Flips, rotation, zoom and translation are one affine map, so an image is resampled once (bilinear,
    reflected at the border); brightness and contrast follow, about the image's own mean.

    Parameters
    ----------
    batch
        float32 of shape (B, 3, H, W) in [0, 1].
    uniform
        float32 of shape (B, 8) in [0, 1), rows of :func:`draw`.

    Returns
    -------
    torch.Tensor
        As `batch`, clipped to [0, 1].
    """
    u = uniform.to(batch.device)
    signed = 2 * u - 1
    flip = torch.where(u[:, :2] < 0.5, -1.0, 1.0) if parameters.flip else torch.ones_like(u[:, :2])
    angle = signed[:, 2] * math.radians(parameters.rotation_degrees)
    scale = 1 + signed[:, 3] * parameters.zoom
    shift = signed[:, 4:6] * 2 * parameters.translation  # the grid's frame runs from -1 to 1
    rows = torch.stack(
        [
            torch.stack([flip[:, 0] * angle.cos() * scale, -angle.sin() * scale, shift[:, 0]], dim=1),
            torch.stack([angle.sin() * scale, flip[:, 1] * angle.cos() * scale, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(rows, list(batch.shape), align_corners=False)
    view = functional.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)
    mean = view.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + signed[:, 6].view(-1, 1, 1, 1) * parameters.contrast
    brightness = signed[:, 7].view(-1, 1, 1, 1) * parameters.brightness
    return ((view - mean) * contrast + mean + brightness).clamp_(0, 1)
