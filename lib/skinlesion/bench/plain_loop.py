"""The study's recipe as a plain training loop, for a reader who does not trust the engine: nothing else is needed.

    python lib/skinlesion/bench/plain_loop.py --data <folder with HAM10000> --weights <state_dict>
                                              --run reports/quick/seed-0 --seed 0 --output predictions.csv

Reads the split of a published run and trains MobileNetV2 on it with torch, torchvision and a DataLoader, as `quick`
says: 96×96, Adam at 0.001, batches of 32, ten epochs, the epoch of best validation accuracy. Writes the probabilities
of every image that was not trained on, in the columns of the study's own predictions.csv.
"""

from __future__ import annotations

import argparse
import copy
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, BATCH, EPOCHS, LEARNING_RATE = 96, 32, 10, 0.001

PLAIN = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
AUGMENTED = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomAffine(20, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.02),
        PLAIN,
    ]
)


class Images(Dataset):
    """Images in memory, uint8 of shape (N, 3, H, W), transformed one by one whenever they are asked for."""

    def __init__(self, pixels: Tensor, labels: Tensor, transform: Callable[[Tensor], Tensor]) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.pixels[index]), self.labels[index]


def read_images(folder: Path, size: int = SIZE) -> dict[str, Tensor]:
    """Return every JPEG of the archives in a folder by image id, squashed to `size`: uint8 of shape (3, size, size)."""
    found = {}
    for archive in sorted(folder.glob("HAM10000_images_part_*.zip")):
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if name.endswith(".jpg"):
                    image = Image.open(io.BytesIO(opened.read(name))).convert("RGB")
                    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
                    found[Path(name).stem] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    return found


def network(weights: Path | None) -> nn.Module:
    """Return MobileNetV2 with seven outputs, from ImageNet weights (a state_dict of torchvision's) where given."""
    model = torchvision.models.mobilenet_v2()
    if weights is not None:
        model.load_state_dict(torch.load(weights, weights_only=True))
    model.classifier[1] = nn.Linear(model.last_channel, len(CLASSES))
    return model


def step(model: nn.Module, optimiser: torch.optim.Optimizer, pixels: Tensor, labels: Tensor) -> Tensor:
    """Take one step of training on a batch; return its loss."""
    optimiser.zero_grad()
    loss = nn.functional.cross_entropy(model(pixels), labels)
    loss.backward()
    optimiser.step()
    return loss


@torch.no_grad()
def probabilities(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return the probabilities of images, shape (N, 7)."""
    batches = DataLoader(Images(pixels, torch.zeros(len(pixels)), PLAIN), batch_size=256)
    return torch.cat([torch.softmax(model.eval()(batch), dim=1) for batch, _ in batches])


def train(table: pd.DataFrame, pixels: Tensor, *, weights: Path | None, seed: int, workers: int = 0) -> nn.Module:
    """Train on the rows of part ``train``; return the network of the epoch of best accuracy on ``validation``."""
    torch.manual_seed(seed)
    labels = torch.tensor([CLASSES.index(dx) for dx in table.dx])
    train, validation = (torch.tensor(table.part.eq(part).to_numpy()) for part in ("train", "validation"))
    data = Images(pixels[train], labels[train], AUGMENTED)
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    model = network(weights)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    best, kept = -1.0, model.state_dict()
    for epoch in range(EPOCHS):
        model.train()
        losses = [step(model, optimiser, *batch).item() for batch in loader]
        right = probabilities(model, pixels[validation]).argmax(1) == labels[validation]
        accuracy = right.float().mean().item()
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {np.mean(losses):.3f}, validation accuracy {accuracy:.3f}", flush=True)
        if accuracy > best:
            best, kept = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return model


def main() -> None:
    """Train on a published split and write the predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="a published run, whose split.csv.xz is taken")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    split = pd.read_csv(given.run / "split.csv.xz")
    metadata = pd.read_csv(given.data / "HAM10000_metadata")
    table = split.merge(metadata[["image_id", "dx"]], on="image_id", validate="one_to_one")
    images = read_images(given.data)
    pixels = torch.stack([images[image_id] for image_id in table.image_id])
    model = train(table, pixels, weights=given.weights, seed=given.seed, workers=given.workers)
    rest = table[table.part.isin(["validation", "calibration", "test"])].reset_index()
    columns = [f"p_{dx}" for dx in CLASSES]
    said = pd.DataFrame(probabilities(model, pixels[rest["index"].to_numpy()]).double().numpy(), columns=columns)
    said = said.div(said.sum(axis=1), axis=0)
    rest = rest[["image_id", "lesion_id", "lesion_group", "part", "dx"]]
    rest.join(said).to_csv(given.output, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
