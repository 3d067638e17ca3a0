"""Speed, memory and size, measured in processes of their own: the engine beside plain loops, networks side by side."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from skinlesion import files, processors, runs
from skinlesion.bench import plain_loop
from skinlesion.data.dataset import DX
from skinlesion.learning import batches, engine, models
from skinlesion.parameters import Parameters

SIDES = (224, 96)
"""Heights and widths of the images, in pixels: of the full-size studies and of those at reduced size."""

NETWORKS = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "resnet18", "inception_v3")
"""The preprint's network and those of the related work, as torchvision names them."""

BATCH, WARM_UP = 32, 3
"""Images a step; steps after the first that are not timed either."""


@dataclass(frozen=True)
class Measured:
    """Images a second; seconds until the first step was done; peak memory of the process, in MB."""

    images_per_second: float
    first_step_seconds: float
    peak_memory_mb: float


def speed(output: Path, *, steps: int = 15, sides: tuple[int, ...] = SIDES, repeats: int = 3) -> pd.DataFrame:
    """Measure training with plain loops and with the engine; write ``speed.csv``, and ``speed.json`` with the machine.

    The loops without a DataLoader train on one batch that is in memory already.

    Parameters
    ----------
    steps
        Timed in each turn at 224×224; smaller images get more.

    Returns
    -------
    pandas.DataFrame
        benchmark, side, method, the columns of :class:`Measured`, and times_the_best_loop.
    """
    cores = processors.usable()
    methods: dict[str, tuple[Callable[..., Iterator[object]], Mapping[str, Any]]] = {
        f"plain loop, DataLoader with {cores} workers": (_loop, {"workers": cores}),
        "plain loop": (_loop, {}),
        "plain loop, channels last": (_loop, {"channels_last": True}),
        "plain loop, torch.compile": (_loop, {"compiled": True}),
        "engine": (_engine, {}),
        "engine with torch's own layers": (_engine, {"cc": "false"}),  # a compiler that makes nothing
        "engine, 1 thread": (_engine, {"threads": 1}),
    }
    rows = []
    for side, method in tqdm(list(itertools.product(sides, methods)), desc="speed", unit="method"):
        function, options = methods[method]
        row = _median(repeats, _steps, function, steps * SIDES[0] ** 2 // side**2, {"side": side, **options})
        rows.append({"benchmark": "training", "side": side, "method": method, **row})
    table = pd.DataFrame(rows)
    loops = table[table.method.str.startswith("plain")].groupby("side").images_per_second.max()
    table["times_the_best_loop"] = table.images_per_second / table.side.map(loops)
    return _written(output, "speed", table, steps=steps, repeats=repeats, batch=BATCH)


def costs(output: Path, *, side: int, steps: int = 30, repeats: int = 3) -> pd.DataFrame:
    """Measure what every network costs; write ``costs.csv``, and ``costs.json`` with the machine.

    Returns
    -------
    pandas.DataFrame
        network, side, parameters, megabytes (of its weights in float32), million_operations (multiplications with
        addition, for one image), training and inference (images per second), training_memory_mb, inference_memory_mb.
    """
    rows = []
    for network in tqdm(NETWORKS, desc="costs", unit="network"):
        row: dict[str, Any] = {"network": network, "side": side, **counted(network, side)}
        for name, function in (("training", _engine), ("inference", _inference)):
            found = _median(repeats, _steps, function, steps, {"side": side, "backbone": network})
            row |= {name: found["images_per_second"], f"{name}_memory_mb": found["peak_memory_mb"]}
        rows.append(row)
    return _written(output, "costs", pd.DataFrame(rows), steps=steps, repeats=repeats)


def counted(network: str, side: int) -> dict[str, float]:
    """Return what can be counted without running: parameters, megabytes and million_operations."""
    model = models.build(network, weights="none", classes=len(DX), seed=0, side=side).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "megabytes": 4 * sum(tensor.numel() for tensor in model.state_dict().values()) / 1e6,
        "million_operations": counter.get_total_flops() / 2e6,
    }


