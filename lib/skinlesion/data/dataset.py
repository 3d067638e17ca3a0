"""HAM10000 as it lies in a folder: the metadata table, the archives, and whether the two agree."""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from scipy.stats import contingency

from skinlesion.data import archives, sample
from skinlesion.data.archives import DatasetError, Member
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

MALIGNANT = ("akiec", "bcc", "mel")
"""Diagnoses that are malignant or, as actinic keratosis, a step before it."""

BENIGN = tuple(dx for dx in DX if dx not in MALIGNANT)

PUBLISHED: dict[str, Any] = {
    "images": 10015,
    "lesions": 7470,
    "dx": {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142},
    "dx_type": {"histo": 5340, "follow_up": 3704, "consensus": 902, "confocal": 69},
    "dataset": {"rosendahl": 2259, "vidir_molemax": 3954, "vidir_modern": 3363, "vienna_dias": 439},
    "image_size": (600, 450),
    "missing": {"age": 57, "sex": 57, "localization": 234},
    "table_sha256": "12b788f3d42c9a315259cc1c56df399647b491356521cbd8acb30b092fdf8a6e",
    "labels_sha256": "0394d7bd26cc848cc59b2850c44597f77611de659b3dbe73fb5c0293ca2ab724",
}
"""Facts of the published data: P. Tschandl, C. Rosendahl, H. Kittler, "The HAM10000 dataset",
Sci. Data 5, 180161 (2018), and the table it was published with (doi:10.7910/DVN/DBW86T).

The two hashes are :func:`content_sha256` of the table whose MD5 is 8f85fb1aa29d80a2797247e434deb79d: of all
its columns, and of image_id, lesion_id and dx alone, which every layout has."""

LABELS = ["image_id", "lesion_id", "dx"]
OPTIONAL = ("sex", "localization", "dataset")

TABLES = {
    "ham10000": ("HAM10000_metadata", "ISIC2018_Task3_Training_GroundTruth"),
    "isic2018_test": ("ISIC2018_Task3_Test_GroundTruth",),
    archives.OWN: ("metadata",),
}
"""What the table of each set is called, without its suffix, in the order of preference: Dataverse (and the Kaggle
mirror), the ISIC challenge. It may lie in a folder of that name. A set of somebody's own has a ``metadata`` table with
image_id and dx; of images without a lesion_id, each is a lesion."""

SUFFIXES = ("", ".csv", ".tab", ".tsv", ".txt", ".zip")
"""As published; Dataverse's default download; what spreadsheets save; the ISIC challenge's archives."""

MISSING = {"", "na", "n/a", "nan", "none", "null"}
"""What stands in a field, in any case, where nothing is known."""

GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings"

CONFIRMATION = {
    "histopathology": "histo",
    "serial imaging showing no change": "follow_up",
    "single image expert consensus": "consensus",
    "confocal microscopy with consensus dermoscopy": "confocal",
}
"""What the ISIC challenge's lesion groupings call the four values of ``dx_type``."""

SCHEMA = pa.DataFrameSchema(
    {
        "lesion_id": pa.Column(str, pa.Check.str_matches(r"^(HAM|HAMTEST|SYN|ISIC)_\d{7}$")),
        "image_id": pa.Column(str, pa.Check.str_matches(r"^(ISIC|SYN)_\d{7}$"), unique=True),
        "dx": pa.Column(str, pa.Check.isin(DX)),
        "dx_type": pa.Column(str, pa.Check.isin(["histo", "follow_up", "consensus", "confocal", "unknown"])),
        "age": pa.Column(float, pa.Check.in_range(0, 120), nullable=True),
        "sex": pa.Column(str, pa.Check.isin(["female", "male", "unknown"])),
        "localization": pa.Column(str),
        "dataset": pa.Column(
            str, pa.Check.isin(["rosendahl", "vidir_molemax", "vidir_modern", "vienna_dias", "unknown"])
        ),
    },
    strict="filter",
)
"""The table as the library uses it. Columns that a layout lacks are ``unknown``, its ages missing."""

