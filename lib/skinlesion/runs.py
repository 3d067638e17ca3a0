"""A run: one study, one seed, one folder, and the record of how its files came to be."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from skinlesion import files
from skinlesion.parameters import Parameters, from_namespace

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


class RunError(ValueError):
    """A file that an earlier notebook of the run writes is not there."""


@dataclass(frozen=True)
class Run:
    """One study with one seed, and the folder ``reports/<study>/seed-<k>`` of its files."""

    parameters: Parameters

    @property
    def folder(self) -> Path:
        """Where the run's files lie."""
        return self.parameters.run_folder

    @property
    def cache(self) -> Path:
        """Where decoded stores lie, shared by all runs."""
        return files.resolve(self.parameters.cache)

    def other(self, study: str | None) -> Run | None:
        """Return the run of another study with the same seed, or None where it has no predictions."""
        if study is None:
            return None
        run = Run(self.parameters.model_copy(update={"study": study}))
        return run if (run.folder / "predictions.csv").is_file() else None

    def require(self, name: str) -> Path:
        """Return the path of one of the run's files.

        Raises
        ------
        RunError
            If it is not there, saying which notebook writes it.
        """
        path = self.folder / name
        if not path.is_file():
            raise RunError(f"{files.shown(path)} is not there: run {WRITERS.get(name, 'make report')} first")
        return path

    def read_csv(self, name: str) -> pd.DataFrame:
        """Read one of the run's tables."""
        return pd.read_csv(self.require(name))

    def read_json(self, name: str) -> Any:
        """Read one of the run's JSON files."""
        return json.loads(self.require(name).read_text(encoding="utf-8"))

    def write_csv(self, name: str, table: pd.DataFrame) -> None:
        """Write one of the run's tables, whole or not at all."""
        files.write_csv(self.folder / name, table)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files, whole or not at all."""
        files.write_json(self.folder / name, content)


WRITERS = {
    "eda.json": "notebook 01",
    "split.csv": "notebook 02",
    "duplicates.csv": "notebook 02",
    "preprocessing.json": "notebook 02",
    "history.csv": "notebook 03",
    "predictions.csv": "notebook 03",
    "manifest.json": "notebook 03",
    "metrics.json": "notebook 04",
    "isic.csv": "notebook 04",
    "errors.json": "notebook 05",
}
"""Who writes what."""


def open_run(namespace: Mapping[str, Any]) -> Run:
    """Open the run that a notebook's ``parameters`` cell describes.

    Parameters
    ----------
    namespace
        The notebook's ``globals()``: ``study`` names the file, other parameters set there win over it.
    """
    return Run(from_namespace(namespace))


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def source() -> dict[str, Any]:
    """Say which commit the code is of, whether code or parameters differ from it, and which the protocol is of."""
    commit = _output("git", "-C", str(files.ROOT), "rev-parse", "HEAD")
    watched = ("lib", "notebooks", "parameters", "requirements.lock")
    changed = _output("git", "-C", str(files.ROOT), "status", "--porcelain", "--", *watched)
    protocol = _output("git", "-C", str(files.ROOT), "log", "-1", "--format=%H", "--", "parameters/PROTOCOL.md")
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
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
