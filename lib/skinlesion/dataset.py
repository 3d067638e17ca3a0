"""HAM10000 as it lies in a folder: the metadata table, the archives, and whether the two agree."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from PIL import Image
from scipy.stats import contingency

from skinlesion import sample
from skinlesion.files import shown
from skinlesion.parameters import Parameters

DX_NAMES = {
    "akiec": "actinic keratosis / Bowen's disease",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis-like lesion",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
"""The seven diagnoses, in the order of every table, figure and probability vector."""

DX = tuple(DX_NAMES)

PUBLISHED: dict[str, Any] = {
    "images": 10015,
    "lesions": 7470,
    "dx": {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142},
    "dx_type": {"histo": 5340, "follow_up": 3704, "consensus": 902, "confocal": 69},
    "dataset": {"rosendahl": 2259, "vidir_molemax": 3954, "vidir_modern": 3363, "vienna_dias": 439},
    "image_size": (600, 450),
}
"""Facts of the published data: P. Tschandl, C. Rosendahl, H. Kittler, "The HAM10000 dataset",
Sci. Data 5, 180161 (2018), and the table it was published with (doi:10.7910/DVN/DBW86T)."""

TABLE_NAMES = ("HAM10000_metadata", "HAM10000_metadata.csv")

SCHEMA = pa.DataFrameSchema(
    {
        "lesion_id": pa.Column(str, pa.Check.str_matches(r"^(HAM|SYN)_\d{7}$")),
        "image_id": pa.Column(str, pa.Check.str_matches(r"^(ISIC|SYN)_\d{7}$"), unique=True),
        "dx": pa.Column(str, pa.Check.isin(DX)),
        "dx_type": pa.Column(str, pa.Check.isin(["histo", "follow_up", "consensus", "confocal"])),
        "age": pa.Column(float, pa.Check.in_range(0, 120), nullable=True),
        "sex": pa.Column(str, pa.Check.isin(["female", "male", "unknown"])),
        "localization": pa.Column(str),
        "dataset": pa.Column(str, pa.Check.isin(["rosendahl", "vidir_molemax", "vidir_modern", "vienna_dias"])),
    },
    strict=True,
)


class DatasetError(ValueError):
    """The data cannot be used; the message names the file and row, and what to do."""


@dataclass(frozen=True)
class Dataset:
    """The table and the archives of one folder, checked against each other.

    Attributes
    ----------
    folder
        Where they lie.
    metadata
        The table, sorted by ``image_id``: lesion_id, image_id, dx, dx_type, age (years), sex,
        localization, dataset (the source).
    members
        For each image id, the archive and the name of the JPEG inside it.
    fingerprint
        SHA-256 over the table's bytes and, for each image, its id, size in bytes and CRC-32.
    """

    folder: Path
    metadata: pd.DataFrame
    members: dict[str, tuple[Path, str]]
    fingerprint: str

    @property
    def synthetic(self) -> bool:
        """Whether the images were drawn by this library."""
        return is_synthetic(self.metadata)

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the first image as it lies in its archive, in pixels."""
        archive, member = self.members[self.metadata.image_id.iloc[0]]
        with open_zip(archive) as opened:
            return Image.open(io.BytesIO(opened.read(member))).size

    @property
    def title(self) -> str:
        """What the data is, in the words every report prints."""
        width, height = self.image_size
        counts = f"{len(self.metadata):,} images of {self.metadata.lesion_id.nunique():,} lesions"
        if self.synthetic:
            return f"SYNTHETIC sample drawn by this library, {counts}, {width}×{height}"
        resized = "" if self.image_size == PUBLISHED["image_size"] else f", resized to {width}×{height}"
        return f"HAM10000{resized}, {counts}"

    def describe(self) -> dict[str, Any]:
        """Return what the data is, for the manifest and the head of every report."""
        return {"title": self.title, "synthetic": self.synthetic, "fingerprint": self.fingerprint}

    @property
    def labels(self) -> np.ndarray:
        """Class of each image as its place in :data:`DX`: int64 of shape (N,), in the table's order."""
        return self.metadata.dx.map(DX.index).to_numpy(dtype=np.int64)


def is_synthetic(table: pd.DataFrame) -> bool:
    """Return whether a table with an ``image_id`` column speaks of the synthetic sample."""
    return bool(table.image_id.str.startswith("SYN_").any())


