"""Which image trains, which selects, which calibrates, which tests; and what leaks between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from skinlesion.data import mistakes
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.parameters import Parameters

PARTS = ("train", "validation", "calibration", "test")
"""What learns; what the epoch is selected on; what temperature, thresholds and sets are fitted on; what is scored."""

VAULT = "vault"
"""The part that a study with ``vault_fraction`` sets apart before anything else, and that is scored once."""

VAULT_SEED = 0
"""Draws the vault: the same lesion groups whatever the run's seed."""

SCORED = (*PARTS[1:], VAULT)
"""The parts that are not trained on."""

UNUSED = "unused"
"""The part of images that are left out."""


class SplitError(StudyError):
    """The split cannot be drawn or does not fit the data."""


def draw(metadata: pd.DataFrame, parameters: Parameters, *, groups: pd.Series | None = None) -> pd.DataFrame:
    """Draw the study's split, stratified by diagnosis, from its seed.

    A split by image draws images. A split by lesion draws lesion groups, whose images stay together. With ``folds`` the
    test part is one fold of a cross-validation: seeds 0 … folds-1 are the folds of one partition, the next ones of
    another. A split by source tests on one of the sources (``dataset``), the seed says which in alphabetical order; the
    rest is split by lesion group, and images of a group that is tested are left out. The two runs of a ``crossover``
    test the same images, one of each lesion group that has several; run a trains on the other images of a random half
    of these groups, run b on those of the other half, and both on the groups with one image. A vault is drawn first, by
    lesion group and the same for every seed; the fractions are of what it leaves. A ``mistake`` of
    :data:`skinlesion.data.mistakes.MISTAKES` is made on what it leaves. With ``train_share`` that share of the lesion
    groups of each diagnosis trains, and the rest of the training part is left out.

    Parameters
    ----------
    metadata
        The table; ``image_id``, ``lesion_id`` and ``dx`` are used.
    groups
        The lesion group of each row, from :func:`skinlesion.data.duplicates.groups`; by default its ``lesion_id``.

    Returns
    -------
    pandas.DataFrame
        image_id, lesion_id, lesion_group, part (one of :data:`PARTS`; by source and in a crossover also unused, or
        vault), in the table's order; copies that a mistake makes come after it, with ids of their own.

    Raises
    ------
    SplitError
        If a diagnosis has too few images or lesions for every part.
    """
    table = metadata[["image_id", "lesion_id", "dx"]].assign(
        lesion_group=metadata.lesion_id if groups is None else groups.to_numpy(), part="train"
    )
    if parameters.vault_fraction:
        once = _draw(table.lesion_group, table, parameters.vault_fraction, seed=VAULT_SEED, part=VAULT)
        table.loc[table.lesion_group.isin(once), "part"] = VAULT
    if parameters.mistake in mistakes.COPIED:
        added = mistakes.copies(table[table.part != VAULT], seed=parameters.drawn_with)
        table = pd.concat([table, added], ignore_index=True)
    left = 1.0
    for part in ("test", "validation", "calibration"):
        unit = mistakes.unit(table, parameters, part)
        free = table.part == "train"
        share = getattr(parameters, f"{part}_fraction")
        if part == "test":
            drawn, share = _test(unit, table, metadata, parameters, share)
        else:
            drawn = _draw(unit[free], table[free], share / left, seed=parameters.drawn_with, part=part)
        table.loc[free & unit.isin(drawn), "part"] = part
        left -= share
    if parameters.split_by == "source":
        elsewhere = metadata.dataset != left_out(metadata, parameters.drawn_with)
        table.loc[(table.part == "test") & elsewhere, "part"] = UNUSED
    if parameters.crossover:
        siblings = _siblings(table[table.part == "test"], metadata, seed=parameters.drawn_with)
        table.loc[siblings.index, "part"] = siblings.map({parameters.crossover: "train"}).fillna(UNUSED)
    trained = table[table.part == "train"]
    table.loc[trained.index[trained.lesion_group.isin(_dropped(trained, parameters))], "part"] = UNUSED
    return table[["image_id", "lesion_id", "lesion_group", "part"]]


def _dropped(trained: pd.DataFrame, parameters: Parameters) -> pd.Series:
    """Return the lesion groups beyond ``train_share`` of each diagnosis; a larger share keeps all of a smaller one."""
    order = trained.drop_duplicates("lesion_group").sample(frac=1, random_state=parameters.drawn_with)
    by = order.groupby("dx")
    kept = np.ceil(parameters.train_share * by.dx.transform("size"))
    return order.lesion_group[by.cumcount() >= kept]


