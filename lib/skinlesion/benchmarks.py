"""How fast, and in how much memory: each measurement in a process of its own, beside what it is compared with."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import timeit
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from skinlesion import (
    archives,
    checkpoints,
    dataset,
    engine,
    evaluation,
    files,
    images,
    models,
    parameters,
    reference,
    runs,
    splits,
)
from skinlesion.training import train as run_training

SIDE = 224
ORIGINAL_BYTES = 277_000
"""Mean size of a JPEG of the original archives: 2.77 GB for 10,015 images."""


def decoding(output: Path, *, data: Path | None = None, count: int = 1000, repeats: int = 3) -> pd.DataFrame:
    """Measure decoding into a 224×224 store beside a plain loop with Pillow, and write what came out.

    Parameters
    ----------
    output
        Folder for ``decoding.csv`` (one row an input and method) and ``decoding.json`` (with the machine).
    data
        A folder with HAM10000; without one, only drawn JPEGs of 600×450 and the original's size are measured.
    count
        How many JPEGs to draw.
    repeats
        The methods take turns this often; the median is reported.

    Returns
    -------
    pandas.DataFrame
        input, method, images, seconds (median), images_per_second, times_the_loop, peak_memory_mb.
    """
    facts = {"measured": runs.now(), "source": runs.source(), "environment": runs.environment()}
    with tempfile.TemporaryDirectory() as temporary:
        drawn = Path(temporary)
        mean_bytes = draw_originals(drawn, count)
        inputs = {f"drawn JPEGs of 600×450, {mean_bytes / 1000:.0f} KB each": drawn}
        if data is not None:
            inputs = {"HAM10000": files.resolve(data), **inputs}
        rows = [row for name, folder in inputs.items() for row in _compare(name, folder, repeats)]
    table = pd.DataFrame(rows)
    files.write_csv(output / "decoding.csv", table)
    files.write_json(output / "decoding.json", {**facts, "repeats": repeats, "rows": rows})
    print(table.round(2).to_string(index=False))
    return table


def scoring(output: Path, *, count: int = 1500, draws: int = 1000, loops: int = 20, repeats: int = 3) -> pd.DataFrame:
    """Measure the bootstrap of all headline scores beside a loop with scikit-learn, and write what came out.

    Parameters
    ----------
    output
        Folder for ``scoring.csv`` (one row a method) and ``scoring.json`` (with the machine).
    count
        Images, of which two thirds as many lesions are drawn.
    draws, loops
        Draws of the bootstrap, and of the loop, which is slower.

    Returns
    -------
    pandas.DataFrame
        method, draws, seconds (median), draws_per_second, times_the_loop.
    """
    facts = {"measured": runs.now(), "source": runs.source(), "environment": runs.environment()}
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, len(dataset.DX), count), rng.dirichlet(np.ones(len(dataset.DX)), count)
    lesions = rng.integers(0, count * 2 // 3, count).astype(str)

    def loop() -> None:
        groups = pd.Series(range(count)).groupby(lesions).apply(list)
        for _ in range(loops):
            rows = np.concatenate(groups.iloc[rng.integers(0, len(groups), len(groups))].to_list()).astype(int)
            reference.scores(labels[rows], probabilities[rows])

    def bootstrap() -> None:
        evaluation.headline(labels, probabilities, evaluation.Bootstrap.draw(lesions, draws=draws, seed=0))

    rows = []
    for method, function, times in (("loop with scikit-learn", loop, loops), ("bootstrap", bootstrap, draws)):
        seconds = float(np.median([timeit.timeit(function, number=1) for _ in range(repeats)]))
        rows.append({"method": method, "draws": times, "seconds": seconds, "draws_per_second": times / seconds})
    table = pd.DataFrame(rows)
    table["times_the_loop"] = table.draws_per_second / table.draws_per_second[0]
    files.write_csv(output / "scoring.csv", table)
    files.write_json(output / "scoring.json", {**facts, "images": count, "rows": table.to_dict("records")})
    print(table.round(2).to_string(index=False))
    return table


def draw_originals(folder: Path, count: int) -> float:
    """Write an archive of `count` drawn JPEGs of 600×450; return their mean size in bytes.

    They are smooth colour with as much grain as brings the first to the original's mean size. The content
    means nothing: decoding time depends on size and entropy.
    """
    rng = np.random.default_rng(0)
    sizes = []
    with zipfile.ZipFile(folder / "HAM10000_images_part_1.zip", "w") as archive:
        grain = 0
        for number in range(count):
            coarse = Image.fromarray(rng.integers(90, 210, (9, 12, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((600, 450), Image.Resampling.BICUBIC), np.float32)
            noise = rng.standard_normal((450, 600, 3), dtype=np.float32)
            grain = grain or min(range(2, 60), key=lambda g: abs(len(_jpeg(smooth + g * noise)) - ORIGINAL_BYTES))
            content = _jpeg(smooth + grain * noise)
            sizes.append(len(content))
            archive.writestr(f"ISIC_{number:07d}.jpg", content)
    return float(np.mean(sizes))


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(pixels, 0, 255))).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def _open(folder: Path) -> dataset.Dataset:
    members = archives.index(folder)
    return dataset.Dataset(folder, pd.DataFrame({"image_id": sorted(members)}), members)


def store(folder: Path) -> int:
    """Decode as the study does; return the number of images."""
    with tempfile.TemporaryDirectory() as cache:
        return len(images.open_store(_open(folder), size=SIDE, cache=Path(cache)))


def plain_loop(folder: Path) -> int:
    """Decode as a few lines with Pillow would, one image after the other; return the number of images."""
    decoded = []
    for archive in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if name.endswith(".jpg"):
                    image = Image.open(io.BytesIO(opened.read(name))).convert("RGB")
                    decoded.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    return len(np.stack(decoded))


def _compare(name: str, folder: Path, repeats: int) -> list[dict[str, object]]:
    methods: dict[str, Callable[[Path], int]] = {"plain loop": plain_loop, "store": store}
    taken: dict[str, list[Measured]] = {method: [] for method in methods}
    for _ in tqdm(range(repeats), desc=name, unit="turn"):
        for method, function in methods.items():
            taken[method] += together(_timed, function, folder)
    median = {method: float(np.median([turn.seconds for turn in turns])) for method, turns in taken.items()}
    return [
        {
            "input": name,
            "method": method,
            "images": turns[0].images,
            "seconds": median[method],
            "images_per_second": turns[0].images / median[method],
            "times_the_loop": median["plain loop"] / median[method],
            "peak_memory_mb": max(turn.peak_memory_mb for turn in turns),
        }
        for method, turns in taken.items()
    ]


def _timed(function: Callable[[Path], int], folder: Path) -> tuple[int, float]:
    start = time.perf_counter()
    return function(folder), time.perf_counter() - start


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

    Several ones wait for each other where the function calls :func:`_wait`, so that they share the machine
    for all of the time that is measured.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=_prepare, initargs=(context.Barrier(count),)) as pool:
        return list(pool.map(_measure, [function] * count, [given] * count))


_barrier: Any = None


def _prepare(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    _barrier.wait()


def _measure(function: Callable[..., tuple[int, float]], given: tuple[Any, ...]) -> Measured:
    count, seconds = function(*given)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_device = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else float("nan")
    return Measured(count, seconds, peak / (1e6 if sys.platform == "darwin" else 1e3), on_device)


def training(
    output: Path,
    *,
    data: Path | None = None,
    weights: str = "none",
    count: int = 768,
    steps: int | None = None,
    side: int = SIDE,
    repeats: int = 3,
    compiled: bool = True,
) -> pd.DataFrame:
    """Measure the engine beside :mod:`skinlesion.reference`, and write what came out.

    Parameters
    ----------
    output
        Folder for ``training.csv`` (one row a method) and ``training.json`` (with the machine).
    data, weights
        A folder with HAM10000 and the starting weights; without data, what needs real images is not measured.
    count
        How many images to draw, and to take of the data.
    steps
        Of batch 32, timed in each turn.
    side
        Height and width of the images in pixels.
    repeats
        The methods take turns this often; the median is reported.
    compiled
        Measure torch.compile too, which takes a minute or more to compile on a CPU.

    Returns
    -------
    pandas.DataFrame
        benchmark, method, images_per_second, seconds, times (the speed of the first method of the benchmark),
        peak_memory_mb, device_memory_mb, note.
    """
    facts = {"measured": runs.now(), "source": runs.source(), "environment": runs.environment()}
    on_gpu = torch.cuda.is_available()
    steps = steps or (300 if on_gpu else 15)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _draw_inputs(folder, count, side, data)
        rows = [
            *_throughput(folder, side, steps, repeats, compiled),
            *_side_by_side(folder, side, steps),
            *_epochs(steps),
            *_start_up(folder, side),
            _paper(data, weights),
        ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    files.write_csv(output / "training.csv", table)
    settings = {"images": count, "steps": steps, "batch": BATCH, "side": side, "repeats": repeats}
    files.write_json(output / "training.json", {**facts, **settings, "rows": table.to_dict("records")})
    print(table.round(2).fillna("").to_string(index=False))
    return table


COLUMNS = [
    "benchmark",
    "method",
    "images_per_second",
    "seconds",
    "times",
    "peak_memory_mb",
    "device_memory_mb",
    "note",
]
BATCH = 32


def _draw_inputs(folder: Path, count: int, side: int, data: Path | None) -> None:
    """Lay out what the methods read: JPEGs of the original's size, copies from the data, and a store."""
    draw_originals(folder, count)
    with zipfile.ZipFile(folder / "HAM10000_images_part_1.zip") as archive:
        archive.extractall(folder / "originals")
    shape = (count, side, side, 3)
    store = np.lib.format.open_memmap(folder / "store.npy", mode="w+", dtype=np.uint8, shape=shape)
    for row, path in enumerate(sorted((folder / "originals").glob("*.jpg"))):
        store[row] = images.decode(path.read_bytes(), size=side)
    store.flush()
    if data is not None:
        (folder / "copies").mkdir()
        members = list(archives.index(files.resolve(data)).items())[:count]
        for container, group in itertools.groupby(members, key=lambda item: item[1].container):
            with archives.open_container(container) as open_member:
                for image_id, member in group:
                    (folder / "copies" / f"{image_id}.jpg").write_bytes(open_member(member.name))


