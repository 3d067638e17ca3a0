"""What an epoch trains on: its order and draws, and the pixels of one batch after another, on the device."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from skinlesion.learning import augmentation

AHEAD = 4
"""Batches that a streaming source has ready before they are asked for."""

SHARE = 0.5
"""Of the free memory, what a store may take to be resident."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch trains on.

    Attributes
    ----------
    rows
        int64 of shape (n,): rows of the store in their order.
    uniform
        float32 of shape (n, draws): the draws behind each one's view, see :func:`augmentation.draw`.
    """

    rows: Tensor
    uniform: Tensor

    def batches(self, size: int, *, least: int = 2) -> list[slice]:
        """Return the places of each batch; a last one of fewer than `least` is left out.

        Batch norm has no variance over a single image.
        """
        starts = range(0, len(self.rows), size)
        slices = [slice(start, min(start + size, len(self.rows))) for start in starts]
        return [part for part in slices if part.stop - part.start >= least]


def draw_epoch(rows: np.ndarray, labels: np.ndarray, *, seed: int, epoch: int, weighted: bool = False) -> Epoch:
    """Draw the order and the views of one epoch: a function of (seed, epoch) alone.

    Parameters
    ----------
    rows
        int64 of shape (n,): the training rows.
    labels
        int64 of shape (N,): the classes of all images.
    weighted
        Draw n images with replacement, each class as likely as any other, instead of all n in random order.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    if not weighted:
        order = torch.from_numpy(rows)[torch.randperm(len(rows), generator=generator)]
        return Epoch(order, augmentation.draw(seed, epoch, len(labels))[0, order])
    share = 1 / np.bincount(labels[rows])[labels[rows]]
    places = torch.multinomial(torch.from_numpy(share), len(rows), replacement=True, generator=generator)
    order = torch.from_numpy(rows)[places]
    seen = pd.Series(order).groupby(order.numpy()).cumcount().to_numpy()  # how often an image came up before
    draws = augmentation.draw(seed, epoch, len(labels), occurrences=int(seen.max()) + 1)
    return Epoch(order, draws[torch.tensor(seen), order])


def joined(epochs: list[Epoch]) -> Epoch:
    """Return several epochs as one, one after the other."""
    return Epoch(torch.cat([each.rows for each in epochs]), torch.cat([each.uniform for each in epochs]))


class Source(Protocol):
    """Gives the pixels of some rows, batch by batch, as uint8 of shape (B, H, W, 3) on the device."""

    def batches(self, parts: list[Tensor]) -> Generator[Tensor]:
        """Yield the pixels of each of `parts`, int64 rows on the CPU. A batch is good until the next one."""


class Resident:
    """A store that stays on the device: a batch is one gather in its memory.

    On a CPU the memory-mapped file is that already: it stays in the system's page cache.
    """

    def __init__(self, store: np.ndarray, device: torch.device) -> None:
        self._store = store
        self._resident = None if device.type == "cpu" else torch.from_numpy(np.array(store)).to(device)

    def batches(self, parts: list[Tensor]) -> Generator[Tensor]:
        """Yield the pixels of each of `parts`."""
        if self._resident is None:
            yield from (torch.from_numpy(self._store[rows.numpy()]) for rows in parts)
        elif parts:
            rows = torch.cat(parts).to(self._resident.device)  # once, not batch by batch
            yield from (self._resident[part] for part in rows.split([len(part) for part in parts]))


class Streaming:
    """A store larger than memory: a thread reads :data:`AHEAD` batches ahead from the memory-mapped file."""

    def __init__(self, store: np.ndarray, device: torch.device) -> None:
        self._store = store
        self._device = device

    def batches(self, parts: list[Tensor]) -> Generator[Tensor]:
        """Yield the pixels of each of `parts`."""
        ready: queue.Queue[Tensor | BaseException] = queue.Queue(maxsize=AHEAD)
        stopped = threading.Event()
        pinned = self._device.type == "cuda"

        def read() -> None:
            try:
                for rows in parts:
                    batch = torch.empty((len(rows), *self._store.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
                    # One image at a time: a gather in torch would start a second set of threads.
                    for into, row in zip(batch.numpy(), rows.tolist(), strict=True):
                        np.copyto(into, self._store[row])
                    while not stopped.is_set():
                        try:
                            ready.put(batch, timeout=0.1)
                            break
                        except queue.Full:
                            continue
                    if stopped.is_set():
                        return
            except BaseException as error:
                ready.put(error)

        thread = threading.Thread(target=read, daemon=True, name="read ahead")
        thread.start()
        try:
            for _ in parts:
                batch = ready.get()
                if isinstance(batch, BaseException):
                    raise batch
                yield batch.to(self._device, non_blocking=True)
        finally:
            stopped.set()
            thread.join()


def open_source(store: np.ndarray, device: torch.device, *, kind: str = "auto") -> Source:
    """Return the store as a source: resident on the device if it fits (or is asked for), else streaming.

    Parameters
    ----------
    store
        uint8 of shape (N, H, W, 3).
    kind
        ``resident``, ``streaming``, or ``auto``: resident if it takes at most half of the free memory.
    """
    if kind == "auto":
        kind = "resident" if store.nbytes <= SHARE * _free_memory(device) else "streaming"
    return Resident(store, device) if kind == "resident" else Streaming(store, device)


def _free_memory(device: torch.device) -> float:
    """Return the device's free memory in bytes; of a CPU, all it has, since a cache gives way."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return float("inf")
