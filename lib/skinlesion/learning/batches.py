"""What an epoch trains on: its order and draws, and the pixels of one batch after another, on the device."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from skinlesion.learning import augmentation


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


class Source:
    """The images of a store, batch by batch on the device: a batch is one gather in its memory.

    On a CPU the memory-mapped file is that already: it stays in the system's page cache.

    Parameters
    ----------
    store
        uint8 of shape (N, H, W, 3); HAM10000 at 224×224 takes 1.5 GB.
    """

    def __init__(self, store: np.ndarray, device: torch.device) -> None:
        self._store = store
        self._resident = None if device.type == "cpu" else torch.from_numpy(np.array(store)).to(device)

    def batches(self, parts: list[Tensor]) -> Generator[Tensor]:
        """Yield the pixels of each of `parts`, int64 rows on the CPU: uint8 of shape (B, H, W, 3)."""
        if self._resident is None:
            yield from (torch.from_numpy(self._store[rows.numpy()]) for rows in parts)
        elif parts:
            rows = torch.cat(parts).to(self._resident.device)  # once, not batch by batch
            yield from (self._resident[part] for part in rows.split([len(part) for part in parts]))
