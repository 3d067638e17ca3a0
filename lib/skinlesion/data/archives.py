"""Where the images lie: zips and folders in the layouts in circulation, read in place and within bounds."""

from __future__ import annotations

import filecmp
import io
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PureWindowsPath

from PIL import Image, UnidentifiedImageError

from skinlesion import files
from skinlesion.errors import StudyError

OWN = "own"
"""Images of somebody's own, each called what the table calls it."""

LAYOUTS = {
    "ham10000": {
        "Dataverse archives": "HAM10000_images_part_*.zip",
        "ISIC challenge archives": "ISIC2018_Task3_Training_Input.zip",
    },
    "isic2018_test": {
        "Dataverse archives": "ISIC2018_Task3_Test_Images.zip",
        "ISIC challenge archives": "ISIC2018_Task3_Test_Input.zip",
    },
    OWN: {},
}
"""Names of each set's image archives. Where a folder has none, JPEGs are looked for in it and in its subfolders."""

IDS = {
    "ham10000": ("ISIC_0024306", "ISIC_0034320"),
    "isic2018_validation": ("ISIC_0034321", "ISIC_0034523"),
    "isic2018_test": ("ISIC_0034524", "ISIC_0036064"),
}
"""First and last image of each set of the ISIC 2018 challenge's third task: one folder may hold several of them."""

WITHOUT_WEIGHT = "ISIC_0035068"
"""In the truth of the ISIC 2018 test set, but not among Dataverse's images of it: left out, as in its scoring."""

MASKS = "HAM10000_segmentations_lesion_tschandl.zip"

IMAGE_ID = re.compile(r"(ISIC|SYN)_\d{7}")
ANY_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
"""What an image may be called: as the archive's, and of somebody's own."""

PHONES = {b"avi": "AVIF", b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC"}
"""What phones write, by how the brand in a file's first box begins."""

MOST_BYTES = 20_000_000
"""No image of the data is larger; the original's largest is well under a megabyte."""
MOST_PIXELS = 50_000_000
"""A picture that claims more is a decompression bomb: the original has 270,000."""
DEPTH = 2  # subfolders below the data folder: part_1/, and part_1/part_1/ as some tools extract it


class DatasetError(StudyError):
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


def find(folder: Path, pattern: str) -> list[Path]:
    """Return what lies in `folder` under a name like `pattern`, in whatever case it is written."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in inside if fnmatchcase(path.name.lower(), pattern.lower()))


def layout(folder: Path, name: str = "ham10000") -> str:
    """Return in which layout `folder` has a set: a key of its :data:`LAYOUTS`, or ``extracted images``."""
    return next((title for title, pattern in LAYOUTS[name].items() if find(folder, pattern)), "extracted images")


def index(folder: Path, name: str = "ham10000") -> dict[str, Member]:
    """Find every image of a set in `folder` by its id, without decoding one.

    Parameters
    ----------
    folder
        May hold other sets as well.
    name
        A key of :data:`LAYOUTS`.

    Returns
    -------
    dict
        By image id. Files that are not named like an image of the set are passed over.

    Raises
    ------
    DatasetError
        If there is no image, an archive is not a complete zip, what is named like an image is no file, or an id
        stands for two different images.
    """
    members: dict[str, Member] = {}
    others = [ids for other, ids in IDS.items() if other != name != OWN]
    for image_id, found in _members(folder, name):
        if any(first <= image_id <= last for first, last in others):
            continue
        known = members.setdefault(image_id, found)
        # The Kaggle mirror holds every image twice, in folders that differ in case alone.
        if known is not found and not _same_file(known, found):
            raise DatasetError(_twice(image_id, known, found))
    if not members:
        raise DatasetError(
            f"{folder} has no image of the table's: no JPEG in it or a subfolder, called what the table calls it"
            if name == OWN
            else f"{folder} has no image of {name}: neither {' nor '.join(LAYOUTS[name].values())}, nor a subfolder "
            f"with ISIC_*.jpg. `make data DATASET={name}` downloads them"
        )
    return members


@contextmanager
def open_container(container: Path) -> Iterator[Callable[[str], bytes]]:
    """Open a zip or a folder; yield a function from a member's name to its bytes.

    The function raises DatasetError for a member that is damaged, encrypted or larger than :data:`MOST_BYTES`; no more
    than that is ever read, whatever the member claims.
    """
    if container.is_dir():
        yield lambda name: read_bounded(container / name)
        return
    with open_zip(container) as opened:

        def read(name: str) -> bytes:
            entry = opened.getinfo(name)
            deflated = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if entry.flag_bits & 1 or not deflated:  # zipfile unpacks other kinds without a bound, or not at all
                names: dict[int, str] = getattr(zipfile, "compressor_names", {})  # not in its type stubs
                kind = names.get(entry.compress_type, f"method {entry.compress_type}")
                odd = "a password" if entry.flag_bits & 1 else kind
                raise DatasetError(
                    f"{name} in {container.name} is packed with {odd}: pack it anew, with deflate and no password"
                )
            try:
                with opened.open(name) as member:
                    content = member.read(MOST_BYTES + 1)
            except Exception as error:  # the modules that unpack have a dozen kinds
                raise DatasetError(
                    f"{name} in {container.name} is damaged ({error}): fetch the archive again"
                ) from error
            return _bounded(content, f"{name} in {container.name}", MOST_BYTES)

        yield read


@contextmanager
def open_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip for reading.

    Raises
    ------
    DatasetError
        If it is not there, no file, or not a complete zip.
    """
    if reason := files.not_a_file(archive):
        raise DatasetError(f"{archive} {reason}: put the archive in its place")
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, EOFError, ValueError, struct.error, NotImplementedError) as error:
        raise DatasetError(
            f"{files.shown(archive)} is damaged ({error}), as after a broken download: fetch it again"
        ) from error
    with opened:
        yield opened


