"""A published run made again, and how close it came: bit-identical, within the interval, or different."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from skinlesion import files
from skinlesion.errors import StudyError
from skinlesion.parameters import Parameters
from skinlesion.reporting import pages
from skinlesion.runs import PUBLISHED, Files
from skinlesion.scoring import evaluation, predictions

FOLDER = "reports/local/reproduced"
"""Where runs that are made again lie, beside those they are compared with."""

NOTEBOOKS = ("02_preprocessing", "03_training")
IDENTICAL, WITHIN, DIFFERENT = "bit-identical", "within the interval", "different"
IGNORED = ("output", "cache", "data", "galleries", "cell_timeout_minutes", "checkpoint_seconds")


class ReproductionError(StudyError):
    """There is nothing to compare with."""


@dataclass(frozen=True)
class Reproduction:
    """What came of a second run.

    Attributes
    ----------
    verdict
        One of bit-identical, within the interval, different.
    scores
        Test scores: published, low, high (its 95% interval), again, within.
    differs
        What was not the same about the two runs, in words.
    """

    verdict: str
    scores: pd.DataFrame
    differs: list[str]


def reproduce(parameters: Parameters) -> Reproduction:
    """Draw the split again, train again, and compare with the published run of this study and seed.

    What was begun before goes on where it stopped. Each epoch takes as many threads as it did, since they decide the
    last bits, unless `threads` gives a number.

    Raises
    ------
    ReproductionError
        If the run was not published.
    """
    published = PUBLISHED / parameters.study / f"seed-{parameters.seed}"
    _require(published)
    update: dict[str, Any] = {"output": FOLDER, "galleries": False}
    if parameters.threads == "auto":
        update["threads"] = _threads(Files(published))
    again = parameters.model_copy(update=update)
    for name in NOTEBOOKS:
        pages.make(files.ROOT / "notebooks" / f"{name}.ipynb", again, again.run_folder / f"{name}.html")
    return compare(published, again.run_folder)


def compare(published: Path, again: Path) -> Reproduction:
    """Compare two runs of one study and seed.

    Parameters
    ----------
    published, again
        Their folders.
    """
    _require(published)
    sides = [Files(folder) for folder in (published, again)]
    headline = sides[0].read_json("metrics.json")["test"]["headline"]
    tables = [side.read_csv("predictions.csv") for side in sides]
    labels, probabilities, _ = predictions.part(tables[1], "test")
    shown = [name for name in evaluation.names("paper") if name in headline]
    scores = pd.DataFrame(headline).T.loc[shown].rename(columns={"value": "published"})
    scores["again"] = evaluation.headline(labels, probabilities).value
    scores["within"] = scores.again.between(scores.low, scores.high)
    splits = [side.read_csv("split.csv") for side in sides]
    differs = [] if splits[0].equals(splits[1]) else ["split: other images in some part"]
    differs += _differences(*(_facts(side) for side in sides))
    if tables[0].equals(tables[1]):
        verdict = IDENTICAL
    else:
        verdict = WITHIN if scores.within.all() and splits[0].equals(splits[1]) else DIFFERENT
    return Reproduction(verdict, scores, differs)


def _require(published: Path) -> None:
    missing = [name for name in ("predictions.csv", "metrics.json", "manifest.json") if not Files(published).find(name)]
    if missing:
        raise ReproductionError(
            f"{files.shown(published)} has no {' and no '.join(missing)}: there is no published run to compare with"
        )


def _threads(run: Files) -> list[int]:
    """Return how many threads computed each epoch of a run; older ones had one number for all."""
    history = run.read_csv("history.csv")
    return history.threads.tolist() if "threads" in history else [run.manifest["engine"]["threads"]] * len(history)


def _facts(run: Files) -> dict[str, Any]:
    manifest, threads = run.manifest, _threads(run)
    environment = manifest["sittings"][0]["environment"]
    chosen = {key: value for key, value in manifest["parameters"].items() if key not in IGNORED}
    packages = {name: environment["packages"].get(name) for name in ("torch", "torchvision", "numpy", "pillow")}
    return {
        **chosen,
        "data": manifest["data"]["fingerprint"][:12],
        "starting weights": manifest["weights"],
        "hardware": environment["hardware"],
        "precision used": manifest["precision"],
        "threads": threads if len(set(threads)) > 1 else threads[0],
        "layers": manifest["engine"].get("layers", "torch"),
        **packages,
    }


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    keys = dict.fromkeys([*one, *other])
    return [f"{key}: {one.get(key)} → {other.get(key)}" for key in keys if one.get(key) != other.get(key)]
