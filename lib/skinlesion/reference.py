"""What this library is measured against: loops as a practitioner writes them, on torch, torchvision, scikit-learn."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from sklearn import metrics
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from skinlesion.images import MEAN, STD

CLASSES = 7
WARM_UP = 4  # steps that are not timed: the first ones allocate memory and fill the workers' queues


class Jpegs(Dataset):
    """JPEG files, decoded and transformed one by one whenever they are asked for."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths = sorted(folder.glob("*.jpg"))
        self.transform = v2.Compose(
            [
                v2.ToImage(),
                v2.Resize((size, size), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
                v2.RandomAffine(
                    20, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR
                ),
                v2.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.02),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), index % CLASSES


def from_files(folder: Path, *, size: int, batch: int, steps: int, workers: int) -> float:
    """Train mobilenet_v2 from JPEG files; return images per second over `steps` steps.

    Parameters
    ----------
    workers
        Of the DataLoader.
    """
    loader = DataLoader(
        Jpegs(folder, size),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    return _train(itertools.chain.from_iterable(itertools.repeat(loader)), batch, steps, _model())


def without_input(*, size: int, batch: int, steps: int, model: nn.Module | None = None) -> float:
    """Train on one batch of random numbers that is there already; return images per second.

    Parameters
    ----------
    model
        The network to train; a plain mobilenet_v2 if there is none.
    """
    pixels = torch.randn(batch, 3, size, size)
    if model is not None:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % CLASSES
    return _train(itertools.repeat((pixels, labels)), batch, steps, model or _model())


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the headline scores of one draw."""
    predicted, names = probabilities.argmax(1), range(CLASSES)
    truth = np.eye(CLASSES)[labels]
    return {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "weighted_f1": metrics.f1_score(labels, predicted, average="weighted"),
        "kappa": metrics.cohen_kappa_score(labels, predicted),
        "mcc": metrics.matthews_corrcoef(labels, predicted),
        "macro_auc": metrics.roc_auc_score(labels, probabilities, multi_class="ovr", labels=names),
        "macro_average_precision": metrics.average_precision_score(truth, probabilities, average="macro"),
        "loss": metrics.log_loss(labels, probabilities, labels=names),
    }


def _model() -> nn.Module:
    return torchvision.models.mobilenet_v2(weights=None, num_classes=CLASSES)


def _train(batches: Iterable[tuple[Tensor, Tensor]], batch: int, steps: int, model: nn.Module) -> float:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    running = 0.0
    given: Iterator[tuple[Tensor, Tensor]] = iter(batches)
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            start = time.perf_counter()
        pixels, labels = next(given)
        pixels, labels = pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        optimiser.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = criterion(model(pixels), labels)
        loss.backward()
        optimiser.step()
        running += loss.item()
    return batch * steps / (time.perf_counter() - start)
