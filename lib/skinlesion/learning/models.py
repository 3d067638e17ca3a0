"""Any torchvision classifier with its head replaced, and an honest word on where its weights are from."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from skinlesion.errors import StudyError
from skinlesion.files import not_a_file, resolve, sha256
from skinlesion.parameters import RANDOM

_OPTIONS = {"inception_v3": {"init_weights": True}, "googlenet": {"init_weights": True}}
"""What torchvision wants to be told when it builds a network without weights."""


SECOND_HEAD = 299
"""Side in pixels that inception_v3's second head needs."""

WRAPPERS = ("model", "model_state_dict", "state_dict")
"""Keys under which training programs keep a state_dict, beside what else they save."""

PREFIXES = ("module.", "_orig_mod.", "module.")
"""What torch puts before every name of a network that is trained in parallel, or compiled, or both in either order."""


class WeightsError(StudyError):
    """The starting weights cannot be had or do not fit the backbone."""


def build(backbone: str, *, weights: str, classes: int, seed: int, side: int | None = None) -> nn.Module:
    """Return a torchvision classifier with `classes` outputs (logits).

    Parameters
    ----------
    backbone
        A name torchvision knows, such as ``mobilenet_v2``.
    weights
        A name of torchvision's (``IMAGENET1K_V1``, ``DEFAULT``), the path of a ``state_dict`` of the
        1,000-class model (also one under a key of :data:`WRAPPERS`), or ``none`` for random ones. No object but
        tensors is ever unpickled.
    seed
        Draws the head, and the whole network where there are no weights.
    side
        Of the images that it is for, in pixels: inception_v3 has no second head for those below :data:`SECOND_HEAD`.

    Raises
    ------
    WeightsError
        If the backbone is unknown; if the weights cannot be read, fetched or fitted, or are not finite; if a file
        with the name of torchvision's own has not its hash.
    """
    if backbone not in torchvision.models.list_models(module=torchvision.models):
        raise WeightsError(f"torchvision has no classifier called {backbone!r} (parameter `backbone`)")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights == RANDOM:
            model = torchvision.models.get_model(
                backbone, weights=None, num_classes=classes, **_OPTIONS.get(backbone, {})
            )
        elif _is_path(weights):
            # As torchvision builds them for its own weights, which expect another normalisation.
            options = {"transform_input": True, "init_weights": False} if backbone in _OPTIONS else {}
            model = torchvision.models.get_model(backbone, weights=None, **options)
            _load_file(model, resolve(weights), backbone)
        else:
            model = _download(backbone, weights)
        if weights != RANDOM:
            _replace_heads(model, classes)
    if side is not None and side < SECOND_HEAD and backbone == "inception_v3":
        model.aux_logits, model.AuxLogits = False, None
    return model


def describe_weights(backbone: str, weights: str) -> str:
    """Say where the starting weights are from, in the words every report prints.

    A file counts as torchvision's own if its SHA-256 begins with the digits that torchvision writes
    into the address of one of its weights; any other file is called a stand-in.

    Raises
    ------
    WeightsError
        If there is no such file, or a file with the name of torchvision's own has not its hash.
    """
    if weights == RANDOM:
        return "random weights (trained from scratch)"
    if not _is_path(weights):
        if os.path.lexists(path := _cached(_entry(backbone, weights))):
            _require_hash(path)
        return f"torchvision's {weights} weights (ImageNet)"
    path = resolve(weights)
    if reason := not_a_file(path):
        raise WeightsError(_absent(path, reason))
    digest = sha256(path)
    for entry in torchvision.models.get_model_weights(backbone):
        if digest.startswith(_digits(_cached(entry))):
            return f"torchvision's {entry.name} weights (ImageNet), from a file"
    return f"stand-in weights from {path.name} (SHA-256 {digest[:8]}…), not torchvision's own"


def foresee_weights(backbone: str, weights: str) -> str:
    """Say of the starting weights what :func:`describe_weights` does, and whether they must still be downloaded.

    Raises
    ------
    WeightsError
        As :func:`describe_weights`: before a notebook that needs none of them has made anyone wait.
    """
    said = describe_weights(backbone, weights)
    if weights == RANDOM or _is_path(weights) or os.path.lexists(_cached(_entry(backbone, weights))):
        return said
    return f"{said}, which are not here yet: training downloads them"


def require_finite(state: Mapping[str, Tensor]) -> None:
    """Refuse weights with NaN or infinity among them.

    Raises
    ------
    WeightsError
        Naming the tensor.
    """
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{name} holds NaN or infinity")