_ANY_ID = pa.Check.str_matches(rf"^{archives.ANY_ID.pattern}$")
_OWN = SCHEMA.update_columns(
    {name: {"checks": [_ANY_ID]} for name in ("lesion_id", "image_id", "dataset")} | {"dx_type": {"checks": []}}
)
"""Ids, sources and kinds of proof of a set of somebody's own."""


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
        For each image id, where the JPEG lies.
    set
        Which set it is: a key of :data:`TABLES`.
    """

    folder: Path
    metadata: pd.DataFrame
    members: dict[str, Member]
    set: str = "ham10000"

    @cached_property
    def key(self) -> str:
        """Names these files cheaply, for caches: SHA-256 over each image's id and digest.

        What the pixels are is in :func:`skinlesion.data.images.fingerprint`.
        """
        digest = hashlib.sha256()
        for image_id in self.metadata.image_id:
            digest.update(f"{image_id} {self.members[image_id].digest}\n".encode())
        return digest.hexdigest()

    @property
    def synthetic(self) -> bool:
        """Whether the images were drawn by this library."""
        return is_synthetic(self.metadata)

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the first image as it lies in its archive, in pixels."""
        image_id = self.metadata.image_id.iloc[0]
        member = self.members[image_id]
        try:
            with (
                archives.open_container(member.container) as read,
                archives.open_picture(read(member.name)) as image,
            ):
                return image.size
        except DatasetError as error:
            raise archives.undecodable(image_id, member, error) from error

    @property
    def title(self) -> str:
        """What the data is, in the words every report prints."""
        width, height = self.image_size
        counts = f"{len(self.metadata):,} images of {self.metadata.lesion_id.nunique():,} lesions"
        if self.synthetic:
            return f"SYNTHETIC sample drawn by this library, {counts}, {width}×{height}"
        resized = "" if self.image_size == PUBLISHED["image_size"] else f", resized to {width}×{height}"
        if self.set == archives.OWN:
            return f"images of {self.folder.name}, {counts}, {width}×{height}"
        name = "HAM10000" if self.set == "ham10000" else "ISIC 2018 Task 3 test set"
        return f"{name}{resized}, {counts}"

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
    table = _open_table(parameters)
    metadata = read_metadata(table)
    folder = parameters.data_folder
    name = set_of(table)
    members = archives.index(folder, name)
    if name == archives.OWN:  # pictures that the table does not speak of are passed over
        members = {image_id: found for image_id, found in members.items() if image_id in set(metadata.image_id)}
    check(metadata, members, folder=folder)
    return Dataset(folder, metadata, members, name)


def open_metadata(parameters: Parameters) -> pd.DataFrame:
    """Read the study's table alone, drawing the synthetic sample first where the study asks for one.

    Raises
    ------
    DatasetError
        As :func:`read_metadata`.
    """
    return read_metadata(_open_table(parameters))


def find_table(folder: Path, name: str | None = None) -> Path:
    """Return the path of a set's metadata table in `folder`.

    Parameters
    ----------
    name
        A key of :data:`TABLES`; without one, the first set that has a table there.

    Raises
    ------
    DatasetError
        If the folder or the table is not there.
    """
    stems = [stem for title, those in TABLES.items() if name in (None, title) for stem in those]
    for stem in stems:
        for place in (folder, *(path for path in archives.find(folder, stem) if path.is_dir())):
            if found := _find(place, stem):
                return found
    missing = f"has no {stems[0]}" if folder.is_dir() else "does not exist"
    raise DatasetError(
        f"no data: {folder} {missing}. Give the folder that holds {stems[0]} and the image "
        'archives: `make report STUDY=quick DATA=<folder>`, or in a notebook `data = "<folder>"` in its first cell; '
        "download them with `make data`; or use the study that needs none, `demo`"
    )


def set_of(table: Path) -> str:
    """Return which set a table is of, by its name: a key of :data:`TABLES`."""
    stem = table.name.lower()
    return next((name for name, stems in TABLES.items() if stem.startswith(tuple(map(str.lower, stems)))), "ham10000")


