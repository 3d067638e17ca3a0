"""What makes runs differ: the split, the training, or the two together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats


def components(scores: pd.DataFrame) -> pd.DataFrame:
    """Split the variance of a score over runs that cross splits with trainings.

    A two-way layout of random effects with one run a cell (S. R. Searle, G. Casella, C. E. McCulloch, "Variance
    Components" (1992), 4.2): the expected mean square of splits is that of the two together plus the variance of splits
    as often as there are trainings, and the other way round. What is negative by chance is zero. Intervals are
    Satterthwaite's (Biometrics Bull. 2, 110 (1946)) on the degrees of freedom of each component; with few runs they are
    wide, and where a component is zero there is none.

    Parameters
    ----------
    scores
        One row a split, one column a seed of training.

    Returns
    -------
    pandas.DataFrame
        Rows split, training, both; columns deviation (the score's unit), low, high (95%), share (of the variance).
    """
    values = scores.to_numpy(dtype=float)
    splits, trainings = values.shape
    rows, columns, whole = values.mean(1), values.mean(0), values.mean()
    left = values - rows[:, None] - columns[None] + whole
    freedom = {"split": splits - 1, "training": trainings - 1, "both": (splits - 1) * (trainings - 1)}
    square = {
        "split": trainings * ((rows - whole) ** 2).sum() / freedom["split"],
        "training": splits * ((columns - whole) ** 2).sum() / freedom["training"],
        "both": (left**2).sum() / freedom["both"],
    }
    found = {}
    for name, times in (("split", trainings), ("training", splits), ("both", 1)):
        parts = (
            {"both": square["both"]}
            if name == "both"
            else {name: square[name] / times, "both": -square["both"] / times}
        )
        variance = max(0.0, sum(parts.values()))
        low = high = float("nan")
        if variance > 1e-12 * max(square.values()):  # not the dust of rounding
            degrees = variance**2 / sum(part**2 / freedom[key] for key, part in parts.items())
            with np.errstate(divide="ignore"):  # of hardly any degree of freedom there is no upper limit
                low, high = degrees * variance / stats.chi2.ppf([0.975, 0.025], degrees)
        found[name] = {"variance": variance, "deviation": variance**0.5, "low": low**0.5, "high": high**0.5}
    table = pd.DataFrame(found).T
    table["share"] = table.variance / table.variance.sum() if table.variance.sum() > 0 else np.nan
    return table[["deviation", "low", "high", "share"]]
