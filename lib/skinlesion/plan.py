"""Which runs are planned, which are there, and how long the others will take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion import files, parameters, runs, studies
from skinlesion.parameters import Parameters
from skinlesion.runs import Files

Found = dict[tuple[str, int], Files]


def here(output: Path) -> Found:
    """Return the finished runs: those published, and those in a folder of one's own."""
    each = (item for folder in (runs.PUBLISHED, output) for item in runs.find(folder).items())
    return {key: run for key, run in each if run.finished}


def missing(planned: Mapping[str, studies.Study], found: Found) -> list[tuple[str, int]]:
    """Return study and seed of every planned run that is not there, under its own name or as another study's."""
    wanted = [
        (name, seed) for name, study in planned.items() for seed in range(study.seeds) if (name, seed) not in found
    ]
    if not wanted:
        return []
    there = {_training(*key) for key in found if key[0] in planned}
    return [key for key in wanted if _training(*key) not in there]


def _training(study: str, seed: int) -> str:
    return repr(parameters.load(study, {"seed": seed}).training_identity())


def table(planned: Mapping[str, studies.Study], found: Found) -> pd.DataFrame:
    """Return one row a study of which runs are planned: study, runs (there of planned), hours (of the rest), question.

    Hours are those of the finished run of the nearest size on this machine, in proportion to epochs and pixels; a dash
    where no run was finished on it.
    """
    open_runs = missing(planned, found)
    rows = []
    for name, study in planned.items():
        if not study.seeds:
            continue
        left = sum(study_name == name for study_name, _ in open_runs)
        hours = left * estimate(parameters.load(name), found) / 3600
        rows.append(
            {
                "study": name,
                "runs": f"{study.seeds - left} of {study.seeds}",
                "hours": "–" if np.isnan(hours) else f"{hours:.1f}" if left else "",
                "question": study.question,
            }
        )
    return pd.DataFrame(rows)


def estimate(chosen: Parameters, found: Found) -> float:
    """Return how many seconds a run will train on this machine; NaN where no run was finished on it."""
    machine = runs.hardware()
    done = [run.manifest for run in found.values() if not run.synthetic and run.hardware == machine]
    if not done:
        return float("nan")
    sides = np.array([manifest["parameters"]["image_size"] for manifest in done])
    nearest = np.abs(np.log(sides / chosen.image_size))
    paces = [
        manifest["training_seconds"] / manifest["parameters"]["epochs"] * (chosen.image_size / side) ** 2
        for manifest, side, apart in zip(done, sides, nearest, strict=True)
        if apart == nearest.min()
    ]
    return float(np.median(paces)) * chosen.epochs


def inputs(chosen: Parameters) -> dict[str, object]:
    """Return what a run is made from, without reading it: parameters, and size and time of every file of the data.

    Two runs whose inputs are the same need not both be made. The time is in nanoseconds.
    """
    weights = files.resolve(chosen.weights)
    folder = chosen.data_folder
    listed = [] if chosen.synthetic or not folder.is_dir() else [path for path in folder.rglob("*") if path.is_file()]
    facts = {
        str(path): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted([*listed, *([weights] if weights.is_file() else [])])
    }
    return {"parameters": chosen.model_dump(exclude={"seed"}), "files": facts}
