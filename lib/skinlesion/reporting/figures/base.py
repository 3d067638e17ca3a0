"""What all figures share: one colour a class, a picture with a text for who cannot see it, and galleries."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skinlesion.data.dataset import DX

COLOURS = dict(zip(DX, ["#0173b2", "#de8f05", "#029e73", "#949494", "#d55e00", "#56b4e9", "#cc78bc"], strict=True))
"""One colour a class, from seaborn's colour-blind-safe palette (B. Wong, Nat. Methods 8, 441 (2011))."""

PART_COLOURS = {
    "train": "#555555",
    "validation": "#0173b2",
    "calibration": "#029e73",
    "test": "#d55e00",
    "vault": "#a3529b",
}

INK = "#1f2430"
MUTED = "#6b7280"
SPLIT_COLOURS = {"by image": "#0173b2", "by lesion": INK}

STYLE = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Picture:
    """A figure with its alternative text, shown by a notebook as a PNG that carries it.

    Attributes
    ----------
    figure
        What is drawn.
    alt
        What it shows, in a sentence, for a reader who cannot see it.
    resolution
        In dots per inch.
    """

    figure: Figure
    alt: str
    resolution: int = 150  # sharp on a laptop, and a page stays well under 2 MB

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=self.resolution, facecolor="white")
        png = base64.b64encode(buffer.getvalue()).decode()
        width = round(self.figure.get_figwidth() * 96)
        return {"image/png": png, "text/plain": self.alt}, {"image/png": {"alt": self.alt, "width": width}}


def gallery(images: np.ndarray | Sequence[np.ndarray], titles: Sequence[str], *, columns: int, alt: str) -> Picture:
    """Draw images in a grid.

    Parameters
    ----------
    images
        uint8 of shape (n, H, W, 3), or float in [0, 1]; or a list of such of (H, W, 3).
    titles
        One line each.
    """
    rows = -(-len(images) // columns)
    figure, axes = blank(9, rows * (9 / columns + 0.3), rows=rows, columns=columns)
    for axis in axes:
        axis.axis("off")
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=7, fontweight="normal", loc="center")
    return Picture(figure, alt, resolution=90)  # photographs do not compress as lines do


def blank(
    width: float, height: float, *, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure that no global state knows of, and its axes in reading order."""
    with sns.plotting_context(rc=STYLE), sns.axes_style("ticks", rc=STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    return figure, list(axes.flat)


def forest(axis: Axes, rows: pd.DataFrame, *, colours: Sequence[str]) -> None:
    """Draw one point with its interval per row, from top to bottom."""
    for place, (row, colour) in enumerate(zip(rows.itertuples(), colours, strict=True)):
        axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.5, alpha=0.7)
        axis.plot(row.value, place, "o", color=colour, markersize=4.5, clip_on=False)
    axis.set(yticks=range(len(rows)), yticklabels=rows.index, ylim=(len(rows) - 0.5, -0.5))
    axis.grid(axis="x", color="#e5e7eb", linewidth=0.7)
    axis.set_axisbelow(True)


def direct_labels(axis: Axes, x: float, ends: dict[str, float]) -> None:
    """Name each line at its end, the upper one above and the lower one below, so that they never meet."""
    upper = max(ends, key=ends.__getitem__)
    for name, value in ends.items():
        offset = 5 if name == upper else -5
        axis.annotate(
            name,
            (x, value),
            xytext=(0, offset),
            textcoords="offset points",
            ha="right",
            va="bottom" if offset > 0 else "top",
            color=PART_COLOURS[name],
            fontsize=8,
        )
