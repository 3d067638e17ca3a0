"""Is this the published data? One table of checks, and one of three verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pooch

from skinlesion.data import archives, dataset, download, images
from skinlesion.data.archives import DatasetError
from skinlesion.data.dataset import PUBLISHED

AS_PUBLISHED, DIFFERS, WRONG, NOT_CHECKED = "as published", "differs", "WRONG", "not checked"

VERDICTS = {
    AS_PUBLISHED: "the published bytes",
    DIFFERS: "the published table with other images",
    WRONG: "wrong",
}

TEST_IMAGES = 1511


@dataclass
class Verification:
    """What was checked, and what follows from it.

    Attributes
    ----------
    rows
        Check, expected, found, and outcome: ``as published``, ``differs`` (said, not refused), ``WRONG``, or
        ``not checked`` where nothing is there to compare.
    """

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, check: str, expected: object, found: object, outcome: str | None = None) -> None:
        """Add a check; without an outcome it is wrong unless both values are equal."""
        if outcome is None:
            outcome = AS_PUBLISHED if expected == found else WRONG
        self.rows.append((check, _text(expected), _text(found), outcome))

    @property
    def table(self) -> pd.DataFrame:
        """The checks: check, expected, found, outcome."""
        return pd.DataFrame(self.rows, columns=["check", "expected", "found", "outcome"])

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`."""
        outcomes = set(self.table.outcome)
        return VERDICTS[next(outcome for outcome in (WRONG, DIFFERS, AS_PUBLISHED) if outcome in outcomes)]


def verify(folder: Path, *, cache: Path, name: str = "ham10000") -> Verification:
    """Check a folder against what was published, and go on after a fault to find the others.

    Parameters
    ----------
    folder
        In any layout that :mod:`skinlesion.data.archives` knows.
    cache
        Where the survey of the decoded images is kept.
    name
        ``ham10000`` or ``isic2018_test``.
    """
    done = Verification()
    frame = _table(done, folder, name)
    _archives(done, folder, name)
    _images(done, folder, frame, cache=cache, name=name)
    return done


def _table(done: Verification, folder: Path, name: str) -> pd.DataFrame | None:
    try:
        path = dataset.find_table(folder, name)
        frame = dataset.read_unchecked(path)
    except DatasetError as error:
        done.add("table", "readable", error, WRONG)
        return None
    same_file = path.name in download.EXPECTED and _md5(path) == download.EXPECTED[path.name].md5
    cases = dataset.faults(frame)
    vocabulary = cases.check.astype(str).str.match("isin|str_matches|in_range")
    twice = cases.check.astype(str).eq("field_uniqueness")
    kinds = {
        "schema": ~vocabulary & ~twice,
        "vocabulary": vocabulary,
        "ids that occur twice in the table": twice,
    }
    for check, chosen in kinds.items():
        found = cases[chosen]
        said = dataset.explain(path, found, frame).splitlines()[1].strip() if len(found) else "no fault"
        done.add(check, "no fault", said)
    two = dataset.lesions_with_two_diagnoses(frame)
    done.add("lesions with two diagnoses", "none", ", ".join(two[:3]) or "none")
    if name != "ham10000":
        done.add("table", "published file", path.name, AS_PUBLISHED if same_file else NOT_CHECKED)
        done.add("images in the table", TEST_IMAGES, len(frame))
        return frame
    done.add("images in the table", PUBLISHED["images"], len(frame))
    done.add("lesions in the table", PUBLISHED["lesions"], frame.lesion_id.nunique())
    done.add("images of each diagnosis", PUBLISHED["dx"], {dx: int((frame.dx == dx).sum()) for dx in dataset.DX})
    labels = dataset.content_sha256(frame, dataset.LABELS) == PUBLISHED["labels_sha256"]
    done.add("diagnosis and lesion of every image", "as published", "as published" if labels else "other")
    whole = same_file or dataset.content_sha256(frame, list(frame.columns)) == PUBLISHED["table_sha256"]
    lacking = [column for column in ("age", "sex", "localization", "dataset") if _absent(frame[column])]
    if whole or not lacking:
        done.add("the other columns", "as published", "as published" if whole else "other")
    else:
        done.add("the other columns", "as published", f"{', '.join(lacking)} not in this layout", DIFFERS)
    for column, count in PUBLISHED["missing"].items():
        gone = int((frame[column].isna() | (frame[column] == "unknown")).sum())
        done.add(f"missing or unknown: {column}", count, gone, DIFFERS if column in lacking else None)
    return frame