def is_of(parameters: Parameters, split: pd.DataFrame, metadata: pd.DataFrame) -> bool:
    """Say whether a split is the one that some parameters draw, with its lesion groups; at most a second for folds."""
    groups = split.set_index("image_id").lesion_group.reindex(metadata.image_id).reset_index(drop=True)
    return draw(metadata, parameters, groups=groups).equals(split)


def _test(
    unit: pd.Series, table: pd.DataFrame, metadata: pd.DataFrame, parameters: Parameters, share: float
) -> tuple[pd.Series, float]:
    """Return the units that are tested, and their share as the shares of the other parts count."""
    if parameters.split_by == "source":
        return unit[metadata.dataset == left_out(metadata, parameters.drawn_with)], share
    if parameters.crossover:
        return unit[unit.duplicated()], share
    if parameters.folds:
        units = pd.DataFrame({"unit": unit, "dx": table.dx})
        return _fold(units, folds=parameters.folds, seed=parameters.drawn_with), 1 / parameters.folds
    free = table.part == "train"
    return _draw(unit[free], table[free], share, seed=parameters.drawn_with, part="test"), share


def left_out(metadata: pd.DataFrame, seed: int) -> str:
    """Return the source that a split by source tests for a seed.

    Raises
    ------
    SplitError
        If there are not two sources.
    """
    sources = sorted(set(metadata.dataset) - {"unknown"})
    if len(sources) < 2:
        raise SplitError("no source can be left out: the data has fewer than two (column `dataset`)")
    return sources[seed % len(sources)]


def _draw(unit: pd.Series, table: pd.DataFrame, fraction: float, *, seed: int, part: str) -> pd.Series:
    """Draw a share of the units, stratified by their first image's diagnosis."""
    once = pd.DataFrame({"unit": unit, "dx": table.dx}).drop_duplicates("unit")
    try:
        return train_test_split(once, test_size=fraction, stratify=once.dx, random_state=seed)[1].unit
    except ValueError as error:
        fewest = once.dx.value_counts()
        raise SplitError(
            f"no {part} part can be drawn by {str(unit.name).partition('_')[0]}: {error} "
            f"(fewest: {fewest.index[-1]}, {fewest.iloc[-1]}). Give more data or other fractions"
        ) from error