def _throughput(folder: Path, side: int, steps: int, repeats: int, compiled: bool) -> list[dict[str, Any]]:
    """Train beside the loops of the reference, turn by turn."""
    originals, copies = folder / "originals", folder / "copies"
    workers = min(8, os.cpu_count() or 1)
    methods: dict[str, tuple[Any, ...]] = {
        f"reference loop, JPEGs of 600×450, {workers} workers": (_reference, originals, side, steps, workers),
        "reference loop, JPEGs of 600×450, no workers": (_reference, originals, side, steps, 0),
    }
    if copies.exists():
        methods |= {
            f"reference loop, HAM10000's copies of 224×224, {workers} workers": (
                _reference,
                copies,
                side,
                steps,
                workers,
            ),
            "reference loop, HAM10000's copies of 224×224, no workers": (_reference, copies, side, steps, 0),
        }
    methods |= {
        "reference loop without input work": (_no_input, side, steps, False),
        "the same with the engine's convolutions and memory": (_no_input, side, steps, True),
        "engine": (_engine, folder, {"image_size": side}, steps),
        "engine, not deterministic": (_engine, folder, {"image_size": side, "deterministic": False}, steps),
        "engine, streaming": (_engine, folder, {"image_size": side, "store": "streaming"}, steps),
    }
    if compiled:
        methods["engine, compiled"] = (_engine, folder, {"image_size": side, "compile": True}, steps)
    return _turns("throughput", methods, repeats)