def open_dataset(parameters: Parameters) -> Dataset:
    """Open the study's data, drawing the synthetic sample first where the study asks for one.

    Raises
    ------
    DatasetError
        If a file is missing or damaged, or the table and the archives disagree.
    """
    metadata = open_metadata(parameters)
    folder = parameters.data_folder
    members, digests = index_images(folder)
    check(metadata, members, folder=folder)
    digest = hashlib.sha256(find_table(folder).read_bytes())
    for image_id in metadata.image_id:
        digest.update(f"{image_id} {digests[image_id]}\n".encode())
    return Dataset(folder, metadata, members, digest.hexdigest())


def open_metadata(parameters: Parameters) -> pd.DataFrame:
    """Read the study's table alone, drawing the synthetic sample first where the study asks for one.

    Raises
    ------
    DatasetError
        As :func:`read_metadata`.
    """
    folder = parameters.data_folder
    if parameters.synthetic_lesions is not None:
        drawn = {"lesions": parameters.synthetic_lesions, "seed": 0}
        if not sample.is_current(folder, **drawn):
            sample.draw(folder, **drawn)
    return read_metadata(find_table(folder))


def find_table(folder: Path) -> Path:
    """Return the path of the metadata table in `folder`.

    Raises
    ------
    DatasetError
        If the folder or the table is not there.
    """
    for name in TABLE_NAMES:
        if (folder / name).is_file():
            return folder / name
    missing = f"has no {TABLE_NAMES[0]}" if folder.is_dir() else "does not exist"
    raise DatasetError(
        f"no data: {folder} {missing}. Give the folder that holds HAM10000_metadata and the image "
        "archives, e.g. `make report STUDY=quick DATA=<folder>`, or use the study that needs no "
        "download: `make report`"
    )


