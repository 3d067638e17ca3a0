"""A reviewer's check: the published scores and tables computed again from the published predictions, and compared.

No image, no weights and no GPU are needed, and nothing is written. Every number of metrics.json is computed again, and
of errors.json what needs the predictions alone; subgroups and proven diagnoses too where the data's public table is at
hand. Files that tell of one thing are compared with each other (:mod:`skinlesion.paper.crosschecks`). What needs images
is held by the hash of its file.
"""

from __future__ import annotations

import html
import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bs4 import BeautifulSoup
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from skinlesion import files, parameters, plan, processors, runs, studies
from skinlesion.errors import StudyError
from skinlesion.paper import card, claims, collection, crosschecks, evidence, findings
from skinlesion.paper import readme as readme_blocks
from skinlesion.paper import tables as paper
from skinlesion.reporting import tables
from skinlesion.runs import Files
from skinlesion.scoring import evaluation, isic, summary

CLOSE = 1e-9
"""Largest difference at which two numbers are the same: what the order of a sum may do."""

FEW = 10
"""Runs for which no processes are started: that takes seconds, and they less."""

PAGE, ROAD_PAGE = "06_paper_tables.html", "07_road.html"


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


def verify(folder: Path, *, readme: Path, metadata: pd.DataFrame | None = None) -> Iterator[Check]:
    """Check hashes, metrics, errors, tables, pages and README, one after the other.

    Parameters
    ----------
    folder
        ``reports/``.
    readme
        ``README.md``.
    metadata
        The data's table, where it is at hand.

    Raises
    ------
    skinlesion.paper.evidence.EvidenceError
        If there is no list of hashes, or a run's file cannot be read.
    """
    yield _hashes(folder)
    found = runs.find(folder)
    published = [run for run in found.values() if run.finished]
    draws = parameters.load(claims.BY_IMAGE).bootstrap_draws
    with _side_by_side(len(published)) as pool:
        across = pool.submit(_guarded, "runs", partial(_runs, folder, published))
        made = pool.submit(collection.make, folder, draws=draws)
        road = pool.submit(collection.make_road, folder, draws=draws)
        each = pool.map(partial(_run, metadata=metadata), published)
        yield across.result()
        yield from chain.from_iterable(tqdm(each, total=len(published), unit="run", leave=False, disable=None))
        yield from _tables(folder, made, road)
    yield _guarded("benchmarks", lambda: _benchmarks(folder))
    yield _readme(readme, folder)


def _side_by_side(number: int) -> Executor:
    """Return what looks at so many runs, several at once: in processes, for threads of Python wait for each other."""
    cores = min(8, processors.usable())
    if number < FEW:
        return ThreadPoolExecutor(cores)
    return ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), initializer=_on_one_core)


def _on_one_core() -> None:
    threadpool_limits(1)


def _runs(folder: Path, published: list[Files]) -> tuple[list[str], str]:
    """Name the folders that hold no run, and what runs of the same data do not agree upon."""
    known = {run.folder for run in published}
    there = [path for path in sorted(folder.glob("*/seed-*")) if path not in known]
    faults = [f"{path.relative_to(folder)} lacks one of {', '.join(runs.NEEDED)}, or it is damaged" for path in there]
    return [
        *faults,
        *crosschecks.across(published),
    ], f"{len(published)} are whole and of the same lesions and diagnoses"


def _run(run: Files, metadata: pd.DataFrame | None) -> list[Check]:
    """Compare the files of a run with each other, and compute its metrics.json and errors.json again."""
    name = "/".join(run.folder.parts[-2:])
    compute = {
        "metrics.json": partial(_metrics, run),
        "errors.json": partial(_errors, run, metadata),
        "official.json": partial(_official, run),
        card.NAME: partial(_card, run),
    }
    agree = _guarded(name, lambda: _agree(run, metadata))
    return [agree, *(_guarded(f"{name}/{file}", how) for file, how in compute.items() if run.find(file))]


def _agree(run: Files, metadata: pd.DataFrame | None) -> tuple[list[str], str]:
    older = crosschecks.older_than_the_protocol(run)
    study = "; it is older than the protocol, and not compared with its study" if older else ", and with its study"
    return crosschecks.faults(run, metadata), f"its files agree{study}"


def _benchmarks(folder: Path) -> tuple[list[str], str]:
    """Compare the tables of speeds and of costs with the records they were made from."""
    record, faults, compared = Files(folder / "benchmarks"), [], 0
    for name in ("speed", "costs"):
        if not record.find(f"{name}.json") and not record.find(f"{name}.csv"):
            continue
        stated, found = record.read_csv(f"{name}.csv"), pd.DataFrame(record.read_json(f"{name}.json")["rows"])
        if record.require(f"{name}.csv").read_text(encoding="utf-8") != found[list(stated)].to_csv(**files.CSV):
            faults.append(f"{name}.csv says something else than {name}.json")
        for _, rows in found.groupby(["benchmark", "side"]) if name == "speed" else ():
            ratio = rows.images_per_second / rows.images_per_second.iloc[0]
            if not np.allclose(rows.times_the_loop, ratio, equal_nan=True):
                faults.append(f"speed.json has another times_the_loop than its speeds give ({rows.benchmark.iloc[0]})")
        compared += len(stated)
    return faults, f"{compared} rows are those of the records" if compared else "none are published"


