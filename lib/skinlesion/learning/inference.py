"""A trained network as a file of its own, and what it says of photographs: pictures in, seven probabilities out."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import ImageOps
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn
from tqdm.auto import tqdm

from skinlesion import files
from skinlesion.data import archives, hashes, images, splits
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.learning import augmentation, batches, engine, kernels, models
from skinlesion.parameters import Parameters
from skinlesion.scoring import calibration
from skinlesion.scoring.predictions import COLUMNS

FACTS = "skinlesion"
"""Key of the file's metadata under which lies what is needed to use the weights."""

TOGETHER = 16
"""Images that go through the network at once."""

TRAINED_ON = "trained_on.bin"
"""Beside a network: the hashes of the images it was trained on, :mod:`skinlesion.data.hashes`, in the split's order."""


Scorer = nn.Module | Callable[[np.ndarray], np.ndarray]
"""A network, or what gives the probabilities (B, 7) of pictures, uint8 of shape (B, H, W, 3)."""


class InferenceError(StudyError):
    """A file of weights, or of images, that cannot be used; the message names it."""


class Facts(BaseModel):
    """What is needed to build a network and to feed it, as :func:`save` writes it beside the weights."""

    model_config = ConfigDict(strict=True)

    study: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    seed: int = Field(ge=0, lt=2**31)
    backbone: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    image_size: int = Field(ge=32, le=600)
    resize: Literal["squash", "center_crop"]
    classes: tuple[str, ...]
    views: Literal[1, 8] = 1

    @field_validator("classes")
    @classmethod
    def _classes_are_ours(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if classes != DX:  # probabilities would stand under other names
            raise ValueError(f"should be {', '.join(DX)}, in this order")
        return classes


def save(model: nn.Module, path: Path, parameters: Parameters) -> None:
    """Write a network's weights as safetensors, with what is needed to build it and to feed it, atomically."""
    facts = {
        "study": parameters.study,
        "seed": parameters.seed,
        "backbone": parameters.backbone,
        "image_size": parameters.image_size,
        "resize": parameters.resize,
        "classes": DX,
        "views": parameters.views,
    }
    with files.atomic(path) as temporary:
        save_model(model, str(temporary), metadata={FACTS: json.dumps(facts)})


class Metrics(BaseModel):
    """What is needed of the ``metrics.json`` beside a network."""

    temperature: float = Field(gt=0, allow_inf_nan=False)


def load(path: Path) -> tuple[nn.Module, dict]:
    """Return a network in evaluation mode, and the facts :func:`save` wrote beside its weights.

    The facts have two more where the run's files lie beside it, else None: temperature (notebook 04 fits it), and
    trained_on, uint8 of shape (N, 13), from :data:`TRAINED_ON`.

    Raises
    ------
    InferenceError
        If the file is not there, is damaged, or holds no network of this library; if a file beside it is damaged.
    """
    if not os.path.lexists(path):
        raise InferenceError(
            f"{files.shown(path)} is not here: a run leaves its network there, and it is in no repository"
        )
    if reason := files.not_a_file(path):
        raise InferenceError(f"{files.shown(path)} {reason}: give the model.safetensors of a run")
    try:
        with safe_open(path, framework="pt") as opened:
            facts = Facts.model_validate_json((opened.metadata() or {})[FACTS])
            classes = len(facts.classes)
            model = models.build(facts.backbone, weights="none", classes=classes, seed=0, side=facts.image_size)
            for name, tensor in model.state_dict().items():
                if name in opened.keys() and opened.get_tensor(name).dtype != tensor.dtype:  # noqa: SIM118
                    raise ValueError(f"{name} is not of {tensor.dtype}")  # it would be rounded without a word
        load_model(model, str(path))
        models.require_finite(model.state_dict())
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InferenceError(f"{path.name} is damaged or no network of this library ({_reason(error)})") from error
    return model.eval(), facts.model_dump() | beside(path.parent)


def beside(folder: Path) -> dict[str, Any]:
    """Return the facts that a run's files in a folder add, as :func:`load` says."""
    metrics, trained_on = folder / "metrics.json", folder / TRAINED_ON
    found: dict[str, Any] = {"temperature": None, "trained_on": None}
    try:
        if metrics.is_file():
            found["temperature"] = Metrics.model_validate_json(metrics.read_bytes()).temperature
        if trained_on.is_file():
            found["trained_on"] = np.fromfile(trained_on, np.uint8).reshape(-1, hashes.LENGTH)
    except ValueError as error:
        where = files.shown(metrics if found["temperature"] is None and metrics.is_file() else trained_on)
        raise InferenceError(f"{where} is damaged ({_reason(error)}): put it back, or take it away") from error
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"its {'.'.join(map(str, fault['loc'])) or 'metadata'}: {fault['msg'].removeprefix('Value error, ')}"
    return f"no {error} in its metadata" if isinstance(error, KeyError) else str(error).splitlines()[0]


def predict_parts(
    model: nn.Module,
    store: np.ndarray,
    *,
    metadata: pd.DataFrame,
    split: pd.DataFrame,
    parts: tuple[str, ...] = splits.SCORED,
    views: int = 1,
) -> pd.DataFrame:
    """Return the model's probabilities for the images of some parts of the split, means over so many symmetric views.

    Returns
    -------
    pandas.DataFrame
        image_id, lesion_id, lesion_group, dx, part, and the softmax probabilities ``p_akiec`` … ``p_vasc``, in the
        table's order; computed without augmentation in float32.
    """
    rows = np.flatnonzero(split.part.isin(parts).to_numpy())
    source = batches.Source(store, next(model.parameters()).device)
    scores = engine.logits(model, source, rows, views=views)
    table = split.iloc[rows].reset_index(drop=True)
    table.insert(3, "dx", metadata.dx.iloc[rows].to_numpy())
    table[COLUMNS] = torch.softmax(scores.double(), dim=1).numpy()
    return table


def find(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Return the files that some paths lead to: themselves, and all that lie in folders and their subfolders.

    What begins with a dot inside a folder is passed over: systems leave such files there, people do not.

    Returns
    -------
    tuple
        The files in order, each once, under the path as given; and what cannot be read as a file, with the reason.

    Raises
    ------
    InferenceError
        If a path does not exist, or there is nothing at all.
    OSError
        If a folder cannot be read.
    """
    found: dict[Path, None] = {}
    unreadable: dict[Path, str] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise InferenceError(f"{path} does not exist")
        for each in files.walk(path) if path.is_dir() else [path]:
            hidden = any(part.startswith(".") for part in each.relative_to(path).parts)
            if hidden or each.is_dir():
                continue
            if reason := files.not_a_file(each):
                unreadable[each] = reason
            else:
                found[each] = None
    if not found and not unreadable:
        raise InferenceError(f"no picture in {', '.join(map(str, paths))}")
    return list(found), unreadable


def predict(
    model: Scorer, facts: dict, paths: Sequence[Path], *, threads: int = 1
) -> Iterator[tuple[pd.DataFrame, dict[Path, str]]]:
    """Say what the network sees in some pictures, :data:`TOGETHER` at a time, in their order.

    A picture may have any shape, and any format of :data:`skinlesion.data.images.FORMATS`: it comes before the network
    undistorted, as :func:`skinlesion.data.images.decode_any` says.

    Each thread takes a batch from its files to its probabilities, so that some decode while others compute; no more
    than a few batches are in memory, however many files there are.

    Parameters
    ----------
    model, facts
        From :func:`load`.
    threads
        Batches that are worked on at once.

    Yields
    ------
    tuple
        A table with path (as given), image (the file's name without its suffix), predicted, trained_on (whether it
        looks like an image that the network was trained on: yes, no or unknown), and the probabilities ``p_akiec`` …
        ``p_vasc``, calibrated where the facts have a temperature; and the files of the batch that cannot be read, with
        the reason.
    """
    score = scorer(model)
    parts = [paths[start : start + TOGETHER] for start in range(0, len(paths), TOGETHER)]
    waiting: collections.deque[Future] = collections.deque()
    bar = tqdm(total=len(paths), desc="predict", unit="image", disable=len(paths) < 50 or None)
    # A layer is computed by the one thread that asks for it: threads that share layers would wait for each other.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool, bar:
        for part in parts:
            waiting.append(pool.submit(_predict, score, facts, part))
            if len(waiting) > 2 * threads:
                bar.update(TOGETHER)
                yield waiting.popleft().result()
        while waiting:
            done = waiting.popleft().result()
            bar.update(len(done[0]) + len(done[1]))
            yield done


def scorer(model: Scorer) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives the probabilities (B, 7) of pictures, uint8 of shape (B, H, W, 3)."""
    if not isinstance(model, nn.Module):
        return model
    folded = kernels.fold(model)

    def score(pictures: np.ndarray) -> np.ndarray:
        scores = folded(augmentation.normalise(augmentation.to_float(torch.from_numpy(pictures))))
        return torch.softmax(scores.double(), dim=1).numpy()

    return score


def over_views(score: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray, views: int) -> np.ndarray:
    """Return the probabilities (B, 7) of pictures, uint8 of shape (B, side, side, 3).

    With 8 `views` their means over the eight symmetries of a square.
    """
    if views == 1:
        return score(pictures)
    turned = [np.rot90(pictures, quarter, (1, 2)) for quarter in range(4)]
    symmetric = [view for each in turned for view in (each, each[:, :, ::-1])]
    return np.mean([score(np.ascontiguousarray(view)) for view in symmetric], axis=0)


@torch.inference_mode()
def _predict(
    scorer: Callable[[np.ndarray], np.ndarray], facts: dict, paths: Sequence[Path]
) -> tuple[pd.DataFrame, dict[Path, str]]:
    pixels: dict[Path, np.ndarray] = {}
    seen: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}
    for path in paths:
        try:
            content = archives.read_bounded(path, most=images.MOST_BYTES)
            looked = images.decode_any(content, size=facts["image_size"], resize=facts["resize"])
            seen[path], pixels[path] = _seen(content, facts), looked
        except (archives.DatasetError, OSError) as error:
            unreadable[path] = str(error)
    probabilities = np.empty((0, len(DX)))
    if pixels:
        means = over_views(scorer, np.stack(list(pixels.values())), facts.get("views", 1))
        probabilities = calibration.with_temperature(means, facts.get("temperature") or 1)
    table = pd.DataFrame(probabilities, columns=COLUMNS)
    table.insert(0, "path", pd.Series([str(path) for path in pixels], dtype=object))
    table.insert(1, "image", pd.Series([path.stem for path in pixels], dtype=object))
    table.insert(2, "predicted", np.array(DX)[probabilities.argmax(1)])
    table.insert(3, "trained_on", pd.Series(list(seen.values()), dtype=object))
    return table, unreadable


def caveats(facts: dict) -> list[str]:
    """Return what is to be said with the predictions of a network, from :func:`load`, a sentence each."""
    temperature, trained_on = facts["temperature"], facts["trained_on"]
    return [
        "research only, not for diagnosis",
        "probabilities are not calibrated: no metrics.json lies beside the network"
        if temperature is None
        else f"probabilities are calibrated: temperature {temperature:.2f}, from metrics.json",
        f"which pictures it was trained on is not known: no {TRAINED_ON} lies beside the network"
        if trained_on is None
        else f"the {len(trained_on):,} images it was trained on are known again if scaled or compressed anew, not if "
        "turned or cropped; another photograph of the same lesion is not",
    ]


def _seen(content: bytes, facts: dict) -> str:
    if facts.get("trained_on") is None:
        return "unknown"
    image = images.open_image(content, at_least=2 * hashes.SIDE, formats=images.FORMATS)
    if facts["resize"] == "center_crop":
        image = ImageOps.fit(image, (min(image.size),) * 2)
    return "yes" if hashes.known(image, facts["trained_on"]) else "no"
