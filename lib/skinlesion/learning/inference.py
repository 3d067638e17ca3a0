"""A trained network as a file of its own, and what it says of photographs: pictures in, seven probabilities out."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn
from tqdm import tqdm

from skinlesion import files
from skinlesion.data import archives, images, splits
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.learning import augmentation, batches, engine, kernels, models
from skinlesion.parameters import Parameters
from skinlesion.scoring.predictions import COLUMNS

FACTS = "skinlesion"
"""Key of the file's metadata under which lies what is needed to use the weights."""

TOGETHER = 16
"""Images that go through the network at once."""


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
    }
    with files.atomic(path) as temporary:
        save_model(model, str(temporary), metadata={FACTS: json.dumps(facts)})


def load(path: Path) -> tuple[nn.Module, dict]:
    """Return a network in evaluation mode, and the facts :func:`save` wrote beside its weights.

    Raises
    ------
    InferenceError
        If the file is not there, is damaged, or holds no network of this library.
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
            model = models.build(facts.backbone, weights="none", classes=len(facts.classes), seed=0)
            for name, tensor in model.state_dict().items():
                if name in opened.keys() and opened.get_tensor(name).dtype != tensor.dtype:  # noqa: SIM118
                    raise ValueError(f"{name} is not of {tensor.dtype}")  # it would be rounded without a word
        load_model(model, str(path))
        models.require_finite(model.state_dict())
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InferenceError(f"{path.name} is damaged or no network of this library ({_reason(error)})") from error
    return model.eval(), facts.model_dump()


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
    parts: tuple[str, ...] = splits.PARTS[1:],
) -> pd.DataFrame:
    """Return the model's probabilities for the images of some parts of the split.

    Returns
    -------
    pandas.DataFrame
        image_id, lesion_id, lesion_group, dx, part, and the softmax probabilities ``p_akiec`` … ``p_vasc``, in the
        table's order; computed without augmentation in float32.
    """
    rows = np.flatnonzero(split.part.isin(parts).to_numpy())
    source = batches.open_source(store, next(model.parameters()).device)
    scores = engine.logits(model, source, rows)
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
    model: nn.Module, facts: dict, paths: Sequence[Path], *, threads: int = 1
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
        A table with path (as given), image (the file's name without its suffix), predicted, and the probabilities
        ``p_akiec`` … ``p_vasc``; and the files of the batch that cannot be read, with the reason.
    """
    scorer = kernels.fold(model)
    parts = [paths[start : start + TOGETHER] for start in range(0, len(paths), TOGETHER)]
    waiting: collections.deque[Future] = collections.deque()
    bar = tqdm(total=len(paths), desc="predict", unit="image", disable=len(paths) < 50 or None)
    # A layer is computed by the one thread that asks for it: threads that share layers would wait for each other.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool, bar:
        for part in parts:
            waiting.append(pool.submit(_predict, scorer, facts, part))
            if len(waiting) > 2 * threads:
                bar.update(TOGETHER)
                yield waiting.popleft().result()
        while waiting:
            done = waiting.popleft().result()
            bar.update(len(done[0]) + len(done[1]))
            yield done


@torch.inference_mode()
def _predict(scorer: nn.Module, facts: dict, paths: Sequence[Path]) -> tuple[pd.DataFrame, dict[Path, str]]:
    pixels: dict[Path, np.ndarray] = {}
    unreadable: dict[Path, str] = {}
    for path in paths:
        try:
            content = archives.read_bounded(path, most=images.MOST_BYTES)
            pixels[path] = images.decode_any(content, size=facts["image_size"], resize=facts["resize"])
        except (archives.DatasetError, OSError) as error:
            unreadable[path] = str(error)
    probabilities = np.empty((0, len(DX)))
    if pixels:
        batch = torch.from_numpy(np.stack(list(pixels.values())))
        scores = scorer(augmentation.normalise(augmentation.to_float(batch)))
        probabilities = torch.softmax(scores.double(), dim=1).numpy()
    table = pd.DataFrame(probabilities, columns=COLUMNS)
    table.insert(0, "path", pd.Series([str(path) for path in pixels], dtype=object))
    table.insert(1, "image", pd.Series([path.stem for path in pixels], dtype=object))
    table.insert(2, "predicted", np.array(DX)[probabilities.argmax(1)])
    return table, unreadable
