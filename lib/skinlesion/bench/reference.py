"""What this library is measured against: loops as a practitioner writes them, on torch and torchvision."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from skinlesion.data.images import MEAN, STD

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


def without_input(*, size: int, batch: int, steps: int) -> float:
    """Train mobilenet_v2 on one batch of random numbers that is there already; return images per second."""
    pixels, labels = torch.randn(batch, 3, size, size), torch.arange(batch) % CLASSES
    return _train(itertools.repeat((pixels, labels)), batch, steps, _model())


@torch.no_grad()
def predict(model: nn.Module, paths: Sequence[Path], *, size: int) -> list[Tensor]:
    """Return the probabilities of JPEG files, read and scored one after the other."""
    transform = v2.Compose(
        [v2.ToImage(), v2.Resize((size, size)), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    found = []
    for path in paths:
        with Image.open(path) as image:
            found.append(torch.softmax(model(transform(image.convert("RGB"))[None]), dim=1)[0])
    return found


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
