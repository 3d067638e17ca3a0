"""The state of a run on disk: written whole, recognised before it is used, and set aside if it is another's."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from skinlesion import files
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.parameters import Parameters

NAME, BEFORE = "state.pt", "state.before.pt"

_HERE = Path(__file__).parent
_AFTERWARDS = ("checkpoints", "inference", "official", "portable", "rescoring")
"""Modules beside this one that change nothing of what is learnt."""

CODE = (
    *sorted(path for path in _HERE.glob("[a-z]*.py") if path.stem not in _AFTERWARDS),
    _HERE / "kernels.c",
    *(_HERE.parent / "data" / name for name in ("images.py", "mistakes.py")),
)
"""Files of the library whose change makes a checkpoint stale."""


class CheckpointError(StudyError):
    """A checkpoint that cannot be read; the message names it and the way out."""


def identity(parameters: Parameters, fingerprint: str, *arrays: np.ndarray) -> dict[str, str]:
    """Say which run a state belongs to: each entry on its own, so that a difference can be named.

    Parameters
    ----------
    fingerprint
        Of the data.
    arrays
        The rows and labels of the split.
    """
    chosen = parameters.training_identity()
    weights = files.resolve(parameters.weights)
    chosen["weights"] = files.sha256(weights) if weights.is_file() else parameters.weights
    rows = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
    return {
        **{key: str(value) for key, value in chosen.items()},
        "data": fingerprint,
        "split": rows,
        "code": files.sha256(*CODE),
        "torch": str(torch.__version__),
    }


class _Best(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)

    epoch: int
    value: float
    weights: dict[str, Tensor] | None


class _Partial(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)

    steps: Tensor
    seconds: float


class _Optimiser(BaseModel):
    model_config = ConfigDict(strict=True)

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class _State(BaseModel):
    """What a state must look like before anything of it is used."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow", strict=True)

    identity: dict[str, str]
    history: list[dict[str, float]]
    sittings: list[dict[str, Any]]
    best: _Best
    partial: dict[str, Any]
    model: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimiser: _Optimiser
    threads: int

    @model_validator(mode="after")
    def _epochs_are_those_of_the_run(self) -> Self:
        if len(self.history) > int(self.identity.get("epochs", len(self.history))):
            raise ValueError("it has more epochs than the run")
        if self.partial:
            _Partial.model_validate(self.partial)
        return self

    @model_validator(mode="after")
    def _weights_are_of_one_network_and_finite(self) -> Self:
        weights = self.best.weights
        if (weights is None) != (not self.history):
            raise ValueError("it keeps no epoch")
        if not all(tensor.isfinite().all() for tensor in [*self.model.values(), *(weights or {}).values()]):
            raise ValueError("its weights hold NaN or infinity")
        shapes = [sorted(tuple(tensor.shape) for tensor in each.values()) for each in (self.model, weights or {})]
        if weights is not None and shapes[0] != shapes[1]:  # names differ where it is compiled or averaged
            raise ValueError("the weights of its best epoch are of another network")
        return self


def save(folder: Path, identity: dict[str, str], **state: Any) -> None:
    """Write the state of a run, whole or not at all; the one before it is kept as ``state.before.pt``."""
    path = folder / NAME
    with files.atomic(path) as temporary:
        torch.save({"identity": identity, **state}, temporary)
        files.seal(temporary)
        if path.is_file():  # a second name for it, so that there is a state at any moment
            spare = folder / f".{BEFORE}"
            spare.unlink(missing_ok=True)
            try:
                os.link(path, spare)
            except OSError:  # a file system without
                shutil.copyfile(path, spare)
            spare.replace(folder / BEFORE)


def load(folder: Path, identity: dict[str, str], report: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the saved state of this run, on the CPU, or None where there is none.

    A state that is damaged is never used: it is set aside, the one before it is taken, and `report` is told. So it is
    with a state of another run, which is named by what it differs. Only tensors and plain values are unpickled.
    """
    for leftover in folder.glob(f".{NAME}.*.tmp"):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)
    for path, then in ((folder / NAME, "the state before it is taken"), (folder / BEFORE, "training starts over")):
        if not path.is_file():
            continue
        try:
            state = _read(path)
        except (ValueError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, OSError):
            aside = path.with_stem(f"{path.stem}.damaged")
            path.replace(aside)
            report(f"{files.shown(path)} is damaged, or no state of a run: it is set aside as {aside.name}, and {then}")
            continue
        other = state["identity"]
        differing = sorted(key for key in identity if identity[key] != other.get(key))
        if not differing:
            return state
        aside = path.with_stem(f"{path.stem}.other")
        path.replace(aside)
        (folder / BEFORE).unlink(missing_ok=True)
        reasons = ", ".join(_difference(key, other.get(key), identity[key]) for key in differing)
        report(f"starting over: the checkpoint was made with other {reasons}. It is kept as {aside.name}")
        return None
    return None


def _read(path: Path) -> dict[str, Any]:
    content = path.read_bytes()[: files.sound_length(path)]
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    _State.model_validate(state)
    return state


def _difference(key: str, there: str | None, here: str) -> str:
    known = key in Parameters.model_fields and there is not None and len(there + here) < 40
    return f"{key} ({there}, now {here})" if known else key


def save_watched(folder: Path, epoch: int, probabilities: np.ndarray) -> None:
    """Write down what a network says after an epoch, counted from zero: float16 of shape (n, 7)."""
    with files.atomic(folder / _watched(epoch)) as temporary:
        with temporary.open("wb") as opened:
            np.save(opened, probabilities)
        files.seal(temporary)


def drop_watched(folder: Path, *, after: int) -> None:
    """Delete what was written down of epochs that the state does not have."""
    for path in folder.glob("epoch-*.npy"):
        if path.name >= _watched(after):
            path.unlink()


def load_watched(folder: Path, *, epochs: int, rows: int) -> np.ndarray:
    """Return what was written down after each epoch: float16 of shape (epochs, rows, 7).

    Raises
    ------
    CheckpointError
        If an epoch is missing, or is of other rows.
    """
    found = []
    for epoch in range(epochs):
        path = folder / _watched(epoch)
        try:
            content = path.read_bytes()[: files.sound_length(path)]
            found.append(np.load(io.BytesIO(content), allow_pickle=False))
            if found[-1].shape != (rows, len(DX)):
                raise ValueError(f"shape {found[-1].shape}, not {(rows, len(DX))}")
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(
                f"{files.shown(path)} cannot be used ({error}): delete its folder to start over"
            ) from error
    return np.stack(found)


def _watched(epoch: int) -> str:
    return f"epoch-{epoch + 1:04d}.npy"