def read_metadata(table: Path) -> pd.DataFrame:
    """Read and validate a metadata table.

    Parameters
    ----------
    table
        With the columns of :data:`SCHEMA`, separated by commas, semicolons or tabs. A field of :data:`MISSING` says
        nothing: it becomes a missing age, and ``unknown`` in the columns that have that value.

    Returns
    -------
    pandas.DataFrame
        One row an image, sorted by ``image_id``, index 0 … N-1.

    Raises
    ------
    DatasetError
        Naming the table, the rows and the values at fault.
    """
    frame = read_unchecked(table)
    if len(cases := faults(frame, _OWN if set_of(table) == archives.OWN else SCHEMA)):
        raise DatasetError(explain(table, cases, frame))
    if two := lesions_with_two_diagnoses(frame):
        raise DatasetError(f"{table}: lesion {two[0]} has two diagnoses; give it one")
    return frame.sort_values("image_id", ignore_index=True)


def read_unchecked(table: Path) -> pd.DataFrame:
    """Read a metadata table of any layout into the columns of :data:`SCHEMA`, rows as they stand in the file.

    Raises
    ------
    DatasetError
        If it is no table, has no rows, or lacks a column that cannot be done without.
    """
    frame = _complete(_read_csv(table), table)
    if frame.empty:
        raise DatasetError(f"{table} has no rows: fetch it again")
    return frame


def faults(frame: pd.DataFrame, schema: pa.DataFrameSchema = SCHEMA) -> pd.DataFrame:
    """Return pandera's failure cases of a table: column, check, failure_case, index; none if it is sound."""
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        return error.failure_cases
    return pd.DataFrame(columns=["column", "check", "failure_case", "index"])


def lesions_with_two_diagnoses(frame: pd.DataFrame) -> list[str]:
    """Return the ids of the lesions whose images have different diagnoses."""
    diagnoses = frame.groupby("lesion_id").dx.nunique()
    return list(diagnoses.index[diagnoses > 1])