def _turns(name: str, methods: Mapping[str, tuple[Any, ...]], repeats: int) -> list[dict[str, Any]]:
    taken: dict[str, list[Measured]] = {method: [] for method in methods}
    notes: dict[str, str] = {}
    with tqdm(total=repeats * len(methods), desc=name, unit="run") as bar:
        for _ in range(repeats):
            for method, (function, *given) in methods.items():
                try:
                    taken[method] += together(function, *given)
                except Exception as error:  # a compiler that is not there must not cost the other numbers
                    notes[method] = f"not measured: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
                bar.update()
    rows = [_row(name, method, turns, notes.get(method, "")) for method, turns in taken.items()]
    for row in rows:
        row["times"] = row["images_per_second"] / rows[0]["images_per_second"]
    return rows


def _row(benchmark: str, method: str, turns: list[Measured], note: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {"benchmark": benchmark, "method": method, "times": float("nan"), "note": note}
    nothing = float("nan")
    row["images_per_second"] = float(np.median([turn.images / turn.seconds for turn in turns])) if turns else nothing
    row["seconds"] = float(np.median([turn.seconds for turn in turns])) if turns else nothing
    row["peak_memory_mb"] = max((turn.peak_memory_mb for turn in turns), default=nothing)
    row["device_memory_mb"] = max((turn.device_memory_mb for turn in turns), default=nothing)
    return row


def _reference(folder: Path, side: int, steps: int, workers: int) -> tuple[int, float]:
    speed = reference.from_files(folder, size=side, batch=BATCH, steps=steps, workers=workers)
    return BATCH * steps, BATCH * steps / speed


def _no_input(side: int, steps: int, suited: bool) -> tuple[int, float]:
    model = None
    if suited:
        engine.keep_memory()
        plain = models.build("mobilenet_v2", weights="none", classes=reference.CLASSES, seed=0)
        model = models.suit(plain, _device()).to(memory_format=torch.channels_last)
    speed = reference.without_input(size=side, batch=BATCH, steps=steps, model=model)
    return BATCH * steps, BATCH * steps / speed


def _engine(folder: Path, update: dict[str, Any], steps: int, threads: int | None = None) -> tuple[int, float]:
    if threads:
        torch.set_num_threads(threads)
    store = np.load(folder / "store.npy", mmap_mode="r")
    with engine.determinism(update.get("deterministic", True)):
        given = itertools.chain.from_iterable(_epochs_of(_build(store, update)))
        for _ in itertools.islice(given, reference.WARM_UP):
            pass
        _wait()
        start = time.perf_counter()
        for outcome in itertools.islice(given, steps):
            outcome.cpu()
        return BATCH * steps, time.perf_counter() - start


def _build(store: np.ndarray, update: dict[str, Any]) -> engine.Engine:
    engine.keep_memory()
    chosen = parameters.Parameters(**{"study": "bench", "weights": "none", "batch_size": BATCH, **update})
    labels = np.arange(len(store)) % len(dataset.DX)
    return engine.Engine(store, labels, train_rows=np.arange(len(store)), parameters=chosen, device=_device())


def _epochs_of(made: engine.Engine) -> Iterator[Iterator[torch.Tensor]]:
    for epoch in itertools.count():
        drawn, parts = made.draw(epoch)
        yield made.run(drawn, parts, epoch=epoch)


def _device() -> torch.device:
    return engine.choose_device(parameters.Parameters(study="bench"))


def _side_by_side(folder: Path, side: int, steps: int) -> list[dict[str, Any]]:
    """Train several seeds at once: on a GPU five, on a CPU one a core, against one that has it all."""
    cores = os.cpu_count() or 1
    count, threads = (5, None) if torch.cuda.is_available() else (cores, 1)
    name = "seeds side by side"
    rows = []
    for seeds, limit in ((1, None), (count, threads)):
        done = together(_engine, folder, {"image_size": side}, steps, limit, count=seeds)
        whole = Measured(
            sum(each.images for each in done),
            max(each.seconds for each in done),
            sum(each.peak_memory_mb for each in done),
            sum(each.device_memory_mb for each in done),
        )
        how = f"{seeds} seed{'s' if seeds > 1 else ''}" + (f", {limit} thread each" if limit else "")
        rows.append(_row(name, how, [whole]))
    for row in rows:
        row["times"] = row["images_per_second"] / rows[0]["images_per_second"]
    if not torch.cuda.is_available():
        rows.append(_row(name, "5 seeds on one GPU", [], "not measured: no GPU here"))
    return rows


SMALL = 64  # the cost of an epoch is measured on images of this side, where four times the data is seconds


def _epochs(steps: int) -> list[dict[str, Any]]:
    """Train an epoch of once, twice and four times the data."""
    rows = [
        _row("an epoch, 64×64", f"{times}× the data, {count:,} images", together(_epoch, count))
        for times in (1, 2, 4)
        for count in [times * steps * BATCH]
    ]
    for row in rows:
        row["times"] = row["images_per_second"] / rows[0]["images_per_second"]
    return rows


def _epoch(count: int) -> tuple[int, float]:
    store = np.random.default_rng(0).integers(0, 256, (count, SMALL, SMALL, 3), dtype=np.uint8)
    made = _build(store, {"image_size": SMALL})
    epochs = _epochs_of(made)
    for _ in itertools.islice(next(epochs), reference.WARM_UP):
        pass
    _wait()
    start = time.perf_counter()
    for outcome in next(epochs):
        outcome.cpu()
    return count, time.perf_counter() - start


def _start_up(folder: Path, side: int) -> list[dict[str, Any]]:
    """Measure what comes before the second step, and what a saved state costs."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        marks = pool.submit(_stages, folder, side, time.time()).result()
    return [{**_row("start-up", method, []), "seconds": seconds} for method, seconds in marks.items()]


def _stages(folder: Path, side: int, begun: float) -> dict[str, float]:
    marks = {"interpreter and imports": time.time() - begun}

    def mark(name: str) -> None:
        marks[name] = time.time() - begun - sum(marks.values())

    made = _build(np.load(folder / "store.npy", mmap_mode="r"), {"image_size": side})
    mark("network and store")
    next(next(_epochs_of(made))).cpu()
    mark("first step")
    with tempfile.TemporaryDirectory() as temporary:
        checkpoints.save(Path(temporary), {}, **made.state(), best=made.model.state_dict())
        mark("saving the state")
    return marks


def _paper(data: Path | None, weights: str) -> dict[str, Any]:
    """Train the ``paper`` study from its first import to its last epoch, on a GPU."""
    name, method = "paper", "25 epochs of the paper study on one GPU"
    if not torch.cuda.is_available():
        return _row(name, method, [], "not measured: no GPU here")
    if data is None:
        return _row(name, method, [], "not measured: no data given")
    return _row(name, method, together(_train_paper, data, weights))


def _train_paper(data: Path, weights: str) -> tuple[int, float]:
    chosen = parameters.load("paper", {"data": str(data), "weights": weights})
    ham = dataset.open_dataset(chosen)
    store = images.open_store(ham, size=chosen.image_size, cache=files.resolve(chosen.cache))
    split = splits.draw(ham.metadata, chosen)
    rows = splits.rows(split, ham.metadata, "train")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        run_training(
            store,
            ham.labels,
            train_rows=rows,
            validation_rows=splits.rows(split, ham.metadata, "validation"),
            parameters=chosen,
            checkpoint=Path(temporary),
            fingerprint="",
        )
    return len(rows) * chosen.epochs, time.perf_counter() - start
