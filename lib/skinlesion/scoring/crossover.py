"""The two runs of a crossover, read as one experiment: every tested image seen through its siblings, and unseen."""

from __future__ import annotations

import pandas as pd

from skinlesion.errors import StudyError


class CrossoverError(StudyError):
    """Two runs are no crossover; the message says why."""


def sides(
    first: pd.DataFrame, second: pd.DataFrame, *, splits: tuple[pd.DataFrame, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what is said of the tested images where siblings of theirs were trained on, and where none was.

    Each image is on both sides, once from either run; half of the images have their seen answer from the first run.

    Parameters
    ----------
    first, second
        Predictions of the two runs.
    splits
        Which image was in which part, in the first and in the second run.

    Returns
    -------
    tuple of pandas.DataFrame
        Seen and unseen: the test rows of the predictions, in the same order, with siblings (how many images of the
        lesion group the seen answer's run trained on).

    Raises
    ------
    CrossoverError
        If the runs test other images, or an image is seen in both or in neither.
    """
    tested = [table[table.part == "test"].set_index("image_id") for table in (first, second)]
    if not tested[0].index.equals(tested[1].index):
        raise CrossoverError("the two runs test other images: they are of other splits")
    counts = [
        tested[0].lesion_group.map(split.lesion_group[split.part == "train"].value_counts()).fillna(0).astype(int)
        for split in splits
    ]
    if not ((counts[0] > 0) ^ (counts[1] > 0)).all():
        raise CrossoverError("an image has siblings in the training of both runs, or of neither: this is no crossover")
    in_first = counts[0] > 0
    siblings = counts[0] + counts[1]
    seen = tested[0].where(in_first, tested[1]).assign(siblings=siblings).reset_index()
    unseen = tested[1].where(in_first, tested[0]).assign(siblings=siblings).reset_index()
    return seen, unseen