@contextmanager
def open_picture(content: bytes, *, formats: tuple[str, ...] = ("JPEG",)) -> Iterator[Image.Image]:
    """Open one picture, to be decoded inside the block.

    Raises
    ------
    DatasetError
        If it is of none of the formats (Pillow's names), is cut off, or claims more than :data:`MOST_PIXELS`; the
        reason alone, since bytes have no name.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DatasetError(f"{image.width}×{image.height} pixels are more than {MOST_PIXELS:,}: scale it down")
            yield image
    except DatasetError:
        raise
    except UnidentifiedImageError:
        form = PHONES.get(content[8:11]) if content[4:8] == b"ftyp" else None
        if form and form not in formats:
            raise DatasetError(f"it is {form}, which is not read here: save it as JPEG") from None
        raise DatasetError(f"no {' or '.join(formats)}" if content else "it is empty") from None
    except Exception as error:  # what a decoder meets in a stranger's bytes, it raises in its own words
        raise DatasetError(str(error) or type(error).__name__) from error


def undecodable(image_id: str, member: Member, reason: object) -> DatasetError:
    """Return the error that names an image and where it lies."""
    place = member.name if member.container.is_dir() else member.container.name
    return DatasetError(f"image {image_id} in {place} cannot be decoded ({reason}): put a sound one in its place")


def read_bounded(path: Path, *, most: int | None = None) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    DatasetError
        If it is no file, or has more than `most` bytes (:data:`MOST_BYTES`, if nothing else is said).
    """
    most = MOST_BYTES if most is None else most
    if reason := files.not_a_file(path):
        raise DatasetError(f"{path} {reason}")
    with path.open("rb") as file:
        return _bounded(file.read(min(path.stat().st_size, most) + 1), path.name, most)


def _bounded(content: bytes, name: str, most: int) -> bytes:
    if len(content) > most:
        raise DatasetError(f"{name} has more than {most:,} bytes, the most that is read: is it the right file?")
    return content


def _members(folder: Path, name: str) -> Iterator[tuple[str, Member]]:
    """Yield what is named like an image, from the archives if there are any."""
    archives = find(folder, LAYOUTS[name].get(layout(folder, name), ""))
    for archive in archives:
        with open_zip(archive) as opened:
            for entry in opened.infolist():
                if image_id := _image_id(entry.filename, name):
                    yield image_id, Member(archive, entry.filename, f"{entry.file_size} {entry.CRC:08x}")
    for path in () if archives else files.walk(folder, depth=DEPTH):
        if image_id := _image_id(path.name, name):
            if reason := files.not_a_file(path):
                raise DatasetError(f"{path} {reason}, and is named like an image: move it away, or fetch it again")
            state = path.stat()
            yield image_id, Member(folder, str(path.relative_to(folder)), f"{state.st_size} {state.st_mtime_ns}")


def _same_file(one: Member, other: Member) -> bool:
    both = (one.container, other.container)
    return all(container.is_dir() for container in both) and filecmp.cmp(
        one.container / one.name, other.container / other.name, shallow=False
    )


def _image_id(name: str, of: str) -> str:
    """Return the id of what is named like an image, or nothing; some zips have backslashes in their names."""
    path = PureWindowsPath(name)
    image_id, known = (path.stem, ANY_ID) if of == OWN else (path.stem.upper(), IMAGE_ID)
    return image_id if path.suffix.lower() in {".jpg", ".jpeg"} and known.fullmatch(image_id) else ""


def _twice(image_id: str, *members: Member) -> str:
    where = " and in ".join(member.name if member.container.is_dir() else member.container.name for member in members)
    return f"image {image_id} occurs twice: in {where}. Keep one"