def _guarded(what: str, compute: Callable[[], tuple[list[str], str]]) -> Check:
    try:
        return Check(what, *compute())
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:  # whatever was put there
        return Check(what, [f"cannot be computed again: {error}"], "")


def _hashes(folder: Path) -> Check:
    sums, here = evidence.read_sums(folder), evidence.published(folder)
    names = [path.relative_to(folder).as_posix() for path in here]
    faults = [f"{name} is not listed" for name in names if name not in sums]
    for path, digest in sums.items():
        if not (folder / path).is_file():
            faults.append(f"{path} is not there")
        elif files.sha256(folder / path) != digest:
            faults.append(f"{path} is not the published file")
    return Check("files", faults, f"{len(sums)} have their published SHA-256, and there is no other")


def _metrics(run: Files) -> tuple[list[str], str]:
    stated, given = run.read_json("metrics.json"), _given(run)
    compared = stated.get("compared")
    if compared:
        other = Files(run.folder.parents[1] / compared["with"] / run.folder.name)
        given["other"] = (compared["with"], other.read_csv("predictions.csv"))
    if run.find("baselines.csv"):
        given["baselines"] = run.read_csv("baselines.csv")
    found = summary.metrics(run.read_csv("predictions.csv"), run.read_csv("split.csv"), **given)
    faults = list(differences(stated, files.plain(found)))
    page = run.find("04_evaluation.html")
    if page:
        text = page.read_text(encoding="utf-8")
        shown = pd.concat(tables.with_interval(each) for each in _scored(found))
        faults += [f"{page.name} does not print {each}" for each in shown.unique() if each not in text]
        said = BeautifulSoup(text, "html.parser").get_text(" ")
        known = set(_intervals(stated))
        faults += [f"{page.name} says {each}" for each in INTERVAL.findall(said) if each not in known]
    return faults, f"{_numbers(stated)} numbers are those of the predictions"


def _official(run: Files) -> tuple[list[str], str]:
    stated = run.read_json("official.json")
    found = files.plain(isic.summary(run.read_csv("official.csv"), **stated["bootstrap"]))
    faults = list(differences({name: stated[name] for name in found}, found))
    return faults, f"{_numbers(stated)} numbers are those of what the network said"


INTERVAL = re.compile(r"[−+]?\d\.\d+ \([−+]?\d\.\d+(?:–| to )[−+]?\d\.\d+\)")
"""A value with its interval, as a sentence of a page says it."""


def _intervals(stated: Any) -> Iterator[str]:
    """Yield every value of JSON that has an interval, in each way in which a page may print it."""
    if isinstance(stated, dict):
        for name, value in stated.items():
            ends: list[Any] = [stated.get(f"{name}_{end}", stated.get(end)) for end in ("low", "high")]
            if all(map(_is_number, (value, *ends))):
                yield from (tables.interval(value, *ends, digits=d, sign=s) for d in (2, 3) for s in (False, True))
            yield from _intervals(value)
    elif isinstance(stated, list):
        yield from chain.from_iterable(map(_intervals, stated))


def _scored(found: dict[str, Any]) -> Iterator[pd.DataFrame]:
    """Yield the tables of scores that the page of the evaluation prints."""
    yield from (found[part]["headline"] for part in summary.PARTS)
    yield found["test_per_class"].loc[pd.IndexSlice[:, evaluation.names("class")], :]
    yield from found["test_calibration"].values()


def _errors(run: Files, metadata: pd.DataFrame | None) -> tuple[list[str], str]:
    stated = run.read_json("errors.json")
    sizes = pd.DataFrame([row for row in stated["subgroups"] if row["column"] == "lesion_size"])
    found = files.plain(summary.errors(run.read_csv("predictions.csv"), metadata, **_given(run), sizes=sizes))
    computed = {key: value for key, value in stated.items() if key in found}
    page = run.find("05_error_analysis.html")
    text = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").get_text() if page else ""
    unsaid = [each for each in stated["findings"] if page and _plain(each) not in _plain(text)]
    rest = "" if metadata is not None else "; subgroups were not computed: the data's table is not at hand (DATA)"
    faults = [*differences(computed, found), *(f"{page.name} does not say: {each}" for each in unsaid if page)]
    return faults, f"{_numbers(computed)} numbers are those of the predictions{rest}"


def _plain(text: str) -> str:
    """Return a text without its marks and line breaks."""
    return " ".join(html.unescape(text).replace("*", "").split())


def _given(run: Files) -> dict[str, Any]:
    """Return the draws and the seed of a run's intervals."""
    return {
        "draws": run.read_json("metrics.json")["bootstrap"]["draws"],
        "seed": run.manifest["parameters"]["seed"],
    }


