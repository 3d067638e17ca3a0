"""A trained network as ONNX, for programs without torch: pixels in, seven probabilities out; in float32 or int8."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
from onnxruntime import quantization
from torch import Tensor, nn
from tqdm import tqdm

from skinlesion import files, runs
from skinlesion.data.dataset import DX
from skinlesion.data.images import MEAN, STD
from skinlesion.errors import StudyError
from skinlesion.learning import inference
from skinlesion.learning.trainer import Inputs
from skinlesion.scoring import evaluation, predictions

PICTURES, PROBABILITIES = "pictures", "probabilities"
"""Names of input and output."""

SHOWN = 256
"""Training images by which activations are scaled to int8."""

IN_FLOAT = 6
"""Convolutions that int8 leaves as they are: the ranges of the first channels differ most. Of 3, 6 and 10 the number
with which ``improved``, seed 1, most often names what torch names, of its images for choosing."""

BATCH = 32
"""Pictures that are scored at once."""

FACTS = "skinlesion"
"""Key of the file's metadata under which lies what is needed to feed it."""


class PortableError(StudyError):
    """A file that is no exported network; the message names it."""


class _FromPixels(nn.Module):
    """A network with its normalisation before it and softmax behind."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.mean = nn.Buffer(torch.tensor(MEAN).view(3, 1, 1) * 255)
        self.std = nn.Buffer(torch.tensor(STD).view(3, 1, 1) * 255)

    def forward(self, pictures: Tensor) -> Tensor:
        images = pictures.permute(0, 3, 1, 2).float()
        return torch.softmax(self.network((images - self.mean) / self.std), dim=1)


def write(run: runs.Run, inputs: Inputs) -> list[Path]:
    """Write ``model.onnx`` and ``model-int8.onnx`` beside a run's network; int8 sees :data:`SHOWN` training images.

    Raises
    ------
    skinlesion.runs.RunError, skinlesion.learning.inference.InferenceError
        If there is no network, or it cannot be used.
    """
    network, facts = inference.load(run.require("model.safetensors"))
    paths = [run.folder / "model.onnx", run.folder / "model-int8.onnx"]
    export(network, {name: facts[name] for name in inference.Facts.model_fields}, paths[0])
    rows = inputs.rows("train")
    rng = np.random.default_rng(run.parameters.seed)
    shown = np.sort(rng.choice(rows, min(SHOWN, len(rows)), replace=False))
    quantise(paths[0], paths[1], pictures=inputs.store[shown])
    return paths


def compare(run: runs.Run, inputs: Inputs, *, repeats: int = 3) -> pd.DataFrame:
    """Score the network and both its exports on the test part, and time them on one thread.

    Written are ``portable.csv``, and ``forms.csv`` with what each says of each image.

    Parameters
    ----------
    repeats
        Turns of timing, of which the median counts.

    Returns
    -------
    pandas.DataFrame
        form, megabytes (of the file), images, accuracy, balanced_accuracy (in as many views as the run is scored with),
        difference (the largest of a probability to torch's), milliseconds (for one view of one image alone),
        images_per_second (one view each, in batches of 32), hardware.
    """
    names = {"torch": "model.safetensors", "ONNX, float32": "model.onnx", "ONNX, int8": "model-int8.onnx"}
    rows, views = inputs.rows("test"), run.parameters.views
    labels = inputs.metadata.dx.map(DX.index).to_numpy()[rows]
    pictures = np.stack([inputs.store[row] for row in rows])
    found, told = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for form, name in names.items():
            path = run.require(name)
            network = load(path)[0] if path.suffix == ".onnx" else inference.scorer(inference.load(path)[0])
            said = np.concatenate([inference.over_views(network, batch, views) for batch in _batches(pictures)])
            told.append(said)
            seconds = {size: _seconds(network, pictures[:size], repeats=repeats) for size in (1, BATCH)}
            scores = evaluation.measured(labels, said)
            found.append(
                {
                    "form": form,
                    "megabytes": path.stat().st_size / 1e6,
                    "images": len(labels),
                    **{name: scores[name] for name in ("accuracy", "balanced_accuracy")},
                    "difference": float(np.abs(said - told[0]).max()),
                    "milliseconds": 1000 * seconds[1],
                    "images_per_second": min(BATCH, len(pictures)) / seconds[BATCH],
                    "hardware": runs.environment()["hardware"],
                }
            )
    torch.set_num_threads(threads)
    table = pd.DataFrame(found)
    each = pd.DataFrame(np.concatenate(told), columns=predictions.COLUMNS)
    each.insert(0, "image_id", np.tile(inputs.metadata.image_id.to_numpy()[rows], len(names)))
    each.insert(0, "form", np.repeat(list(names), len(rows)))
    run.write_csv("forms.csv", each)
    run.write_csv("portable.csv", table)
    return table


def _batches(pictures: np.ndarray) -> Iterator[np.ndarray]:
    parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    yield from tqdm(parts, desc="score", unit="batch", leave=False)


def _seconds(network: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray, *, repeats: int) -> float:
    """Return how long one call takes: the median of some turns of a few calls each."""
    calls = 1 + 2 * BATCH // len(pictures)
    turns = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            network(pictures)
        turns.append((time.perf_counter() - start) / calls)
    return float(np.median(turns))


def export(network: nn.Module, facts: dict[str, Any], path: Path) -> None:
    """Write a network as ONNX, atomically.

    Its input ``pictures`` is uint8 of shape (B, side, side, 3), its output ``probabilities`` float32 of shape (B, 7),
    for any B from one up.

    Parameters
    ----------
    network, facts
        From :func:`skinlesion.learning.inference.load`.
    """
    side = facts["image_size"]
    given = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with files.atomic(path) as temporary:
        torch.onnx.export(
            _FromPixels(network).eval(),
            (given,),
            str(temporary),
            input_names=[PICTURES],
            output_names=[PROBABILITIES],
            dynamic_shapes={"pictures": {0: torch.export.Dim("batch", min=1, max=2**16)}},
            external_data=False,
            verbose=False,
        )
        _note(temporary, facts)


def quantise(path: Path, target: Path, *, pictures: np.ndarray) -> None:
    """Write an exported network in int8, atomically: weights by channel, activations by what some pictures show.

    The first :data:`IN_FLOAT` convolutions stay in float32.

    Parameters
    ----------
    pictures
        uint8 of shape (N, side, side, 3), of the training part: some hundreds are enough.
    """
    with tempfile.TemporaryDirectory() as folder, files.atomic(target) as temporary:
        prepared = Path(folder) / "prepared.onnx"
        quantization.shape_inference.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
        quantization.quantize_static(
            str(prepared),
            str(temporary),
            _Calibration(pictures),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "Clip"],
            nodes_to_exclude=convolutions[:IN_FLOAT],
        )
        _note(temporary, json.loads(onnx.load(path).metadata_props[0].value))


class _Calibration(quantization.CalibrationDataReader):
    def __init__(self, pictures: np.ndarray) -> None:
        self.left: Iterator[np.ndarray] = iter(np.array_split(pictures, max(1, len(pictures) // 16)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.left, None)
        return None if batch is None else {PICTURES: batch}


def _note(path: Path, facts: dict[str, Any]) -> None:
    """Write into the file what is needed to feed it."""
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {FACTS: json.dumps(facts)})
    onnx.save(model, path)


def load(path: Path, *, threads: int = 1) -> tuple[Portable, dict[str, Any]]:
    """Return an exported network, for :func:`skinlesion.learning.inference.predict`, and its facts.

    Parameters
    ----------
    path
        From :func:`export` or :func:`quantise`.
    threads
        That one call may use.

    Raises
    ------
    PortableError
        If it is no ONNX, or has other inputs and outputs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each fault has a class of its own
        raise PortableError(f"{path.name} is damaged or no ONNX") from error
    if [given.name for given in session.get_inputs()] != [PICTURES]:
        raise PortableError(f"{path.name} is no network of this library: it asks for other input than {PICTURES}")
    try:
        written = session.get_modelmeta().custom_metadata_map.get(FACTS, "{}")
        facts = inference.Facts.model_validate_json(written).model_dump()
    except ValueError as error:
        raise PortableError(f"{path.name} does not say what it is to be fed") from error
    return Portable(session), facts | inference.beside(path.parent)


class Portable:
    """An exported network."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Return the probabilities of uint8 pictures of shape (B, side, side, 3): float32 of shape (B, 7)."""
        (found,) = self.session.run([PROBABILITIES], {PICTURES: pictures})
        return found
