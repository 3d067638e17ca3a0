"""Other people's splits of HAM10000: what stands on both sides, what else is unusual, and what the test part is worth.

A table of image ids and parts is enough, and the table that says which image shows which lesion. Images are not.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skinlesion.data import archives, dataset, duplicates, splits
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.reporting import tables
from skinlesion.scoring import evaluation

IMAGE = ("imageid", "image", "isicid", "imagename", "filename", "file", "imagepath", "filepath", "path", "id")
PART = ("part", "split", "set", "subset", "partition")
PREDICTED = ("predicted", "prediction", "pred", "predicteddx", "predictedclass", "predictedlabel", "ypred")
"""Usual names of the columns, in the order of preference; case, spaces and underscores do not matter."""

PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev", "calibration"),
    "test": ("test", "testing", "holdout"),
    splits.UNUSED: (splits.UNUSED, splits.VAULT, ""),
}
"""What the parts are called."""

SIDES = (("test", "train"), ("test", "validation"), ("validation", "train"))
"""The parts that must share nothing, the one that is scored first."""

RATIO = 1.5
LEVEL = 0.001
"""A part has another class mix if a diagnosis has this many times the share it has in the whole table, or less than its
inverse, and chance does so in fewer cases than this (exact binomial test). Of 360 stratified splits of HAM10000, by
image and by lesion, none has; of 300 by image that are not stratified 2 have, of 300 by lesion 9."""

DRAWS = 1000  # of the bootstrap
SCORES = ["accuracy", "balanced_accuracy"]

FOUND = "found in the images"


class AuditError(StudyError):
    """The table cannot be audited; the message says what is missing and how to give it."""


@dataclass(frozen=True)
class Finding:
    """One thing that a split shows.

    Attributes
    ----------
    kind
        Which: ``same image``, ``same lesion`` and ``near-duplicate`` are leaks.
    said
        The finding in a sentence.
    counts
        How many images, or rows where rows repeat, of each diagnosis and of ``all``; of unknown images, of each part.
    leak
        Whether something stands on both sides.
    """

    kind: str
    said: str
    counts: dict[str, int]
    leak: bool = False


@dataclass(frozen=True)
class Audit:
    """What was found in a split.

    Attributes
    ----------
    verdict
        The finding that matters most, in a sentence.
    rows
        Rows of each part.
    pairs
        How many pairs of images under two lesion ids were known, by where they come from.
    findings
        Leaks first.
    scores
        Where there are predictions: images (``all``, ``clean``: no image of the lesion in training, ``leaked``), count,
        majority_accuracy, and :data:`SCORES`, each with value, low, high (95% interval, bootstrap of lesion groups).
    """

    verdict: str
    rows: dict[str, int]
    pairs: dict[str, int]
    findings: list[Finding]
    scores: list[dict[str, Any]]

    @property
    def leaks(self) -> bool:
        """Whether anything stands on both sides."""
        return any(finding.leak for finding in self.findings)

    def __str__(self) -> str:
        rows = ", ".join(f"{part} {count:,}" for part, count in self.rows.items())
        pairs = ", ".join(f"{count} {source}" for source, count in self.pairs.items())
        more = "; give images with --data, or a table with --pairs, to know more" if len(self.pairs) == 1 else ""
        blocks = [f"Rows: {rows}. Pairs of images of one lesion under two lesion ids: {pairs}{more}."]
        for finding in self.findings:
            counts = pd.DataFrame([finding.counts]).to_string(index=False)
            blocks.append(f"{finding.kind}: {finding.said}\n{counts}")
        if self.scores:
            shown = {score: [tables.interval(**row[score]) for row in self.scores] for score in SCORES}
            table = pd.DataFrame(self.scores).assign(**shown).round(3)
            blocks.append(
                "predictions: scores on the test part with 95% interval; clean images have no image of their lesion in "
                "training. Clean and leaked images differ in their diagnoses too, so the gap is not the leak's effect "
                f"alone: majority_accuracy is that of always naming the largest class\n{table.to_string(index=False)}"
            )
        return "\n\n".join([self.verdict, *blocks])


def read(path: Path, part: str | None = None) -> pd.DataFrame:
    """Read image ids, parts and predictions from a table of anybody's: with commas, semicolons or tabs.

    Parameters
    ----------
    path
        A CSV. Ids may be file names or paths. Predictions are a column of predicted classes, or one of probabilities
        a class (``p_akiec`` or ``akiec`` …); such columns of nothing but 0 and 1 are labels, and passed over.
    part
        The part that the file is of. If it has a column of parts all the same, its rows of that part are taken.

    Returns
    -------
    pandas.DataFrame
        image_id, part (train, validation, test or unused) and, if there are predictions, predicted.

    Raises
    ------
    AuditError
        If it is no table, has no rows, or lacks a column.
    """
    frame = _open_table(path)
    columns = ", ".join(map(str, frame.columns))
    image, parts = _column(frame, IMAGE), _column(frame, PART)
    if archives.IMAGE_ID.search(columns):
        raise AuditError(f"{path} has no line of column names: put one first, e.g. image_id,part")
    if image is None:
        raise AuditError(f"{path} has no column of image ids (its columns: {columns}): call it image_id")
    if parts is None and part is None:
        ways = "call it part, or give one file a part with --train, --validation and --test"
        raise AuditError(f"{path} has no column of parts (its columns: {columns}): {ways}")
    named = image.str.upper().str.extract(rf".*({archives.IMAGE_ID.pattern})(?!\d)")[0]
    table = pd.DataFrame({"image_id": named.fillna(image.str.strip())})
    table["part"] = part if parts is None else _parts(parts, path)
    if (predicted := _predicted(frame)) is not None:
        table["predicted"] = predicted
    table = table[(table.image_id != "") & ((part is None) | (table.part == part))]
    if table.empty:
        raise AuditError(f"{path} has no {part or 'image'} row: is it the right file?")
    return table


def _open_table(path: Path) -> pd.DataFrame:
    """Return a table of anybody's, every field as text."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if "\0" in text:
        raise AuditError(f"{path} is no text: save the table as CSV, in UTF-8")
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except ValueError as error:
        raise AuditError(f"{path} cannot be read as a table: {error}") from error
    return frame.fillna("")


