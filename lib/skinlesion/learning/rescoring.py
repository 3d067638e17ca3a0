"""Whether published probabilities are those of the published network: its test images scored again, and compared.

Everything else that is verified can be made up by whoever makes all of it up; what a network says of an image cannot.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion import files
from skinlesion.data import archives, images
from skinlesion.data.dataset import Dataset
from skinlesion.errors import StudyError
from skinlesion.learning import inference
from skinlesion.runs import Files
from skinlesion.scoring.predictions import APART, COLUMNS

NETWORK = "model.safetensors"


class RescoringError(StudyError):
    """The images at hand are not those that the run was trained on: nothing can be compared."""


def faults(run: Files, data: Dataset) -> tuple[list[str], str]:
    """Score the test images of a run again with its network.

    Parameters
    ----------
    run
        A published run with its network.
    data
        The data it was trained on. The images of its test part are decoded, no others.

    Returns
    -------
    tuple
        What differs, a line each, empty where nothing does; and what was compared, in words.

    Raises
    ------
    RescoringError
        If the data is not that of the manifest, by its title.
    skinlesion.errors.StudyError
        If a file, an image or the network cannot be read.
    """
    manifest, path = run.manifest, run.require(NETWORK)
    if data.title != manifest["data"]["title"]:
        raise RescoringError(f"the run is of {manifest['data']['title']}, and {data.folder} holds {data.title}")
    model, facts = inference.load(path)
    table, split = run.read_csv("predictions.csv"), run.read_csv("split.csv")
    said = table[table.part == "test"].reset_index(drop=True)
    if lacking := sorted(set(said.image_id) - data.members.keys()):
        return [f"predictions.csv has {len(lacking)} test images that the data has not, {lacking[0]} among them"], ""
    tested = data.metadata[data.metadata.image_id.isin(said.image_id)].reset_index(drop=True)
    part = split[split.image_id.isin(said.image_id)].reset_index(drop=True)
    store, views = _decode(data, tested, facts), facts["views"]
    again = inference.predict_parts(model, store, metadata=tested, split=part, parts=("test",), views=views)
    found = [] if files.sha256(path) == manifest.get("network") else [f"{NETWORK} is not the network of manifest.json"]
    if again.image_id.tolist() != said.image_id.tolist():
        return [*found, "predictions.csv has other test images than split.csv"], ""
    apart = np.abs(again[COLUMNS].to_numpy() - said[COLUMNS].to_numpy()).max(axis=1)
    if (apart > APART).any():
        worst = int(apart.argmax())
        found.append(
            f"of {(apart > APART).sum()} of {len(said)} test images the network says something else than "
            f"predictions.csv, most of {said.image_id[worst]} (by {apart[worst]:.3g})"
        )
    return found, f"{len(said)} test images scored again, at most {apart.max():.2g} apart (tolerance {APART:g})"


def _decode(data: Dataset, rows: pd.DataFrame, facts: dict) -> np.ndarray:
    """Return some images as the store has them: uint8 of shape (n, size, size, 3)."""
    size = facts["image_size"]
    pixels = np.empty((len(rows), size, size, 3), np.uint8)
    places: dict[Path, list[int]] = {}
    for place, image_id in enumerate(rows.image_id):
        places.setdefault(data.members[image_id].container, []).append(place)
    for container, inside in places.items():
        with archives.open_container(container) as read:
            for place in inside:
                image_id = rows.image_id[place]
                member = data.members[image_id]
                try:
                    pixels[place] = images.decode(read(member.name), size=size, resize=facts["resize"])
                except archives.DatasetError as error:
                    raise archives.undecodable(image_id, member, error) from error
    return pixels
