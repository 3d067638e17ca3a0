"""A reviewer's check: the published scores and tables computed again from the published predictions, and compared.

No image, no weights and no GPU are needed, and nothing is written. Every number of metrics.json is computed again, and
of errors.json what needs the predictions alone; subgroups and proven diagnoses too where the data's public table is at
hand. Files that tell of one thing are compared with each other (:mod:`skinlesion.paper.crosschecks`). What needs images
is held by the hash of its file.
"""

from __future__ import annotations

import html
import io
import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
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
from skinlesion.checks import INSIDE, Check, differences, is_number, leaves
from skinlesion.paper import card, claims, collection, crosschecks, evidence, findings
from skinlesion.paper import readme as readme_blocks
from skinlesion.paper import tables as paper
from skinlesion.reporting import tables
from skinlesion.runs import Files
from skinlesion.scoring import evaluation, isic, summary

FEW = 10
"""Runs for which no processes are started: that takes seconds, and they less."""

PAGE, ROAD_PAGE = "06_paper_tables.html", "07_road.html"

Found = tuple[list[str], str]
"""What is wrong with something, a line each, and what to say where nothing is."""


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
    yield check_hashes(folder)
    published = [run for run in runs.find(folder).values() if run.finished]
    draws = parameters.load(claims.BY_IMAGE).bootstrap_draws
    with _side_by_side(len(published)) as pool:
        made = [pool.submit(make, folder, draws=draws) for make in (collection.make, collection.make_road)]
        each = pool.map(partial(check_run, metadata=metadata), published)
        yield check_runs(folder, published)
        yield from chain.from_iterable(tqdm(each, total=len(published), unit="run", leave=False, disable=None))
        yield from _tables(folder, *made)
    yield check_benchmarks(folder)
    yield check_readme(readme, folder)


def _side_by_side(number: int) -> Executor:
    """Return what looks at so many runs, several at once: in processes, for threads of Python wait for each other."""
    if number < FEW:
        return ThreadPoolExecutor()
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(min(8, processors.usable()), spawn, initializer=threadpool_limits, initargs=(1,))


def _guarded(what: str, compute: Callable[..., Found], *given: Any) -> Check:
    try:
        return Check(what, *compute(*given))
    except Exception as error:  # whatever was put there
        return Check(what, [f"cannot be computed again: {error}"])


def check_hashes(folder: Path) -> Check:
    """Compare every published file with its hash, and the files with the list."""
    sums, here = evidence.read_sums(folder), evidence.published(folder)
    names = [path.relative_to(folder).as_posix() for path in here]
    faults = [f"{name} is not listed" for name in names if name not in sums]
    for path, digest in sums.items():
        if not (folder / path).is_file():
            faults.append(f"{path} is not there")
        elif files.sha256(folder / path) != digest:
            faults.append(f"{path} is not the published file")
    return Check("files", faults, f"{len(sums)} have their published SHA-256, and there is no other")


def check_runs(folder: Path, published: list[Files]) -> Check:
    """Name the folders that hold no run, and what runs of the same data do not agree upon."""
    return _guarded("runs", _runs, folder, published)


def _runs(folder: Path, published: list[Files]) -> Found:
    there = sorted(set(folder.glob("*/seed-*")) - {run.folder for run in published})
    faults = [f"{Files(path).name} lacks one of {', '.join(runs.NEEDED)}, or it is damaged" for path in there]
    passed = f"{len(published)} are whole and of the same lesions and diagnoses"
    return [*faults, *crosschecks.across(published)], passed


def check_run(run: Files, metadata: pd.DataFrame | None = None) -> list[Check]:
    """Compare the files of a run with each other, and compute its metrics.json, errors.json … again."""
    compute = {"metrics.json": _metrics, "errors.json": _errors, "official.json": _official, card.NAME: _card}
    agree = _guarded(run.name, lambda: (crosschecks.faults(run, metadata), "its files agree, and with its study"))
    found = {file: how for file, how in compute.items() if run.find(file)}
    return [agree, *(_guarded(f"{run.name}/{file}", how, run, metadata) for file, how in found.items())]