def _is_path(weights: str) -> bool:
    return "/" in weights or weights.endswith((".pth", ".pt"))


def _load_file(model: nn.Module, path: Path, backbone: str) -> None:
    if reason := not_a_file(path):
        raise WeightsError(_absent(path, reason))
    try:
        state = _state(_unpickle(path))
        _require_fit(state, model.state_dict())
        require_finite(state)
        model.load_state_dict(state)
    except (WeightsError, RuntimeError) as error:
        raise WeightsError(
            f"{path} is no state_dict of torchvision's {backbone} with its 1,000 classes: {str(error).splitlines()[0]}"
        ) from error


def _unpickle(path: Path) -> Any:
    """Return what a file of torch's holds, or say what it is instead.

    What torch says of a file that it refuses is not passed on: it goes on to advise to load it all the same.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        with path.open("rb") as file:
            head = file.read(20)
    if foreign:
        raise WeightsError(f"it holds {foreign[1]}, which is no tensor and could run code")
    if not head:
        raise WeightsError("it is empty")
    if head.startswith(b"PK"):
        raise WeightsError("it is cut off, damaged, or no archive of tensors alone")
    raise WeightsError(f"it begins with {head.decode('ascii', 'backslashreplace')!r}")


def _state(content: Any) -> dict[str, Tensor]:
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"it holds a {type(content).__name__} of other things than tensors")
    for prefix in PREFIXES:
        consume_prefix_in_state_dict_if_present(content, prefix)
    return content


def _require_fit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Say which tensor is not as it should be; counters of batches came late to torch and may lack."""
    lacking = [name for name in expected if name not in found and not name.endswith("num_batches_tracked")]
    for verb, names in (("lacks", lacking), ("has", [name for name in found if name not in expected])):
        if names:
            more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
            raise WeightsError(f"it {verb} {names[0]}{more}{' that are not expected' if verb == 'has' else ''}")
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(f"its {name} is of shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}")


def _absent(path: Path, reason: str) -> str:
    return (
        f"weights: {path} {reason}. Give the path of a state_dict (WEIGHTS=<path>, in a notebook "
        '`weights = "<path>"` in its first cell), a name of torchvision\'s (WEIGHTS=IMAGENET1K_V1, downloaded), or '
        "WEIGHTS=none"
    )


def _entry(backbone: str, weights: str) -> Any:
    known = torchvision.models.get_model_weights(backbone)
    if weights not in known.__members__:
        raise WeightsError(
            f"torchvision has no weights {weights!r} for {backbone}; it has {', '.join(known.__members__)}"
        )
    return known[weights]


def _cached(entry: Any) -> Path:
    """Return where torch keeps a file of torchvision's once it is downloaded."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name)


def _digits(path: Path) -> str:
    """Return the first hex digits of the SHA-256 that a file of torchvision's has, as its name states them."""
    return path.stem.rpartition("-")[2]


def _require_hash(path: Path) -> None:
    if reason := not_a_file(path):
        raise WeightsError(_absent(path, reason))
    if not (digest := sha256(path)).startswith(_digits(path)):
        raise WeightsError(
            f"{path} is not what torchvision publishes under this name: its SHA-256 begins with {digest[:8]}. Delete "
            "it, to have it downloaded again; or give it another name and say so (WEIGHTS=<path>)"
        )


def _download(backbone: str, weights: str) -> nn.Module:
    entry = _entry(backbone, weights)
    path = _cached(entry)
    if not os.path.lexists(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(entry.url, str(path), _digits(path))
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"torchvision's {weights} weights for {backbone} could not be downloaded ({error}). Give a "
                'file instead (WEIGHTS=<path of a state_dict>, in a notebook `weights = "<path>"` in its first '
                "cell), or train from scratch (WEIGHTS=none)"
            ) from error
    _require_hash(path)
    try:
        require_finite(_state(_unpickle(path)))  # eight digits are soon found: the hash alone is no reason to trust
    except WeightsError as error:
        raise WeightsError(f"{path} is no state_dict: {error}") from error
    # torchvision's builders ask torch for everything a file holds; torch knows this variable for whoever asks.
    with patch.dict(os.environ, {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}):
        try:
            return torchvision.models.get_model(backbone, weights=entry)
        except pickle.UnpicklingError:
            raise WeightsError(f"{path} holds more than tensors: delete it, to have it downloaded again") from None


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
