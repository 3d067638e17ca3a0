"""Tables as a reader sees them: a caption that says what they are of, intervals beside values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler


def frame(columns: Mapping[str, Any], *, index: Sequence[str] | None = None) -> pd.DataFrame:
    """Return columns as a table; they bring an index of their own, or share the one given."""
    if index is None:
        columns = {name: pd.Series(values) for name, values in columns.items()}
    return pd.DataFrame(columns, index=index)


def show(frame: pd.DataFrame, *, caption: str, digits: int = 3, index: bool = True) -> Styler:
    """Return a table for a notebook to show.

    Parameters
    ----------
    frame
        What it holds; floats are shown with `digits` digits, whole numbers with thousands separated, and
        what is missing as a dash.
    caption
        What data, which part, how many images and lesions, and what the interval is.
    """
    flat = frame.copy()
    if isinstance(flat.columns, pd.MultiIndex):
        flat.columns = [": ".join(str(part) for part in column) for column in flat.columns]
    flat.columns = [str(column).replace("_", " ") for column in flat.columns]
    flat.index = pd.Index([str(name).replace("_", " ") for name in flat.index])
    styler = flat.style.set_caption(caption).format(lambda value: _word(value, digits))
    return styler if index else styler.hide(axis="index")


def with_interval(table: pd.DataFrame, *, digits: int = 3) -> pd.Series:
    """Return ``value (low–high)`` as text for each row of a table whose first columns are these three."""
    return pd.Series(
        [interval(*row[:3], digits=digits) for row in table.itertuples(index=False)],
        index=table.index,
        dtype=object,
    )


def interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """Return ``value (low–high)``, the value alone where there is no interval, a dash without a value."""
    if pd.isna(value):
        return "–"
    if pd.isna(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def median(values: np.ndarray, *, digits: int = 2) -> str:
    """Return the median of `values` as text, a dash where there are none."""
    return f"{np.median(values):.{digits}f}" if len(values) else "–"


def _word(value: object, digits: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if value != value else f"{value:,.{digits}f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value is None or value is pd.NA else str(value)
