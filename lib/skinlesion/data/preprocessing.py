"""What stands before training: the split of a run, the pairs it keeps together, and the record of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skinlesion.data import duplicates, images, splits
from skinlesion.data.dataset import Dataset
from skinlesion.runs import Run


@dataclass(frozen=True)
class Preprocessed:
    """What notebook 02 shows, and what training starts from.

    Attributes
    ----------
    split
        The part of each image, from :func:`skinlesion.data.splits.draw`.
    pairs
        Images under different lesion ids that show one lesion, from :func:`skinlesion.data.duplicates.find`.
    record
        Counts of the split, of the data's channels, and of what leaks: tables and numbers, by name.
    """

    split: pd.DataFrame
    pairs: pd.DataFrame
    record: Mapping[str, Any]

    def write(self, run: Run) -> None:
        """Write ``duplicates.csv``, ``preprocessing.json`` and, the last one, ``split.csv``."""
        run.write_csv("duplicates.csv", self.pairs)
        run.write_json("preprocessing.json", self.record)
        run.write_csv("split.csv", self.split)


def preprocess(run: Run, data: Dataset, store: np.ndarray) -> Preprocessed:
    """Search for lesions that stand under two ids, and draw the split of a run; a large data set takes minutes.

    Parameters
    ----------
    store
        The decoded images, from :func:`skinlesion.data.images.open_store`.

    Raises
    ------
    skinlesion.data.splits.SplitError
        As :func:`skinlesion.data.splits.draw`.
    """
    chosen, metadata = run.parameters, data.metadata
    pairs = duplicates.find(data, cache=run.cache)
    known = duplicates.recall(pairs, metadata)
    groups = duplicates.groups(metadata, pairs, known)
    split = splits.draw(metadata, chosen, groups=groups)
    counts = splits.counts(split, metadata)
    plain = {"folds": None, "crossover": None, "vault_fraction": 0.0, "mistake": None}
    leaks = {
        by: splits.leakage(
            splits.draw(metadata, chosen.model_copy(update={**plain, "split_by": by}), groups=groups), metadata
        )
        for by in ("image", "lesion")
    }
    some = store[:: max(1, len(store) // 1000)].reshape(-1, 3) / 255
    channels = {
        "mean here": some.mean(0),
        "mean used": images.MEAN,
        "deviation here": some.std(0),
        "deviation used": images.STD,
    }
    record = {
        "counts": {f"{what} {part}": counts[what, part].to_dict() for what, part in counts.columns},
        "left_out": splits.left_out(metadata, chosen.drawn_with) if chosen.split_by == "source" else None,
        "channels": pd.DataFrame(channels, index=["red", "green", "blue"]),
        "lesion_ids": metadata.lesion_id.nunique(),
        "lesion_groups": groups.nunique(),
        "flow": splits.flow(split, pairs=len(pairs)),
        "characteristics": splits.characteristics(split, metadata),
        "duplicate_pairs": len(pairs),
        "published_pairs": known,
        "leakage": {**leaks, "this study": splits.leakage(split, metadata)},
        "usual_leakage": splits.usual_leakage(metadata),
    }
    return Preprocessed(split, pairs, record)
