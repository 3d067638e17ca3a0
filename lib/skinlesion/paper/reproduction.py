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

    What was begun before goes on where it stopped.

    Raises
    ------
    ReproductionError
        If the run was not published.
    """
    published = Files(PUBLISHED / parameters.study / f"seed-{parameters.seed}")
    if missing := [name for name in ("predictions.csv", "metrics.json", "manifest.json") if not published.find(name)]:
        raise ReproductionError(
            f"{files.shown(published.folder)} has no {' and no '.join(missing)}: there is no published run to compare "
            "with"
        )
    again = parameters.model_copy(update={"output": FOLDER, "galleries": False})
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
    facts, new = _facts(one.manifest), _facts(other.manifest)
    differs += [f"{key}: {facts.get(key)} → {new.get(key)}" for key in facts | new if facts.get(key) != new.get(key)]
    close = WITHIN if scores.within.all() and same_split else DIFFERENT
    return Reproduction(IDENTICAL if said[0].equals(said[1]) else close, scores, differs)


def _facts(manifest: dict[str, Any]) -> dict[str, Any]:
    environment = manifest["sittings"][0]["environment"]
    return {
        **{key: value for key, value in manifest["parameters"].items() if key not in IGNORED},
        "data": manifest["data"]["fingerprint"][:12],
        "starting weights": manifest["weights"],
        "hardware": environment["hardware"],
        "precision used": manifest["precision"],
        "threads": manifest["engine"]["threads"],
        "layers": manifest["engine"].get("layers", "torch"),
        **{name: environment["packages"].get(name) for name in ("torch", "torchvision", "numpy", "pillow")},
    }
