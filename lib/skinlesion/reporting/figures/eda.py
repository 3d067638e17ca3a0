"""The figures of notebook 01."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import PercentFormatter

from skinlesion.data.dataset import DX
from skinlesion.reporting.figures.base import COLOURS, INK, MUTED, Picture, blank, heat, readable


def class_counts(metadata: pd.DataFrame) -> Picture:
    """Draw images and lesions per diagnosis."""
    figure, axes = blank(8, 3, columns=1)
    images = metadata.dx.value_counts().reindex(DX, fill_value=0)
    lesions = metadata.groupby("dx").lesion_id.nunique().reindex(DX, fill_value=0)
    places = np.arange(len(DX))
    axes[0].barh(places - 0.2, images, 0.38, color=[COLOURS[dx] for dx in DX])
    axes[0].barh(places + 0.2, lesions, 0.38, color=[COLOURS[dx] for dx in DX], alpha=0.45)
    for place, dx in zip(places, DX, strict=True):
        axes[0].text(images[dx], place - 0.2, f" {images[dx]:,} images", va="center", fontsize=8)
        axes[0].text(lesions[dx], place + 0.2, f" {lesions[dx]:,} lesions", va="center", fontsize=8)
    axes[0].set(yticks=places, yticklabels=DX, xlabel="count", xlim=(0, images.max() * 1.15))
    axes[0].invert_yaxis()
    most = images.idxmax()
    return Picture(
        figure,
        f"Bars of images and lesions per diagnosis; {most} is the largest with {images[most]:,} images, "
        f"{images.idxmin()} the smallest with {images.min():,}.",
    )


def images_per_lesion(metadata: pd.DataFrame) -> Picture:
    """Draw how many lesions have one, two, three … images, per diagnosis."""
    sizes = metadata.groupby("lesion_id").agg(dx=("dx", "first"), images=("dx", "size"))
    table = sizes.groupby(["dx", "images"]).size().unstack(fill_value=0).reindex(DX, fill_value=0)
    share = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    figure, axes = blank(8, 2.8, columns=1)
    left = np.zeros(len(DX))
    shades = sns.color_palette("Blues", n_colors=len(share.columns) + 1)[1:]
    for shade, count in zip(shades, share.columns, strict=True):
        values = share[count].to_numpy()
        axes[0].barh(DX, values, left=left, color=shade, label=f"{count}")
        for place, (start, value) in enumerate(zip(left, values, strict=True)):
            if value > 0.06:
                ink = readable(shade)
                axes[0].text(start + value / 2, place, f"{value:.0%}", ha="center", va="center", color=ink)
        left += values
    axes[0].invert_yaxis()
    axes[0].set(xlabel="share of lesions", xlim=(0, 1))
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    axes[0].legend(title="images", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    several = (sizes.images > 1).mean()
    return Picture(figure, f"Share of lesions by number of images per diagnosis; {several:.0%} have several.")


def by_class(metadata: pd.DataFrame, columns: Sequence[str]) -> Picture:
    """Draw the composition of each diagnosis by some categorical columns, one panel a column."""
    rows = [metadata[column].nunique() for column in columns]
    figure, axes = blank(9, sum(rows) * 0.24 + 0.75 * len(rows), rows=len(columns), heights=rows)
    for axis, column in zip(axes, columns, strict=True):
        share = pd.crosstab(metadata.dx, metadata[column], normalize="index").reindex(DX).fillna(0)
        order = metadata[column].value_counts().index
        shares = share[order].T
        heat(axis, shares, words=shares.map("{:.0%}".format).to_numpy())
        axis.set(title=f"{column}: share within each diagnosis", xlabel="", ylabel="")
    return Picture(figure, f"Heat maps of {', '.join(columns)} by diagnosis, as shares within each diagnosis.")


def ages(metadata: pd.DataFrame) -> Picture:
    """Draw the distribution of age in each diagnosis: median, quartiles and range."""
    figure, axes = blank(8, 2.8)
    groups = [metadata.age[metadata.dx == dx].dropna() for dx in DX]
    boxes = axes[0].boxplot(
        groups, orientation="horizontal", widths=0.6, patch_artist=True, flierprops={"markersize": 2}
    )
    for dx, box, median in zip(DX, boxes["boxes"], boxes["medians"], strict=True):
        box.set(facecolor=COLOURS[dx], alpha=0.6)
        median.set_color(INK)
    axes[0].set(yticks=range(1, len(DX) + 1), yticklabels=DX, xlabel="age (years)")
    axes[0].invert_yaxis()
    medians = {dx: group.median() for dx, group in zip(DX, groups, strict=True) if len(group)}
    if not medians:
        return Picture(figure, "No age is known.")
    youngest, oldest = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    return Picture(
        figure,
        f"Box plots of age per diagnosis; medians run from {medians[youngest]:.0f} years ({youngest}) to "
        f"{medians[oldest]:.0f} ({oldest}).",
    )


def association(values: pd.Series) -> Picture:
    """Draw Cramér's V between the diagnosis and each metadata column."""
    ordered = values.sort_values()
    figure, axes = blank(7, 0.35 * len(values) + 0.7)
    axes[0].hlines(ordered.index, 0, ordered, color=MUTED)
    axes[0].plot(ordered, ordered.index, "o", color="#0173b2")
    for name, value in ordered.items():
        axes[0].text(value + 0.02, name, f"{value:.2f}", va="center")
    axes[0].set(xlim=(0, 1), xlabel="Cramér's V with the diagnosis (0 none, 1 complete)")
    return Picture(figure, f"Association with the diagnosis; strongest is {ordered.index[-1]}.")
