"""What lies in ``reports/``, for programs: RO-Crate 1.1 metadata (doi:10.5281/zenodo.5841615).

What is said of the whole is in ``crate.json``, beside this file; here the published files are listed.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

from skinlesion import files, runs
from skinlesion.paper import evidence

NAME = "ro-crate-metadata.json"

HOLDS = {
    "split.csv.xz": "which image is in which part, and its lesion group",
    "duplicates.csv": "images of one lesion under two ids",
    "history.csv": "losses, accuracies, learning rate and time of each epoch",
    "epochs.csv": "accuracy on each part after each epoch",
    "predictions.csv.xz": "the seven probabilities of every image that was not trained on",
    "manifest.json": "parameters, commits of code and protocol, data fingerprint, versions, hardware, time",
    "eda.json": "what is in the data",
    "preprocessing.json": "counts of the split, and what it leaks",
    "metrics.json": "every number of the evaluation",
    "errors.json": "every number of the error analysis",
    "model.safetensors": "the network's weights",
    "model.onnx": "the network as ONNX, in float32",
    "model-int8.onnx": "the network as ONNX, in int8",
    "portable.csv": "accuracy, size and speed of the network's forms",
    "forms.csv.xz": "the seven probabilities of every test image, by each of the network's forms",
    "trained_on.bin": "a perceptual hash of each image that the network was trained on",
    evidence.SUMS: "SHA-256 of every other file",
}
"""What files of these names hold; other names say it themselves."""

FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".xz": "application/x-xz",
    "": "text/plain",
}


def text(folder: Path) -> str:
    """Return the metadata of ``reports/`` as JSON-LD: each published file, in the folder it lies in.

    It holds no size or hash of a file, which ``SHA256SUMS`` has.
    """
    found = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    root, published = found["@graph"][1], runs.find(folder).values()
    root["datePublished"] = max(each["started"] for run in published for each in run.manifest["sittings"])[:10]
    titles = {f"{run.name}/": f": {run.manifest['data']['title']}" for run in published}
    paths = [path.relative_to(folder) for path in evidence.published(folder) if path.name != NAME]
    paths.append(Path(evidence.SUMS))
    for parent, those in groupby(sorted(paths, key=_folder), lambda path: f"{path.parent.as_posix()}/"):
        parts = [{"@id": path.as_posix()} for path in those]
        if parent != "./":
            title = parent.rstrip("/").replace("/seed-", ", seed ") + titles.get(parent, "")
            found["@graph"].append({"@id": parent, "@type": "Dataset", "name": title, "hasPart": parts})
            parts = [{"@id": parent}]
        root["hasPart"] += parts
    found["@graph"] += map(_file, paths)
    return files.as_json(found)


def write(folder: Path) -> Path:
    """Write the metadata into ``reports/``."""
    files.write_text(folder / NAME, text(folder))
    return folder / NAME


def _folder(path: Path) -> tuple[bool, Path]:
    return path.parent == Path(), path.parent  # files of no folder come last


def _file(path: Path) -> dict[str, str]:
    kind = FORMATS.get(path.suffix, "application/octet-stream")
    said = {"description": HOLDS[path.name]} if path.name in HOLDS else {}
    return {"@id": path.as_posix(), "@type": "File", "name": path.name, "encodingFormat": kind, **said}