def read_metadata(table: Path) -> pd.DataFrame:
    """Read and validate a metadata table.

    Parameters
    ----------
    table
        A CSV with the columns of :data:`SCHEMA`. Only an empty field counts as missing: ``unknown``
        is a value of its own.

    Returns
    -------
    pandas.DataFrame
        One row an image, sorted by ``image_id``, index 0 … N-1.

    Raises
    ------
    DatasetError
        Naming the table, the rows and the values at fault.
    """
    try:
        frame = pd.read_csv(
            table,
            keep_default_na=False,
            na_values={"age": [""]},
            dtype={name: str for name in SCHEMA.columns if name != "age"},
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise DatasetError(f"{table} cannot be read as a table: {error}. Fetch it again") from error
    absent = [name for name in SCHEMA.columns if name not in frame]
    if absent:
        raise DatasetError(f"{table} lacks the column(s) {', '.join(absent)}")
    if frame.empty:
        raise DatasetError(f"{table} has no rows: fetch it again")
    try:
        frame = SCHEMA.validate(frame.astype({"age": float}), lazy=True)
    except pa.errors.SchemaErrors as error:
        raise DatasetError(_explain(table, error.failure_cases, frame)) from None
    per_lesion = frame.groupby("lesion_id").dx.nunique()
    if (per_lesion > 1).any():
        raise DatasetError(f"{table}: lesion {per_lesion.idxmax()} has two diagnoses; give it one")
    return frame.sort_values("image_id", ignore_index=True)


def index_images(folder: Path) -> tuple[dict[str, tuple[Path, str]], dict[str, str]]:
    """Find every JPEG in the image archives of `folder` without decoding one.

    Returns
    -------
    members
        For each image id, its archive and member name.
    digests
        For each image id, its size in bytes and CRC-32 as the archive states them.

    Raises
    ------
    DatasetError
        If there is no archive, one is not a complete zip, or an id occurs twice.
    """
    archives = sorted(folder.glob("HAM10000_images_part_*.zip"))
    if not archives:
        raise DatasetError(f"{folder} has no HAM10000_images_part_1.zip: put both image archives there")
    members: dict[str, tuple[Path, str]] = {}
    digests: dict[str, str] = {}
    for archive in archives:
        with open_zip(archive) as opened:
            for member in opened.infolist():
                name = Path(member.filename)
                if member.is_dir() or name.suffix.lower() not in {".jpg", ".jpeg"}:
                    continue
                if name.stem in members:
                    raise DatasetError(
                        f"image {name.stem} occurs twice: in {members[name.stem][0].name} and in "
                        f"{archive.name}. Keep one"
                    )
                members[name.stem] = (archive, member.filename)
                digests[name.stem] = f"{member.file_size} {member.CRC:08x}"
    return members, digests


def check(metadata: pd.DataFrame, members: dict[str, tuple[Path, str]], *, folder: Path) -> None:
    """Refuse a table and archives that do not speak of the same images.

    Raises
    ------
    DatasetError
        Naming the first ids at fault and how many there are.
    """
    ids = set(metadata.image_id)
    without_image = sorted(ids - members.keys())
    if without_image:
        raise DatasetError(
            f"{folder}: {_some(without_image)} in the table, but in no archive. "
            "Is an archive missing? HAM10000 has two, part_1 and part_2"
        )
    without_row = sorted(members.keys() - ids)
    if without_row:
        raise DatasetError(
            f"{folder}: {_some(without_row)} in the archives, but not in the table. "
            "Is the table from another release of the data?"
        )


@contextmanager
def open_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip for reading.

    Raises
    ------
    DatasetError
        If it is not there or not a complete zip, or a member read meanwhile is damaged.
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


def examples(metadata: pd.DataFrame, *, each: int, seed: int) -> pd.DataFrame:
    """Draw up to `each` rows of every diagnosis, of different lesions, in the order of :data:`DX`."""
    one_a_lesion = metadata.drop_duplicates("lesion_id").sample(frac=1, random_state=seed)
    drawn = one_a_lesion.groupby("dx").head(each)
    return drawn.sort_values(["dx", "image_id"])


def facts(metadata: pd.DataFrame) -> pd.DataFrame:
    """Set the table beside the published facts.

    Returns
    -------
    pandas.DataFrame
        One row a fact: fact, published, here, agrees.
    """
    rows = [
        ("images", PUBLISHED["images"], len(metadata)),
        ("lesions", PUBLISHED["lesions"], metadata.lesion_id.nunique()),
    ]
    for column in ("dx", "dx_type", "dataset"):
        counts = metadata[column].value_counts()
        rows += [
            (f"{column} {value}", published, int(counts.get(value, 0)))
            for value, published in PUBLISHED[column].items()
        ]
    table = pd.DataFrame(rows, columns=["fact", "published", "here"])
    return table.assign(agrees=table.published == table.here)


def missing(metadata: pd.DataFrame) -> pd.DataFrame:
    """Count the images whose age is missing or whose sex or localization is unknown.

    Returns
    -------
    pandas.DataFrame
        One row a column: column, images, fraction, and most_affected, the diagnosis with the highest share.
    """
    rows = []
    for column in ("age", "sex", "localization"):
        gone = metadata[column].isna() | (metadata[column] == "unknown")
        share = gone.groupby(metadata.dx).mean()
        rows.append((column, int(gone.sum()), float(gone.mean()), f"{share.idxmax()} ({share.max():.1%})"))
    return pd.DataFrame(rows, columns=["column", "images", "fraction", "most_affected"])


def associations(metadata: pd.DataFrame) -> pd.Series:
    """Return how strongly each column goes with the diagnosis: Cramér's V, 0 to 1, strongest first.

    Age is taken in steps of ten years. Each lesion counts once.
    """
    lesions = metadata.drop_duplicates("lesion_id")
    columns = lesions[["dx_type", "dataset", "localization", "sex"]].assign(age=lesions.age // 10)
    values = {
        name: contingency.association(pd.crosstab(lesions.dx, column.fillna(-1)), method="cramer")
        for name, column in columns.items()
    }
    return pd.Series(values, dtype=float).sort_values(ascending=False)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{', '.join(ids[:3])}{more} {'is' if len(ids) == 1 else 'are'}"


def _explain(table: Path, cases: pd.DataFrame, frame: pd.DataFrame) -> str:
    """Turn pandera's failure cases into lines that name row, column and value."""
    lines = []
    for (column, rule), group in cases.groupby(["column", "check"], sort=False, dropna=False):
        first = group.iloc[0]
        if pd.isna(first["index"]):
            lines.append(f"  {first['failure_case']}: {rule}")
            continue
        row = int(first["index"])
        what = "occurs twice" if rule == "field_uniqueness" else f"does not satisfy {rule}"
        lines.append(
            f"  line {row + 2} ({frame.image_id[row]}): {column} {first['failure_case']!r} {what}"
            + (f" (and {len(group) - 1} more)" if len(group) > 1 else "")
        )
    return f"{table} cannot be used:\n" + "\n".join(lines)
