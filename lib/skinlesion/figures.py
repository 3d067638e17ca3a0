"""Every figure of the study: one function a figure, one colour a class, and a text for who cannot see it."""

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
from matplotlib.ticker import MaxNLocator, PercentFormatter

from skinlesion import evaluation
from skinlesion.dataset import DX

COLOURS = dict(zip(DX, ["#0173b2", "#de8f05", "#029e73", "#949494", "#d55e00", "#56b4e9", "#cc78bc"], strict=True))
"""One colour a class, from seaborn's colour-blind-safe palette (B. Wong, Nat. Methods 8, 441 (2011))."""

PART_COLOURS = {"train": "#555555", "validation": "#0173b2", "test": "#d55e00"}

INK = "#1f2430"
MUTED = "#6b7280"

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


def class_counts(metadata: pd.DataFrame) -> Picture:
    """Draw images and lesions per diagnosis."""
    figure, axes = _figure(8, 3, columns=1)
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
    figure, axes = _figure(8, 2.8, columns=1)
    left = np.zeros(len(DX))
    shades = sns.color_palette("Blues", n_colors=len(share.columns) + 1)[1:]
    for shade, count in zip(shades, share.columns, strict=True):
        values = share[count].to_numpy()
        axes[0].barh(DX, values, left=left, color=shade, label=f"{count}")
        for place, (start, value) in enumerate(zip(left, values, strict=True)):
            if value > 0.06:
                dark = "white" if count > share.columns[len(share.columns) // 2] else INK
                axes[0].text(start + value / 2, place, f"{value:.0%}", ha="center", va="center", color=dark)
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
    figure, axes = _figure(9, sum(rows) * 0.24 + 0.75 * len(rows), rows=len(columns), heights=rows)
    for axis, column in zip(axes, columns, strict=True):
        share = pd.crosstab(metadata.dx, metadata[column], normalize="index").reindex(DX).fillna(0)
        order = metadata[column].value_counts().index
        sns.heatmap(
            share[order].T,
            ax=axis,
            cmap="Blues",
            vmin=0,
            vmax=1,
            cbar=False,
            annot=True,
            fmt=".0%",
            annot_kws={"fontsize": 7},
        )
        axis.set(title=f"{column}: share within each diagnosis", xlabel="", ylabel="")
        axis.tick_params(left=False, bottom=False, labelrotation=0)
    return Picture(figure, f"Heat maps of {', '.join(columns)} by diagnosis, as shares within each diagnosis.")


def ages(metadata: pd.DataFrame) -> Picture:
    """Draw the distribution of age in each diagnosis: median, quartiles and range."""
    figure, axes = _figure(8, 2.8)
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
    youngest, oldest = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    return Picture(
        figure,
        f"Box plots of age per diagnosis; medians run from {medians[youngest]:.0f} years ({youngest}) to "
        f"{medians[oldest]:.0f} ({oldest}).",
    )


def association(values: pd.Series) -> Picture:
    """Draw Cramér's V between the diagnosis and each metadata column."""
    ordered = values.sort_values()
    figure, axes = _figure(7, 0.35 * len(values) + 0.7)
    axes[0].hlines(ordered.index, 0, ordered, color=MUTED)
    axes[0].plot(ordered, ordered.index, "o", color="#0173b2")
    for name, value in ordered.items():
        axes[0].text(value + 0.02, name, f"{value:.2f}", va="center")
    axes[0].set(xlim=(0, 1), xlabel="Cramér's V with the diagnosis (0 none, 1 complete)")
    return Picture(figure, f"Association with the diagnosis; strongest is {ordered.index[-1]}.")


def gallery(images: np.ndarray, titles: Sequence[str], *, columns: int, alt: str) -> Picture:
    """Draw images in a grid.

    Parameters
    ----------
    images
        uint8 of shape (n, H, W, 3), or float in [0, 1].
    titles
        One line each.
    """
    rows = -(-len(images) // columns)
    figure, axes = _figure(9, rows * (9 / columns + 0.3), rows=rows, columns=columns)
    for axis in axes:
        axis.axis("off")
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=7, fontweight="normal", loc="center")
    return Picture(figure, alt, resolution=90)  # photographs do not compress as lines do


def parts(counts: pd.DataFrame) -> Picture:
    """Draw how the images of each diagnosis are spread over the parts of the split."""
    images = counts["images"].drop("all")
    share = images.div(images.sum(axis=1).clip(lower=1), axis=0)
    figure, axes = _figure(8, 2.8)
    left = np.zeros(len(share))
    for part in share.columns:
        axes[0].barh(share.index, share[part], left=left, color=PART_COLOURS[part], alpha=0.85)
        for place, (start, value, count) in enumerate(zip(left, share[part], images[part], strict=True)):
            if value > 0.05:
                axes[0].text(
                    start + value / 2,
                    place,
                    f"{count:,}",
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=8,
                )
        axes[0].text(left[0] + share[part].iloc[0] / 2, -0.75, part, ha="center", color=PART_COLOURS[part])
        left += share[part].to_numpy()
    axes[0].invert_yaxis()
    axes[0].set(xlabel="share of the diagnosis's images (counts inside)", xlim=(0, 1))
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    return Picture(figure, "Bars of the share of each diagnosis's images in training, validation and test.")


def similarities(pairs: pd.DataFrame, known: pd.DataFrame) -> Picture:
    """Draw how alike the pairs of :func:`skinlesion.duplicates.find` are, and which of them others have published."""
    figure, axes = _figure(8, 2.8)
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
    figure, axes = _figure(8, 3)
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


def curves(history: pd.DataFrame, *, selected: int) -> Picture:
    """Draw loss and accuracy per epoch, in training and validation, with the selected epoch marked."""
    figure, axes = _figure(9, 3.2, columns=2)
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        ends = {}
        for part in ("train", "validation"):
            values = history[f"{part}_{quantity}"]
            axis.plot(history.epoch, values, "o-", color=PART_COLOURS[part], markersize=3)
            ends[part] = values.iloc[-1]
        _direct_labels(axis, history.epoch.iloc[-1], ends)
        axis.axvline(selected, color=MUTED, linestyle=":", linewidth=1)
        axis.set(xlabel="epoch", title=quantity if quantity == "accuracy" else "loss (cross-entropy, nats)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.margins(x=0.02)
    axes[0].annotate(
        f"selected: {selected}",
        (selected, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=MUTED,
    )
    first, last = history.iloc[0], history.iloc[-1]
    return Picture(
        figure,
        f"Training loss goes from {first.train_loss:.2f} to {last.train_loss:.2f} and validation accuracy "
        f"from {first.validation_accuracy:.2f} to {last.validation_accuracy:.2f} in {len(history)} epochs.",
    )


def pace(history: pd.DataFrame) -> Picture:
    """Draw the learning rate, the throughput and the time of each epoch."""
    figure, axes = _figure(9, 2.4, columns=3)
    for axis, column, title in zip(
        axes,
        ("learning_rate", "images_per_second", "seconds"),
        ("learning rate", "training throughput (images/s)", "time per epoch (s)"),
        strict=True,
    ):
        axis.plot(history.epoch, history[column], "o-", color=PART_COLOURS["train"], markersize=3)
        axis.set(xlabel="epoch", title=title, ylim=(0, history[column].max() * 1.2))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return Picture(
        figure,
        f"Learning rate {history.learning_rate.iloc[-1]:g}, median throughput "
        f"{history.images_per_second.median():.0f} images per second, median epoch "
        f"{history.seconds.median():.1f} seconds.",
    )


def confusion(matrix: np.ndarray) -> Picture:
    """Draw a confusion matrix: shares of each row's true class, with counts."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure(6.6, 5.4)
    words = np.array(
        [[f"{s:.0%}\n{n}" if n else "" for s, n in zip(*row, strict=True)] for row in zip(share, matrix, strict=True)]
    )
    sns.heatmap(
        share, ax=axes[0], annot=words, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, square=True,
        xticklabels=DX, yticklabels=[f"{dx} (n={n})" for dx, n in zip(DX, matrix.sum(1), strict=True)],
        annot_kws={"fontsize": 8}, linewidths=0.5,
    )  # fmt: skip
    axes[0].set(xlabel="predicted", ylabel="true diagnosis")
    axes[0].tick_params(left=False, bottom=False, labelrotation=0)
    off = matrix - np.diag(np.diag(matrix))
    true, predicted = np.unravel_index(off.argmax(), off.shape)
    return Picture(
        figure,
        f"Confusion matrix; {np.trace(matrix)} of {matrix.sum()} on the diagonal, most often confused: "
        f"{DX[true]} taken for {DX[predicted]}, {off[true, predicted]} times.",
    )


def scores_per_class(table: pd.DataFrame) -> Picture:
    """Draw precision, recall and F1 of every class with their intervals."""
    scores = ("precision", "recall", "f1")
    figure, axes = _figure(9, 3, columns=3)
    for axis, score in zip(axes, scores, strict=True):
        rows = table.xs(score, level="score").reindex(DX)
        _forest(axis, rows, colours=[COLOURS[dx] for dx in DX])
        axis.set(title=score if score != "f1" else "F1", xlim=(0, 1))
        if axis is not axes[0]:
            axis.set_yticklabels([])
    return Picture(figure, "Precision, recall and F1 of each class as points with 95% intervals.")


def discrimination(labels: np.ndarray, probabilities: np.ndarray, *, areas: np.ndarray) -> Picture:
    """Draw the ROC and the precision–recall curve of each class against the rest."""
    figure, axes = _figure(9, 4.2, columns=2)
    precisions = evaluation.average_precision(labels, probabilities)
    for k, dx in enumerate(DX):
        if not (labels == k).any():
            continue
        axes[0].plot(*evaluation.roc(labels, probabilities, k), color=COLOURS[dx], label=f"{dx} {areas[k]:.2f}")
        recall, precision = evaluation.precision_recall(labels, probabilities, k)
        axes[1].plot(recall, precision, color=COLOURS[dx], label=f"{dx} {precisions[k]:.2f}")
    axes[0].plot([0, 1], [0, 1], color=MUTED, linestyle=":")
    axes[0].set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, and the area under it")
    axes[1].set(xlabel="recall", ylabel="precision", title="precision–recall, and average precision")
    for axis in axes:
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
    boxed: dict[str, Any] = {"framealpha": 0.8, "edgecolor": "none", "fontsize": 7}
    axes[0].legend(loc="lower right", **boxed)
    axes[1].legend(loc="lower left", **boxed)
    best, worst = DX[int(np.nanargmax(areas))], DX[int(np.nanargmin(areas))]
    return Picture(
        figure,
        f"ROC and precision–recall curves per class; the area under the ROC is largest for {best} "
        f"({np.nanmax(areas):.2f}) and smallest for {worst} ({np.nanmin(areas):.2f}).",
    )


def confused_pairs(pairs: pd.DataFrame, *, most: int = 12) -> Picture:
    """Draw the most frequent pairs of true and predicted class, by their share of the true class."""
    shown = pairs.head(most)
    figure, axes = _figure(8, 0.3 * len(shown) + 0.8)
    names = [f"{row.dx} taken for {row.predicted}" for row in shown.itertuples()]
    axes[0].barh(names, shown.images, color=[COLOURS[dx] for dx in shown.dx])
    for place, row in enumerate(shown.itertuples()):
        text = f" {row.images} ({row.fraction:.0%} of {row.dx}), median confidence {row.median_confidence:.2f}"
        axes[0].text(row.images, place, text, va="center", fontsize=8)
    axes[0].set(xlabel="test images", xlim=(0, shown.images.max() * 1.7 if len(shown) else 1))
    axes[0].invert_yaxis()
    return Picture(figure, f"The most frequent confusions; first is {names[0] if names else 'none'}.")


def confidence(correct: np.ndarray, confidences: np.ndarray) -> Picture:
    """Draw how confident the right and the wrong predictions are."""
    figure, axes = _figure(8, 2.6)
    bins = np.linspace(0, 1, 21).tolist()
    for which, colour, name in ((correct, "#0173b2", "right"), (~correct, "#d55e00", "wrong")):
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
    """Draw a score of every subgroup with its interval, beside the overall score."""
    names = [f"{row.column}: {row.group} (n={row.images:,})" for row in table.itertuples()]
    figure, axes = _figure(8, 0.24 * len(table) + 0.9)
    rows = pd.DataFrame(
        {
            "value": table[score].to_numpy(),
            "low": table[f"{score}_low"].to_numpy(),
            "high": table[f"{score}_high"].to_numpy(),
        },
        index=names,
    )
    blocks = (table.column != table.column.shift()).cumsum()
    _forest(axes[0], rows, colours=[INK if block % 2 else "#0173b2" for block in blocks])
    axes[0].axvline(overall, color=MUTED, linestyle=":")
    axes[0].set(xlabel=f"{score.replace('_', ' ')} (dotted: all test images, {overall:.2f})", xlim=(0, 1))
    for place in np.flatnonzero(rows.value.isna()).tolist():
        axes[0].text(0.01, place, "too few images to score", va="center", fontsize=7, color=MUTED)
    return Picture(figure, f"{score.replace('_', ' ')} of {len(table)} subgroups with 95% intervals.")


def _figure(
    width: float, height: float, *, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure that no global state knows of, and its axes in reading order."""
    with sns.plotting_context(rc=STYLE), sns.axes_style("ticks", rc=STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    return figure, list(axes.flat)


def _forest(axis: Axes, rows: pd.DataFrame, *, colours: Sequence[str]) -> None:
    """Draw one point with its interval per row, from top to bottom."""
    for place, (row, colour) in enumerate(zip(rows.itertuples(), colours, strict=True)):
        axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.5, alpha=0.7)
        axis.plot(row.value, place, "o", color=colour, markersize=4.5)
    axis.set(yticks=range(len(rows)), yticklabels=rows.index, ylim=(len(rows) - 0.5, -0.5))
    axis.grid(axis="x", color="#e5e7eb", linewidth=0.7)
    axis.set_axisbelow(True)


def _direct_labels(axis: Axes, x: float, ends: dict[str, float]) -> None:
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