def _archives(done: Verification, folder: Path, name: str) -> None:
    """Compare every archive that could be here with its published hash."""
    layout = archives.layout(folder, name)
    needed = [need for need in download.SETS[name] if need.title != "table"]
    for need in needed:
        for source in need.fallback if layout == "ISIC challenge archives" and need.fallback else need.sources:
            path = next(iter(archives.find(folder, source.name)), folder / source.name)
            expected = f"MD5 {source.md5}" if source.md5 else "hash not known"
            if not path.is_file():
                found = "not there" if need.optional or layout == "extracted images" else "missing"
                outcome = NOT_CHECKED if need.optional else WRONG if found == "missing" else DIFFERS
                done.add(source.name, expected, f"{found} ({layout})", outcome)
                continue
            size = path.stat().st_size
            if source.md5 is None:
                done.add(source.name, expected, f"{size:,} bytes", DIFFERS)
                continue
            digest = _md5(path)
            outcome = AS_PUBLISHED if digest == source.md5 else NOT_CHECKED if need.optional else DIFFERS
            done.add(source.name, expected, f"MD5 {digest}, {size:,} bytes", outcome)


def _images(done: Verification, folder: Path, frame: pd.DataFrame | None, *, cache: Path, name: str) -> None:
    try:
        members = archives.index(folder, name)
    except DatasetError as error:
        done.add("images", "readable", error, WRONG)
        return
    ids = set(members if frame is None else frame.image_id)
    missing, extra = sorted(ids - members.keys()), sorted(members.keys() - ids - {archives.WITHOUT_WEIGHT})
    done.add("images without a file", "none", _first(missing))
    done.add("files without a row in the table", "none", _first(extra))
    if name == "isic2018_test":  # Dataverse has 1,511 images, the challenge one more
        found = "there" if archives.WITHOUT_WEIGHT in members else "not there"
        done.add(f"{archives.WITHOUT_WEIGHT}, left out of scoring", "there or not", found, AS_PUBLISHED)
    there = pd.DataFrame({"image_id": sorted(members)}) if frame is None else frame[frame.image_id.isin(members)]
    there = there.drop_duplicates("image_id").sort_values("image_id", ignore_index=True)
    if there.empty:
        return
    data = dataset.Dataset(folder, there, members)
    survey = images.survey(data, cache=cache)
    damaged = survey[survey.error != ""]
    done.add(
        "images that cannot be decoded",
        "none",
        _first([f"{row.image_id} ({row.error})" for row in damaged.itertuples()]),
    )
    sizes = survey[survey.error == ""].value_counts(["width", "height"])
    found = ", ".join(f"{width}×{height}: {count:,}" for (width, height), count in sizes.items())
    width, height = PUBLISHED["image_size"]
    published = list(sizes.index) == [(width, height)]
    done.add("sizes in pixels", f"{width}×{height}", found, AS_PUBLISHED if published else DIFFERS)
    twins = int(survey[survey.error == ""].pixels.duplicated(keep=False).sum())
    done.add("images with the same pixels as another", "none", f"{twins:,}" if twins else "none", NOT_CHECKED)
    if damaged.empty and frame is not None and not missing:
        done.add("fingerprint (pixels and table)", "–", images.fingerprint(data, cache=cache), NOT_CHECKED)


def _absent(column: pd.Series) -> bool:
    return bool((column.isna() | (column == "unknown")).all())


def _first(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _md5(path: Path) -> str:
    return pooch.file_hash(str(path), alg="md5")  # what Dataverse publishes
