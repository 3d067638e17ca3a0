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
    published = Files(PUBLISHED / parameters.study / f"seed-{parameters.seed}")
    if missing := [name for name in ("predictions.csv", "metrics.json", "manifest.json") if not published.find(name)]:
        where, what = files.shown(published.folder), " and no ".join(missing)
        raise ReproductionError(f"{where} has no {what}: there is no published run to compare with")
    update: dict[str, Any] = {"output": FOLDER, "galleries": False}
    if parameters.threads == "auto":
        update["threads"] = _threads(published)
    again = parameters.model_copy(update=update)
    for name in NOTEBOOKS:
        pages.make(files.ROOT / "notebooks" / f"{name}.ipynb", again, again.run_folder / f"{name}.html")
    return compare(published.folder, again.run_folder)


def compare(published: Path, again: Path) -> Reproduction:
    """Compare two runs of one study and seed, given their folders."""
    one, other = Files(published), Files(again)
    headline = pd.DataFrame(one.read_json("metrics.json")["test"]["headline"]).T
    said = [side.read_csv("predictions.csv") for side in (one, other)]
    shown = [name for name in evaluation.names("paper") if name in headline.index]
    scores = headline.loc[shown].rename(columns={"value": "published"})
    scores["again"] = evaluation.headline(*predictions.part(said[1], "test")[:2]).value
    scores["within"] = scores.again.between(scores.low, scores.high)
    same_split = one.read_csv("split.csv").equals(other.read_csv("split.csv"))
    differs = [] if same_split else ["split: other images in some part"]
    facts, new = _facts(one), _facts(other)
    differs += [f"{key}: {facts.get(key)} → {new.get(key)}" for key in facts | new if facts.get(key) != new.get(key)]
    close = WITHIN if scores.within.all() and same_split else DIFFERENT
    return Reproduction(IDENTICAL if said[0].equals(said[1]) else close, scores, differs)


def _threads(run: Files) -> list[int]:
    """Return how many threads computed each epoch of a run; older ones had one number for all."""
    history = run.read_csv("history.csv")
    return history.threads.tolist() if "threads" in history else [run.manifest["engine"]["threads"]] * len(history)


def _facts(run: Files) -> dict[str, Any]:
    manifest, threads = run.manifest, _threads(run)
    environment = manifest["sittings"][0]["environment"]
    return {
        **{key: value for key, value in manifest["parameters"].items() if key not in IGNORED},
        "data": manifest["data"]["fingerprint"][:12],
        "starting weights": manifest["weights"],
        "hardware": environment["hardware"],
        "precision used": manifest["precision"],
        "threads": threads if len(set(threads)) > 1 else threads[0],
        "layers": manifest["engine"].get("layers", "torch"),
        **{name: environment["packages"].get(name) for name in ("torch", "torchvision", "numpy", "pillow")},
    }
