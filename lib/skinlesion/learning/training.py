"""A run of training: epochs, selection on validation, and a record on disk that it can be resumed from.

It chooses nothing by the test part: what the network says of it after each epoch is written down unread.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from skinlesion import processors
from skinlesion.data.dataset import DX
from skinlesion.learning import checkpoints, distributed
from skinlesion.learning.engine import Engine, TrainingError, choose_device, determinism, learning_rate, logits
from skinlesion.parameters import Parameters

DIVERGED = 5.0
"""A run has diverged when its loss stays above this many times the loss of guessing evenly."""

WINDOW = 50
"""Steps over which "stays" is meant; on a GPU, also how often the host looks at the losses."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, or the system's request to end, came in; the state is saved."""


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    Attributes
    ----------
    model
        The network with the weights of the selected epoch, in evaluation mode.
    history
        One row an epoch: epoch, train_loss, train_accuracy, validation_loss, validation_accuracy,
        validation_balanced_accuracy, learning_rate (of the last step), seconds (all of the epoch),
        images_per_second (its training part), threads. Training figures are means over the augmented batches as
        they were trained; the validation loss is plain cross-entropy.
    selected_epoch
        The epoch chosen on validation, counted from one.
    device, precision
        What it ran on and in.
    engine
        What was on: determinism, compilation, layers, processes.
    watched
        float16 of shape (epochs, n, 7): after each epoch, the probabilities of the rows the caller named.
    sittings
        The records the caller gave, one for each process that trained, with the epoch and the step it began
        at. A run that was never cut off has one; a process that finds a finished run adds none.
    """

    model: nn.Module
    history: pd.DataFrame
    selected_epoch: int
    device: str
    precision: str
    engine: dict[str, Any]
    watched: np.ndarray
    sittings: list[dict[str, Any]]


def train(
    store: np.ndarray,
    labels: np.ndarray,
    *,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    watched_rows: np.ndarray | None = None,
    parameters: Parameters,
    checkpoint: Path,
    fingerprint: str,
    teachers: Sequence[nn.Module] = (),
    record: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = print,
) -> Trained:
    """Train the study's network, or finish a run that was cut off.

    The order and the views of an epoch are functions of (seed, epoch, image), dropout of (seed, step): there
    is no state of a generator to lose. What has been learnt is saved after each epoch and every
    ``checkpoint_seconds``, so a run that was killed goes on as the run it would have been. The number of threads, which
    decides the last bits, is chosen anew for each epoch on a CPU, and is that of the whole epoch.

    Parameters
    ----------
    store
        uint8 of shape (N, H, W, 3).
    labels
        int64 of shape (N,), places in :data:`skinlesion.data.dataset.DX`.
    train_rows, validation_rows
        int64 rows of `store`; disjoint.
    watched_rows
        Rows of `store` whose probabilities are written down after every epoch, so that another rule of selection can be
        judged without training again; nothing here reads them.
    checkpoint
        Folder of the resumable state.
    fingerprint
        Of the data and the teachers; with the rows, the parameters and the code it says which run a state belongs to.
    teachers
        As :class:`skinlesion.learning.engine.Engine` takes them.
    record
        What is to be remembered of this process with what it trains: time, commit, hardware.
    report
        Is given one line an epoch.

    Raises
    ------
    TrainingError
        If the loss is not finite or diverges, naming epoch and step; if the parts overlap, or the device is
        not there.
    TrainingInterrupted
        After Ctrl-C or SIGTERM, with the state of the last step saved.
    skinlesion.learning.checkpoints.CheckpointError
        If the state on disk is damaged.
    """
    if np.intersect1d(train_rows, validation_rows).size:
        raise TrainingError("training and validation share images: draw the split again (notebook 02)")
    device = choose_device(parameters)
    processors.keep_memory()
    gpu = [device] if device.type == "cuda" else []
    as_before = threads(torch.get_num_threads())
    with as_before, determinism(parameters.deterministic), torch.random.fork_rng(devices=gpu):
        engine = Engine(store, labels, train_rows=train_rows, parameters=parameters, device=device, teachers=teachers)
        watched = np.empty(0, np.int64) if watched_rows is None else watched_rows
        lines = report if distributed.rank() == 0 else lambda line: None
        run = _Run(engine, validation_rows, watched, checkpoint, lines)
        precision = str(engine.precision).removeprefix("torch.")
        used = parameters.model_copy(update={"device": device.type, "precision": precision})
        run.resume(checkpoints.identity(used, fingerprint, train_rows, validation_rows, labels), record)
        while len(run.history) < parameters.epochs:
            run.epoch()
        return run.finish()


class _Run:
    """The epochs of one run, and their record on disk."""

    def __init__(
        self,
        engine: Engine,
        validation_rows: np.ndarray,
        watched_rows: np.ndarray,
        folder: Path,
        report: Callable[[str], None],
    ) -> None:
        self.engine, self.rows, self.folder, self.report = engine, validation_rows, folder, report
        self.watched = watched_rows
        self.parameters = engine.parameters
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"epoch": 0, "value": -math.inf, "weights": None}
        self.sittings: list[dict[str, Any]] = []
        self.partial: dict[str, Any] = {}
        self.identity: dict[str, str] = {}
        self.threads = 0
        self.saved = time.monotonic()

    def resume(self, identity: dict[str, str], record: Mapping[str, Any] | None) -> None:
        """Take up the state on disk, if it is this run's."""
        self.identity = identity
        state = checkpoints.load(self.folder, identity, self.report)
        if state:
            self.engine.load_state(state)
            self.history, self.best, self.sittings = state["history"], state["best"], state["sittings"]
            self.partial = state["partial"]
            if self.partial and self.engine.device.type == "cpu":
                self.threads = state["threads"]
            within = f", step {len(self.partial['steps'])}" if self.partial else ""
            self.report(f"resumed after epoch {len(self.history)} of {self.parameters.epochs}{within}")
        if distributed.rank() == 0:
            checkpoints.drop_watched(self.folder, after=len(self.history))
        if len(self.history) < self.parameters.epochs:
            begun = {"first_epoch": len(self.history) + 1, "first_step": len(self.partial.get("steps", ())) + 1}
            self.sittings = [*self.sittings, {**begun, **(record or {})}]

    def _choose_threads(self, epoch: int) -> None:
        """Compute an epoch with as many threads as it began with, else with those chosen now; on a GPU once."""
        before = self.threads
        if not before or (self.engine.device.type == "cpu" and not self.partial):
            self.threads = processors.choose(self.parameters.threads, epoch=epoch)
        if before and before != self.threads and self.parameters.threads == "auto":
            self.report(f"threads in epoch {epoch + 1}: {self.threads} instead of {before}, for as many cores are idle")
        torch.set_num_threads(self.threads)

    def epoch(self) -> None:
        """Train, validate and save one epoch, or what is left of it."""
        epoch = len(self.history)
        start = time.perf_counter()
        self._choose_threads(epoch)
        drawn, parts = self.engine.draw(epoch)
        if not parts:
            raise TrainingError(f"{len(drawn.rows)} training images are too few to make a batch")
        steps = torch.zeros(len(parts), 2, device=self.engine.device)
        first = len(self.partial["steps"]) if self.partial else 0
        before = self.partial["seconds"] if self.partial else 0.0
        if first:
            steps[:first] = self.partial["steps"].to(steps.device)
        every = 1 if self.engine.device.type == "cpu" else WINDOW
        bar = tqdm(total=len(parts), initial=first, desc=f"epoch {epoch + 1}", unit="batch", leave=False)
        with _interruptions() as interrupted, bar:
            for number, outcome in enumerate(self.engine.run(drawn, parts, epoch=epoch, first=first), first):
                steps[number] = outcome
                bar.update()
                done = number + 1
                if done % every == 0:
                    self._check(epoch, steps[:done])
                if interrupted() or time.monotonic() - self.saved >= self.parameters.checkpoint_seconds:
                    self._check(epoch, steps[:done])
                    spent = before + time.perf_counter() - start
                    self._save(partial={"steps": steps[:done].cpu(), "seconds": spent})
                if interrupted():
                    raise TrainingInterrupted(
                        f"interrupted in epoch {epoch + 1} after step {done} of {len(parts)}: the state is saved, "
                        "run again to go on"
                    )
        losses_and_hits = self._check(epoch, steps)
        trained = before + time.perf_counter() - start
        sizes = np.array([part.stop - part.start for part in parts])
        row: dict[str, float] = {
            "epoch": epoch + 1,
            "train_loss": float(losses_and_hits[:, 0] @ sizes / sizes.sum()),
            "train_accuracy": float(losses_and_hits[:, 1].sum() / sizes.sum()),
            **self._score(epoch),
            "learning_rate": learning_rate(
                self.parameters, step=(epoch + 1) * len(parts) - 1, steps_per_epoch=len(parts)
            ),
            "seconds": before + time.perf_counter() - start,
            "images_per_second": float(sizes.sum() / trained),
            "threads": self.threads,
        }
        self.history.append(row)
        value = _score(row, self.parameters)
        if value > self.best["value"] or self.parameters.selection == "last":
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.engine.scored.state_dict().items()}
            self.best = {"epoch": epoch + 1, "value": value, "weights": weights}
        self._save(partial={})
        self.report(_line(self.history, self.parameters.epochs))

    def finish(self) -> Trained:
        """Return the selected epoch."""
        model = self.engine.model
        model.load_state_dict(self.best["weights"])
        return Trained(
            model=model.eval(),
            history=pd.DataFrame(self.history),
            selected_epoch=self.best["epoch"],
            device=self.engine.device.type,
            precision=str(self.engine.precision).removeprefix("torch."),
            engine=self.engine.describe(),
            watched=self._watched(),
            sittings=self.sittings,
        )

    def _watched(self) -> np.ndarray:
        if distributed.rank() > 0:  # one process writes it down
            return np.empty((0, len(self.watched), len(DX)), np.float16)
        return checkpoints.load_watched(self.folder, epochs=len(self.history), rows=len(self.watched))

    def _save(self, partial: dict[str, Any]) -> None:
        self.partial = partial
        if distributed.rank() == 0:
            checkpoints.save(
                self.folder,
                self.identity,
                **self.engine.state(),
                history=self.history,
                best=self.best,
                sittings=self.sittings,
                threads=self.threads,
                partial=partial,
            )
        self.saved = time.monotonic()

    def _check(self, epoch: int, steps: Tensor) -> np.ndarray:
        """Return loss and hits of the steps, float64 of shape (steps, 2), or stop the run."""
        found = steps.cpu().double().numpy()
        bad = np.flatnonzero(~np.isfinite(found[:, 0]))
        limit = DIVERGED * math.log(len(DX))
        if bad.size:
            fault, step = f"the training loss is {found[bad[0], 0]}", bad[0] + 1
        elif len(found) >= WINDOW and found[-WINDOW:, 0].mean() > limit:
            fault, step = f"the training loss has stayed above {limit:.1f} for {WINDOW} steps", len(found)
        else:
            return found
        raise TrainingError(
            f"{fault} in epoch {epoch + 1}, step {step}: the run stopped. The last state before it is kept; a "
            "smaller `learning_rate` or `precision: float32` may help"
        )

    def _score(self, epoch: int) -> dict[str, float]:
        """Score the validation rows, and write down what is said of the watched ones."""
        rows = np.union1d(self.rows, self.watched)
        mine = distributed.share(rows)
        scores = distributed.gather(logits(self.engine.scored, self.engine.source, mine), len(rows))
        if distributed.rank() == 0:
            watched = torch.softmax(scores[np.searchsorted(rows, self.watched)].double(), dim=1)
            checkpoints.save_watched(self.folder, epoch, watched.numpy().astype(np.float16))
        scores = scores[np.searchsorted(rows, self.rows)]
        wanted = torch.from_numpy(self.engine.labels[self.rows])
        hit = scores.argmax(1) == wanted
        recalls = [hit[wanted == k].float().mean() for k in wanted.unique()]
        return {
            "validation_loss": float(functional.cross_entropy(scores, wanted)),
            "validation_accuracy": float(hit.float().mean()),
            "validation_balanced_accuracy": float(torch.stack(recalls).mean()),
        }


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Have torch compute with so many threads, and give it back as many as it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C and SIGTERM until a step is over; yield a function that says whether one came in.

    The second one is not held back. Where signals are not ours to handle (another thread, several processes)
    they act as usual, and the state is that of the last save.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def note(number: int, frame: Any) -> None:
        received.append(number)
        restore()

    if threading.current_thread() is threading.main_thread() and not distributed.active():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        restore()


def _score(row: dict[str, float], parameters: Parameters) -> float:
    if parameters.selection == "last":
        return row["epoch"]
    return row[f"validation_{parameters.selection}"] * (-1 if parameters.selection == "loss" else 1)


def _line(history: list[dict[str, float]], epochs: int) -> str:
    row = history[-1]
    left = (epochs - row["epoch"]) * float(np.mean([each["seconds"] for each in history]))
    return (
        f"epoch {row['epoch']:>3.0f}/{epochs}  "
        f"train: loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f}  "
        f"validation: loss {row['validation_loss']:.3f} accuracy {row['validation_accuracy']:.3f}  "
        f"lr {row['learning_rate']:.3g}  {row['images_per_second']:.0f} images/s  "
        f"{_duration(row['seconds'])}, {_duration(left)} left"
    )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
