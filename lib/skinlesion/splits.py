"""Which image trains, which selects, which tests; and what leaks between them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from skinlesion.dataset import DX
from skinlesion.parameters import Parameters

PARTS = ("train", "validation", "test")


class SplitError(ValueError):
    """The split cannot be drawn or does not fit the data."""


def draw(metadata: pd.DataFrame, parameters: Parameters) -> pd.DataFrame:
    """Draw the study's split, stratified by diagnosis, from its seed.

    A split by image draws images. A split by lesion draws lesions, and a lesion's images stay together.

    Parameters
    ----------
    metadata
        The table; ``image_id``, ``lesion_id`` and ``dx`` are used.

    Returns
    -------
    pandas.DataFrame
        image_id, lesion_id, part (train, validation or test), in the table's order.

    Raises
    ------
    SplitError
        If a diagnosis has too few images or lesions for every part.
    """
    unit = f"{parameters.split_by}_id"
    units = metadata.drop_duplicates(unit)
    parts = pd.Series("train", index=pd.Index(units[unit]))
    rest = units
    for part, fraction in (
        ("test", parameters.test_fraction),
        ("validation", parameters.validation_fraction / (1 - parameters.test_fraction)),
    ):
        try:
            rest, drawn = train_test_split(rest, test_size=fraction, stratify=rest.dx, random_state=parameters.seed)
        except ValueError as error:
            fewest = rest.dx.value_counts()
            raise SplitError(
                f"no {part} part can be drawn by {parameters.split_by}: {error} "
                f"(fewest: {fewest.index[-1]}, {fewest.iloc[-1]}). Give more data or other fractions"
            ) from error
        parts[drawn[unit]] = part
    return pd.DataFrame(
        {
            "image_id": metadata.image_id,
            "lesion_id": metadata.lesion_id,
            "part": metadata[unit].map(parts).to_numpy(),
        }
    )


def rows(split: pd.DataFrame, metadata: pd.DataFrame, part: str) -> np.ndarray:
    """Return the places of one part's images in the table: int64, ascending.

    Raises
    ------
    SplitError
        If the split speaks of other images than the table.
    """
    if not split.image_id.equals(metadata.image_id):
        raise SplitError("split.csv was drawn for other data: run notebook 02 again")
    return np.flatnonzero((split.part == part).to_numpy())


def counts(split: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    """Return images and lesions per diagnosis (rows, with a total) and part (columns)."""
    joined = split.merge(metadata[["image_id", "dx"]], on="image_id")
    by = joined.groupby(["dx", "part"])
    table = pd.concat({"images": by.size().unstack(), "lesions": by.lesion_id.nunique().unstack()}, axis=1)
    table = table.reindex(DX).fillna(0).astype(int)
    table = table.reindex(columns=pd.MultiIndex.from_product([["images", "lesions"], PARTS]), fill_value=0)
    table.loc["all"] = table.sum()
    return table


def has_sibling(split: pd.DataFrame, *, part: str = "test", other: str = "train") -> pd.Series:
    """Say of each image of `part` whether an image of the same lesion is in `other`.

    Returns
    -------
    pandas.Series
        bool, indexed by ``image_id``.
    """
    images = split[split.part == part].set_index("image_id")
    return images.lesion_id.isin(split.lesion_id[split.part == other])


def leakage(split: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    """Count the test images that have a sibling, an image of the same lesion, in training.

    Returns
    -------
    pandas.DataFrame
        One row a diagnosis and a row ``all``: test_images, with_sibling, fraction.
    """
    leaked = has_sibling(split)
    dx = metadata.set_index("image_id").dx.reindex(leaked.index)
    table = leaked.groupby(dx).agg(test_images="size", with_sibling="sum").reindex(DX).fillna(0).astype(int)
    table.loc["all"] = table.sum()
    table["fraction"] = table.with_sibling / table.test_images.where(table.test_images > 0)
    return table
