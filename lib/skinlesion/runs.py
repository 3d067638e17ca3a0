"""A run: one study, one seed, one folder, and the record of how its files came to be."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import io
import json
import lzma
import os
import platform
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from skinlesion import files
from skinlesion.errors import StudyError, say_once
from skinlesion.parameters import Parameters, Runtime, from_namespace

PACKAGES = [
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "scikit-learn",
    "pillow",
    "matplotlib",
    "seaborn",
    "papermill",
    "nbconvert",
    "pydantic",
    "pandera",
    "cleanlab",
    "grad-cam",
]


PUBLISHED = files.ROOT / "reports"
"""Where published runs lie, ``<study>/seed-<k>``. They are read here, and written by :func:`publish` alone."""

NEEDED = ("manifest.json", "split.csv", "history.csv", "predictions.csv")
"""Without these a folder holds no finished run."""

WRITERS = {
    "eda.json": "notebook 01",
    "split.csv": "notebook 02",
    "duplicates.csv": "notebook 02",
    "preprocessing.json": "notebook 02",
    "history.csv": "notebook 03",
    "predictions.csv": "notebook 03",
    "manifest.json": "notebook 03",
    "readings.csv": "notebook 03",
    "baselines.csv": "notebook 04",
    "metrics.json": "notebook 04",
    "epochs.csv": "notebook 04",
    "isic.csv": "notebook 04",
    "errors.json": "notebook 05",
    "official.csv": "skinlesion official",
    "official.json": "skinlesion official",
    "portable.csv": "skinlesion export",
    "forms.csv": "skinlesion export",
}
"""Who writes what."""

COLUMNS = {
    "split.csv": ("image_id", "lesion_id", "lesion_group", "part"),
    "history.csv": ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    "predictions.csv": ("image_id", "lesion_id", "lesion_group", "dx", "part"),
}
"""What a table must at least have."""


class RunError(StudyError):
    """A file of a run is not there or cannot be read; the message names it."""


@dataclass(frozen=True)
class Files:
    """What a run left in a folder; a table may be compressed (``split.csv.xz``)."""

    folder: Path

    @property
    def name(self) -> str:
        """``<study>/seed-<k>``."""
        return "/".join(self.folder.parts[-2:])

    def find(self, name: str) -> Path | None:
        """Return the path of a file, or None where it is not there."""
        found = [self.folder / each for each in (name, f"{name}.xz") if (self.folder / each).is_file()]
        return found[0] if found else None

    def require(self, name: str) -> Path:
        """Return the path of a file.

        Raises
        ------
        RunError
            If it is not there, saying which notebook writes it.
        """
        path = self.find(name)
        if path is None:
            where = files.shown(self.folder / name)
            raise RunError(f"{where} is not there: run {WRITERS.get(name, 'make report')} first")
        return path

    def read_csv(self, name: str) -> pd.DataFrame:
        """Read a table."""
        return self._read(name, lambda content: _table(content, COLUMNS.get(name, ())))

    def read_json(self, name: str) -> Any:
        """Read a JSON file."""
        return self._read(name, _object)

    def _read(self, name: str, read: Callable[[bytes], Any]) -> Any:
        path = self.require(name)
        try:
            content = path.read_bytes()
            if not content:
                raise ValueError("it is empty")
            return read(lzma.decompress(content) if path.suffix == ".xz" else content)
        except (OSError, ValueError, EOFError, lzma.LZMAError, RecursionError) as error:
            raise RunError(f"{files.shown(path)} cannot be read: {error}. {_way_out(name)}") from error

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end."""
        return all(self.find(name) for name in NEEDED)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """How the run came to be; empty where it was not trained to its end."""
        return self.read_json("manifest.json") if self.find("manifest.json") else {}

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that the manifest states; what was no parameter then has its default."""
        return {name: field.default for name, field in Parameters.model_fields.items()} | self.manifest["parameters"]

    @property
    def synthetic(self) -> bool:
        """Whether it is of data drawn by a program."""
        return bool(self.manifest.get("data", {}).get("synthetic"))

    @property
    def left_out(self) -> str | None:
        """The source that was left out of training and tested, if one was."""
        return self.read_json("preprocessing.json")["left_out"] if self.find("preprocessing.json") else None

    @property
    def hardware(self) -> str:
        """What it was trained on."""
        return listed(sitting["environment"]["hardware"] for sitting in self.manifest["sittings"])


@dataclass(frozen=True)
class Run:
    """One study with one seed, and the folder ``<output>/<study>/seed-<k>`` of its files."""

    parameters: Parameters

    @property
    def folder(self) -> Path:
        """Where the run's files are written: in the usual `output` where that of the run is :data:`PUBLISHED`."""
        asked = self.parameters
        usual = asked.model_copy(update={"output": Runtime().output})
        return (usual if files.resolve(asked.output) == PUBLISHED else asked).run_folder

    @property
    def cache(self) -> Path:
        """Where decoded stores lie, shared by all runs."""
        return files.resolve(self.parameters.cache)

    def files(self, name: str) -> Files:
        """Return the folder that has a file: the one of `output`, else the published run's, else that to write to."""
        asked, own = self.parameters.run_folder, Files(self.folder)
        places = (Files(asked), Files(PUBLISHED / asked.parent.name / asked.name))
        return next((place for place in places if place.find(name)), own)

    def other(self, study: str | None) -> Run | None:
        """Return the run of another study with the same seed, or None where it has no predictions."""
        if study is None:
            return None
        run = Run(self.parameters.model_copy(update={"study": study}))
        return run if run.files("predictions.csv").find("predictions.csv") else None

    def require(self, name: str) -> Path:
        """Return the path of one of the run's files, as :meth:`Files.require`."""
        return self.files(name).require(name)

    def read_csv(self, name: str) -> pd.DataFrame:
        """Read one of the run's tables."""
        return self.files(name).read_csv(name)

    def read_json(self, name: str) -> Any:
        """Read one of the run's JSON files."""
        return self.files(name).read_json(name)

    def write_csv(self, name: str, table: pd.DataFrame) -> None:
        """Write one of the run's tables, whole or not at all; its split only while no process trains on it."""
        with files.alone(self.folder) if name == "split.csv" else contextlib.nullcontext():
            files.write_csv(self.folder / name, table)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files, whole or not at all."""
        files.write_json(self.folder / name, content)


def find(folder: Path, study: str = "*") -> dict[tuple[str, int], Files]:
    """Return the folders of all runs in `folder`, by study and seed, in this order.

    One with a JSON file that cannot be read is left out, and a sentence on stderr says so: it must not stop the others.
    """
    found = {}
    for path in folder.glob(f"{study}/seed-*"):
        seed, run = path.name.removeprefix("seed-"), Files(path)
        if not re.fullmatch(r"0|[1-9][0-9]*", seed):  # seed-01 must not stand for seed-1
            continue
        try:
            for name in ("manifest.json", "metrics.json", "preprocessing.json"):
                _ = run.find(name) and run.read_json(name)
        except RunError as error:
            say_once(f"left out: {error}")
        else:
            found[path.parent.name, int(seed)] = run
    return dict(sorted(found.items()))


def originals(found: Mapping[Any, Files]) -> dict[Any, Any]:
    """Return for each finished run the first run with the very same predictions: itself, unless it is that training."""
    first: dict[str, Any] = {}
    return {key: first.setdefault(files.sha256(run.require("predictions.csv")), key) for key, run in found.items()}


def _table(content: bytes, columns: Iterable[str]) -> pd.DataFrame:
    if not content.endswith(b"\n"):
        raise ValueError("it is cut off")
    table = pd.read_csv(io.BytesIO(content))
    if lacking := [name for name in columns if name not in table]:
        raise ValueError(f"it lacks the column(s) {', '.join(lacking)}")
    if columns and table.empty:
        raise ValueError("it has no rows")
    return table


def _object(content: bytes) -> dict[str, Any]:
    found = json.loads(content.decode("utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__} instead of names and values")
    return found


def _way_out(name: str) -> str:
    return f"It is made again by {WRITERS.get(name, 'make report')}; a published one by `git checkout -- reports`"


def listed(words: Iterable[str]) -> str:
    """Return each word once, joined by "and"; what was joined so before is taken apart again."""
    return " and ".join(dict.fromkeys(part for word in words for part in word.split(" and ")))


def publish(run: Run, *, more: Collection[str] = ()) -> list[Path]:
    """Copy a finished run to where published runs lie: tables compressed, no photographs, nothing from unclean code.

    A folder that holds nothing but what was measured of a published run afterwards (its official test, its forms) is
    added to that.

    Parameters
    ----------
    more
        What is published beside the files of :data:`WRITERS` that are there: ``pages``, or names such as
        ``model.safetensors``.

    Returns
    -------
    list of pathlib.Path
        The files written.

    Raises
    ------
    RunError
        If the run is not finished, is of synthetic data, or comes from code or parameters that are in no commit; if a
        page of it may show photographs.
    """
    own, published = Files(run.folder), PUBLISHED / run.folder.parent.name / run.folder.name
    name = files.shown(run.folder)
    left = [path for each in WRITERS if each != "isic.csv" and (path := own.find(each))]
    afterwards = bool(left) and all(WRITERS[path.name].startswith("skinlesion ") for path in left)
    trained = Files(published) if afterwards else own
    if not trained.finished:
        raise RunError(f"{name} is not finished: `make report` goes on with it")
    if trained.synthetic:
        raise RunError(f"{name} is of synthetic data, which is no evidence")
    if not all(sitting["source"]["clean"] for sitting in trained.manifest["sittings"]):
        raise RunError(f"{name} was trained by code or parameters that no commit holds: commit, and train again")
    pages = sorted(run.folder.glob("0*.html")) if "pages" in more else []
    for page in pages:
        if page.stem in WITH_PHOTOGRAPHS and not NO_PHOTOGRAPHS.search(page.read_text(encoding="utf-8")):
            raise RunError(f"{files.shown(page)} may show photographs: make it again with GALLERIES=false")
    named = [own.require(each) for each in more if each != "pages"]
    written = []
    for path in [*left, *pages, *named]:
        target = published / path.name
        content = path.read_bytes()
        if path.name in PACKED:
            target, content = target.with_name(f"{path.name}.xz"), lzma.compress(content, preset=lzma.PRESET_EXTREME)
        files.write_bytes(target, content)
        written.append(target)
    return written


PACKED = ("split.csv", "predictions.csv", "readings.csv", "baselines.csv", "official.csv", "forms.csv")
"""Tables that are published compressed."""

WITH_PHOTOGRAPHS = ("01_eda", "02_preprocessing", "05_error_analysis")
"""The pages that show photographs where the study's ``galleries`` is true."""