def _metrics(run: Files, metadata: pd.DataFrame | None) -> Found:
    stated, given = run.read_json("metrics.json"), _given(run)
    if compared := stated.get("compared"):
        other = Files(run.folder.parents[1] / compared["with"] / run.folder.name)
        given["other"] = (compared["with"], other.read_csv("predictions.csv"))
    if run.find("baselines.csv"):
        given["baselines"] = run.read_csv("baselines.csv")
    found = summary.metrics(run.read_csv("predictions.csv"), run.read_csv("split.csv"), **given)
    faults, text = list(differences(stated, files.plain(found))), _text(run, "04_evaluation.html")
    if text:
        known = set(_intervals(dict(leaves(stated))))
        faults += [f"04_evaluation.html does not print {each}" for each in _printed(found).unique() if each not in text]
        faults += [f"04_evaluation.html says {each}" for each in INTERVAL.findall(text) if each not in known]
    return faults, f"{_numbers(stated)} numbers are those of the predictions"


def _printed(found: dict[str, Any]) -> pd.Series:
    """Return the scores in the tables that the page of the evaluation prints, as text."""
    shown = [found[part]["headline"] for part in summary.PARTS]
    shown += [found["test_per_class"].loc[pd.IndexSlice[:, evaluation.names("class")], :]]
    return pd.concat(tables.with_interval(each) for each in [*shown, *found["test_calibration"].values()])


INTERVAL = re.compile(r"[−+]?\d\.\d+ \([−+]?\d\.\d+(?:–| to )[−+]?\d\.\d+\)")
"""A value with its interval, as a sentence of a page says it."""


def _intervals(flat: dict[str, Any]) -> Iterator[str]:
    """Yield every value of JSON that has an interval, in each way in which a page may print it."""
    for name, value in flat.items():
        beside = f"{name.rpartition(INSIDE)[0]}{INSIDE}"
        ends: list[Any] = [flat.get(f"{name}_{end}", flat.get(f"{beside}{end}")) for end in ("low", "high")]
        if all(map(is_number, (value, *ends))):
            yield from (tables.interval(value, *ends, digits=d, sign=s) for d in (2, 3) for s in (False, True))


def _errors(run: Files, metadata: pd.DataFrame | None) -> Found:
    stated = run.read_json("errors.json")
    sizes = pd.DataFrame([row for row in stated["subgroups"] if row["column"] == "lesion_size"])
    found = files.plain(summary.errors(run.read_csv("predictions.csv"), metadata, **_given(run), sizes=sizes))
    computed = {key: value for key, value in stated.items() if key in found}
    text = _text(run, "05_error_analysis.html")
    unsaid = [each for each in stated["findings"] if text and _plain(each) not in _plain(text)]
    rest = "" if metadata is not None else "; subgroups were not computed: the data's table is not at hand (DATA)"
    faults = [*differences(computed, found), *(f"05_error_analysis.html does not say: {each}" for each in unsaid)]
    return faults, f"{_numbers(computed)} numbers are those of the predictions{rest}"


def _official(run: Files, metadata: pd.DataFrame | None) -> Found:
    stated = run.read_json("official.json")
    found = files.plain(isic.summary(run.read_csv("official.csv"), **stated["bootstrap"]))
    faults = list(differences({name: stated[name] for name in found}, found))
    return faults, f"{_numbers(stated)} numbers are those of what the network said"


def _card(run: Files, metadata: pd.DataFrame | None) -> Found:
    same = run.require(card.NAME).read_text(encoding="utf-8") == card.text(run.folder)
    return [] if same else ["says something else than metrics.json and errors.json"], "says what the others say"


def _text(run: Files, name: str) -> str:
    """Return what a page of a run says; nothing where there is no such page."""
    page = run.find(name)
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").get_text(" ") if page else ""


def _plain(text: str) -> str:
    """Return a text without its marks, spaces and line breaks."""
    return "".join(html.unescape(text).replace("*", "").split())


def _given(run: Files) -> dict[str, Any]:
    """Return the draws and the seed of a run's intervals."""
    draws = run.read_json("metrics.json")["bootstrap"]["draws"]
    return {"draws": draws, "seed": run.manifest["parameters"]["seed"]}


def _numbers(stated: Any) -> int:
    return sum(is_number(value) for _, value in leaves(stated))


def _tables(folder: Path, made: Future, road: Future) -> Iterator[Check]:
    try:
        pages = {PAGE: made.result().values(), ROAD_PAGE: [road.result()]}
    except Exception as error:
        yield Check(paper.FOLDER, [f"cannot be computed again: {error}"])
        return
    for page, those in pages.items():
        cells = cells_of(folder / paper.FOLDER / page)
        yield from (check_table(table, folder, cells) for table in those)


