"""From archives to arrays: images decoded into memory-mapped stores, one a size, and what the pixels are.

Each is decoded once for each store, at the scale that is nearest to it, and once whole for the survey; all are kept.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL
from PIL import Image, ImageCms, ImageOps
from tqdm.auto import tqdm

from skinlesion.data import archives
from skinlesion.data.archives import DatasetError
from skinlesion.data.dataset import PUBLISHED, Dataset
from skinlesion.files import kept, kept_csv, require_space

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Per-channel mean and standard deviation of ImageNet on a scale of 0 to 1: what torchvision's
pretrained networks expect their input to be normalised with."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF")
"""What a picture that is not of the data may be in; Pillow knows many more, hardly used and hardly tested."""

WIDE = re.compile(rb"(?s)(colrnclx\0|cICP)([^\x01\x02]|.\0?[\x10\x12])")
ADOBE = re.compile(rb"\x04(\0{3})?R03\0")
"""How a picture says without a profile that its colours are not sRGB's: an AVIF or PNG near its beginning, with other
primaries than BT.709's or the curves of HDR (ITU-T H.273), and a camera's Adobe RGB in EXIF (DCF 2.0)."""

MOST_BYTES = 4 * archives.MOST_PIXELS
"""No file of a picture that is not of the data is larger: as many pixels as may be, not compressed."""

FRAME = PUBLISHED["image_size"][0] / PUBLISHED["image_size"][1]
"""Width of the data's frames by their height."""

# Raise the number whenever the same bytes would give other pixels, or a store another form.
DECODER = f"3-pillow{PIL.__version__}"
CHUNK = 64  # images a task: enough to open an archive for, few enough for a bar that moves


