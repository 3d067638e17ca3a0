"""The figures of notebook 02."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from skinlesion.data.splits import UNUSED
from skinlesion.reporting.figures.base import COLOURS, INK, MUTED, PART_COLOURS, Picture, blank, readable


def parts(counts: pd.DataFrame) -> Picture:
    """Draw how the images of each diagnosis are spread over the parts of the split."""
    images = counts["images"].drop("all")
    share = images.div(images.sum(axis=1).clip(lower=1), axis=0)
    figure, axes = blank(8, 2.8)
    left = np.zeros(len(share))
    for part in share.columns:
        axes[0].barh(share.index, share[part], left=left, color=PART_COLOURS[part], label=part)
        for place, (start, value, count) in enumerate(zip(left, share[part], images[part], strict=True)):
            if value > 0.05:
                axes[0].text(
                    start + value / 2,
                    place,
                    f"{count:,}",
                    ha="center",
                    va="center",
                    color=readable(PART_COLOURS[part]),
                    fontsize=8,
                )
        left += share[part].to_numpy()
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=8, columnspacing=1)
    axes[0].invert_yaxis()
    axes[0].set(xlabel="share of the diagnosis's images (counts inside)", xlim=(0, 1))
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    return Picture(
        figure, "Bars of the share of each diagnosis's images in training, validation, calibration and test."
    )


def flow(counts: Mapping[str, Any], *, split: str) -> Picture:
    """Draw the way of images and lesions from the table into the parts, as a flow diagram (CONSORT, STARD).

    Parameters
    ----------
    counts
        From :func:`skinlesion.data.splits.flow`.
    split
        How the parts are drawn, in words.
    """
    figure, narrow = (_flow(counts, split, columns=columns) for columns in (len(counts["parts"]), 2))
    parts = counts["parts"]
    said = ", ".join(
        f"{found['images']:,} images of {found['lesion_groups']:,} in {part}" for part, found in parts.items()
    )
    return Picture(
        figure,
        f"Flow diagram: {counts['images']:,} images of {counts['lesion_ids']:,} lesion ids, "
        f"{counts['lesion_groups']:,} lesion groups after merging; {said}.",
        narrow=narrow,
    )


def _flow(counts: Mapping[str, Any], split: str, *, columns: int) -> Figure:
    """Draw the flow diagram with so many parts side by side."""
    parts = counts["parts"]
    rows = -(-len(parts) // columns)
    wide = columns > 2
    figure, axes = blank(9 if wide else 4.2, 2.5 + 1.3 * rows)
    axis = axes[0]
    axis.set(xlim=(0, 1), ylim=(-1.3 * rows, 2.5))
    axis.axis("off")
    text: dict[str, Any] = {"ha": "center", "fontsize": 10, "color": INK, "linespacing": 1.4}
    frame = {"boxstyle": "square,pad=0.5", "facecolor": "white", "edgecolor": INK}
    unused = parts[UNUSED]["images"] if UNUSED in parts else "none"
    steps = [
        f"The table: {counts['images']:,} images of {counts['lesion_ids']:,} lesion ids; left out: {unused}",
        f"{counts['pairs']:,} pairs of images under two ids show one lesion: {counts['lesion_groups']:,} lesion groups",
        split,
    ]
    heights = [2.25, 1.35, 0.45]
    for height, words in zip(heights, steps, strict=True):
        axis.text(0.5, height, words if wide else textwrap.fill(words, 46), va="center", bbox=frame, **text)
    arrow: dict[str, Any] = {"arrowprops": {"arrowstyle": "->", "color": MUTED}, "xycoords": "data", "text": ""}
    for above, below in pairwise(heights):
        axis.annotate(xy=(0.5, below + 0.25), xytext=(0.5, above - 0.25), **arrow)
    for number, (part, found) in enumerate(parts.items()):
        place, top = (number % columns + 0.5) / columns, -0.25 - 1.3 * (number // columns)
        words = f"{found['images']:,} images\n{found['lesion_groups']:,} lesion groups"
        if "with_sibling" in found:
            words += f"\n{found['with_sibling']:,} with a sibling in train"
        if number < columns:
            axis.annotate(xy=(place, top + 0.05), xytext=(0.5, heights[-1] - 0.25), **arrow)
        axis.text(
            place, top, part, color=PART_COLOURS.get(part, MUTED), ha="center", va="top", fontsize=11, fontweight="bold"
        )
        axis.text(place, top - 0.3, words, va="top", **text)
    return figure


def similarities(pairs: pd.DataFrame, known: pd.DataFrame) -> Picture:
    """Draw how alike the pairs of :func:`skinlesion.data.duplicates.find` are, and which others have published."""
    figure, axes = blank(8, 2.8)
    published = pairs.image_a.isin(known.image_a) & pairs.image_b.isin(known.image_b)
    for chosen, colour, label in ((~published, COLOURS["bcc"], "found here"), (published, INK, "published too")):
        some = pairs[chosen]
        axes[0].plot(some.similarity, some.inliers, "o", color=colour, alpha=0.7, label=f"{label} ({len(some)})")
    axes[0].set(xlabel="correlation after registration", ylabel="keypoints that agree")
    axes[0].legend(frameon=False, loc="upper left")
    return Picture(
        figure,
        f"{len(pairs)} pairs by correlation and agreeing keypoints; {int(published.sum())} of them are published.",
    )


def leakage(table: pd.DataFrame, *, other: pd.DataFrame, labels: tuple[str, str]) -> Picture:
    """Draw the share of test images with a sibling in training, for two splits side by side."""
    figure, axes = blank(8, 3)
    places = np.arange(len(table))
    for offset, data, alpha, label in ((-0.2, table, 1.0, labels[0]), (0.2, other, 0.4, labels[1])):
        values = data.fraction.fillna(0).to_numpy()
        colours = [COLOURS.get(name, INK) for name in data.index]
        axes[0].barh(places + offset, values, 0.38, color=colours, alpha=alpha)
        for place, value in zip(places, values, strict=True):
            axes[0].text(value, place + offset, f" {value:.0%}  {label}", va="center", fontsize=8)
    axes[0].set(yticks=places, yticklabels=table.index, xlim=(0, 1.15))
    axes[0].set_xlabel("test images with an image of the same lesion in training")
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    axes[0].invert_yaxis()
    return Picture(
        figure,
        f"Leakage per diagnosis: {table.fraction['all']:.0%} of test images for the {labels[0]}, "
        f"{other.fraction['all']:.0%} for the {labels[1]}.",
    )