def _fold(units: pd.DataFrame, *, folds: int, seed: int) -> pd.Series:
    """Return the units of one fold; every unit is in one fold of a partition."""
    fewest = units.drop_duplicates("unit").dx.value_counts()
    if fewest.iloc[-1] < folds:
        raise SplitError(f"{folds} folds need as many of every diagnosis: {fewest.index[-1]} has {fewest.iloc[-1]}")
    partition = StratifiedGroupKFold(folds, shuffle=True, random_state=seed // folds)
    _, rows = list(partition.split(units, units.dx, units.unit))[seed % folds]
    return units.unit.iloc[rows]


def _siblings(tested: pd.DataFrame, metadata: pd.DataFrame, *, seed: int) -> pd.Series:
    """Leave one random image of each group for the test, and say of the others which run of a crossover trains on them.

    Returns
    -------
    pandas.Series
        a or b, by row: half of the groups each, within one of every diagnosis in every source.
    """
    shuffled = tested.sample(frac=1, random_state=seed)
    probes = shuffled.drop_duplicates("lesion_group")
    kinds = metadata.loc[probes.index, ["dx", "dataset"]]
    order = probes.lesion_group[kinds.sort_values(["dx", "dataset"], kind="stable").index]
    half = pd.Series(np.resize(["a", "b"], len(order)), index=order.to_numpy())
    return shuffled.lesion_group.drop(probes.index).map(half)


def rows(split: pd.DataFrame, metadata: pd.DataFrame, *parts: str) -> np.ndarray:
    """Return the places of the images of some parts in the table: int64, ascending.

    Raises
    ------
    SplitError
        If the split speaks of other images than the table.
    """
    if not split.image_id.equals(metadata.image_id):
        raise SplitError("split.csv was drawn for other data: run notebook 02 again")
    return np.flatnonzero(split.part.isin(parts).to_numpy())


def counts(split: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    """Return images (copies too) and lesions per diagnosis (rows, with a total) and part (columns)."""
    by = split.assign(dx=_dx(split, metadata)).groupby(["dx", "part"])
    table = pd.concat({"images": by.size().unstack(), "lesions": by.lesion_id.nunique().unstack()}, axis=1)
    table = table.reindex(DX).fillna(0).astype(int)
    parts = PARTS if VAULT not in set(split.part) else (*PARTS, VAULT)
    table = table.reindex(columns=pd.MultiIndex.from_product([["images", "lesions"], parts]), fill_value=0)
    table.loc["all"] = table.sum()
    return table


def _dx(split: pd.DataFrame, metadata: pd.DataFrame) -> np.ndarray:
    """Return the diagnosis of each row of a split."""
    return metadata.dx.to_numpy()[mistakes.rows(split, metadata)]


def flow(split: pd.DataFrame, *, pairs: int) -> dict[str, Any]:
    """Count images and lesions on their way from the table into the parts.

    Parameters
    ----------
    pairs
        Of images under different lesion ids that show one lesion.

    Returns
    -------
    dict
        images, lesion_ids, pairs, lesion_groups; parts: images (copies too) and lesion_groups of each, of the test
        part with_sibling, images with another of their lesion group in training.
    """
    parts = split.groupby("part")
    of = {
        part: {"images": len(parts.get_group(part)), "lesion_groups": parts.get_group(part).lesion_group.nunique()}
        for part in [*PARTS, VAULT, UNUSED]
        if part in parts.groups
    }
    of["test"]["with_sibling"] = int(has_sibling(split).sum())
    counts = {
        "images": mistakes.original(split.image_id).nunique(),
        "lesion_ids": split.lesion_id.nunique(),
        "pairs": pairs,
    }
    return {**counts, "lesion_groups": split.lesion_group.nunique(), "parts": of}


def characteristics(split: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    """Say who and what is in each part.

    Returns
    -------
    pandas.DataFrame
        Columns: the parts, and all. Rows (column of the table, value): images of each value; ages in years by their
        quartiles over images, and unknown, images without; images and lesion groups as (all, …).
    """
    known = metadata.drop(columns=["image_id", "lesion_id"]).iloc[mistakes.rows(split, metadata)]
    joined = pd.concat([split, known.set_axis(split.index)], axis=1)
    values = {column: list(joined[column].value_counts().index) for column in ("sex", "localization")}
    values |= {column: sorted(set(joined[column])) for column in ("dx_type", "dataset")} | {"dx": list(DX)}
    columns = {}
    for part in [*(part for part in [*PARTS, VAULT, UNUSED] if (joined.part == part).any()), "all"]:
        some = joined if part == "all" else joined[joined.part == part]
        rows: dict[tuple[str, str], float] = {
            ("all", "images"): len(some),
            ("all", "lesion groups"): some.lesion_group.nunique(),
            **{("age", name): some.age.quantile(share) for name, share in QUARTILES.items()},
            ("age", "unknown"): int(some.age.isna().sum()),
        }
        rows |= {(column, each): int((some[column] == each).sum()) for column in values for each in values[column]}
        columns[part] = pd.Series(rows, dtype=object)
    return pd.DataFrame(columns)


QUARTILES = {"lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}


def has_sibling(split: pd.DataFrame, *, part: str = "test", other: str = "train") -> pd.Series:
    """Say of each image of `part` whether an image of the same lesion group is in `other`.

    Returns
    -------
    pandas.Series
        bool, indexed by ``image_id``.
    """
    images = split[split.part == part].set_index("image_id")
    return images.lesion_group.isin(split.lesion_group[split.part == other])


def leakage(split: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    """Count the test images that have a sibling, an image of the same lesion group, in training.

    Returns
    -------
    pandas.DataFrame
        One row a diagnosis and a row ``all``: test_images, with_sibling, fraction.
    """
    leaked = has_sibling(split)
    dx = _dx(split[split.part == "test"], metadata)
    table = leaked.groupby(dx).agg(test_images="size", with_sibling="sum").reindex(DX).fillna(0).astype(int)
    table.loc["all"] = table.sum()
    table["fraction"] = table.with_sibling / table.test_images.where(table.test_images > 0)
    return table


def usual_leakage(
    metadata: pd.DataFrame, *, groups: pd.Series | None = None, test_fraction: float = 0.2, seeds: int = 50
) -> pd.DataFrame:
    """Measure what leaks in the usual split, by image, stratified, into training and test: over many seeds.

    Returns
    -------
    pandas.DataFrame
        One row a diagnosis and a row ``all``: mean, deviation (between seeds), lowest and highest of the
        fraction of test images with a sibling in training.
    """
    group = (metadata.lesion_id if groups is None else groups).to_numpy()
    split = pd.DataFrame({"image_id": metadata.image_id, "lesion_group": group})
    fractions = []
    for seed in range(seeds):
        train, _ = train_test_split(split.index, test_size=test_fraction, stratify=metadata.dx, random_state=seed)
        part = np.where(split.index.isin(train), "train", "test")
        fractions.append(leakage(split.assign(part=part), metadata).fraction)
    table = pd.concat(fractions, axis=1)
    return pd.DataFrame(
        {
            "mean": table.mean(axis=1),
            "deviation": table.std(axis=1),
            "lowest": table.min(axis=1),
            "highest": table.max(axis=1),
        }
    )