def open_store(dataset: Dataset, *, size: int, cache: Path, resize: str = "squash") -> np.ndarray:
    """Return all images of `dataset` as one array, decoding them only the first time, or where the store is damaged.

    The file's name carries the data's key, size, manner and decoder: whatever changes makes another store.

    Parameters
    ----------
    size
        Height and width in pixels.
    cache
        Folder for the stores.
    resize
        How a frame becomes a square, see :func:`decode`.

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
    path = cache / f"{dataset.key[:16]}-{size}-{resize}-{DECODER}.npy"
    shape = (len(dataset.metadata), size, size, 3)

    def load(path: Path, length: int) -> np.ndarray:
        store = np.load(path, mmap_mode="r")
        if store.shape != shape or store.dtype != np.uint8:
            raise ValueError(f"{store.dtype} of shape {store.shape}")
        return store

    def make(path: Path) -> None:
        _write_store(dataset, size=size, resize=resize, path=path)

    return kept(path, make=make, load=load, again="decoded")


def survey(dataset: Dataset, *, cache: Path) -> pd.DataFrame:
    """Decode every image whole, once, and say what it is; the result is kept in `cache`.

    Returns
    -------
    pandas.DataFrame
        In the table's order: image_id, width and height in pixels, pixels (SHA-256 over shape and RGB
        values), and error, which is empty where the image could be decoded.
    """
    path = cache / f"{dataset.key[:16]}-survey-{DECODER}.csv"
    types = {"image_id": "str", "width": "int64", "height": "int64", "pixels": "str", "error": "str"}
    return kept_csv(path, lambda: _survey(dataset, list(types)), types=types)


def fingerprint(dataset: Dataset, *, cache: Path) -> str:
    """Return SHA-256 over the table and the decoded pixels of every image, as 64 hex digits.

    The same images and labels have the same fingerprint in whatever layout they lie.

    Raises
    ------
    DatasetError
        If an image cannot be decoded, naming it and its archive.
    """
    table = survey(dataset, cache=cache)
    damaged = table[table.error != ""]
    if len(damaged):
        image_id = damaged.image_id.iloc[0]
        raise archives.undecodable(image_id, dataset.members[image_id], damaged.error.iloc[0])
    digest = hashlib.sha256(dataset.metadata.to_csv(index=False, lineterminator="\n").encode())
    digest.update("".join(table.pixels).encode())
    return digest.hexdigest()


def describe(dataset: Dataset, *, cache: Path) -> dict[str, Any]:
    """Return what the data is, for the manifest and the head of every report."""
    return {
        "title": dataset.title,
        "synthetic": dataset.synthetic,
        "fingerprint": fingerprint(dataset, cache=cache),
    }


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
    found = {row: content for row, _, content in _read(dataset, rows)}
    return [np.asarray(open_image(found[row])) for row in rows]


def open_image(
    content: bytes | DatasetError, *, at_least: int | None = None, formats: tuple[str, ...] = ("JPEG",)
) -> Image.Image:
    """Decode one picture: upright (by its EXIF orientation) and RGB, from grey and CMYK too.

    One with a colour profile is brought to sRGB, one without is taken for sRGB: what published runs saw has none.

    Parameters
    ----------
    content
        The file's bytes; an error met on the way to them is raised here.
    at_least
        Let libjpeg decode at 1/2, 1/4 or 1/8 where both sides stay this long, in pixels: most of the work
        of a larger image is then never done.
    formats
        Names of Pillow's. What is transparent lies on white.

    Raises
    ------
    DatasetError
        If it is of no such format, is cut off, claims more than :data:`skinlesion.data.archives.MOST_PIXELS`, holds
        several pictures, or has more than 8 bits a channel or colours that are not known.
    """
    if isinstance(content, DatasetError):
        raise content
    with archives.open_picture(content, formats=formats) as image:
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a JPEG with previews behind it
            raise DatasetError("it holds several pictures")
        if image.mode.startswith(("I", "F")):
            raise DatasetError("it has more than 8 bits a channel")
        if getattr(image, "tag_v2", {}).get(254, 0) & 1:  # NewSubfileType
            raise DatasetError("it is the preview in a raw file of a camera: save that as JPEG")
        if at_least:
            image.draft("RGB", (at_least, at_least))
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            over = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
        if "icc_profile" in image.info:
            return _in_srgb(upright, image.info["icc_profile"] or b"", grey=image.mode in ("1", "L", "LA"))
        wide = image.format in ("AVIF", "PNG") and WIDE.search(content[:4096])
        if wide or ADOBE.search(image.info.get("exif", b"")):
            raise DatasetError("its colours are not sRGB's, and it has no profile of them: save it in sRGB")
        return upright.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes, *, grey: bool) -> Image.Image:
    """Return a picture, RGB, whose colours mean in sRGB what they mean in the profile that came with it."""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        kind = "L" if grey and given.profile.xcolor_space == "GRAY" else "CMYK" if image.mode == "CMYK" else "RGB"
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), kind, "RGB")
        return transform.apply(image.convert(kind))
    except (OSError, ImageCms.PyCMSError) as error:
        raise DatasetError(f"its colour profile cannot be used ({error}): save it in sRGB") from error


def decode(content: bytes | DatasetError, *, size: int, resize: str = "squash") -> np.ndarray:
    """Decode one JPEG into uint8 of shape (size, size, 3).

    ``squash`` scales each axis on its own: 600×450 becomes 224×224, a pixel then stands for 2.68 × 2.01
    original ones, nothing is cut off and circles become ellipses. ``center_crop`` scales the shorter side to
    `size` and cuts the same from both ends of the longer one: shapes stay true, and of 600×450 a quarter is
    lost. Both scale by antialiased bilinear interpolation, after libjpeg's own scaling where that is enough.

    Raises
    ------
    DatasetError
        As :func:`open_image`.
    """
    return _square(open_image(content, at_least=size), size=size, resize=resize)


def decode_any(content: bytes, *, size: int, resize: str = "squash") -> np.ndarray:
    """Decode a picture of any shape, in any of :data:`FORMATS`, as :func:`decode` does the frames of the data.

    Squashing gives a lesion the shape that it had in training only if it starts from a frame of the same proportions:
    see :func:`in_frame`. A picture that was squashed to a square before is not told from a square one.

    Raises
    ------
    DatasetError
        As :func:`open_image`.
    """
    image = open_image(content, at_least=size, formats=FORMATS)
    return _square(in_frame(image) if resize == "squash" else image, size=size, resize=resize)


def decode_all(dataset: Dataset, how: Callable[[bytes], np.ndarray], *, size: int) -> np.ndarray:
    """Return every image of a data set as a function decodes it, in memory: uint8 of shape (N, size, size, 3)."""
    pixels = np.empty((len(dataset.metadata), size, size, 3), np.uint8)

    def keep(row: int, image_id: str, content: bytes | DatasetError) -> None:
        if isinstance(content, DatasetError):
            raise content
        pixels[row] = how(content)

    _each(dataset, keep, title="decode")
    return pixels


def in_frame(image: Image.Image) -> Image.Image:
    """Bring a picture to the proportions of the data's frames, 4:3, without cutting off or distorting anything.

    Where it is too narrow, what it shows is reflected at its left and right border, half of what lacks at each; where
    it is too low, at its upper and lower one. A picture that has the proportions, as nearly as whole pixels allow,
    stays as it is.

    Raises
    ------
    DatasetError
        If it is so long that the frame around it would be of more than four times
        :data:`skinlesion.data.archives.MOST_PIXELS`.
    """
    width, height = image.size
    wide, high = max(width, round(height * FRAME)), max(height, round(width / FRAME))
    if wide - width <= 1 and high - height <= 1:
        return image
    if wide * high > 4 * archives.MOST_PIXELS:
        raise DatasetError(f"{width}×{height} pixels are too long a strip")
    above, left = (high - height) // 2, (wide - width) // 2
    margins = ((above, high - height - above), (left, wide - width - left), (0, 0))
    return Image.fromarray(np.pad(np.asarray(image), margins, mode="symmetric"))


def is_picture(path: Path) -> bool:
    """Say whether a file begins as a picture in one of :data:`FORMATS`."""
    try:
        with archives.open_picture(archives.read_bounded(path, most=MOST_BYTES), formats=FORMATS):
            return True
    except (DatasetError, OSError):
        return False


def _square(image: Image.Image, *, size: int, resize: str) -> np.ndarray:
    if resize == "center_crop":
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR)
    elif image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _survey(dataset: Dataset, columns: list[str]) -> pd.DataFrame:
    rows: list[tuple[str, int, int, str, str]] = [("", 0, 0, "", "")] * len(dataset.metadata)

    def note(row: int, image_id: str, content: bytes | DatasetError) -> None:
        try:
            image = open_image(content)
        except DatasetError as error:
            rows[row] = (image_id, 0, 0, "", str(error))
            return
        digest = hashlib.sha256(f"{image.width} {image.height} ".encode() + image.tobytes())
        rows[row] = (image_id, image.width, image.height, digest.hexdigest(), "")

    _each(dataset, note, title="check")
    return pd.DataFrame(rows, columns=columns)


def _write_store(dataset: Dataset, *, size: int, resize: str, path: Path) -> None:
    shape = (len(dataset.metadata), size, size, 3)
    require_space(path.parent, int(np.prod(shape)))
    # Laid out by NumPy, written by position: pages of a map would count as this process's memory.
    offset = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).offset
    bytes_each = size * size * 3
    with path.open("r+b") as file:

        def store(row: int, image_id: str, content: bytes | DatasetError) -> None:
            try:
                pixels = decode(content, size=size, resize=resize)
            except DatasetError as error:
                raise archives.undecodable(image_id, dataset.members[image_id], error) from error
            os.pwrite(file.fileno(), pixels.tobytes(), offset + row * bytes_each)

        _each(dataset, store, title="decode")


def _each(dataset: Dataset, work: Callable[[int, str, bytes | DatasetError], None], *, title: str) -> None:
    """Call ``work(row, image_id, bytes)`` for every image, on all cores, with a progress bar."""
    count = len(dataset.metadata)
    chunks = np.array_split(np.arange(count), max(1, count // CHUNK))

    def run(rows: np.ndarray) -> int:
        for found in _read(dataset, rows):
            work(*found)
        return len(rows)

    # Threads are enough: Pillow and hashlib release the interpreter's lock while they work.
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=count, desc=title, unit="image") as bar:
        jobs = [pool.submit(run, chunk) for chunk in chunks]
        try:
            for job in jobs:
                bar.update(job.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _read(dataset: Dataset, rows: np.ndarray) -> Iterator[tuple[int, str, bytes | DatasetError]]:
    """Yield row, image id, and bytes or the reason why there are none; each container is opened once."""
    ids = dataset.metadata.image_id
    located = [(int(row), ids[row], dataset.members[ids[row]]) for row in rows]
    for container in sorted({member.container for _, _, member in located}):
        with archives.open_container(container) as open_member:
            for row, image_id, member in located:
                if member.container == container:
                    try:
                        content: bytes | DatasetError = open_member(member.name)
                    except DatasetError as error:
                        content = error
                    yield row, image_id, content