def check_table(table: paper.PaperTable, folder: Path, cells: dict[str, list[list[str]]]) -> Check:
    """Compare a table with its files, and with what its page prints under its caption (:func:`cells_of`)."""
    faults = lost_rows(table, runs.find(folder)) if table.numbers.empty else []
    for name, text in table.texts().items():
        path = folder / paper.FOLDER / name
        if not path.is_file():
            faults.append(f"{name} is not there")
        elif path.suffix == ".csv" and not table.numbers.empty:
            stated, found = (files.plain(pd.read_csv(each)) for each in (path, io.StringIO(text)))
            faults += [f"{name}, row {each}" for each in differences(stated, found, close=1e-6)]
        elif path.read_text(encoding="utf-8") != text:
            faults.append(f"{name} says something else")
    expected = [[str(cell) for cell in row] for row in table.shown.to_numpy().tolist()]
    if cells.get(table.caption, expected if table.numbers.empty else None) != expected:
        faults.append("its page prints something else, or another caption")
    passed = f"{table.numbers.select_dtypes('number').size} numbers in CSV, Markdown, LaTeX and page"
    return Check(f"{paper.FOLDER}/{table.name}", faults, passed)


def cells_of(page: Path) -> dict[str, list[list[str]]]:
    """Return the cells of every table of a page by the table's caption; nothing where there is no page."""
    soup = BeautifulSoup(page.read_text(encoding="utf-8") if page.is_file() else "", "html.parser")
    return {
        table.caption.get_text(): [
            [cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.select("tbody tr")
        ]
        for table in soup.find_all("table")
        if table.caption
    }


def lost_rows(table: paper.PaperTable, published: plan.Found) -> list[str]:
    """Name the study whose planned runs are all published, of the table that they are for, which has no row."""
    planned = studies.everything()
    unfinished = {study for study, _ in plan.missing(planned, published)}
    arms = [(arm.of, name) for name, arm in planned.items() if arm.table == table.name and arm.seeds]
    whole = {base for base, _ in arms} - {base for base, name in arms if name in unfinished}
    return [f"it has no row, though all its runs of {base} are published" for base in whole]


def check_benchmarks(folder: Path) -> Check:
    """Compare the tables of speeds and of costs with the records they were made from."""
    return _guarded("benchmarks", _benchmarks, Files(folder / "benchmarks"))


def _benchmarks(record: Files) -> Found:
    faults, compared = [], 0
    for name in [name for name in ("speed", "costs") if record.find(f"{name}.json") or record.find(f"{name}.csv")]:
        stated, found = record.read_csv(f"{name}.csv"), pd.DataFrame(record.read_json(f"{name}.json")["rows"])
        if record.require(f"{name}.csv").read_text(encoding="utf-8") != found[list(stated)].to_csv(**files.CSV):
            faults.append(f"{name}.csv says something else than {name}.json")
        for _, rows in found.groupby(["benchmark", "side"]) if name == "speed" else ():
            ratio = rows.images_per_second / rows.images_per_second.iloc[0]
            if not np.allclose(rows.times_the_loop, ratio, equal_nan=True):
                faults.append(f"speed.json has another times_the_loop than its speeds give ({rows.benchmark.iloc[0]})")
        compared += len(stated)
    return faults, f"{compared} rows are those of the records"


PROSE = re.compile(r"\d[\d.,]*\s?(?:%|percent)|(?<![\d.])0\.\d\d+")
"""A score as people write it: what has no place in README.md but between the lines that `make paper` writes."""


def check_readme(readme: Path, folder: Path) -> Check:
    """Compare the blocks of README.md with what the reports say; there is no score outside of them but the claim."""
    prose = readme.read_text(encoding="utf-8")
    faults = [f"words.md: {name} no longer holds" for name in findings.outdated(findings.read(folder))]
    for block, make in readme_blocks.BLOCKS.items():
        start, end = readme_blocks.markers(block)
        if prose.count(start) != 1 or prose.count(end) != 1:
            faults.append(f"its block `{block}` is there {prose.count(start)} times")
        said = prose.partition(start)[2].partition(end)[0]
        if said.strip() != make(folder):
            faults.append(f"its block `{block}` says something else than the reports (`make paper`)")
        prose = prose.replace(said, "")
    claimed = f"{claims.CLAIMS[0].value:.0%}"
    faults += [f"it says {each} outside of its blocks" for each in PROSE.findall(prose) if each != claimed]
    return Check(readme.name, faults, f"{len(readme_blocks.BLOCKS)} blocks are what the reports say")
