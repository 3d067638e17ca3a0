"""Any torchvision classifier with its head replaced, and an honest word on where its weights are from."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
import torchvision
from torch import nn

from skinlesion.files import resolve, sha256

_OPTIONS = {"inception_v3": {"init_weights": True}, "googlenet": {"init_weights": True}}
"""What torchvision wants to be told when it builds a network without weights."""


class WeightsError(ValueError):
    """The starting weights cannot be had or do not fit the backbone."""


def build(backbone: str, *, weights: str, classes: int, seed: int) -> nn.Module:
    """Return a torchvision classifier with `classes` outputs (logits).

    Parameters
    ----------
    backbone
        A name torchvision knows, such as ``mobilenet_v2``.
    weights
        A name of torchvision's (``IMAGENET1K_V1``, ``DEFAULT``), the path of a ``state_dict`` of the
        1,000-class model, or ``none`` for random ones.
    seed
        Draws the head, and the whole network where there are no weights.

    Raises
    ------
    WeightsError
        If the backbone is unknown or the weights cannot be read, fetched or fitted.
    """
    if backbone not in torchvision.models.list_models(module=torchvision.models):
        raise WeightsError(f"torchvision has no classifier called {backbone!r} (parameter `backbone`)")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights == "none":
            return torchvision.models.get_model(
                backbone, weights=None, num_classes=classes, **_OPTIONS.get(backbone, {})
            )
        if _is_path(weights):
            # As torchvision builds them for its own weights, which expect another normalisation.
            options = {"transform_input": True, "init_weights": False} if backbone in _OPTIONS else {}
            model = torchvision.models.get_model(backbone, weights=None, **options)
            _load_file(model, resolve(weights), backbone)
        else:
            model = _download(backbone, weights)
        _replace_heads(model, classes)
    return model


def describe_weights(backbone: str, weights: str) -> str:
    """Say where the starting weights are from, in the words every report prints.

    A file counts as torchvision's own if its SHA-256 begins with the digits that torchvision writes
    into the address of one of its weights; any other file is called a stand-in.
    """
    if weights == "none":
        return "random weights (trained from scratch)"
    if not _is_path(weights):
        return f"torchvision's {weights} weights (ImageNet)"
    path = resolve(weights)
    if not path.is_file():
        raise WeightsError(_missing(path))
    digest = sha256(path)
    for entry in torchvision.models.get_model_weights(backbone):
        if Path(entry.url).stem.rpartition("-")[2] == digest[:8]:
            return f"torchvision's {entry.name} weights (ImageNet), from a file"
    return f"stand-in weights from {path.name} (SHA-256 {digest[:8]}…), not torchvision's own"


def _is_path(weights: str) -> bool:
    return "/" in weights or weights.endswith((".pth", ".pt"))


def _load_file(model: nn.Module, path: Path, backbone: str) -> None:
    if not path.is_file():
        raise WeightsError(_missing(path))
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path} is no state_dict of torchvision's {backbone}: {reason}") from error


def _missing(path: Path) -> str:
    return (
        f"weights: {path} does not exist. Give the path of a state_dict (WEIGHTS=<path>), a name of "
        "torchvision's (WEIGHTS=IMAGENET1K_V1, downloaded), or WEIGHTS=none"
    )


def _download(backbone: str, weights: str) -> nn.Module:
    known = torchvision.models.get_model_weights(backbone)
    if weights not in known.__members__:
        raise WeightsError(
            f"torchvision has no weights {weights!r} for {backbone}; it has {', '.join(known.__members__)}"
        )
    try:
        return torchvision.models.get_model(backbone, weights=weights)
    except OSError as error:
        raise WeightsError(
            f"torchvision's {weights} weights for {backbone} could not be downloaded ({error}). Give a "
            "file instead (WEIGHTS=<path of a state_dict>), or train from scratch (WEIGHTS=none)"
        ) from error


def _replace_heads(model: nn.Module, classes: int) -> None:
    """Put a fresh linear layer in place of the last one, which in torchvision's classifiers is the head.

    Auxiliary heads, of which inception_v3 and googlenet have some, are the other ones with as many outputs.
    """
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise WeightsError(f"{type(model).__name__} has no linear head to replace: choose another backbone")
    outputs = linear[-1][1].out_features
    for name, head in linear:
        if head.out_features == outputs:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, nn.Linear(head.in_features, classes))
