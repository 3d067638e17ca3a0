"""What all figures share: one colour a class, a picture with a text for who cannot see it, and galleries."""

from __future__ import annotations

import base64
import html
import io
import re
import textwrap
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colors, rc_context, rcdefaults
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skinlesion import files
from skinlesion.data.dataset import DX

rcdefaults()  # a user's matplotlibrc must change no figure

COLOURS = dict(zip(DX, ["#312c89", "#de7900", "#00473e", "#ad8f72", "#8e3100", "#0b98fa", "#b176a6"], strict=True))
"""One colour a class, as far apart for whoever sees no red or no green as for others (a test measures it)."""

LINES = dict(zip(DX, ["-", (0, (5, 1)), (0, (1, 1)), "-.", (0, (8, 2)), "--", (0, (3, 1, 1, 1, 1, 1))], strict=True))
MARKS = dict(zip(DX, "os^Dv.P", strict=True))
"""One kind of line and of mark a class, so that none is told by its colour alone."""

PART_COLOURS = {
    "train": "#555555",
    "validation": "#0173b2",
    "calibration": "#007a5a",
    "test": "#b84c00",
    "vault": "#8a3f82",
}
"""One colour a part, dark enough for words."""

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


NARROW = 3.9
"""Width in inches of a figure as a phone shows it."""


LONG = 24
"""Characters of a name beside an axis of which a phone leaves the axis enough room."""


@dataclass(frozen=True)
class Picture:
    """A figure with its alternative text, shown as SVG or PNG, whichever is smaller, and a second time for phones.

    Attributes
    ----------
    figure
        What is drawn.
    alt
        What it shows, in a sentence, for a reader who cannot see it.
    photographs
        Whether it shows photographs: these are kept as they are, and never inverted where a page is dark.
    source
        The file behind it, where it is not the page's own: its page links it.
    narrow
        What a narrow screen shows in its place; by default its axes one below the other.
    """

    figure: Figure
    alt: str
    photographs: bool = False
    source: str = ""
    narrow: Figure | None = None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        return {"text/html": self.html(), "text/plain": self.alt}, {}

    def html(self) -> str:
        """Return it as an element of a page that needs no other file."""
        width = round(self.figure.get_figwidth() * 96)
        kind, narrow = ' class="photographs"' if self.photographs else "", ""
        if not self.photographs:
            phone = stacked(self.figure) if self.narrow is None else self.narrow
            narrow = f'<source media="(max-width: 40rem)" srcset="{_address(phone)}">'
        shown = _address(self.figure, photographs=self.photographs)
        text = html.escape(self.alt[:1].upper() + self.alt[1:])
        shown = f'<img src="{shown}" alt="{text}" width="{width}">'
        return f'<picture{kind} data-source="{self.source}">{narrow}{shown}</picture>'

    def write(self, path: Path) -> None:
        """Write it as SVG on white, for a page that shows it as a file."""
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "skinlesion"}), files.atomic(path) as temporary:
            self.figure.savefig(temporary, format="svg", facecolor="white", metadata={"Date": None})


def stacked(figure: Figure) -> Figure:
    """Return a copy of a figure for a narrow screen: axes that stand side by side stand below each other."""
    copy = deepcopy(figure)
    axes = [axis for axis in copy.axes if axis.axison]
    place = axes[0].get_subplotspec()
    assert place is not None
    spec = place.get_gridspec()
    width, height = copy.get_size_inches()
    alone = all(axis.yaxis.get_tick_params()["labelleft"] for axis in axes)  # else the first one's names stand for all
    columns = max(1, round(spec.ncols * NARROW / width)) if alone else 1
    rows = -(-len(axes) // columns)
    each = height / spec.nrows
    for axis in axes:
        if columns < spec.ncols:
            axis.tick_params(labelleft=True)
        names = [label.get_text() for label in axis.get_yticklabels()]
        if max(map(len, names), default=0) > LONG:
            folded = [textwrap.fill(name, LONG) for name in names]
            axis.set_yticks(axis.get_yticks(), folded)
            each = height / spec.nrows * (2 + max(name.count("\n") for name in folded)) / 2
        axis.set_xlabel(textwrap.fill(axis.get_xlabel(), 2 * LONG))
    if any(axis.get_aspect() == 1 for axis in axes):
        each = min(each, 1.1 * NARROW / columns)
    copy.set_size_inches(NARROW, each * rows)
    if columns == spec.ncols:
        return copy
    grid = copy.add_gridspec(rows, columns)
    for number, axis in enumerate(axes):
        axis.set_subplotspec(grid[number // columns, number % columns])
    return copy


def _address(figure: Figure, *, photographs: bool = False) -> str:
    """Return a figure as a data URL; photographs do not compress as lines do, and are coarser."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "skinlesion"}):
        png, svg = io.BytesIO(), io.StringIO()
        # On no ground of its own: a dark page shows it inverted.
        figure.savefig(png, format="png", dpi=80 if photographs else 150, transparent=not photographs)
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    # Hundredths of a point are fine enough for places; words, between the tags, stay as they are.
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d{2})\d+", r"\1", tag[0]), svg.getvalue())
    text = re.sub(r"(?s)<metadata>.*?</metadata>", "", text)
    text = re.sub(r"'DejaVu Sans'(, [^;\"]+?)?, sans-serif", "'DejaVu Sans', sans-serif", text)
    text = re.sub(r"> (?=[^<\s])", ">\N{NO-BREAK SPACE}", text)  # another space before words would be lost
    if photographs or len(text) > len(png.getvalue()):
        return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"


def heat(axis: Axes, shares: pd.DataFrame, *, words: np.ndarray) -> None:
    """Draw shares from 0 to 1 as a heat map, with words in its cells that can be read on each.

    Parameters
    ----------
    words
        Text for each cell, of the shape of `shares`.
    """
    sns.heatmap(
        shares, ax=axis, annot=words, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, linewidths=0.5,
        annot_kws={"fontsize": 8},
    )  # fmt: skip
    for text, colour in zip(axis.texts, axis.collections[0].get_facecolor(), strict=True):
        text.set_color(readable(colour))
    axis.tick_params(left=False, bottom=False, labelrotation=0)


def readable(ground: Any) -> str:
    """Return black or white, whichever can be read better on a colour."""
    return max(("black", "white"), key=lambda ink: contrast(ink, ground))


def contrast(one: Any, other: Any) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.2, contrast ratio); a transparent one is on white."""
    low, high = sorted(_luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Any) -> float:
    *channels, alpha = colors.to_rgba(colour)
    shown = np.array(channels) * alpha + 1 - alpha
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


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
        axis.set_title(title, fontsize=8, fontweight="normal", loc="center")
    return Picture(figure, alt, photographs=True)


def blank(
    width: float, height: float, *, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure that no global state knows of, and its axes in reading order."""
    with sns.plotting_context(rc=STYLE), sns.axes_style("ticks", rc=STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    return figure, list(axes.flat)


def forest(axis: Axes, rows: pd.DataFrame, *, colours: Sequence[str], lower: float = 0.0) -> None:
    """Draw one point with its interval per row, from top to bottom, `lower` than its name by this much of a row."""
    for row, colour, place in zip(rows.itertuples(), colours, np.arange(len(rows)) + lower, strict=True):
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
