"""The state of a run on disk: written whole, recognised before it is used, and set aside if it is another's."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skinlesion import files
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.parameters import Arithmetic, Augmentation, Frame, Model, Parameters, Recipe, Split

NAME = "state.pt"

CODE = (
    "learning/training.py",
    "learning/engine.py",
    "learning/models.py",
    "learning/kernels.py",
    "learning/kernels.c",
    "learning/losses.py",
    "learning/batches.py",
    "learning/augmentation.py",
    "learning/distributed.py",
    "data/images.py",
)
"""Files of the library whose change makes a checkpoint stale."""

DECISIVE = [name for group in (Frame, Split, Model, Recipe, Augmentation, Arithmetic) for name in group.model_fields]
"""Parameters that decide what is learnt, beside the seed (the data itself is in the fingerprint)."""


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
    chosen = parameters.model_dump(include={"seed", *DECISIVE})
    weights = files.resolve(parameters.weights)
    chosen["weights"] = files.sha256(weights) if weights.is_file() else parameters.weights
    rows = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
    return {
        **{key: str(value) for key, value in chosen.items()},
        "data": fingerprint,
        "split": rows,
        "code": files.sha256(*(Path(__file__).parents[1] / name for name in CODE)),
        "torch": str(torch.__version__),
    }


def save(folder: Path, identity: dict[str, str], **state: Any) -> None:
    """Write the state of a run, whole or not at all."""
    with files.atomic(folder / NAME) as temporary:
        torch.save({"identity": identity, **state}, temporary)


def load(folder: Path, identity: dict[str, str], report: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the saved state of this run, on the CPU, or None where there is none.

    A state of another run is not used: it is set aside as ``state.other.pt``, and `report` is told by what it
    differs. Only tensors and plain values are unpickled.

    Raises
    ------
    CheckpointError
        If the file is damaged or no checkpoint of this library.
    """
    path = folder / NAME
    for leftover in folder.glob(f".{NAME}.*.tmp"):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        other = state["identity"]
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"the checkpoint {files.shown(path)} is damaged or not of this library "
            f"({str(error).splitlines()[0]}): delete it to start over"
        ) from error
    differing = sorted(key for key in identity if identity[key] != other.get(key))
    if differing:
        aside = path.with_stem(f"{path.stem}.other")
        path.replace(aside)
        reasons = ", ".join(_difference(key, other.get(key), identity[key]) for key in differing)
        report(f"starting over: the checkpoint was made with other {reasons}. It is kept as {aside.name}")
        return None
    return state


def _difference(key: str, there: str | None, here: str) -> str:
    known = key in Parameters.model_fields and there is not None and len(there + here) < 40
    return f"{key} ({there}, now {here})" if known else key


def save_watched(folder: Path, epoch: int, probabilities: np.ndarray) -> None:
    """Write down what a network says after an epoch, counted from zero: float16 of shape (n, 7)."""
    with files.atomic(folder / _watched(epoch)) as temporary, temporary.open("wb") as opened:
        np.save(opened, probabilities)


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
            found.append(np.load(path, allow_pickle=False))
            if found[-1].shape != (rows, len(DX)):
                raise ValueError(f"shape {found[-1].shape}, not {(rows, len(DX))}")
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(
                f"{files.shown(path)} cannot be used ({error}): delete its folder to start over"
            ) from error
    return np.stack(found)


def _watched(epoch: int) -> str:
    return f"epoch-{epoch + 1:04d}.npy"
