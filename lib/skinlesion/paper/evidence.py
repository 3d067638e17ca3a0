"""What the runs of a study left, all seeds together: the files that everything across runs is computed from."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from skinlesion import files
from skinlesion.scoring import predictions

NEEDED = ("manifest.json", "split.csv", "history.csv", "predictions.csv")
"""Without these a folder is no finished run."""

SUMS = "SHA256SUMS"
"""The list of published files with their hashes, as ``sha256sum --check`` reads it."""

RELEASED = "paper_lesion/seed-0/model.safetensors"
"""The network that is published with its weights."""


class EvidenceError(ValueError):
    """A file of a published run is not there or cannot be read; the message names it."""


@dataclass(frozen=True)
class Evidence:
    """The finished runs of one study.

    Attributes
    ----------
    study
        Its name.
    folders
        The folder of each seed's run, by seed.
    """

    study: str
    folders: dict[int, Path]

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return list(self.folders)

    @cached_property
    def manifests(self) -> dict[int, dict[str, Any]]:
        """How each run came to be."""
        return self._each(lambda folder: json.loads((folder / "manifest.json").read_text(encoding="utf-8")))

    @cached_property
    def predictions(self) -> dict[int, pd.DataFrame]:
        """The probabilities of validation and test images of each run, checked."""
        return self._each(lambda folder: predictions.check(pd.read_csv(folder / "predictions.csv")))

    @cached_property
    def splits(self) -> dict[int, pd.DataFrame]:
        """Which image was in which part of each run."""
        return self._each(lambda folder: pd.read_csv(folder / "split.csv"))

    @cached_property
    def histories(self) -> dict[int, pd.DataFrame]:
        """The epochs of each run."""
        return self._each(lambda folder: pd.read_csv(folder / "history.csv"))

    def shared_with(self, other: Evidence) -> Evidence:
        """Return its runs of the seeds that `other` has too."""
        return Evidence(self.study, {seed: folder for seed, folder in self.folders.items() if seed in other.folders})

    @property
    def synthetic(self) -> bool:
        """Whether any of it is of data drawn by a program."""
        return any(manifest["data"]["synthetic"] for manifest in self.manifests.values())

    @property
    def hardware(self) -> str:
        """What it was trained on."""
        machines = [
            sitting["environment"]["hardware"]
            for manifest in self.manifests.values()
            for sitting in manifest["sittings"]
        ]
        return " and ".join(dict.fromkeys(machines))

    def said(self, *keys: str) -> str:
        """Return what the manifests say under some keys, each answer once."""
        answers = []
        for manifest in self.manifests.values():
            for key in keys:
                manifest = manifest[key]
            answers.append(str(manifest))
        return " and ".join(dict.fromkeys(answers))

    def _each(self, read: Callable[[Path], Any]) -> dict[int, Any]:
        found = {}
        for seed, folder in self.folders.items():
            try:
                found[seed] = read(folder)
            except (OSError, ValueError, KeyError) as error:
                raise EvidenceError(f"{files.shown(folder)} cannot be used: {error}") from error
        return found


def find(folder: Path, study: str, *, only: Collection[Path] | None = None) -> Evidence:
    """Return the finished runs of a study; it may have none.

    Parameters
    ----------
    folder
        ``reports/``.
    only
        Run folders to be considered; absent, all.
    """
    found = {}
    for run in (folder / study).glob("seed-*"):
        seed = run.name.removeprefix("seed-")
        finished = seed.isdigit() and all((run / name).is_file() for name in NEEDED)
        if finished and (only is None or run in only):
            found[int(seed)] = run
    return Evidence(study, dict(sorted(found.items())))


def published(folder: Path) -> list[Path]:
    """Return the files of all finished runs on real data in `folder`: what is listed with its hash."""
    runs = [run for run in sorted(folder.glob("*/seed-*")) if all((run / name).is_file() for name in NEEDED)]
    real = [run for run in runs if not json.loads((run / "manifest.json").read_text("utf-8"))["data"]["synthetic"]]
    listed = [path for run in real for path in sorted(run.iterdir()) if path.suffix in (".csv", ".json")]
    return listed + [path for path in [folder / RELEASED] if path.is_file()]


def write_sums(folder: Path) -> Path:
    """Write :data:`SUMS` in `folder`: one line a published file."""
    lines = [f"{files.sha256(path)}  {path.relative_to(folder).as_posix()}" for path in published(folder)]
    files.write_text(folder / SUMS, "\n".join(lines) + "\n")
    return folder / SUMS


def read_sums(folder: Path) -> dict[str, str]:
    """Return the hash of each file that :data:`SUMS` lists, by its path in `folder`.

    Raises
    ------
    EvidenceError
        If there is no list.
    """
    path = folder / SUMS
    if not path.is_file():
        raise EvidenceError(f"{files.shown(path)} is not there: `make paper` writes it")
    lines = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: digest for digest, name in lines}
