"""A page to look an image up: its label, and what every run that was not trained on it says of it. No photographs."""

from __future__ import annotations

import json
import os
import string
from itertools import product
from pathlib import Path

from skinlesion import files, runs
from skinlesion.data.dataset import DX
from skinlesion.reporting import pages
from skinlesion.scoring import predictions

NAME = "images.html"

MARKS = ["".join(pair) for pair in product(string.ascii_uppercase + string.digits, repeat=2)]
"""What stands for each run."""

CLASSES = string.ascii_lowercase[: len(DX)]


def write(folder: Path) -> Path | None:
    """Write :data:`NAME` in `folder`, of the test images of all finished runs there; nothing where there is none.

    Returns
    -------
    pathlib.Path or None
        The page.
    """
    finished = [run for run in runs.find(folder).values() if run.finished]
    if not finished:
        return None
    # What has a report is what is asked for first; what a program drew comes last.
    finished.sort(key=lambda run: (run.synthetic, run.find("04_evaluation.html") is None))
    packed = json.dumps(pack(finished), separators=(",", ":")).replace("<", "\\u003c")
    labels = f"{', '.join(DX[:-1])} and {DX[-1]}"
    body = f"""<h1>Test images, and what each run says of them</h1>
<p>Every image that a run of these was tested on: its label, the probabilities in per cent, and the answers of all
runs that were not trained on it. Probabilities under half a per cent are left out. There are no photographs
here; the ids are those of the <a href="https://doi.org/10.7910/DVN/DBW86T">published data</a>. The labels are {labels}.
A label that all runs contradict is a candidate for a wrong one, not an error.</p>
<p><a href="index.html">All reports</a></p>
<div id="lookup"><noscript><p>This page needs its script to run.</p></noscript></div>
<script type="application/json" id="data">{packed}</script>"""
    synthetic = all(run.synthetic for run in finished)
    files.write_text(folder / NAME, pages.shell("Test images", body, synthetic=synthetic, more="images.js"))
    return folder / NAME


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
        tested = predictions.check(run.read_csv("predictions.csv")).query("part == 'test'")
        for row, given in zip(tested.itertuples(), tested[predictions.COLUMNS].to_numpy(), strict=True):
            shares = sorted(zip(given, CLASSES, strict=True), reverse=True)
            answer = "".join(f"{letter}{share * 100:.0f}" for share, letter in shares if share >= 0.005)
            known.setdefault(row.image_id, (row.lesion_id, CLASSES[DX.index(row.dx)]))
            said.setdefault(row.image_id, []).append(MARKS[place] + answer)
    images = sorted(known)
    lesions, labels = zip(*(known[name] for name in images), strict=True)
    prefixes = [os.path.commonprefix([min(names), max(names)]) for names in (images, lesions)]  # noqa: RUF071
    return {
        "dx": DX,
        "runs": [run.name.replace("/seed-", ", seed ") for run in finished],
        "prefix": prefixes,
        "images": "|".join(name.removeprefix(prefixes[0]) for name in images),
        "lesions": "|".join(name.removeprefix(prefixes[1]) for name in lesions),
        "labels": "".join(labels),
        "said": "|".join(" ".join(said[name]) for name in images),
    }
