"""From archives to arrays: every image decoded once into a memory-mapped store."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from skinlesion.dataset import Dataset, DatasetError, open_zip
from skinlesion.files import atomic, require_space

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Per-channel mean and standard deviation of ImageNet on a scale of 0 to 1: what torchvision's
pretrained networks expect their input to be normalised with."""


def open_store(dataset: Dataset, *, size: int, cache: Path) -> np.ndarray:
    """Return all images of `dataset` as one array, decoding them only the first time.

    A frame of any shape is squashed to a square: 600×450 becomes 224×224 by scaling each axis on its
    own (antialiased, bilinear), so a pixel then stands for 2.68 × 2.01 original ones and nothing is cut
    off. The store's name carries the data's fingerprint: other bytes make another store.

    Parameters
    ----------
    size
        Height and width in pixels.
    cache
        Folder for the stores.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (N, size, size, 3), read-only and memory-mapped, rows as in ``dataset.metadata``.

    Raises
    ------
    DatasetError
        If an image cannot be decoded, naming it and its archive.
    DiskFullError
        If the store does not fit.
    """
    path = cache / f"{dataset.fingerprint[:16]}-{size}.npy"
    if not path.exists():
        _write_store(dataset, size=size, path=path)
    return np.load(path, mmap_mode="r")


def read(dataset: Dataset, rows: np.ndarray) -> list[np.ndarray]:
    """Read some images as they lie in the archives, for a gallery.

    Parameters
    ----------
    rows
        Places in ``dataset.metadata``.

    Returns
    -------
    list of numpy.ndarray
        uint8 of shape (height, width, 3) each, in the order of `rows`.
    """
    found = {row: content for row, _, _, content in _read(dataset, rows)}
    return [np.asarray(Image.open(io.BytesIO(found[row])).convert("RGB")) for row in rows]


def decode(content: bytes, *, size: int) -> np.ndarray:
    """Decode one JPEG into uint8 of shape (size, size, 3)."""
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        image.draft("RGB", (size, size))
        rgb = image.convert("RGB")
        if rgb.size != (size, size):
            rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(rgb)


def _write_store(dataset: Dataset, *, size: int, path: Path) -> None:
    shape = (len(dataset.metadata), size, size, 3)
    with atomic(path) as temporary:
        require_space(path.parent, int(np.prod(shape)))
        store = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        ids = list(dataset.metadata.image_id)
        chunks = np.array_split(np.arange(len(ids)), max(1, len(ids) // 64))
        # Threads are enough: Pillow releases the interpreter's lock while it decodes and scales.
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            tqdm(total=len(ids), desc="decode", unit="image") as bar,
        ):
            jobs = [pool.submit(_decode_into, store, dataset, chunk, size) for chunk in chunks]
            try:
                for job, chunk in zip(jobs, chunks, strict=True):
                    job.result()
                    bar.update(len(chunk))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        store.flush()


def _decode_into(store: np.ndarray, dataset: Dataset, rows: np.ndarray, size: int) -> None:
    for row, image_id, archive, content in _read(dataset, rows):
        try:
            store[row] = decode(content, size=size)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DatasetError(
                f"image {image_id} in {archive.name} cannot be decoded ({error}): fetch the archive again"
            ) from error


def _read(dataset: Dataset, rows: np.ndarray) -> Iterator[tuple[int, str, Path, bytes]]:
    """Yield row, image id, archive and bytes; each archive is opened once."""
    ids = dataset.metadata.image_id
    located = [(int(row), ids[row], *dataset.members[ids[row]]) for row in rows]
    for archive in sorted({entry[2] for entry in located}):
        with open_zip(archive) as opened:
            for row, image_id, source, member in located:
                if source == archive:
                    yield row, image_id, archive, opened.read(member)
