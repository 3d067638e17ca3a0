"""The training loop: reproducible from its seed, resumable after every epoch. It never sees the test part."""

from __future__ import annotations

import hashlib
import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from skinlesion import augmentation, files, models
from skinlesion.dataset import DX
from skinlesion.parameters import Parameters

CHECKPOINT = "state.pt"

CODE = ("training.py", "models.py", "augmentation.py", "images.py")
"""Modules whose change makes a checkpoint stale."""

RECIPE = [
    "backbone",
    "weights",
    "image_size",
    "resize",
    "split_by",
    "folds",
    "leakage_arm",
    "learning_rate",
    "batch_size",
    "epochs",
    "selection",
    "flip",
    "rotation_degrees",
    "zoom",
    "translation",
    "brightness",
    "contrast",
]
"""Parameters that make up the recipe, as a report lists it."""

NOT_TRAINING = {"study", "data", "bootstrap_draws", "galleries", "cell_timeout_minutes", "output", "cache"}
"""Parameters that do not change what is learnt (the data itself is in the fingerprint)."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where it stopped and what to do."""


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    Attributes
    ----------
    model
        The network with the weights of the selected epoch, in evaluation mode.
    history
        One row an epoch: epoch, train_loss, train_accuracy, validation_loss, validation_accuracy,
        validation_balanced_accuracy, learning_rate, seconds (all of the epoch), images_per_second
        (its training part). Training figures are means over the augmented batches as they were trained.
    selected_epoch
        The epoch chosen on validation, counted from one.
    device, precision
        What it ran on and in.
    sittings
        The records the caller gave, one for each process that trained an epoch, with its first epoch. A
        run that was never cut off has one; a process that finds a finished run adds none.
    """

    model: nn.Module
    history: pd.DataFrame
    selected_epoch: int
    device: str
    precision: str
    sittings: list[dict[str, Any]]


def choose_device(parameters: Parameters) -> torch.device:
    """Return the device the parameters name; ``auto`` is CUDA where there is one, else the CPU.

    Raises
    ------
    TrainingError
        If the device named is not there.
    """
    if parameters.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[parameters.device]:
        raise TrainingError(f"this machine has no {parameters.device} device: set `device: auto`")
    return torch.device(parameters.device)


def choose_precision(parameters: Parameters, device: torch.device) -> torch.dtype:
    """Return the type of the forward pass; ``auto`` is bfloat16 where the hardware multiplies it natively."""
    if parameters.precision != "auto":
        return torch.bfloat16 if parameters.precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        native = device.type == "cpu" and probe is not None and probe()
    return torch.bfloat16 if native else torch.float32


def train(
    store: np.ndarray,
    labels: np.ndarray,
    *,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    parameters: Parameters,
    checkpoint: Path,
    fingerprint: str,
    record: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = print,
) -> Trained:
    """Train the study's network, or finish a run that was cut off.

    The order and the views of an epoch are functions of (seed, epoch, image), dropout of (seed, epoch);
    the state is saved after each epoch. So a resumed run is the run it would have been.

    Parameters
    ----------
    store
        uint8 of shape (N, H, W, 3).
    labels
        int64 of shape (N,), places in :data:`skinlesion.dataset.DX`.
    train_rows, validation_rows
        int64 rows of `store`; disjoint.
    checkpoint
        Folder of the resumable state.
    fingerprint
        Of the data; with the rows, the parameters and the code it says which run a state belongs to.
    record
        What is to be remembered of this process with the epochs it trains: time, commit, hardware.
    report
        Is given one line an epoch.

    Raises
    ------
    TrainingError
        If the loss is not finite, the parts overlap, or the device is not there.
    """
    if np.intersect1d(train_rows, validation_rows).size:
        raise TrainingError("training and validation share images: draw the split again (notebook 02)")
    device = choose_device(parameters)
    precision = choose_precision(parameters, device)
    model = models.build(parameters.backbone, weights=parameters.weights, classes=len(DX), seed=parameters.seed)
    model = model.to(device).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), lr=parameters.learning_rate)
    identity = _identity(parameters, fingerprint, train_rows, validation_rows, labels)
    state = _load_state(checkpoint / CHECKPOINT, identity, report)
    history: list[dict[str, float]] = []
    best: dict[str, Any] = {"epoch": 0, "value": -math.inf, "weights": None}
    sittings: list[dict[str, Any]] = []
    if state:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        history, best, sittings = state["history"], state["best"], state["sittings"]
        report(f"resumed after epoch {len(history)} of {parameters.epochs}")
    if len(history) < parameters.epochs:
        sittings = [*sittings, {"first_epoch": len(history) + 1, **(record or {})}]
    fetch = _fetcher(store, device)
    target = torch.tensor(labels, device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for epoch in range(len(history), parameters.epochs):
            start = time.perf_counter()
            loss, accuracy = _train_epoch(
                model, optimiser, fetch, target, train_rows, parameters, epoch, device, precision
            )
            trained = time.perf_counter()
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the training loss of epoch {epoch + 1} is {loss}: the run stopped. The state after "
                    f"epoch {epoch} is kept; a smaller `learning_rate` or `precision: float32` may help"
                )
            row = {"epoch": epoch + 1, "train_loss": loss, "train_accuracy": accuracy}
            row |= _validate(model, fetch, target, validation_rows, parameters)
            row["learning_rate"] = optimiser.param_groups[0]["lr"]
            row["seconds"] = time.perf_counter() - start
            row["images_per_second"] = len(train_rows) / (trained - start)
            history.append(row)
            value = _score(row, parameters)
            if value > best["value"] or parameters.selection == "last":
                weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
                best = {"epoch": epoch + 1, "value": value, "weights": weights}
            _save_state(
                checkpoint / CHECKPOINT,
                identity=identity,
                model=model.state_dict(),
                optimiser=optimiser.state_dict(),
                history=history,
                best=best,
                sittings=sittings,
            )
            report(_line(row, parameters.epochs))
    model.load_state_dict(best["weights"])
    name = str(precision).removeprefix("torch.")
    return Trained(model.eval(), pd.DataFrame(history), best["epoch"], device.type, name, sittings)


@torch.no_grad()
def logits(model: nn.Module, fetch: Callable[[Tensor], Tensor], rows: np.ndarray, batch: int) -> Tensor:
    """Return the logits of some images, unaugmented and in float32: shape (len(rows), classes), on the CPU."""
    was_training = model.training
    model.eval()
    parts = []
    for part in tqdm(torch.from_numpy(rows).split(batch), desc="score", unit="batch", leave=False):
        images = augmentation.normalise(augmentation.to_float(fetch(part)))
        parts.append(model(images).float().cpu())
    model.train(was_training)
    return torch.cat(parts)


def make_fetch(model: nn.Module, store: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Return a function from rows to uint8 images on the model's device."""
    return _fetcher(store, next(model.parameters()).device)


