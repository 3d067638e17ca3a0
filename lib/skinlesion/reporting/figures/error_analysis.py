"""The figures of notebook 05."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from skinlesion.data.dataset import DX
from skinlesion.reporting.figures.base import COLOURS, INK, MARKS, MUTED, PART_COLOURS, Picture, blank, forest
from skinlesion.reporting.tables import heading


def confused_pairs(pairs: pd.DataFrame, *, most: int = 12) -> Picture:
    """Draw the most frequent pairs of true and predicted class, by their share of the true class."""
    shown = pairs.head(most)
    figure, axes = blank(8, 0.3 * len(shown) + 0.8)
    names = [f"{row.dx} taken for {row.predicted}" for row in shown.itertuples()]
    axes[0].barh(names, shown.images, color=[COLOURS[dx] for dx in shown.dx])
    for place, row in enumerate(shown.itertuples()):
        text = f" {row.images} ({row.fraction:.0%} of {row.dx})"
        axes[0].text(row.images, place, text, va="center", fontsize=8)
    axes[0].set(xlabel="test images", xlim=(0, shown.images.max() * 1.3 if len(shown) else 1))
    axes[0].invert_yaxis()
    return Picture(figure, f"The most frequent confusions; first is {names[0] if names else 'none'}.")


def confidence(correct: np.ndarray, confidences: np.ndarray) -> Picture:
    """Draw how confident the right and the wrong predictions are."""
    figure, axes = blank(8, 2.6)
    bins = np.linspace(0, 1, 21).tolist()
    for which, colour, name in ((correct, "#0173b2", "right"), (~correct, PART_COLOURS["test"], "wrong")):
        axes[0].hist(confidences[which], bins=bins, histtype="stepfilled", alpha=0.45, color=colour)
        if which.any():
            place = float(np.median(confidences[which]))
            axes[0].axvline(place, color=colour, linewidth=1)
            axes[0].annotate(
                f"{name}: median {place:.2f}",
                (place, 1 if name == "right" else 0.88),
                xycoords=("data", "axes fraction"),
                xytext=(-3, -2),
                textcoords="offset points",
                color=colour,
                va="top",
                ha="right",
            )
    axes[0].set(xlabel="confidence (probability of the predicted class)", ylabel="test images", xlim=(0, 1))
    return Picture(figure, "Histograms of confidence for right and wrong predictions, with their medians.")


def subgroups(table: pd.DataFrame, *, score: str, overall: float) -> Picture:
    """Draw a score of every subgroup with its interval, beside the overall score.

    Parameters
    ----------
    table
        From :func:`skinlesion.scoring.subgroups.scores`.
    """
    shown = table[table.score == score]
    names = [f"{row.column}: {row.group} (n={row.counted:,})" for row in shown.itertuples()]
    figure, axes = blank(8, 0.24 * len(shown) + 0.9)
    forest(axes[0], shown[["value", "low", "high"]].set_axis(names), colours=_blocks(shown.column))
    axes[0].axvline(overall, color=MUTED, linestyle=":")
    axes[0].set(xlabel=f"{heading(score)} (dotted: all test images, {overall:.2f})", xlim=(0, 1))
    for place in np.flatnonzero(shown.value.isna()).tolist():
        axes[0].text(0.01, place, "too few images to score", va="center", fontsize=8, color=MUTED)
    return Picture(figure, f"{heading(score)} of {len(shown)} subgroups with 95% intervals.")


def gaps(table: pd.DataFrame, *, score: str, level: float = 0.05) -> Picture:
    """Draw how far each subgroup is from the other images, largest gap first; filled where chance is ruled out.

    Parameters
    ----------
    table
        From :func:`skinlesion.scoring.subgroups.scores`.
    level
        Of the p-value after Holm's correction.
    """
    known = table[(table.score == score) & table.gap.notna()].sort_values("gap")
    figure, axes = blank(8, 0.24 * len(known) + 0.9)
    axes[0].axvline(0, color=MUTED, linestyle=":")
    for place, row in enumerate(known.itertuples()):
        sure = row.p_holm < level
        colour = PART_COLOURS["test"] if sure else MUTED
        axes[0].plot([row.gap_low, row.gap_high], [place, place], color=colour, linewidth=1.5, alpha=0.7)
        axes[0].plot(row.gap, place, "o", color=colour, markersize=4.5, markerfacecolor=colour if sure else "white")
    names = [f"{row.column}: {row.group} (n={row.counted:,})" for row in known.itertuples()]
    axes[0].set(yticks=range(len(known)), yticklabels=names, ylim=(len(known) - 0.5, -0.5))
    axes[0].set_xlabel(f"gap in {heading(score)} (filled: p < {level:g} after Holm's correction)")
    sure = int((known.p_holm < level).sum())
    return Picture(
        figure, f"Gaps in {heading(score)} of {len(known)} subgroups; {sure} are beyond chance after correction."
    )


def attention(table: pd.DataFrame) -> Picture:
    """Draw the share of the saliency on the lesion per class, for hits and misses, beside the lesion's area.

    Parameters
    ----------
    table
        From :func:`skinlesion.probing.saliency.on_lesion`.
    """
    figure, axes = blank(8, 3.4)
    for offset, outcome, mark in ((-0.17, "hit", "o"), (0.17, "miss", "X")):
        for place, dx in enumerate(DX):
            row = table[(table.dx == dx) & (table.outcome == outcome)].iloc[0]
            if row.images:
                axes[0].plot([row.low, row.high], [place + offset] * 2, color=COLOURS[dx], alpha=0.7)
                axes[0].plot(row.value, place + offset, mark, color=COLOURS[dx], markersize=6)
                axes[0].plot(row["area"], place + offset, "|", color=INK, markersize=9)
                axes[0].text(1.01, place + offset, f"{outcome} (n={row.images})", va="center", fontsize=8)
    axes[0].set(yticks=range(len(DX)), yticklabels=DX, ylim=(len(DX) - 0.5, -0.5), xlim=(0, 1))
    axes[0].set_xlabel(
        "share of the saliency on the lesion (dots: hits; crosses: misses; bars: the lesion's share of the frame)"
    )
    return Picture(figure, "Share of Grad-CAM on the lesion per class, for hits and misses, beside the lesion's area.")


def corruptions(table: pd.DataFrame, *, score: str = "balanced_accuracy") -> Picture:
    """Draw a score over the severity of each corruption."""
    names = list(dict.fromkeys(table.corruption))
    figure, axes = blank(9, 4.2, rows=2, columns=-(-len(names) // 2))
    top = float(table[["accuracy", score]].max(axis=None))
    for axis, name in zip(axes, names, strict=False):
        rows = table[table.corruption == name]
        axis.plot(rows.severity, rows[score], "o-", color=PART_COLOURS["test"], markersize=3)
        axis.plot(rows.severity, rows.accuracy, color=MUTED, linewidth=1, linestyle="--")
        axis.set(title=name, ylim=(0, top * 1.1), xticks=[0, 2, 4], xlabel="severity", ylabel="score")
    for axis in axes[len(names) :]:
        axis.axis("off")
    axes[0].annotate(heading(score), (0.05, 0.08), xycoords="axes fraction", color=PART_COLOURS["test"], fontsize=8)
    axes[0].annotate("accuracy", (0.05, 0.2), xycoords="axes fraction", color=MUTED, fontsize=8)
    last = table[table.severity == table.severity.max()].set_index("corruption")[score]
    return Picture(
        figure,
        f"{heading(score)} over the severity of {len(names)} corruptions; it falls furthest for {last.idxmin()}.",
    )


def map_of_features(points: np.ndarray, cases: pd.DataFrame, right: np.ndarray) -> Picture:
    """Draw the test images on a plane by their features: coloured by class, by source, and by error."""
    figure, axes = blank(9, 3.4, columns=3)
    for dx in DX:
        at = (cases.dx == dx).to_numpy()
        axes[0].scatter(points[at, 0], points[at, 1], s=8, color=COLOURS[dx], label=dx, alpha=0.8, marker=MARKS[dx])
    sources = sorted(set(cases.dataset))
    for source, (dx, colour) in zip(sources, COLOURS.items(), strict=False):
        at = (cases.dataset == source).to_numpy()
        axes[1].scatter(points[at, 0], points[at, 1], s=8, color=colour, label=source, alpha=0.8, marker=MARKS[dx])
    axes[2].scatter(points[right, 0], points[right, 1], s=4, color="#9aa3b0", label="right")
    axes[2].scatter(points[~right, 0], points[~right, 1], s=8, color=PART_COLOURS["test"], label="wrong", marker="x")
    for axis, title in zip(axes, ("diagnosis", "source", "right or wrong"), strict=True):
        axis.set(title=title, xticks=[], yticks=[])
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4 if title == "diagnosis" else 2, frameon=False,
                    fontsize=8, markerscale=2, handletextpad=0.1, columnspacing=0.8)  # fmt: skip
    return Picture(
        figure, f"Map of {len(points)} test images by the network's features, by diagnosis, source and error."
    )


def doubt(table: pd.DataFrame, *, column: str) -> Picture:
    """Draw the share of images that are candidates for a wrong label, per group."""
    figure, axes = blank(8, 0.35 * len(table) + 0.8)
    axes[0].barh(table.index.astype(str), table.fraction, color=PART_COLOURS["validation"])
    for place, row in enumerate(table.itertuples()):
        axes[0].text(row.fraction, place, f" {row.candidates} of {row.images:,}", va="center", fontsize=8)
    axes[0].set(
        xlabel=f"share of the {heading(column)}'s images that are candidates for a wrong label",
        xlim=(0, table.fraction.max() * 1.3 or 1),
    )
    axes[0].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].invert_yaxis()
    return Picture(figure, f"Share of images that are candidates for a wrong label, by {heading(column)}.")


def overlays(
    pixels: np.ndarray, maps: np.ndarray, masks: np.ndarray, titles: Sequence[str], *, alt: str, columns: int = 5
) -> Picture:
    """Draw images with their saliency as contours and the outline of the lesion.

    Parameters
    ----------
    pixels, maps, masks
        Of shapes (n, H, W, 3), (n, H, W) and (n, H, W).
    """
    rows = -(-len(pixels) // columns)
    figure, axes = blank(9, rows * (9 / columns + 0.3), rows=rows, columns=columns)
    for axis in axes:
        axis.axis("off")
    for axis, image, saliency, mask, title in zip(axes, pixels, maps, masks, titles, strict=False):
        axis.imshow(image)
        axis.imshow(saliency, cmap="inferno", alpha=0.45, vmin=0, vmax=1)
        if mask.any() and not mask.all():
            axis.contour(mask, levels=[0.5], colors="white", linewidths=1)
        axis.set_title(title, fontsize=8, fontweight="normal", loc="center")
    return Picture(figure, alt, photographs=True)


def _blocks(column: pd.Series) -> list[str]:
    """Return a colour for each row that changes where the column of the groups does."""
    return [INK if block % 2 else "#0173b2" for block in (column != column.shift()).cumsum()]
