"""What training minimises: cross-entropy, and what can be changed of it for rare classes and doubtful labels."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Return a weight for each class, inversely proportional to its images: float32 of shape (classes,).

    The mean over all images is one, so the loss keeps its scale (scikit-learn's ``balanced``). A class that
    has no image gets zero.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.divide(len(labels), present * counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights).float()


def log_priors(labels: np.ndarray, classes: int) -> Tensor:
    """Return the logarithm of each class's share of some images, float32 of shape (classes,); none counts as half."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 0.5)
    return torch.from_numpy(np.log(counts / counts.sum())).float()


def mixing(strength: float, steps: int = 1024) -> Tensor:
    """Return quantiles of the Beta distribution that mixup draws its shares from: float32 of shape (steps,).

    Source: H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    return torch.from_numpy(betaincinv(strength, strength, (np.arange(steps) + 0.5) / steps)).float()


def per_image(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the loss of each image, float32 of shape (B,).

    Parameters
    ----------
    logits
        Of shape (B, classes).
    labels
        int64 of shape (B,).
    weights
        One a class, see :func:`class_weights`.
    focal_gamma
        Scales an image's loss by ``(1 - p)**gamma``, p being the probability of its label: easy images count
        less (Lin et al., "Focal Loss for Dense Object Detection", 2017). Zero is cross-entropy.
    label_smoothing
        Probability taken from the label and spread evenly over all classes (Szegedy et al., "Rethinking the
        Inception Architecture", 2016).
    """
    logits = logits.float()
    loss = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    if focal_gamma:
        hard = functional.cross_entropy(logits, labels, reduction="none") if label_smoothing else loss
        # -expm1 keeps the digits of 1 - p where p is near one.
        loss = loss * (-torch.expm1(-hard)).clamp(min=1e-8) ** focal_gamma
    return loss if weights is None else loss * weights[labels]
