"""A page to look an image up: its label, and what every run that was not trained on it says of it. No photographs."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np

from skinlesion import files, runs
from skinlesion.data.dataset import DX
from skinlesion.reporting import pages
from skinlesion.scoring import predictions

NAME = "images.html"

LETTERS = string.ascii_uppercase + string.digits
CLASSES = string.ascii_lowercase[: len(DX)]


def write(folder: Path) -> Path | None:
    """Write :data:`NAME` in `folder`, of the test images of all finished runs there; nothing where there is none.

    Returns
    -------
    pathlib.Path or None
        The page.
    """
    finished = [run for run in runs.find(folder).values() if run.finished]
    # What has a report is what is asked for first; what a program drew comes last.
    finished.sort(key=lambda run: (run.synthetic, run.find("04_evaluation.html") is None))
    if not finished:
        return None
    packed = json.dumps(pack(finished), separators=(",", ":")).replace("<", "\\u003c")
    real = [run for run in finished if not run.synthetic]
    names = ", ".join(DX[:-1]) + f" and {DX[-1]}"
    body = f"""<h1>Test images, and what each run says of them</h1>
<p>Every image that a run of these was tested on: its label, the probabilities in per cent, and the answers of all
runs that were not trained on it. Probabilities under half a per cent are left out. There are no photographs
here; the ids are those of the <a href="https://doi.org/10.7910/DVN/DBW86T">published data</a>. The labels are {names}.
A label that all runs contradict is a candidate for a wrong one, not an error.</p>
<p><a href="index.html">All reports</a></p>
<div id="lookup"><noscript><p>This page needs its script to run.</p></noscript></div>
<script type="application/json" id="data">{packed}</script>"""
    path = folder / NAME
    files.write_text(path, pages.shell("Test images", body, synthetic=not real, more="images.js"))
    return path


def pack(finished: list[runs.Files]) -> dict[str, object]:
    """Return what runs say of their test images, in few bytes.

    Returns
    -------
    dict
        ``dx``, ``runs``: names; ``prefix``: how every image id and every lesion id begins; ``images``, ``lesions``:
        the rest of them, joined by ``|``; ``labels``: a letter an image, from ``a`` in the order of `dx`; ``said``:
        of each image, joined by ``|``, the runs' answers, separated by spaces: two characters for the run, then a
        letter and whole per cent for each diagnosis of at least half a per cent, the most probable first.
    """
    said: dict[str, list[str]] = {}
    known: dict[str, tuple[str, str]] = {}
    for place, run in enumerate(finished):
        table = predictions.check(run.read_csv("predictions.csv"))
        tested = table[table.part == "test"]
        mark = LETTERS[place // len(LETTERS)] + LETTERS[place % len(LETTERS)]
        for row, given in zip(tested.itertuples(), tested[predictions.COLUMNS].to_numpy(), strict=True):
            known.setdefault(row.image_id, (row.lesion_id, CLASSES[DX.index(row.dx)]))
            said.setdefault(row.image_id, []).append(mark + _answer(given))
    images = sorted(known)
    lesions = [known[name][0] for name in images]
    prefixes = [_prefix(names) for names in (images, lesions)]
    return {
        "dx": DX,
        "runs": [f"{run.folder.parent.name}, {run.folder.name.replace('-', ' ')}" for run in finished],
        "prefix": prefixes,
        "images": "|".join(name[len(prefixes[0]) :] for name in images),
        "lesions": "|".join(name[len(prefixes[1]) :] for name in lesions),
        "labels": "".join(known[name][1] for name in images),
        "said": "|".join(" ".join(said[name]) for name in images),
    }


def _prefix(names: list[str]) -> str:
    """Return how all names begin."""
    first, last = min(names), max(names)
    return next((first[:place] for place, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), "")


def _answer(probabilities: np.ndarray) -> str:
    shown = [(value, letter) for value, letter in zip(probabilities, CLASSES, strict=True) if value >= 0.005]
    return "".join(f"{letter}{value * 100:.0f}" for value, letter in sorted(shown, reverse=True))