def open_split(table: Path | None, **parts: Path | None) -> pd.DataFrame:
    """Read a split from one table, from one a part (``train=…``), or from both, as :func:`read`.

    Raises
    ------
    AuditError
        If there is no table, or one cannot be used.
    """
    found = [read(table)] if table else []
    found += [read(path, part) for part, path in parts.items() if path]
    if not found:
        raise AuditError("there is no table: give one, or one a part with --train and --test")
    return pd.concat(found, ignore_index=True)


def open_lesions(folder: Path) -> pd.DataFrame:
    """Read the table that says which image shows which lesion.

    Raises
    ------
    AuditError
        If the folder has none.
    DatasetError
        If it cannot be used.
    """
    try:
        table = dataset.find_table(folder)
    except dataset.DatasetError:
        raise AuditError(
            f"which image shows which lesion is not known: {folder} has no HAM10000_metadata. Give the folder that has "
            "it with --data (the table alone will do), or download it with `make data`"
        ) from None
    return dataset.read_metadata(table)


def open_pairs(
    metadata: pd.DataFrame, folder: Path, *, cache: Path, given: Path | None = None
) -> dict[str, pd.DataFrame]:
    """Return pairs of images of one lesion under two lesion ids, by where they come from.

    Those that others have published; and those of a table, or those found in the folder's images if it has them all,
    which takes minutes once.

    Parameters
    ----------
    given
        A CSV with image_a and image_b, as ``duplicates.csv`` of a run.

    Raises
    ------
    AuditError
        If the table of pairs is none, or lacks a column.
    """
    pairs = {"published": duplicates.published(metadata)}
    if given is not None:
        table = _open_table(given)
        if not {"image_a", "image_b"} <= set(table):
            raise AuditError(f"{given} lacks the columns image_a and image_b: give a table of pairs of images")
        return pairs | {given.name: table[table[["image_a", "image_b"]].isin(set(metadata.image_id)).all(axis=1)]}
    try:
        members = archives.index(folder)
        dataset.check(metadata, members, folder=folder)
    except dataset.DatasetError:
        return pairs
    return pairs | {FOUND: duplicates.find(dataset.Dataset(folder, metadata, members), cache=cache)}


