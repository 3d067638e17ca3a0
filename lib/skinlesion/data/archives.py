"""Where the images lie: zips and folders in the layouts in circulation, read in place and within bounds."""

from __future__ import annotations

import filecmp
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skinlesion.files import shown

LAYOUTS = {
    "Dataverse archives": ("HAM10000_images_part_*.zip", "ISIC2018_Task3_Test_Images.zip"),
    "ISIC challenge archives": ("ISIC2018_Task3_Training_Input.zip", "ISIC2018_Task3_Test_Input.zip"),
}
"""Names of image archives. Where a folder has none, JPEGs are looked for in it and in its subfolders."""

MASKS = "HAM10000_segmentations_lesion_tschandl.zip"

IMAGE_ID = re.compile(r"(ISIC|SYN)_\d{7}")
MOST_BYTES = 20_000_000
"""No image is read that claims to be larger; the original's largest is well under a megabyte."""
DEPTH = 2  # subfolders below the data folder: part_1/, and part_1/part_1/ as some tools extract it


class DatasetError(ValueError):
    """The data cannot be used; the message names the file and row, and what to do."""


@dataclass(frozen=True)
class Member:
    """One image as it lies in a zip or in a folder.

    Attributes
    ----------
    container
        The zip, or the data folder.
    name
        Its name inside the container. Nothing is ever written under it.
    digest
        Changes when the bytes do: size and CRC-32 in a zip, size and time of modification in a folder.
    """

    container: Path
    name: str
    digest: str


def layout(folder: Path) -> str:
    """Return which layout `folder` has: a key of :data:`LAYOUTS`, or ``extracted images``."""
    return next((name for name, patterns in LAYOUTS.items() if _zips(folder, patterns)), "extracted images")


def index(folder: Path) -> dict[str, Member]:
    """Find every image in `folder` by its id, without decoding one.

    Returns
    -------
    dict
        By image id. Files that are not named like an image of the data are passed over.

    Raises
    ------
    DatasetError
        If there is no image, an archive is not a complete zip, or an id stands for two different images.
    """
    members: dict[str, Member] = {}
    for found in _members(folder):
        image_id = Path(found.name).stem
        known = members.setdefault(image_id, found)
        # The Kaggle mirror holds every image twice, in folders that differ in case alone.
        if known is not found and not _same_file(known, found):
            raise DatasetError(_twice(image_id, known, found))
    if not members:
        raise DatasetError(
            f"{folder} has no image: neither HAM10000_images_part_1.zip and part_2, nor the ISIC challenge's "
            "archive, nor a subfolder with ISIC_*.jpg. `make data` downloads them"
        )
    return members


@contextmanager
def open_container(container: Path) -> Iterator[Callable[[str], bytes]]:
    """Open a zip or a folder; yield a function from a member's name to its bytes.

    The function raises DatasetError for a member that is damaged, encrypted or larger than
    :data:`MOST_BYTES`, whatever its header claims.
    """
    if container.is_dir():
        yield lambda name: read_bounded(container / name)
        return
    with open_zip(container) as opened:

        def read(name: str) -> bytes:
            if (size := opened.getinfo(name).file_size) > MOST_BYTES:
                raise DatasetError(f"{name} in {container.name} claims {size:,} bytes: no image is that large")
            try:
                return opened.read(name)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
                raise DatasetError(
                    f"{name} in {container.name} is damaged ({error}): fetch the archive again"
                ) from error

        yield read


@contextmanager
def open_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip for reading.

    Raises
    ------
    DatasetError
        If it is not there or not a complete zip.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except FileNotFoundError:
        raise DatasetError(f"{archive} does not exist") from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise DatasetError(
            f"{shown(archive)} is damaged ({error}), as after a broken download: fetch it again"
        ) from error


def _members(folder: Path) -> Iterator[Member]:
    archives = _zips(folder, LAYOUTS.get(layout(folder), ()))
    for archive in archives:
        with open_zip(archive) as opened:
            for entry in opened.infolist():
                if _is_image(entry.filename):
                    yield Member(archive, entry.filename, f"{entry.file_size} {entry.CRC:08x}")
    for path in () if archives else _files(folder):
        if _is_image(path.name):
            state = path.stat()
            yield Member(folder, str(path.relative_to(folder)), f"{state.st_size} {state.st_mtime_ns}")


def _same_file(one: Member, other: Member) -> bool:
    both = (one.container, other.container)
    return all(container.is_dir() for container in both) and filecmp.cmp(
        one.container / one.name, other.container / other.name, shallow=False
    )


def _zips(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of `folder` and of its subfolders, in a fixed order; links to folders are not followed."""
    for here, subfolders, names in os.walk(folder):
        subfolders.sort()
        if len(Path(here).relative_to(folder).parts) >= DEPTH:
            subfolders.clear()
        yield from (Path(here) / name for name in sorted(names))


def _is_image(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in {".jpg", ".jpeg"} and IMAGE_ID.fullmatch(path.stem) is not None


def _twice(image_id: str, *members: Member) -> str:
    where = " and in ".join(member.name if member.container.is_dir() else member.container.name for member in members)
    return f"image {image_id} occurs twice: in {where}. Keep one"


def read_bounded(path: Path) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    DatasetError
        If there are more than :data:`MOST_BYTES`.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DatasetError(f"{path.name} has more than {MOST_BYTES:,} bytes: no image is that large")
    return content
