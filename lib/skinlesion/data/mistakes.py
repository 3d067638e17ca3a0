"""Mistakes of protocol that print high scores, made on purpose: each changes how a split is drawn.

They are off by default. A study that makes one has a vault: lesion groups that no mistake touches, which say what its
network is worth.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.parameters import Parameters

MISTAKES = {
    "test_by_image": "test images are drawn one by one, so that other images of their lesions are trained on; lesions "
    "apart select the epoch",
    "by_image": "images are drawn one by one for every part, so that images of one lesion are trained on, select the "
    "epoch and are tested",
    "oversampled": "images are copied until every diagnosis has as many, and split after that: copies of one image are "
    "trained on, select the epoch and are tested",
    "augmented": "altered copies of images are added until every diagnosis has as many, and split after that: views of "
    "one image are trained on, select the epoch and are tested",
    "all": "altered copies are added, then everything is split, and the epoch is selected on the test part itself",
}
"""What each value of the parameter ``mistake`` does."""

COPIED = ("oversampled", "augmented", "all")
"""Mistakes that add copies of images before the split."""

ALTERED = ("augmented", "all")
"""Mistakes whose copies are altered, by the study's own augmentation."""

MARK = "+"
"""Stands between an image's id and the number of its copy: ``ISIC_0027419+2``."""


def unit(table: pd.DataFrame, parameters: Parameters, part: str) -> pd.Series:
    """Return what is drawn as one for a part: rows, or their lesion groups; indexed as `table`."""
    if parameters.mistake is None:
        alone = parameters.split_by == "image"
    else:
        alone = parameters.mistake != "test_by_image" or part == "test"
    return table.image_id if alone else table.lesion_group


def selecting(mistake: str | None) -> str:
    """Return the part on which the epoch is selected."""
    return "test" if mistake == "all" else "validation"


def copies(table: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return copies of rows, drawn with replacement, of which every diagnosis gets as many as it lacks to the largest.

    Parameters
    ----------
    table
        image_id, dx and more.

    Returns
    -------
    pandas.DataFrame
        The rows of `table` that are copied, with ids of their own: the image's, :data:`MARK`, the number of the copy.
    """
    sizes = table.dx.value_counts()
    rng = np.random.default_rng([seed, 0])
    drawn = [
        table[table.dx == dx].sample(sizes.max() - sizes[dx], replace=True, random_state=rng)
        for dx in sorted(sizes.index)
    ]
    made = pd.concat(drawn)
    number = made.groupby("image_id").cumcount() + 1
    return made.assign(image_id=made.image_id + MARK + number.astype(str))


def original(image_id: pd.Series) -> pd.Series:
    """Return the id of the image that each row is, or is a copy of."""
    return image_id.str.partition(MARK)[0]


def rows(split: pd.DataFrame, metadata: pd.DataFrame) -> np.ndarray:
    """Return the place in `metadata` of the image that each row of a split is, or is a copy of: int64 (len(split),).

    An image that the table does not have gets -1.
    """
    return pd.Index(metadata.image_id).get_indexer(original(split.image_id))