NO_PHOTOGRAPHS = re.compile(r'<meta(?=[^>]*name="photographs")(?=[^>]*content="none")')
"""What a page says that was made without them."""


def open_run(namespace: Mapping[str, Any]) -> Run:
    """Open the run that a notebook's ``parameters`` cell describes.

    Parameters
    ----------
    namespace
        The notebook's ``globals()``: ``study`` names the file, other parameters set there win over it.
    """
    run = Run(from_namespace(namespace))
    if run.folder != run.parameters.run_folder:
        print(f"What is published is read, and never written: this notebook writes to {files.shown(run.folder)}.")
    return run


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def source() -> dict[str, Any]:
    """Say which commit the code is of, whether code or parameters differ from it, and which the protocol is of."""
    commit = _output("git", "-C", str(files.ROOT), "rev-parse", "HEAD")
    watched = ("lib", "notebooks", "parameters", "requirements.lock")
    changed = _output("git", "-C", str(files.ROOT), "status", "--porcelain", "--untracked-files", "--", *watched)
    protocol = _output("git", "-C", str(files.ROOT), "rev-list", "-1", "HEAD", "--", "parameters/PROTOCOL.md")
    return {
        "commit": commit or None,
        "clean": None if commit is None else changed == "",
        "protocol": protocol or None,
    }


def environment() -> dict[str, Any]:
    """Say what the run runs on: hardware, Python and package versions."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "hardware": hardware(),
        "gpu": _output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": versions,
    }


def hardware() -> str:
    """Name the processor, its cores and the memory, and the GPU if there is one."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        size = f", {memory:.0f} GiB memory"
    except (OSError, ValueError):
        size = ""
    cores = os.cpu_count() or 1
    gpu = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    name = f"{_processor()}, {cores} core{'s' if cores > 1 else ''}{size}"
    return f"{gpu.splitlines()[0]}, {name}" if gpu else f"{name}, no GPU"


def record() -> dict[str, Any]:
    """Say when, from which source and on what this process runs."""
    return {"started": now(), "source": source(), "environment": environment()}


def manifest(run: Run, **more: Any) -> dict[str, Any]:
    """Return the record of a run: its parameters, and what the caller adds."""
    chosen = run.parameters.model_dump()
    # A path says where something lay on one machine; the fingerprints say what it was.
    for key in ("data", "weights"):
        if "/" in str(chosen[key]):
            chosen[key] = Path(chosen[key]).name
    return {"parameters": chosen, **more}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _output(*command: str) -> str | None:
    """Return what a command prints, or None where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