def audit(table: pd.DataFrame, metadata: pd.DataFrame, pairs: Mapping[str, pd.DataFrame]) -> Audit:
    """Say what a split shows.

    Parameters
    ----------
    table
        From :func:`read`.
    metadata
        image_id, lesion_id and dx of every image of the data.
    pairs
        From :func:`open_pairs`.

    Raises
    ------
    AuditError
        If there is no training or no test part, no image is of the data, or a prediction is no diagnosis.
    """
    known = metadata[["image_id", "lesion_id", "dx"]].assign(lesion_group=duplicates.groups(metadata, *pairs.values()))
    split = table.merge(known, on="image_id", how="left")
    used = split[split.dx.notna() & (split.part != splits.UNUSED)]
    for part in ("train", "test"):
        if (here := table.image_id[table.part == part]).empty:
            there = ", ".join(sorted(table.part.unique()))
            raise AuditError(f"there is no {part} part (parts here: {there}): add its rows, or its file with --{part}")
        if not (used.part == part).any():
            example = f"(the first is {here.iloc[0]!r}): ids should look like {metadata.image_id.iloc[0]}"
            raise AuditError(f"no {part} image is in the table of lesions {example}")
    images = used.drop_duplicates(["image_id", "part"])
    kinds = {True: _leaks(images, pd.concat(pairs.values())), False: _others(split, used, images, metadata)}
    leaks, others = (
        [Finding(kind, said, _counts(rows), leak) for kind, rows, said in found if len(rows)]
        for leak, found in kinds.items()
    )
    return Audit(
        _verdict(images, len({each.kind for each in leaks}))
        + (f"; {_plural(len(others), 'other finding')}" if others else ""),
        {part: int((table.part == part).sum()) for part in PARTS if (table.part == part).any()},
        {source: len(found) for source, found in pairs.items()},
        leaks + others,
        _scores(used) if "predicted" in used else [],
    )


def _verdict(images: pd.DataFrame, kinds: int) -> str:
    """Return the first of :data:`SIDES` that leaks, in words."""
    for part, other in SIDES:
        here, there = (images[images.part == name] for name in (part, other))
        if leaked := here.lesion_group.isin(there.lesion_group).sum():
            said = f"{_of(leaked, len(here), f'{part} images')} have an image of their lesion in {_name(other)}"
            return f"{_plural(kinds, 'kind')} of leak: {said}"
    return "no leak: no lesion is in two parts"


Candidate = tuple[str, pd.DataFrame, str]
"""The kind of a finding, the rows that show it, none where it is not there, and the sentence."""