def _written(output: Path, name: str, table: pd.DataFrame, **settings: int) -> pd.DataFrame:
    facts = {"measured": runs.now(), "source": runs.source(), "environment": runs.environment(), **settings}
    files.write_csv(output / f"{name}.csv", table)
    files.write_json(output / f"{name}.json", {**facts, "rows": table.to_dict("records")})
    print(table.round(2).to_string(index=False))
    return table


def _median(repeats: int, function: Callable[..., Measured], *given: Any) -> dict[str, float]:
    """Call a function in fresh interpreters, one after the other: median of each figure, the highest peak of memory."""
    turns = []
    for _ in range(repeats):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            turns.append(vars(pool.submit(function, *given).result()))
    table = pd.DataFrame(turns)
    return {**table.median().to_dict(), "peak_memory_mb": float(table.peak_memory_mb.max())}


def _steps(function: Callable[..., Iterator[object]], steps: int, options: Mapping[str, Any]) -> Measured:
    """Time the steps that a function yields."""
    torch.set_num_threads(options.get("threads", processors.usable()))
    processors.keep_memory()
    begun = time.perf_counter()
    given = function(**options)
    next(given)
    first = time.perf_counter() - begun
    next(itertools.islice(given, WARM_UP - 1, None))
    begun = time.perf_counter()
    next(itertools.islice(given, steps - 1, None))
    return Measured(BATCH * steps / (time.perf_counter() - begun), first, _peak_memory() / 1e6)


def _peak_memory() -> int:
    """Return in bytes what this process had in memory at most; on Linux getrusage may tell the parent's."""
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _loop(side: int, *, channels_last: bool = False, compiled: bool = False, workers: int | None = None) -> Iterator:
    """Train with the plain loop, from a DataLoader where there are workers; yield after each step."""
    shape = torch.channels_last if channels_last else torch.contiguous_format
    model = plain_loop.network(None).train().to(memory_format=shape)
    optimiser = torch.optim.Adam(model.parameters(), lr=plain_loop.LEARNING_RATE)
    called: torch.nn.Module = torch.compile(model) if compiled else model  # type: ignore[assignment]
    labels = torch.arange(4 * BATCH) % len(DX)
    pixels = torch.randint(0, 256, (4 * BATCH, 3, side, side), dtype=torch.uint8)
    given: Iterator[list[torch.Tensor]]
    if workers is None:
        given = itertools.repeat([plain_loop.PLAIN(pixels[:BATCH]).to(memory_format=shape), labels[:BATCH]])
    else:
        data = plain_loop.Images(pixels.repeat(8, 1, 1, 1), labels.repeat(8), plain_loop.AUGMENTED)
        loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        given = itertools.chain.from_iterable(itertools.repeat(loader))
    for batch in given:
        yield plain_loop.step(called, optimiser, *batch).item()


def _engine(side: int, *, cc: str | None = None, threads: int | None = None, **update: Any) -> Iterator:
    """Train with the engine on random images; yield after each step."""
    os.environ |= {"CC": cc} if cc else {}
    chosen = Parameters(study="bench", weights="none", batch_size=BATCH, image_size=side, **update)
    store = np.random.default_rng(0).integers(0, 256, (4 * BATCH, side, side, 3), dtype=np.uint8)
    labels, rows = np.arange(len(store)) % len(DX), np.arange(len(store))
    with engine.determinism(chosen.deterministic):
        device = engine.choose_device(chosen)
        made = engine.Engine(store, labels, train_rows=rows, parameters=chosen, device=device)
        for epoch in itertools.count():
            drawn, parts = made.draw(epoch)
            for outcome in made.run(drawn, parts, epoch=epoch):
                yield outcome.cpu()


def _inference(side: int, backbone: str) -> Iterator:
    """Score batches as validation does; yield after each."""
    chosen = Parameters(study="bench", weights="none", backbone=backbone)
    device = engine.choose_device(chosen)
    model = models.build(backbone, weights="none", classes=len(DX), seed=0, side=side).to(device)
    source = batches.Source(np.zeros((BATCH, side, side, 3), np.uint8), device)
    while True:
        yield engine.logits(model, source, np.arange(BATCH))