def content_sha256(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    """Return SHA-256 over some columns, rows sorted by ``image_id``, as 64 hex digits."""
    content = frame.sort_values("image_id")[list(columns)].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(content.encode()).hexdigest()


def _open_table(parameters: Parameters) -> Path:
    folder = parameters.data_folder
    if parameters.synthetic_lesions is not None:
        drawn = {"lesions": parameters.synthetic_lesions, "seed": 0}
        if not sample.is_current(folder, **drawn):
            sample.draw(folder, **drawn)
    return find_table(folder)


def _find(folder: Path, stem: str) -> Path | None:
    """Return the table of that name in a folder, with whatever suffix."""
    found = (path for suffix in SUFFIXES for path in archives.find(folder, stem + suffix))
    return next((path for path in found if not path.is_dir()), None)


def _read_csv(table: Path) -> pd.DataFrame:
    """Read a table, or the one a zip of the ISIC challenge holds beside its licence; every field as text."""
    try:
        if table.suffix.lower() == ".zip":
            with archives.open_zip(table) as opened:
                files = (entry.filename for entry in opened.infolist() if not entry.is_dir())
                name = next((name for name in files if PureWindowsPath(name).stem.lower() == table.stem.lower()), None)
                if name is None:
                    raise DatasetError(f"{table} holds no table {table.stem}.csv")
            with archives.open_container(table) as read:
                content = read(name)
        else:
            content = archives.read_bounded(table)
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # a spreadsheet's "Unicode text"
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
        head = text.lstrip("\r\n").partition("\n")[0]
        frame = pd.read_csv(
            io.StringIO(text), sep=max(",;\t", key=head.count), keep_default_na=False, dtype=str, index_col=False
        )
    except DatasetError:
        raise
    except ValueError as error:
        way = "Save it in UTF-8" if isinstance(error, UnicodeError) else "Fetch it again"
        raise DatasetError(f"{table} cannot be read as a table: {error}. {way}") from error
    return frame.rename(columns=str.strip).fillna("").map(str.strip)


def _complete(frame: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Bring a table of any layout to the columns of :data:`SCHEMA`."""
    if "MEL" in frame:
        frame = _from_challenge(frame, table)
    own = set_of(table) == archives.OWN
    required = [name for name in ("image_id", "dx", *(() if own else ("lesion_id", "dx_type"))) if name not in frame]
    if required:
        raise DatasetError(f"{table} lacks the column(s) {', '.join(required)}")
    frame = frame[frame.image_id != archives.WITHOUT_WEIGHT].reset_index(drop=True)
    if "lesion_id" not in frame:
        frame = frame.assign(lesion_id=frame.image_id)
    frame = frame.assign(**{name: "" for name in SCHEMA.columns if name not in frame})
    silent = {name: frame[name].str.lower().isin(MISSING) for name in ("dx_type", "age", *OPTIONAL)}
    age = _numbers(frame.age)
    if (wrong := age.isna() & ~silent.pop("age")).any():
        row = int(wrong.idxmax())
        raise DatasetError(f"{table} cannot be used: line {row + 2}: age {frame.age[row]!r} is no number")
    known = {name: frame[name].mask(nothing, "unknown") for name, nothing in silent.items()}
    return frame.assign(age=age, **known)[list(SCHEMA.columns)]


def _numbers(column: pd.Series) -> pd.Series:
    """Return text as numbers, missing where it is none; where semicolons separate fields, commas separate decimals."""
    return pd.to_numeric(column.str.replace(",", "."), errors="coerce").astype(float)


def _from_challenge(frame: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Turn the ISIC challenge's table, one column a diagnosis, into lesion_id, image_id, dx and dx_type."""
    columns = [dx.upper() for dx in DX]
    lacking = [name for name in ("image", *columns) if name not in frame]
    if lacking:
        raise DatasetError(f"{table} lacks the column(s) {', '.join(lacking)}")
    truth = frame[columns].apply(_numbers)
    unclear = (truth == 1).sum(axis=1).ne(1) | truth.sum(axis=1).ne(1)
    if unclear.any():
        raise DatasetError(f"{table} cannot be used: line {int(unclear.idxmax()) + 2} has not exactly one diagnosis")
    result = pd.DataFrame({"image_id": frame.image, "dx": truth.idxmax(axis=1).str.lower()})
    groupings = _find(table.parent, GROUPINGS) or _find(table.parents[1], GROUPINGS)
    if set_of(table) != "ham10000":  # the test set's table says nothing of lesions
        return result.assign(lesion_id=frame.image, dx_type="unknown")
    if groupings is None:
        raise DatasetError(f"{table.parent} has no {GROUPINGS}: without it nobody knows which images show one lesion")
    lesions = _read_csv(groupings)
    lacking = [name for name in ("image", "lesion_id", "diagnosis_confirm_type") if name not in lesions]
    if lacking:
        raise DatasetError(f"{groupings} lacks the column(s) {', '.join(lacking)}")
    lesions = lesions.drop_duplicates("image").set_index("image").reindex(frame.image)
    if lesions.lesion_id.isna().any():
        raise DatasetError(f"{groupings} has no row for {lesions.index[lesions.lesion_id.isna()][0]}")
    kinds = lesions.diagnosis_confirm_type.replace(CONFIRMATION)
    return result.assign(lesion_id=lesions.lesion_id.to_numpy(), dx_type=kinds.to_numpy())


def check(metadata: pd.DataFrame, members: dict[str, Member], *, folder: Path) -> None:
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
            f"{folder}: {_some(without_image)} in the table, but in no archive or subfolder. "
            "Is one missing? HAM10000 has two, part_1 and part_2"
        )
    without_row = sorted(members.keys() - ids - {archives.WITHOUT_WEIGHT})
    if without_row:
        raise DatasetError(
            f"{folder}: {_some(without_row)} in the archives, but not in the table. "
            "Is the table from another release of the data?"
        )


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

    Age is taken in steps of ten years. Each lesion counts once; a column that says the same of all goes with nothing.
    """
    lesions = metadata.drop_duplicates("lesion_id")
    columns = lesions[["dx_type", "dataset", "localization", "sex"]].assign(age=lesions.age // 10)
    values = {
        name: contingency.association(pd.crosstab(lesions.dx, column.fillna(-1)), method="cramer")
        if column.nunique(dropna=False) > 1
        else 0.0
        for name, column in columns.items()
    }
    return pd.Series(values, dtype=float).sort_values(ascending=False)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{', '.join(ids[:3])}{more} {'is' if len(ids) == 1 else 'are'}"


def explain(table: Path, cases: pd.DataFrame, frame: pd.DataFrame) -> str:
    """Turn :func:`faults` into lines that name row, column and value."""
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