def _leaks(images: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[Candidate]:
    ends = pairs[["image_a", "image_b"]].to_numpy()
    twins = pd.DataFrame(np.vstack([ends, ends[:, ::-1]]), columns=["image", "twin"])
    for part, other in SIDES:
        here, there = (images[images.part == name] for name in (part, other))
        same, name, what = here.image_id.isin(there.image_id), _name(other), f"{part} images"
        by_id, by_group = (
            here[column].map(there[column].value_counts()).fillna(0) > same for column in ("lesion_id", "lesion_group")
        )
        near = here.image_id.isin(twins.image[twins.twin.isin(there.image_id)])
        hidden = (by_group & ~by_id).sum()
        apart = f", {hidden:,} of them only under another lesion id" if hidden else ""
        for kind, at, said in (
            ("same image", same, f"are in {name} as well"),
            ("same lesion", by_group, f"have another image of their lesion in {name}{apart}"),
            ("near-duplicate", near, f"show the lesion of an image in {name} that has another lesion id"),
        ):
            yield kind, here[at], f"{_of(at.sum(), len(here), what)} {said}"


def _others(
    split: pd.DataFrame, used: pd.DataFrame, images: pd.DataFrame, metadata: pd.DataFrame
) -> Iterator[Candidate]:
    parts = used.groupby("image_id").part.nunique()
    for part, rows in used.groupby("part"):
        more = rows[rows.duplicated("image_id")]
        number, crossing = more.image_id.nunique(), (parts[more.image_id.unique()] > 1).sum()
        when = f"before the split, {crossing:,} of them are in another part too" if crossing else "after the split"
        counted = _of(len(more), len(rows), f"{part} rows")
        yield "repeated rows", more, f"{counted} repeat one of {_plural(number, 'image')}, {when}"
    size, test = metadata.groupby("lesion_id").size(), images[images.part == "test"]
    share = (size == 1).mean()
    chosen = (size[test.lesion_id] == 1).all() and share ** len(test) < LEVEL  # and not by chance
    said = f"all {len(test):,} test images are of lesions with a single image, as {share:.1%} of all lesions"
    yield "single-image lesions", test if chosen else test[:0], said
    for part, rows in used.groupby("part"):
        odd = ", ".join(_odd(rows.dx, metadata.dx))
        said = f"{part} has another class mix than the whole (beyond ×{RATIO}): {odd}"
        yield "class mix", rows if odd else rows[:0], said
    unknown = split[split.dx.isna()].drop_duplicates("image_id")
    missing = metadata[~metadata.image_id.isin(used.image_id)]
    for kind, rows, whole, said in (
        ("unknown images", unknown, split.image_id.nunique(), "are not of this data"),
        ("missing images", missing, len(metadata), "are in no part"),
    ):
        yield kind, rows, f"{_of(len(rows), whole, 'images')} {said}: {next(iter(rows.image_id), '')} …"


def _odd(dx: pd.Series, whole: pd.Series) -> Iterator[str]:
    """Name the diagnoses of which some rows have another share than the whole."""
    for name, share in whole.value_counts(normalize=True).items():
        count = int((dx == name).sum())
        here = count / len(dx)
        far = here >= RATIO * share or here <= share / RATIO
        if far and stats.binomtest(count, len(dx), share).pvalue < LEVEL:
            yield f"{name} {here:.1%} instead of {share:.1%} (×{here / share:.2f})"


def _scores(used: pd.DataFrame) -> list[dict[str, Any]]:
    """Score the test rows as they stand, repeated ones included: what the table's author would print."""
    test = used[used.part == "test"]
    for row in test[~test.predicted.isin(DX)].itertuples():
        said = f"test image {row.image_id} has the predicted class {row.predicted!r}"
        raise AuditError(f"{said}: give every test image one of {', '.join(DX)}")
    leaked = test.lesion_group.isin(used.lesion_group[used.part == "train"])
    rows = []
    for name, some in (("all", test), ("clean", test[~leaked]), ("leaked", test[leaked])):
        if some.empty:
            continue
        labels, predicted = (some[column].map(DX.index).to_numpy(dtype=np.int64) for column in ("dx", "predicted"))
        bootstrap = evaluation.Bootstrap.draw(some.lesion_group.to_numpy(), draws=DRAWS, seed=0)
        found = evaluation.headline(labels, np.eye(len(DX))[predicted], bootstrap, where="summary").loc[SCORES]
        row = {"images": name, "count": len(some), "majority_accuracy": evaluation.majority_accuracy(labels)}
        rows.append(row | found.to_dict("index"))
    return rows


def _column(frame: pd.DataFrame, names: Iterable[str]) -> pd.Series | None:
    plain = {_plain(name): name for name in frame.columns[::-1]}
    return next((frame[plain[name]] for name in names if name in plain), None)


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _parts(column: pd.Series, path: Path) -> pd.Series:
    known = {name: part for part, names in PARTS.items() for name in names}
    parts = column.map(_plain).map(known)
    if parts.isna().any():
        row = int(parts.isna().to_numpy().argmax())
        names = ", ".join(filter(None, known))
        raise AuditError(f"{path}, line {row + 2}: part {column.iloc[row]!r} is not known: call it one of {names}")
    return parts


def _predicted(frame: pd.DataFrame) -> pd.Series | None:
    if (column := _column(frame, PREDICTED)) is not None:
        return column.str.strip().str.lower()
    columns = [_column(frame, (f"p{dx}", f"prob{dx}", f"probability{dx}", dx)) for dx in DX]
    if any(column is None for column in columns):
        return None
    values = pd.concat(columns, axis=1).apply(pd.to_numeric, errors="coerce").to_numpy()
    whole = ~np.isnan(values).any(1)
    labels = np.isin(values[whole], (0, 1)).all()
    return None if labels else pd.Series(np.where(whole, np.array(DX)[values.argmax(1)], ""), index=frame.index)


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    if rows.dx.isna().all():
        return rows.part.value_counts().to_dict()
    return {**rows.dx.value_counts().reindex(DX, fill_value=0).to_dict(), "all": len(rows)}


def _name(part: str) -> str:
    return "training" if part == "train" else part


def _of(some: int, whole: int, noun: str) -> str:
    return f"{some:,} of {whole:,} {noun} ({some / max(1, whole):.1%})"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
