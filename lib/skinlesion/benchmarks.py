"""How fast, and in how much memory: each measurement in a process of its own, beside what it is compared with."""

from __future__ import annotations

import io
import multiprocessing
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from skinlesion import archives, dataset, files, images, runs

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
    with tempfile.TemporaryDirectory() as temporary:
        drawn = Path(temporary)
        mean_bytes = draw_originals(drawn, count)
        inputs = {f"drawn JPEGs of 600×450, {mean_bytes / 1000:.0f} KB each": drawn}
        if data is not None:
            inputs = {"HAM10000": files.resolve(data), **inputs}
        rows = [row for name, folder in inputs.items() for row in _compare(name, folder, repeats)]
    table = pd.DataFrame(rows)
    files.write_csv(output / "decoding.csv", table)
    hardware = {"measured": runs.now(), "source": runs.source(), "environment": runs.environment()}
    files.write_json(output / "decoding.json", {**hardware, "repeats": repeats, "rows": rows})
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
    taken: dict[str, list[tuple[int, float, float]]] = {method: [] for method in methods}
    for _ in tqdm(range(repeats), desc=name, unit="turn"):
        for method, function in methods.items():
            # A fresh interpreter each: the peak of a process never falls again.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                taken[method].append(pool.apply(_measure, (function, folder)))
                pool.close()
                pool.join()
    median = {method: float(np.median([seconds for _, seconds, _ in turns])) for method, turns in taken.items()}
    return [
        {
            "input": name,
            "method": method,
            "images": turns[0][0],
            "seconds": median[method],
            "images_per_second": turns[0][0] / median[method],
            "times_the_loop": median["plain loop"] / median[method],
            "peak_memory_mb": max(peak for _, _, peak in turns),
        }
        for method, turns in taken.items()
    ]


def _measure(function: Callable[[Path], int], folder: Path) -> tuple[int, float, float]:
    start = time.perf_counter()
    count = function(folder)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return count, seconds, peak / (1e6 if sys.platform == "darwin" else 1e3)
