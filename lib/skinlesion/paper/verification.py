"""A reviewer's check: the published scores and tables computed again from the published predictions, and compared.

No image, no weights and no GPU are needed, and nothing is written. What is not computed again, as calibration,
thresholds and the error analysis, is held by the hash of its file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from bs4 import BeautifulSoup

from skinlesion import files, parameters
from skinlesion.paper import card, claims, collection, evidence
from skinlesion.paper import tables as paper
from skinlesion.reporting import tables
from skinlesion.scoring import evaluation, predictions

CLOSE = 1e-9
"""Largest difference at which two numbers are the same: what the order of a sum may do."""

THREADS = min(8, os.cpu_count() or 1)
"""Runs computed at once: most of the time is spent in NumPy, which lets other threads go on."""

PAGE = "06_paper_tables.html"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    what
        The file, or the numbers.
    faults
        What is wrong with it, a line each; empty where all is well.
    passed
        What to say then.
    """

    what: str
    faults: list[str]
    passed: str

    def __str__(self) -> str:
        return f"{'FAILED' if self.faults else 'ok':<7} {self.what}: {'; '.join(self.faults[:3]) or self.passed}"


def verify(folder: Path, *, readme: Path) -> Iterator[Check]:
    """Check hashes, metrics, tables, pages and README, one after the other.

    Parameters
    ----------
    folder
        ``reports/``.
    readme
        ``README.md``.

    Raises
    ------
    skinlesion.paper.evidence.EvidenceError
        If there is no list of hashes, or a run's file cannot be read.
    """
    sums = evidence.read_sums(folder)
    published = sorted({(folder / name).parent for name in sums})
    names = [run.relative_to(folder).as_posix() for run in published]
    with ThreadPoolExecutor(THREADS) as pool:
        for name, computed in zip(names, pool.map(_guarded, names, published), strict=True):
            yield _hashes(folder, name, {path: digest for path, digest in sums.items() if path.startswith(f"{name}/")})
            yield computed
    yield from _tables(folder, published)
    yield _readme(readme, folder)


def _guarded(name: str, run: Path) -> Check:
    try:
        return _metrics(name, run)
    except (OSError, ValueError, KeyError) as error:
        return Check(f"{name}/metrics.json", [f"cannot be computed again: {error}"], "")


def _hashes(folder: Path, name: str, sums: dict[str, str]) -> Check:
    faults = []
    for path, digest in sums.items():
        if not (folder / path).is_file():
            faults.append(f"{path} is not there")
        elif files.sha256(folder / path) != digest:
            faults.append(f"{path} is not the published file")
    return Check(name, faults, f"{len(sums)} files have their published SHA-256")


def _metrics(name: str, run: Path) -> Check:
    stated = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    seed = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["parameters"]["seed"]
    table = pd.read_csv(run / "predictions.csv")
    faults, count, shown = [], 0, []
    for part in ("validation", "test"):
        labels, probabilities, lesions = predictions.part(table, part)
        bootstrap = evaluation.Bootstrap.draw(lesions, draws=stated["bootstrap"]["draws"], seed=seed)
        found = evaluation.headline(labels, probabilities, bootstrap)
        pairs = [(f"{part} {score}", stated[part]["headline"][score], row) for score, row in found.iterrows()]
        if part == "test":
            shown = list(tables.with_interval(found))
            per_class = evaluation.per_class(labels, probabilities, bootstrap)
            pairs += [
                (f"{part} {dx} {score}", stated["test_per_class"][dx][score], row)
                for (dx, score), row in per_class.iterrows()
            ]
            if evaluation.confusion(labels, probabilities).tolist() != stated["test_confusion"]:
                faults.append("the confusion matrix differs")
        for what, given, row in pairs:
            for key in ("value", "low", "high"):
                count += 1
                if not _same(given[key], row[key]):
                    faults.append(f"{what}, {key}: {given[key]} is stated, the predictions give {row[key]}")
    page = run / "04_evaluation.html"
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        faults += [f"{page.name} does not print {each}" for each in shown if each not in text]
    return Check(f"{name}/metrics.json", faults, f"{count} numbers are those of predictions.csv")


def _tables(folder: Path, published: list[Path]) -> Iterator[Check]:
    draws = parameters.load(claims.BY_IMAGE).bootstrap_draws
    made = collection.make(folder, draws=draws, only=published)
    page = folder / paper.FOLDER / PAGE
    printed = _printed(page)
    for table in made.values():
        faults = []
        for name, text in table.texts().items():
            path = folder / paper.FOLDER / name
            if not path.is_file():
                faults.append(f"{name} is not there")
            elif path.suffix == ".csv" and not table.numbers.empty:
                faults += _differences(pd.read_csv(path), table.numbers, name)
            elif path.read_text(encoding="utf-8") != text:
                faults.append(f"{name} says something else")
        expected = [[str(cell) for cell in row] for row in table.shown.to_numpy().tolist()]
        if printed.get(table.caption) != expected:
            faults.append(f"{PAGE} prints something else, or another caption")
        passed = f"{table.numbers.select_dtypes('number').size} numbers in CSV, Markdown, LaTeX and page"
        yield Check(f"{paper.FOLDER}/{table.name}", faults, passed)
    run = folder / claims.BY_LESION / "seed-0"
    if (run / card.NAME).is_file():
        same = (run / card.NAME).read_text(encoding="utf-8") == card.text(run)
        faults = [] if same else ["says something else than metrics.json and errors.json"]
        yield Check(f"{claims.BY_LESION}/seed-0/{card.NAME}", faults, "says what metrics.json and errors.json say")


def _readme(readme: Path, folder: Path) -> Check:
    text = readme.read_text(encoding="utf-8")
    faults = []
    for block, make in tables.BLOCKS.items():
        start, end = tables.markers(block)
        if text.partition(start)[2].partition(end)[0].strip() != make(folder):
            faults.append(f"its block `{block}` says something else than the reports (`make readme`)")
    return Check(readme.name, faults, f"{len(tables.BLOCKS)} blocks are what the reports say")


def _printed(page: Path) -> dict[str, list[list[str]]]:
    """Return the cells of every table of a page by the table's caption."""
    if not page.is_file():
        return {}
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return {
        table.caption.get_text(): [[cell.get_text() for cell in row.find_all("td")] for row in table.select("tbody tr")]
        for table in soup.find_all("table")
        if table.caption
    }


def _differences(stated: pd.DataFrame, found: pd.DataFrame, name: str) -> list[str]:
    if list(stated) != list(found) or len(stated) != len(found):
        return [f"{name} has other rows or columns"]
    faults = []
    for column in found:
        if pd.api.types.is_numeric_dtype(found[column]):
            same = np.isclose(
                stated[column].astype(float), found[column].astype(float), rtol=0, atol=1e-6, equal_nan=True
            )
        else:
            same = (stated[column].fillna("").astype(str) == found[column].fillna("").astype(str)).to_numpy()
        faults += [
            f"{name}, line {k + 2}, {column}: {stated[column].iloc[k]} is stated, the predictions give "
            f"{found[column].iloc[k]}"
            for k in np.flatnonzero(~same)
        ]
    return faults


def _same(stated: float | None, found: float) -> bool:
    if stated is None:
        return bool(np.isnan(found))
    return bool(np.isclose(stated, found, rtol=CLOSE, atol=CLOSE))