def _fetcher(store: np.ndarray, device: torch.device) -> Callable[[Tensor], Tensor]:
    if device.type == "cpu":
        return lambda rows: torch.from_numpy(store[rows.numpy()])
    resident = torch.from_numpy(np.array(store)).to(device)
    return lambda rows: resident[rows.to(device)]


def _train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    fetch: Callable[[Tensor], Tensor],
    target: Tensor,
    rows: np.ndarray,
    parameters: Parameters,
    epoch: int,
    device: torch.device,
    precision: torch.dtype,
) -> tuple[float, float]:
    """Train one epoch; return its mean loss and accuracy."""
    model.train()
    torch.manual_seed(parameters.seed * 1_000_003 + epoch)  # dropout
    uniform = augmentation.draw(parameters.seed, epoch, len(target))
    generator = torch.Generator().manual_seed(parameters.seed * 1_000_003 + epoch)
    order = torch.from_numpy(rows)[torch.randperm(len(rows), generator=generator)]
    batches = [batch for batch in order.split(parameters.batch_size) if len(batch) > 1]  # batch norm
    loss_sum = torch.zeros((), device=device)
    correct = torch.zeros((), device=device)
    for batch in tqdm(batches, desc=f"epoch {epoch + 1}", unit="batch", leave=False):
        images = augmentation.augment(augmentation.to_float(fetch(batch)), uniform[batch], parameters)
        wanted = target[batch.to(device)]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
            output = model(augmentation.normalise(images))
            output = output[0] if isinstance(output, tuple) else output  # inception's second head
        loss = functional.cross_entropy(output.float(), wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss_sum += loss.detach() * len(batch)
        correct += (output.detach().argmax(1) == wanted).sum()
    seen = sum(len(batch) for batch in batches)
    return float(loss_sum) / seen, float(correct) / seen


def _validate(
    model: nn.Module,
    fetch: Callable[[Tensor], Tensor],
    target: Tensor,
    rows: np.ndarray,
    parameters: Parameters,
) -> dict[str, float]:
    scores = logits(model, fetch, rows, 4 * parameters.batch_size)
    wanted = target.cpu()[torch.from_numpy(rows)]
    hit = scores.argmax(1) == wanted
    recalls = [hit[wanted == k].float().mean() for k in wanted.unique()]
    return {
        "validation_loss": float(functional.cross_entropy(scores, wanted)),
        "validation_accuracy": float(hit.float().mean()),
        "validation_balanced_accuracy": float(torch.stack(recalls).mean()),
    }


def _score(row: dict[str, float], parameters: Parameters) -> float:
    if parameters.selection == "last":
        return row["epoch"]
    return row[f"validation_{parameters.selection}"] * (-1 if parameters.selection == "loss" else 1)


def _line(row: dict[str, float], epochs: int) -> str:
    left = (epochs - row["epoch"]) * row["seconds"]
    return (
        f"epoch {row['epoch']:>3.0f}/{epochs}  "
        f"train: loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f}  "
        f"validation: loss {row['validation_loss']:.3f} accuracy {row['validation_accuracy']:.3f}  "
        f"lr {row['learning_rate']:g}  {row['images_per_second']:.0f} images/s  "
        f"{row['seconds']:.0f} s, {left:.0f} s left"
    )


def _identity(parameters: Parameters, fingerprint: str, *arrays: np.ndarray) -> dict[str, str]:
    """Say which run a state belongs to: each entry on its own, so that a difference can be named."""
    chosen = parameters.model_dump(exclude=NOT_TRAINING)
    weights = files.resolve(parameters.weights)
    chosen["weights"] = files.sha256(weights) if weights.is_file() else parameters.weights
    rows = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
    code = files.sha256(*(Path(__file__).with_name(name) for name in CODE))
    return {
        **{key: str(value) for key, value in chosen.items()},
        "data": fingerprint,
        "split": rows,
        "code": code,
        "torch": str(torch.__version__),
    }


def _save_state(path: Path, **state: Any) -> None:
    with files.atomic(path) as temporary:
        torch.save(state, temporary)


def _load_state(path: Path, identity: dict[str, str], report: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the saved state if it belongs to this run; say why not if it does not."""
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        other = state["identity"]
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise TrainingError(
            f"the checkpoint {files.shown(path)} is damaged ({str(error).splitlines()[0]}): delete it to start over"
        ) from error
    differing = sorted(key for key in identity if identity[key] != other.get(key))
    if differing:
        report(f"starting over: the checkpoint was made with other {', '.join(differing)}")
        return None
    return state
