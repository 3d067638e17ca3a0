"""What networks cost: parameters, operations, size, memory and speed, side by side on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from skinlesion import files, processors, runs
from skinlesion.bench import benchmarks
from skinlesion.data.dataset import DX
from skinlesion.learning import batches, engine, models
from skinlesion.parameters import Parameters

NETWORKS = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "resnet18", "inception_v3")
"""That of the preprint, and those of the related work, as torchvision names them."""

BYTES = 4
"""Of a weight, in float32."""


def measure(output: Path, *, side: int, steps: int = 30, repeats: int = 3) -> pd.DataFrame:
    """Measure every network, and write ``costs.csv`` and ``costs.json`` (with the machine).

    Parameters
    ----------
    output
        A folder.
    side
        Of the images, in pixels.
    steps
        Of batch 32, timed in each turn.
    repeats
        Turns; the median of the speeds and the highest of the peaks are kept.

    Returns
    -------
    pandas.DataFrame
        network, side, parameters, megabytes (of its weights in float32), million_operations (multiplications with
        addition, for one image), training and inference (images per second), training_memory_mb and inference_memory_mb
        (peak of a process of its own).
    """
    facts = {"measured": runs.now(), "source": runs.source(), "environment": runs.environment()}
    rows = []
    for network in NETWORKS:
        row: dict[str, Any] = {"network": network, "side": side, **counted(network, side)}
        for name, function in (("training", benchmarks.train), ("inference", _inference)):
            given = (side, steps, {"backbone": network})
            turns = [benchmarks.together(function, *given)[0] for _ in range(repeats)]
            row[name] = float(np.median([turn.images / turn.seconds for turn in turns]))
            row[f"{name}_memory_mb"] = max(turn.peak_memory_mb for turn in turns)
        rows.append(row)
    table = pd.DataFrame(rows)
    files.write_csv(output / "costs.csv", table)
    files.write_json(output / "costs.json", {**facts, "steps": steps, "repeats": repeats, "rows": rows})
    print(table.round(1).to_string(index=False))
    return table


def counted(network: str, side: int) -> dict[str, float]:
    """Return what can be counted without running: parameters, megabytes and million_operations."""
    model = models.build(network, weights="none", classes=len(DX), seed=0, side=side).eval()
    parameters = sum(weight.numel() for weight in model.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    return {
        "parameters": parameters,
        "megabytes": BYTES * sum(tensor.numel() for tensor in model.state_dict().values()) / 1e6,
        "million_operations": counter.get_total_flops() / 2e6,
    }


def _inference(side: int, steps: int, update: dict[str, Any]) -> tuple[int, float]:
    """Score images as validation does, after one batch that does not count."""
    chosen = Parameters(study="bench", weights="none", **update)
    device = engine.choose_device(chosen)
    count = benchmarks.BATCH * steps
    pixels = np.zeros((count, side, side, 3), np.uint8)
    model = models.build(chosen.backbone, weights="none", classes=len(DX), seed=0, side=side).to(device)
    source = batches.open_source(pixels, device)
    torch.set_num_threads(processors.usable())
    processors.keep_memory()
    engine.logits(model, source, np.arange(benchmarks.BATCH))
    benchmarks.wait()
    start = time.perf_counter()
    engine.logits(model, source, np.arange(count))
    return count, time.perf_counter() - start
