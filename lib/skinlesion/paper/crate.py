"""What lies in ``reports/``, for programs: RO-Crate 1.1 metadata (doi:10.5281/zenodo.5841615)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from skinlesion import files, runs
from skinlesion.paper import evidence

NAME = "ro-crate-metadata.json"

SPECIFICATION = "https://w3id.org/ro/crate/1.1"

LICENCE = {
    "@id": "https://creativecommons.org/licenses/by-nc/4.0/",
    "@type": "CreativeWork",
    "name": "CC BY-NC 4.0",
    "description": "HAM10000's own terms; they hold for what is made from it.",
}

DATA = {
    "@id": "https://doi.org/10.7910/DVN/DBW86T",
    "@type": "CreativeWork",
    "name": "HAM10000",
    "license": {"@id": LICENCE["@id"]},
}

PREPRINT = {
    "@id": "#preprint",
    "@type": "ScholarlyArticle",
    "name": "Skin Disease Classification Using Deep Learning: A Preprint Study",
}

AUTHORS = {"@id": "#authors", "@type": "Organization", "name": "The authors of this study"}

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
    ".bin": "application/octet-stream",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".onnx": "application/octet-stream",
    ".safetensors": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".xz": "application/x-xz",
}


def text(folder: Path) -> str:
    """Return the metadata of ``reports/`` as JSON-LD: each published file, in the folder it lies in.

    It holds no size or hash of a file, which ``SHA256SUMS`` has.
    """
    listed = [path for path in evidence.published(folder) if path.name != NAME]
    paths = [path.relative_to(folder) for path in [*listed, folder / evidence.SUMS]]
    inside: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        inside["./" if path.parent == Path() else f"{path.parent.as_posix()}/"].append(path.as_posix())
    found = {f"{'/'.join(run.folder.parts[-2:])}/": run for run in runs.find(folder).values()}
    folders = [
        {"@id": name, "@type": "Dataset", "name": _title(name, found.get(name)), "hasPart": _links(parts)}
        for name, parts in inside.items()
        if name != "./"
    ]
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": "Does MobileNetV2 reach 92% on HAM10000? Published runs and tables",
        "description": "The files of every published run, the tables and pages that are computed from them, and the "
        "released network. No image of HAM10000 is among them.",
        "datePublished": max(each["started"] for run in found.values() for each in run.manifest["sittings"])[:10],
        "license": {"@id": LICENCE["@id"]},
        "author": {"@id": AUTHORS["@id"]},
        "publisher": {"@id": AUTHORS["@id"]},
        "isBasedOn": {"@id": DATA["@id"]},
        "citation": {"@id": PREPRINT["@id"]},
        "hasPart": _links([*(name for name in inside if name != "./"), *inside["./"]]),
    }
    head = {
        "@id": NAME,
        "@type": "CreativeWork",
        "conformsTo": {"@id": SPECIFICATION},
        "about": {"@id": "./"},
    }
    graph = [head, root, LICENCE, AUTHORS, DATA, PREPRINT, *folders, *map(_file, paths)]
    return files.as_json({"@context": f"{SPECIFICATION}/context", "@graph": graph})


def write(folder: Path) -> Path:
    """Write the metadata into ``reports/``."""
    files.write_text(folder / NAME, text(folder))
    return folder / NAME


def _title(name: str, run: runs.Files | None) -> str:
    title = name.rstrip("/").replace("/seed-", ", seed ")
    return f"{title}: {run.manifest['data']['title']}" if run else title


def _links(names: list[str]) -> list[dict[str, str]]:
    return [{"@id": name} for name in names]


def _file(path: Path) -> dict[str, str]:
    return {
        "@id": path.as_posix(),
        "@type": "File",
        "name": path.name,
        "encodingFormat": FORMATS.get(path.suffix, "text/plain"),
        **({"description": HOLDS[path.name]} if path.name in HOLDS else {}),
    }