def differences(stated: Any, found: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Say where two values of JSON differ: in structure and words at all, in numbers by more than :data:`CLOSE`.

    Yields
    ------
    str
        The path of the difference, such as ``test › headline › loss › value``, and both sides.
    """
    where = " › ".join(path)
    if isinstance(stated, dict) and isinstance(found, dict):
        for key in stated | found:
            if key not in found:
                yield f"{' › '.join([*path, key])} is stated, and the predictions do not give it"
            elif key not in stated:
                yield f"{' › '.join([*path, key])} is not stated"
            else:
                yield from differences(stated[key], found[key], (*path, key))
    elif isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        pairs = enumerate(zip(stated, found, strict=True))
        yield from chain.from_iterable(differences(*pair, (*path, str(place))) for place, pair in pairs)
    elif isinstance(stated, list) and isinstance(found, list):
        yield f"{where}: {len(stated)} entries are stated, the predictions give {len(found)}"
    elif _is_number(stated) and _is_number(found):
        if not np.isclose(stated, found, rtol=CLOSE, atol=CLOSE):
            yield f"{where}: {stated} is stated, the predictions give {found}"
    elif type(stated) is not type(found) or stated != found:
        yield f"{where}: {stated} is stated, the predictions give {found}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any) -> int:
    if isinstance(value, dict | list):
        return sum(map(_numbers, value.values() if isinstance(value, dict) else value))
    return int(_is_number(value))


def _tables(folder: Path, made: Future, road: Future) -> Iterator[Check]:
    try:
        tables_here = [*((each, PAGE) for each in made.result().values()), (road.result(), ROAD_PAGE)]
    except (StudyError, KeyError, TypeError) as error:
        yield Check(paper.FOLDER, [f"cannot be computed again: {error}"], "")
        return
    printed = {page: _printed(folder / paper.FOLDER / page) for page in (PAGE, ROAD_PAGE)}
    for table, page in tables_here:
        faults = lost_rows(table, runs.find(folder))
        for name, text in table.texts().items():
            path = folder / paper.FOLDER / name
            if not path.is_file():
                faults.append(f"{name} is not there")
            elif path.suffix == ".csv" and not table.numbers.empty:
                faults += _cells(pd.read_csv(path), table.numbers, name)
            elif path.read_text(encoding="utf-8") != text:
                faults.append(f"{name} says something else")
        expected = [[str(cell) for cell in row] for row in table.shown.to_numpy().tolist()]
        if printed[page].get(table.caption, expected if table.numbers.empty else None) != expected:
            faults.append(f"{page} prints something else, or another caption")
        passed = f"{table.numbers.select_dtypes('number').size} numbers in CSV, Markdown, LaTeX and page"
        yield Check(f"{paper.FOLDER}/{table.name}", faults, passed)


def lost_rows(table: paper.PaperTable, published: plan.Found) -> list[str]:
    """Name the study whose planned runs are all published while the table that they are for has no row."""
    planned = studies.everything()
    unfinished = {study for study, _ in plan.missing(planned, published)}
    arms = [(arm.of, name) for name, arm in planned.items() if arm.table == table.name and arm.seeds]
    whole = {base for base, _ in arms} - {base for base, name in arms if name in unfinished}
    return [f"it has no row, though all its runs of {base} are published" for base in whole if table.numbers.empty]


def _card(run: Files) -> tuple[list[str], str]:
    same = run.require(card.NAME).read_text(encoding="utf-8") == card.text(run.folder)
    faults = [] if same else ["says something else than metrics.json and errors.json"]
    return faults, "says what metrics.json and errors.json say"


PROSE = re.compile(r"\d[\d.,]*\s?(?:%|percent)|(?<![\d.])0\.\d\d+")
"""A score as people write it: what has no place in README.md but between the lines that `make paper` writes."""


def _readme(readme: Path, folder: Path) -> Check:
    text = readme.read_text(encoding="utf-8")
    faults = [f"words.md: {name} no longer holds" for name in findings.outdated(findings.read(folder))]
    prose = text
    for block, make in readme_blocks.BLOCKS.items():
        start, end = readme_blocks.markers(block)
        if text.count(start) != 1 or text.count(end) != 1:
            faults.append(f"its block `{block}` is there {text.count(start)} times")
        prose = prose.replace(text.partition(start)[2].partition(end)[0], "")
        if text.partition(start)[2].partition(end)[0].strip() != make(folder):
            faults.append(f"its block `{block}` says something else than the reports (`make paper`)")
    claimed = f"{claims.CLAIMS[0].value:.0%}"
    faults += [f"it says {each} outside of its blocks" for each in PROSE.findall(prose) if each != claimed]
    return Check(readme.name, faults, f"{len(readme_blocks.BLOCKS)} blocks are what the reports say")


def _printed(page: Path) -> dict[str, list[list[str]]]:
    """Return the cells of every table of a page by the table's caption."""
    if not page.is_file():
        return {}
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return {
        table.caption.get_text(): [
            [cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.select("tbody tr")
        ]
        for table in soup.find_all("table")
        if table.caption
    }


def _cells(stated: pd.DataFrame, found: pd.DataFrame, name: str) -> list[str]:
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
