"""How fast, and in how much memory: each measurement in a process of its own, beside what it is compared with."""

from __future__ import annotations

import functools
import io
import itertools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn
from tqdm.auto import tqdm

from skinlesion import files, parameters, processors, runs
from skinlesion.bench import reference
from skinlesion.data import dataset, splits
from skinlesion.learning import engine, inference, models, trainer
from skinlesion.scoring import predictions

SIDES = (224, 96)
"""Heights and widths that are measured, in pixels: of the paper's studies and of those at reduced size."""

BATCH = 32
ORIGINAL_BYTES = 277_000
"""Mean size of a JPEG of the original archives: 2.77 GB for 10,015 images."""

COLUMNS = [
    "benchmark",
    "side",
    "method",
    "images_per_second",
    "times_the_loop",
    "times_the_floor",
    "peak_memory_mb",
    "device_memory_mb",
    "note",
]


def measure(
    output: Path,
    *,
    data: Path | None = None,
    weights: str = "none",
    count: int = 512,
    steps: int | None = None,
    sides: tuple[int, ...] = SIDES,
    repeats: int = 3,
) -> pd.DataFrame:
    """Measure training and prediction beside a practitioner's loops, and write what came out.

    Parameters
    ----------
    output
        Folder for ``speed.csv`` (one row a method) and ``speed.json`` (with the machine).
    data, weights
        A folder with HAM10000 and the starting weights, for the whole ``paper`` study on a GPU.
    count
        How many JPEGs of the original's size are drawn to be read.
    steps
        Of batch 32, timed in each turn at 224×224; smaller images get more.
    repeats
        The methods take turns this often; the median is reported.

    Returns
    -------
    pandas.DataFrame
        benchmark (training or prediction), side, method, images_per_second (of all runs side by side together),
        times_the_loop (the first method of the benchmark), times_the_floor (the time of a step divided by the time its
        memory traffic alone would take, see :func:`floor`), peak_memory_mb (of all processes, without a loader's
        workers), device_memory_mb, note.
    """
    facts = {"measured": runs.now(), "source": runs.source(), "environment": runs.environment()}
    steps = steps or (300 if torch.cuda.is_available() else 15)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw_originals(folder, count)
        rows = [row for side in sides for row in _training(folder, side, steps * SIDES[0] ** 2 // side**2, repeats)]
        rows += [*_prediction(folder, sides[0], repeats), _paper(data, weights)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    files.write_csv(output / "speed.csv", table)
    settings = {"images": count, "steps": steps, "batch": BATCH, "repeats": repeats}
    files.write_json(output / "speed.json", {**facts, **settings, "rows": table.to_dict("records")})
    print(table.drop(columns="note").round(2).dropna(axis=1, how="all").fillna("").to_string(index=False))
    return table


def draw_originals(folder: Path, count: int) -> float:
    """Write `count` drawn JPEGs of 600×450; return their mean size in bytes.

    They are smooth colour with as much grain as brings the first to the original's mean size. The content
    means nothing: decoding time depends on size and entropy.
    """
    rng = np.random.default_rng(0)
    sizes = []
    grain = 0
    for number in range(count):
        coarse = Image.fromarray(rng.integers(90, 210, (9, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((600, 450), Image.Resampling.BICUBIC), np.float32)
        noise = rng.standard_normal((450, 600, 3), dtype=np.float32)
        grain = grain or min(range(2, 60), key=lambda g: abs(len(_jpeg(smooth + g * noise)) - ORIGINAL_BYTES))
        content = _jpeg(smooth + grain * noise)
        sizes.append(len(content))
        (folder / f"ISIC_{number:07d}.jpg").write_bytes(content)
    return float(np.mean(sizes))


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(pixels, 0, 255))).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def floor(side: int, threads: int) -> float:
    """Return the images per second of training at which memory alone would be the limit, on a CPU.

    A step cannot do without reading the input of each convolution twice and its output's gradient once, and without
    writing its output once and its input's gradient once, in the precision it computes in; at best as fast as large
    arrays are copied here. What is in a cache can be faster.
    """
    torch.set_num_threads(threads)
    source = torch.ones(1 << 28, dtype=torch.uint8)
    into, taken = torch.empty_like(source), []
    for _ in range(7):
        start = time.perf_counter()
        into.copy_(source)
        taken.append(time.perf_counter() - start)
    copied = 2 * source.numel() / min(taken)
    moved: list[int] = []

    def count(layer: nn.Module, given: tuple[torch.Tensor], output: torch.Tensor) -> None:
        moved.append(3 * given[0].numel() + 2 * output.numel())

    model = models.build("mobilenet_v2", weights="none", classes=len(dataset.DX), seed=0).eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    model(torch.zeros(1, 3, side, side))
    width = engine.choose_precision(_parameters({}), torch.device("cpu")).itemsize
    return copied / (sum(moved) * width)


def _floor(side: int, threads: int) -> tuple[int, float]:
    return BATCH, BATCH / floor(side, threads)


@dataclass(frozen=True)
class Measured:
    """What one process did.

    Attributes
    ----------
    images, seconds
        How many, and in what time.
    peak_memory_mb
        Of the process, without its DataLoader's workers.
    device_memory_mb
        Peak on the GPU; NaN without one.
    """

    images: int
    seconds: float
    peak_memory_mb: float
    device_memory_mb: float


def together(function: Callable[..., tuple[int, float]], *given: Any, count: int = 1) -> list[Measured]:
    """Call a function in `count` fresh interpreters at once (the peak of a process never falls again).

    Several ones wait for each other where the function calls :func:`wait`, so that they share the machine
    for all of the time that is measured.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=_prepare, initargs=(context.Barrier(count),)) as pool:
        return list(pool.map(_measure, [function] * count, [given] * count))


_barrier: Any = None


def _prepare(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def wait() -> None:
    """Wait for the device, and for the processes that are measured beside this one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    _barrier.wait()


def _measure(function: Callable[..., tuple[int, float]], given: tuple[Any, ...]) -> Measured:
    count, seconds = function(*given)
    on_device = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else float("nan")
    return Measured(count, seconds, _peak_memory() / 1e6, on_device)


def _peak_memory() -> int:
    """Return in bytes what this process had in memory at most; on Linux getrusage may tell the parent's."""
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _training(folder: Path, side: int, steps: int, repeats: int) -> list[dict[str, Any]]:
    """Train beside the loop of the reference, turn by turn."""
    on_gpu, cores = torch.cuda.is_available(), processors.usable()
    workers = min(8, cores)
    methods: dict[str, tuple[int, Callable[..., tuple[int, float]], Any]] = {
        f"practitioner's loop, {workers} workers": (1, _loop, (folder, side, steps, workers)),
        "practitioner's loop without input work": (1, _bare_loop, (side, steps)),
        "engine": (1, train, (side, steps, {})),
    }
    if on_gpu:
        methods["engine, streaming"] = (1, train, (side, steps, {"store": "streaming"}))
        methods["engine, not deterministic"] = (1, train, (side, steps, {"deterministic": False}))
        methods["engine, 5 runs side by side"] = (5, train, (side, steps, {}))
    else:
        methods["engine with torch's own layers"] = (1, _plain_engine, (side, steps, {}))
        if cores > 1:
            methods["engine, 1 thread"] = (1, train, (side, steps, {"threads": 1}))
            methods[f"engine, {cores} runs side by side, 1 thread each"] = (
                cores,
                train,
                (side, steps, {"threads": 1}),
            )
    rows = _turns("training", side, methods, repeats)
    if not on_gpu:
        [alone] = together(_floor, side, cores)
        limit = alone.images / alone.seconds
        for row in rows:
            row["times_the_floor"] = limit / row["images_per_second"]
    return rows


def _prediction(folder: Path, side: int, repeats: int) -> list[dict[str, Any]]:
    """Predict beside a loop that takes one image after the other."""
    methods = {
        "one image after the other": (1, _one_by_one, (folder, side)),
        "predict": (1, _predict, (folder, side)),
    }
    return _turns("prediction from JPEGs of 600×450", side, methods, repeats)


def _turns(
    benchmark: str, side: int, methods: dict[str, tuple[int, Callable[..., tuple[int, float]], Any]], repeats: int
) -> list[dict[str, Any]]:
    taken: dict[str, list[Measured]] = {method: [] for method in methods}
    with tqdm(total=repeats * len(methods), desc=f"{benchmark}, {side}×{side}", unit="run") as bar:
        for _ in range(repeats):
            for method, (count, function, given) in methods.items():
                each = together(function, *given, count=count)
                seconds = max(one.seconds for one in each)
                sums = [sum(getattr(one, name) for one in each) for name in ("images", *_PEAKS)]
                taken[method].append(Measured(sums[0], seconds, *sums[1:]))
                bar.update()
    rows = [_row(benchmark, side, method, turns) for method, turns in taken.items()]
    for row in rows:
        row["times_the_loop"] = row["images_per_second"] / rows[0]["images_per_second"]
    return rows


_PEAKS = ("peak_memory_mb", "device_memory_mb")


def _row(benchmark: str, side: int, method: str, turns: list[Measured], note: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {"benchmark": benchmark, "side": side, "method": method, "note": note}
    if turns:
        row["images_per_second"] = float(np.median([turn.images / turn.seconds for turn in turns]))
        row |= {peak: max(getattr(turn, peak) for turn in turns) for peak in _PEAKS}
    return row


def _loop(folder: Path, side: int, steps: int, workers: int) -> tuple[int, float]:
    speed = reference.from_files(folder, size=side, batch=BATCH, steps=steps, workers=workers)
    return BATCH * steps, BATCH * steps / speed


def _bare_loop(side: int, steps: int) -> tuple[int, float]:
    speed = reference.without_input(size=side, batch=BATCH, steps=steps)
    return BATCH * steps, BATCH * steps / speed


def _parameters(update: dict[str, Any]) -> parameters.Parameters:
    return parameters.Parameters(**{"study": "bench", "weights": "none", "batch_size": BATCH, **update})


def train(side: int, steps: int, update: dict[str, Any]) -> tuple[int, float]:
    """Train for so many steps on random images, parameters changed as `update` says; return images and seconds."""
    chosen = _parameters({"image_size": side, "threads": processors.usable(), **update})
    torch.set_num_threads(processors.choose(chosen.threads))
    processors.keep_memory()
    store = np.random.default_rng(0).integers(0, 256, (4 * BATCH, side, side, 3), dtype=np.uint8)
    labels, rows = np.arange(len(store)) % len(dataset.DX), np.arange(len(store))
    with engine.determinism(chosen.deterministic):
        device = engine.choose_device(chosen)
        made = engine.Engine(store, labels, train_rows=rows, parameters=chosen, device=device)
        given = itertools.chain.from_iterable(_epochs(made))
        for _ in itertools.islice(given, reference.WARM_UP):
            pass
        wait()
        start = time.perf_counter()
        for outcome in itertools.islice(given, steps):
            outcome.cpu()
        return BATCH * steps, time.perf_counter() - start


def _plain_engine(side: int, steps: int, update: dict[str, Any]) -> tuple[int, float]:
    os.environ["CC"] = "false"  # a compiler that makes nothing
    return train(side, steps, update)


def _epochs(made: engine.Engine) -> Iterator[Iterator[torch.Tensor]]:
    for epoch in itertools.count():
        drawn, parts = made.draw(epoch)
        yield made.run(drawn, parts, epoch=epoch)


def _network(side: int) -> tuple[nn.Module, dict[str, Any]]:
    model = models.build("mobilenet_v2", weights="none", classes=len(dataset.DX), seed=0).eval()
    return model, {"image_size": side, "resize": "squash"}


def _one_by_one(folder: Path, side: int) -> tuple[int, float]:
    model, facts = _network(side)
    paths = sorted(folder.glob("*.jpg"))
    predict = functools.partial(reference.predict, model, size=facts["image_size"])
    predict(paths[:2])
    start = time.perf_counter()
    return len(predict(paths)), time.perf_counter() - start


def _predict(folder: Path, side: int) -> tuple[int, float]:
    processors.keep_memory()
    model, facts = _network(side)
    paths = sorted(folder.glob("*.jpg"))
    start = time.perf_counter()
    found = [table for table, _ in inference.predict(model, facts, paths, threads=processors.usable())]
    return len(pd.concat(found)[predictions.COLUMNS]), time.perf_counter() - start


def _paper(data: Path | None, weights: str) -> dict[str, Any]:
    """Train the ``paper`` study from its first step to its last epoch, on a GPU."""
    row = functools.partial(_row, "paper study", SIDES[0], "25 epochs on one GPU")
    if not torch.cuda.is_available():
        return row([], "not measured: no GPU here")
    if data is None:
        return row([], "not measured: no data given")
    return row(together(_train_paper, data, weights))


def _train_paper(data: Path, weights: str) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as temporary:
        chosen = parameters.load("paper", {"data": str(data), "weights": weights, "output": temporary})
        run = runs.Run(chosen)
        run.write_csv("split.csv", splits.draw(dataset.open_dataset(chosen).metadata, chosen))
        inputs = trainer.open_inputs(run)
        start = time.perf_counter()
        trainer.train(run, inputs)
        return int((inputs.split.part == "train").sum()) * chosen.epochs, time.perf_counter() - start
