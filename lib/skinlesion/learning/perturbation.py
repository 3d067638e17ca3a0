"""Noise that is added while a network learns, and its sharper and softer kin: what "perturbed" training may mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skinlesion.parameters import Perturbation


def on(chosen: Perturbation) -> bool:
    """Say whether anything is perturbed."""
    return any(getattr(chosen, name) for name in Perturbation.model_fields)


@torch.no_grad()
def disturb(weights: Sequence[Tensor], share: float) -> list[Tensor]:
    """Add to each weight normal noise of a share of its tensor's deviation; return what the weights were.

    Source: the noise that variational methods put on weights, of one size (A. Graves, NIPS 2011).
    """
    before = [weight.clone() for weight in weights]
    for weight in weights:
        if weight.numel() > 1:
            weight.add_(torch.randn_like(weight) * weight.std(), alpha=share)
    return before


@torch.no_grad()
def climb(weights: Sequence[Tensor], radius: float) -> list[Tensor]:
    """Move the weights by `radius` along their gradient, uphill; return what they were.

    Source: P. Foret et al., "Sharpness-Aware Minimization", ICLR 2021.
    """
    before = [weight.clone() for weight in weights]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    for weight in weights:
        if weight.grad is not None:
            weight.add_(weight.grad * (radius / (norm + 1e-12)))
    return before


@torch.no_grad()
def restore(weights: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Set the weights to what they were."""
    for weight, kept in zip(weights, before, strict=True):
        weight.copy_(kept)


@torch.no_grad()
def roughen(weights: Sequence[Tensor], chosen: Perturbation) -> None:
    """Add normal noise to the gradients: of a fixed deviation, and of a share of each tensor's own.

    Source: A. Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks" (2015).
    """
    for weight in weights:
        if weight.grad is not None and weight.numel() > 1:
            size = chosen.gradient_noise + chosen.adaptive_gradient_noise * weight.grad.std()
            weight.grad.add_(torch.randn_like(weight.grad) * size)


@torch.no_grad()
def shrink(weights: Sequence[Tensor], fresh: Sequence[Tensor], share: float) -> None:
    """Move the weights a share of the way to fresh ones.

    Source: J. Ash, R. Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020.
    """
    for weight, other in zip(weights, fresh, strict=True):
        weight.lerp_(other.to(weight), share)
