import io
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, on machines that do other things as well

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from skinlesion import files, parameters
from skinlesion.data import dataset, sample
from skinlesion.scoring import predictions, summary

LESIONS = 84

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """The synthetic sample, drawn once; to be read only."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    sample.draw(folder, lesions=LESIONS, seed=0)
    return folder


@pytest.fixture
def copied(drawn, tmp_path) -> Path:
    """A copy of the sample, to be damaged."""
    return Path(shutil.copytree(drawn, tmp_path / "copied"))


@pytest.fixture
def tiny(drawn, tmp_path) -> parameters.Parameters:
    """The demo at a size that trains in seconds, with all output in a folder of its own."""
    return parameters.load("demo", tiny_overrides(drawn, tmp_path))


def tiny_overrides(drawn: Path, folder: Path) -> dict:
    return {
        "data": str(drawn),
        "synthetic_lesions": LESIONS,
        "image_size": 32,
        "epochs": 2,
        "bootstrap_draws": 20,
        "output": str(folder / "reports"),
        "cache": str(folder / "store"),
        "device": "cpu",
        "threads": 1,
        "train_fraction": 0.5,
        "validation_fraction": 0.125,
        "calibration_fraction": 0.125,
        "test_fraction": 0.25,
    }


@pytest.fixture(scope="session")
def opened(drawn) -> dataset.Dataset:
    return dataset.open_dataset(parameters.load("demo", {"data": str(drawn), "synthetic_lesions": LESIONS}))


@pytest.fixture(scope="session")
def task() -> tuple[np.ndarray, np.ndarray]:
    """Seven colours, easily told apart: a store of 84 images of 32×32, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(84) % 7
    colours = rng.integers(30, 226, (7, 3))
    store = colours[labels][:, None, None, :] + rng.integers(-20, 20, (84, 32, 32, 3))
    return store.clip(0, 255).astype(np.uint8), labels


def claiming(width: int, height: int) -> bytes:
    """A JPEG whose head states a size that it has not."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, format="JPEG")
    content = bytearray(buffer.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def random_scores(seed: int, images: int, *, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and lesion ids without any meaning."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(len(dataset.DX), 1 / sharpness), images)
    lesions = np.array([f"SYN_{k:07d}" for k in rng.integers(0, max(1, images * 2 // 3), images)])
    return rng.integers(0, len(dataset.DX), images), probabilities, lesions


def random_predictions(images: int = 40, *, seed: int = 0) -> pd.DataFrame:
    labels, probabilities, lesions = random_scores(seed, images)
    table = pd.DataFrame(
        {
            "image_id": [f"SYN_{k:07d}" for k in range(images)],
            "lesion_id": lesions,
            "lesion_group": lesions,
            "part": np.array(["validation", "test", "calibration", "test"])[np.arange(images) % 4],
            "dx": np.array(dataset.DX)[labels],
        }
    )
    table[predictions.COLUMNS] = probabilities
    return table


def metadata_of(table: pd.DataFrame) -> pd.DataFrame:
    """A table of the data without meaning for the images of some predictions, with what subgroups are of."""
    columns = {"sex": ["female", "male"], "dx_type": ["histo", "follow_up", "histo"], "localization": ["back"]}
    columns |= {"dataset": ["a", "b"], "age": [30.0, 50.0, 70.0]}
    cycled = {name: np.resize(values, len(table)) for name, values in columns.items()}
    return table[["image_id", "lesion_id", "dx"]].assign(**cycled)


def publish(folder: Path, study: str, seed: int, *, hit: float = 0.0, draws: int = 20) -> Path:
    """Write what a finished run of a study leaves for everything across runs; runs of a seed share their images.

    Probabilities are random, mixed with the truth in the share `hit`.
    """
    run = folder / study / f"seed-{seed}"
    table = random_predictions(140, seed=seed)
    labels = table.dx.map(dataset.DX.index).to_numpy()
    table[predictions.COLUMNS] = (1 - hit) * table[predictions.COLUMNS] + hit * np.eye(len(dataset.DX))[labels]
    train = table.assign(image_id=table.image_id.str.replace("SYN", "TRN"), part="train")
    train.loc[train.index % 4 < 2, "lesion_group"] = "SYN_alone"
    files.write_csv(run / "predictions.csv", table)
    files.write_csv(run / "split.csv", pd.concat([table, train])[["image_id", "lesion_id", "lesion_group", "part"]])
    chosen = parameters.load(study, {"seed": seed})
    epochs = np.arange(1, chosen.epochs + 1.0)
    known, given, _ = predictions.part(table, "validation")
    accuracy, loss = (given.argmax(1) == known).mean(), -np.log(given[np.arange(len(known)), known]).mean()
    left = 1 / epochs - 1 / chosen.epochs
    history = {"epoch": epochs, "train_loss": 1 / epochs, "train_accuracy": 1 - 0.5 / epochs}
    history |= {"validation_loss": loss + left, "validation_accuracy": accuracy - left / 9}
    history |= {"learning_rate": chosen.learning_rate, "seconds": 90 / chosen.epochs}
    files.write_csv(run / "history.csv", pd.DataFrame(history))
    packages = {"torch": "2", "torchvision": "0", "numpy": "2", "pillow": "1"}
    sitting = {
        "started": "2026-01-02T03:04:05+00:00",
        "source": {"commit": "c" * 40, "protocol": "d" * 40},
        "environment": {"hardware": "an abacus", "packages": packages},
    }
    manifest = {
        "parameters": chosen.model_dump(),
        "data": {"title": "drawn at random", "synthetic": False, "fingerprint": "f" * 64},
        "weights": "no weights",
        "sittings": [sitting],
        "selected_epoch": chosen.epochs,
        "training_seconds": 90,
        "precision": "float32",
        "engine": {"threads": 2},
    }
    files.write_json(run / "manifest.json", manifest)
    written, split = (pd.read_csv(run / f"{name}.csv") for name in ("predictions", "split"))
    files.write_json(run / "metrics.json", summary.metrics(written, split, draws=draws, seed=seed))
    return run
