"""What the runs of a study left, all seeds together: the files that everything across runs is computed from."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skinlesion import files, parameters, runs
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.parameters import Parameters
from skinlesion.runs import Files, listed
from skinlesion.scoring import predictions

AFTERWARDS = "prior taken off afterwards"
"""The remedy of class imbalance that needs no training: :meth:`Evidence.without_prior`."""

SUMS = "SHA256SUMS"
"""The list of published files with their hashes, as ``sha256sum --check`` reads it."""


class EvidenceError(StudyError):
    """A file of a published run is not there or cannot be read; the message names it."""


@dataclass(frozen=True)
class Evidence:
    """The finished runs of one study.

    Attributes
    ----------
    study
        Its name.
    runs
        The folder of each seed's run, by seed.
    """

    study: str
    runs: dict[int, Files]

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return list(self.runs)

    @cached_property
    def chosen(self) -> Parameters:
        """The parameters of the study."""
        return parameters.load(self.study)

    @property
    def size(self) -> str:
        """At what size the study is run, in words."""
        return f"{self.chosen.image_size}×{self.chosen.image_size}, {self.chosen.epochs} epochs"

    @cached_property
    def manifests(self) -> dict[int, dict[str, Any]]:
        """How each run came to be."""
        return {seed: run.manifest for seed, run in self.runs.items()}

    @cached_property
    def predictions(self) -> dict[int, pd.DataFrame]:
        """The probabilities of the images that no run was trained on, checked."""
        found = {}
        for seed, run in self.runs.items():
            try:
                found[seed] = predictions.check(run.read_csv("predictions.csv"))
            except predictions.PredictionsError as error:
                raise EvidenceError(f"{files.shown(run.folder)} cannot be used: {error}") from error
        return found

    @cached_property
    def tested(self) -> dict[int, pd.DataFrame]:
        """The rows of :attr:`predictions` that are of the test part."""
        return {seed: table[table.part == "test"] for seed, table in self.predictions.items()}

    @cached_property
    def splits(self) -> dict[int, pd.DataFrame]:
        """Which image was in which part of each run."""
        return {seed: run.read_csv("split.csv") for seed, run in self.runs.items()}

    @cached_property
    def histories(self) -> dict[int, pd.DataFrame]:
        """The epochs of each run."""
        return {seed: run.read_csv("history.csv") for seed, run in self.runs.items()}

    @property
    def out_of_fold(self) -> pd.DataFrame:
        """The test rows of all runs together: of a cross-validation, one row an image."""
        return pd.concat(list(self.tested.values()), ignore_index=True)

    def shared_with(self, other: Evidence) -> Evidence:
        """Return its runs of the seeds that `other` has too."""
        if self.runs.keys() <= other.runs.keys():
            return self
        return Evidence(self.study, {seed: run for seed, run in self.runs.items() if seed in other.runs})

    def without_prior(self, tables: Mapping[int, pd.DataFrame]) -> dict[int, pd.DataFrame]:
        """Return what the networks say when every class is taken to be as frequent, not as in their training part.

        Each probability is divided by the class's share of the training images, and all are scaled to a sum of one.

        Parameters
        ----------
        tables
            What the networks say, by seed: a row an image, :data:`skinlesion.scoring.predictions.COLUMNS`.

        Source: A. K. Menon et al., "Long-tail learning via logit adjustment", ICLR 2021: the adjustment after training.
        """
        said = {}
        for seed, table in tables.items():
            counts = self.runs[seed].read_json("preprocessing.json")["counts"]["images train"]
            odds = table[predictions.COLUMNS] / np.maximum([counts[dx] for dx in DX], 0.5)
            said[seed] = table.assign(**odds.div(odds.sum(axis=1), axis=0))
        return said

    @property
    def synthetic(self) -> bool:
        """Whether any of it is of data drawn by a program."""
        return any(run.synthetic for run in self.runs.values())

    @property
    def hardware(self) -> str:
        """What it was trained on."""
        return listed(run.hardware for run in self.runs.values())

    def said(self, *keys: str) -> str:
        """Return what the manifests say under some keys, each answer once."""
        return listed(str(functools.reduce(operator.getitem, keys, manifest)) for manifest in self.manifests.values())


def find(folder: Path, study: str) -> Evidence:
    """Return the finished runs of a study in ``reports/``; it may have none."""
    return Evidence(study, {seed: run for (_, seed), run in runs.find(folder, study).items() if run.finished})


def published(folder: Path) -> list[Path]:
    """Return every published file in ``reports/``: all but a user's own runs and the list itself."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in found if path.relative_to(folder).parts[0] not in ("local", SUMS))


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
