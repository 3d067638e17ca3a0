"""Every figure of the study: one function a figure, one colour a class, and a text for who cannot see it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from skinlesion.data.dataset import DX
from skinlesion.reporting.tables import heading
from skinlesion.scoring import evaluation

COLOURS = dict(zip(DX, ["#0173b2", "#de8f05", "#029e73", "#949494", "#d55e00", "#56b4e9", "#cc78bc"], strict=True))
"""One colour a class, from seaborn's colour-blind-safe palette (B. Wong, Nat. Methods 8, 441 (2011))."""

PART_COLOURS = {"train": "#555555", "validation": "#0173b2", "calibration": "#029e73", "test": "#d55e00"}

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
        middle = left[0] + share[part].iloc[0] / 2
        axes[0].text(middle, -0.75, part, ha="center", color=PART_COLOURS[part], fontsize=8)
        left += share[part].to_numpy()
    axes[0].invert_yaxis()
    axes[0].set(xlabel="share of the diagnosis's images (counts inside)", xlim=(0, 1))
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    return Picture(
        figure, "Bars of the share of each diagnosis's images in training, validation, calibration and test."
    )


def similarities(pairs: pd.DataFrame, known: pd.DataFrame) -> Picture:
    """Draw how alike the pairs of :func:`skinlesion.data.duplicates.find` are, and which others have published."""
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
        axis.margins(x=0.02, y=0.12)
    late = selected > len(history) / 2
    axes[0].annotate(
        f"selected: {selected}",
        (selected, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if late else 3, -2),
        textcoords="offset points",
        ha="right" if late else "left",
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
        axis.set(title=heading(score), xlim=(0, 1))
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
    """Draw a score of every subgroup with its interval, beside the overall score.

    Parameters
    ----------
    table
        From :func:`skinlesion.scoring.subgroups.scores`.
    """
    shown = table[table.score == score]
    names = [f"{row.column}: {row.group} (n={row.counted:,})" for row in shown.itertuples()]
    figure, axes = _figure(8, 0.24 * len(shown) + 0.9)
    _forest(axes[0], shown[["value", "low", "high"]].set_axis(names), colours=_blocks(shown.column))
    axes[0].axvline(overall, color=MUTED, linestyle=":")
    axes[0].set(xlabel=f"{heading(score)} (dotted: all test images, {overall:.2f})", xlim=(0, 1))
    for place in np.flatnonzero(shown.value.isna()).tolist():
        axes[0].text(0.01, place, "too few images to score", va="center", fontsize=7, color=MUTED)
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
    figure, axes = _figure(8, 0.24 * len(known) + 0.9)
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


def calibration(before: pd.DataFrame, after: pd.DataFrame, *, temperature: float) -> Picture:
    """Draw the reliability of the confidence, before and after temperature scaling.

    Parameters
    ----------
    before, after
        From :func:`skinlesion.scoring.calibration.reliability`.
    """
    figure, axes = _figure(9, 3.6, columns=2)
    titles = ("as the network gives it", f"temperature {temperature:.2f}, fitted on calibration")
    for axis, table, title in zip(axes, (before, after), titles, strict=True):
        filled = table[table.images > 0]
        axis.plot([0, 1], [0, 1], color=MUTED, linestyle=":")
        axis.plot(filled.confidence, filled.accuracy, color=PART_COLOURS["test"], alpha=0.4)
        axis.scatter(
            filled.confidence,
            filled.accuracy,
            s=8 + 300 * filled.images / filled.images.sum(),
            color=PART_COLOURS["test"],
        )
        axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal", title=title)
    worst = before.loc[(before.accuracy - before.confidence).abs().idxmax()]
    return Picture(
        figure,
        f"Reliability diagrams, areas by images; before scaling the largest gap is at confidence "
        f"{worst.confidence:.2f}, where accuracy is {worst.accuracy:.2f}.",
    )


def decision(bands: Mapping[str, pd.DataFrame], *, name: str, chosen: Mapping[str, tuple[float, float]]) -> Picture:
    """Draw ROC and precision–recall of a yes-or-no question with their bands, and the thresholds that were chosen.

    Parameters
    ----------
    bands
        From :func:`skinlesion.scoring.decisions.bands`.
    chosen
        What each threshold gives on the test part: sensitivity and specificity.
    """
    figure, axes = _figure(9, 4, columns=2)
    colour = COLOURS.get(name, COLOURS["mel"])
    for axis, (curve, table) in zip(axes, bands.items(), strict=True):
        axis.fill_between(table.x, table.low, table.high, color=colour, alpha=0.2, linewidth=0)
        axis.plot(table.x, table.value, color=colour)
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
        axis.set_title("ROC" if curve == "roc" else "precision–recall")
    for label, (sensitivity, specificity) in chosen.items():
        axes[0].plot(1 - specificity, sensitivity, "o", color=INK, markersize=5)
        axes[0].annotate(
            label, (1 - specificity, sensitivity), xytext=(6, -4), textcoords="offset points", fontsize=7, va="top"
        )
    axes[0].set(xlabel="1 − specificity", ylabel="sensitivity")
    axes[1].set(xlabel="recall (sensitivity)", ylabel="precision")
    figure.suptitle(f"{name} against the rest: 95% bands, lesions drawn", fontsize=10)
    return Picture(figure, f"ROC and precision–recall curves of {name} against the rest with 95% bands.")


def net_benefit(table: pd.DataFrame, *, question: str) -> Picture:
    """Draw what acting on a probability is worth, over the threshold at which one acts, beside acting on all or none.

    Parameters
    ----------
    table
        From :func:`skinlesion.scoring.decisions.net_benefit`.
    question
        What a yes is.
    """
    figure, axes = _figure(8, 3.4)
    colour = COLOURS["mel"]
    axes[0].fill_between(table.threshold, table.low, table.high, color=colour, alpha=0.2, linewidth=0)
    axes[0].plot(table.threshold, table.value, color=colour, label="the network, with its 95% band")
    axes[0].plot(table.threshold, table["all"], color=INK, label="biopsy all")
    axes[0].axhline(0, color=MUTED, linestyle=":", label="biopsy none")
    top = max(table.high.max(), table["all"].max())
    axes[0].set(
        xlabel=f"probability of {question} at which one acts", ylabel="net benefit", ylim=(-0.3 * top, 1.1 * top)
    )
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    axes[0].legend(frameon=False)
    best = (table.value > np.maximum(table["all"], 0)).mean()
    return Picture(
        figure,
        f"Net benefit of acting on the probability of {question}, of acting on all and on none, over the threshold; "
        f"the network is worth most at {best:.0%} of the thresholds.",
    )


def selective(curve: pd.DataFrame, referral: pd.DataFrame) -> Picture:
    """Draw the error rate over the share of images that is kept, and the accuracy after referring the rest."""
    figure, axes = _figure(9, 3, columns=2)
    axes[0].plot(curve.coverage, curve.risk, color=PART_COLOURS["test"])
    axes[0].set(xlabel="share of images kept, the most confident first", ylabel="share that is wrong")
    axes[0].set(xlim=(0, 1.01), ylim=(0, None))
    rows = referral.set_index(referral.referred.map("{:.0%} referred".format))
    _forest(
        axes[1], rows[["accuracy", "low", "high"]].set_axis(["value", "low", "high"], axis=1), colours=[INK] * len(rows)
    )
    axes[1].set(xlabel="accuracy on the others", xlim=(min(0.5, referral.low.min()), 1))
    last = referral.iloc[-1]
    return Picture(
        figure,
        f"Risk over coverage; with {last.referred:.0%} referred, accuracy on the others is {last.accuracy:.2f}.",
    )


def coverage(marginal: pd.DataFrame, by_class: pd.DataFrame, *, aim: float) -> Picture:
    """Draw how often conformal sets hold the true diagnosis, and their size, per class and for both calibrations."""
    figure, axes = _figure(9, 3.4, columns=2)
    for offset, table, alpha, name in ((-0.17, marginal, 1.0, "one limit"), (0.17, by_class, 0.45, "a limit a class")):
        for place, (dx, row) in enumerate(table.iterrows()):
            colour = COLOURS.get(str(dx), INK)
            axes[0].plot([row.low, row.high], [place + offset] * 2, color=colour, alpha=alpha)
            axes[0].plot(row.coverage, place + offset, "o", color=colour, alpha=alpha, markersize=4.5)
            axes[1].barh(place + offset, row.mean_size, 0.3, color=colour, alpha=alpha)
        axes[1].annotate(
            name, (table.mean_size.iloc[0], offset), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes[0].axvline(aim, color=MUTED, linestyle=":")
    for axis in axes:
        axis.set(yticks=range(len(marginal)), yticklabels=marginal.index, ylim=(len(marginal) - 0.5, -0.5))
    axes[0].set(xlim=(0, 1.02), xlabel=f"share of sets with the true diagnosis (dotted: {aim:.0%})")
    axes[1].set(xlabel="diagnoses in a set (mean)")
    return Picture(
        figure,
        f"Coverage and size of conformal sets: {marginal.coverage['all']:.2f} covered with one limit, "
        f"{by_class.coverage['all']:.2f} with a limit a class.",
    )


def differences(table: pd.DataFrame, *, first: str, second: str) -> Picture:
    """Draw the difference of two runs in every headline score, with its interval."""
    shown = table.drop(index="loss", errors="ignore")
    figure, axes = _figure(8, 0.3 * len(shown) + 0.9)
    rows = shown[["difference", "low", "high"]].set_axis(["value", "low", "high"], axis=1)
    _forest(axes[0], rows.set_axis([heading(name) for name in shown.index]), colours=[INK] * len(shown))
    axes[0].axvline(0, color=MUTED, linestyle=":")
    axes[0].set_xlabel(f"{second} minus {first}")
    return Picture(figure, f"Differences between {second} and {first} with 95% intervals.")


def claims(table: pd.DataFrame) -> Picture:
    """Draw what is claimed beside what is measured, by image and by lesion, with intervals; losses on an axis apart.

    Parameters
    ----------
    table
        The numbers of the table ``claims`` of :func:`skinlesion.paper.claims.make`.
    """
    figure, axes = _figure(9, 2.8, columns=2)
    said = []
    for axis, rows in zip(axes, (table[table.score != "loss"], table[table.score == "loss"]), strict=True):
        names = list(dict.fromkeys(rows.claim))
        for place, name in enumerate(names):
            for row in rows[rows.claim == name].itertuples():
                colour, at = SPLIT_COLOURS[row.split], place + (-0.14 if row.split == "by image" else 0.14)
                axis.plot([row.low, row.high], [at, at], color=colour, linewidth=1.5, alpha=0.7)
                axis.plot(row.mean, at, "o", color=colour, markersize=4.5)
                right = row.mean > row.preprint  # away from the claim's line
                axis.annotate(
                    f"{row.split} {row.mean:.2f}" if row.mean == row.mean else f"{row.split}: not measured",
                    (row.high if right else row.low if row.low == row.low else row.preprint, at),
                    xytext=(6 if right else -6, 0),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    va="center",
                    color=colour,
                    fontsize=8,
                )
                said.append(f"{name} {row.split} " + (f"{row.mean:.2f}" if row.mean == row.mean else "not measured"))
            claimed = rows.preprint[rows.claim == name].iloc[0]
            axis.plot([claimed, claimed], [place - 0.35, place + 0.35], color=PART_COLOURS["test"], linewidth=2)
            axis.text(
                claimed, place - 0.38, f"claimed {claimed:.2f}", color=PART_COLOURS["test"], ha="center", fontsize=8
            )
        known = rows[["low", "preprint"]].min().min(), rows[["high", "preprint"]].max().max()
        room = max(known[1] - known[0], 0.1)
        axis.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.65))
        axis.set(xlim=(known[0] - 0.55 * room, known[1] + 0.55 * room))
        axis.set_xlabel("loss (nats): less is better" if "loss" in names else "score: more is better")
    return Picture(figure, f"Claims beside measured scores: {', '.join(said)}.")


def curves_of_runs(histories: Mapping[str, Mapping[int, pd.DataFrame]]) -> Picture:
    """Draw loss and accuracy per epoch of every seed, a row of axes a kind of split.

    Parameters
    ----------
    histories
        By kind of split and seed; not all may be empty.
    """
    shown = {name: runs for name, runs in histories.items() if runs}
    figure, axes = _figure(9, 2.6 * len(shown), rows=len(shown), columns=2)
    for k, (name, runs) in enumerate(shown.items()):
        for axis, quantity in zip(axes[2 * k : 2 * k + 2], ("loss", "accuracy"), strict=True):
            for history in runs.values():
                ends = {}
                for part in ("train", "validation"):
                    values = history[f"{part}_{quantity}"]
                    axis.plot(history.epoch, values, "-", color=PART_COLOURS[part], linewidth=1.2, alpha=0.8)
                    ends[part] = values.iloc[-1]
            _direct_labels(axis, history.epoch.iloc[-1], ends)
            unit = " (cross-entropy, nats)" if quantity == "loss" else ""
            axis.set(xlabel="epoch", title=f"{name}: {quantity}{unit}")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.margins(x=0.02, y=0.12)
    count = ", ".join(f"{len(runs)} {name}" for name, runs in shown.items())
    return Picture(figure, f"Loss and accuracy per epoch, in training and validation, of every run: {count}.")


def effects(table: pd.DataFrame) -> Picture:
    """Draw the effect of single choices on some scores: mean, interval, and as ticks the lowest and the highest seed.

    Parameters
    ----------
    table
        The numbers of the table ``effects`` of :func:`skinlesion.paper.claims.make`; at least one row.
    """
    names = evaluation.names("effects")
    figure, axes = _figure(9, 0.35 * table.difference.nunique() + 1.0, columns=len(names))
    for axis, name in zip(axes, names, strict=True):
        rows = table[table.score == name].set_index("difference").rename(columns={"mean": "value"})
        _forest(axis, rows, colours=[INK] * len(rows))
        for end in (rows.minimum, rows.maximum):
            axis.plot(end, range(len(rows)), "|", color=PART_COLOURS["test"], markersize=9)
        axis.axvline(0, color=MUTED, linestyle=":")
        axis.set_xlabel(heading(name))
        axis.tick_params(labelleft=axis is axes[0])
    return Picture(
        figure, f"Effects of {', '.join(dict.fromkeys(table.difference))}, with 95% intervals and range of the seeds."
    )


def attention(table: pd.DataFrame) -> Picture:
    """Draw the share of the saliency on the lesion per class, for hits and misses, beside the lesion's area.

    Parameters
    ----------
    table
        From :func:`skinlesion.probing.saliency.on_lesion`.
    """
    figure, axes = _figure(8, 3.4)
    for offset, outcome, mark in ((-0.17, "hit", "o"), (0.17, "miss", "X")):
        for place, dx in enumerate(DX):
            row = table[(table.dx == dx) & (table.outcome == outcome)].iloc[0]
            if row.images:
                axes[0].plot([row.low, row.high], [place + offset] * 2, color=COLOURS[dx], alpha=0.7)
                axes[0].plot(row.value, place + offset, mark, color=COLOURS[dx], markersize=6)
                axes[0].plot(row["area"], place + offset, "|", color=INK, markersize=9)
                axes[0].text(1.01, place + offset, f"{outcome} (n={row.images})", va="center", fontsize=7)
    axes[0].set(yticks=range(len(DX)), yticklabels=DX, ylim=(len(DX) - 0.5, -0.5), xlim=(0, 1))
    axes[0].set_xlabel(
        "share of the saliency on the lesion (dots: hits; crosses: misses; bars: the lesion's share of the frame)"
    )
    return Picture(figure, "Share of Grad-CAM on the lesion per class, for hits and misses, beside the lesion's area.")


def corruptions(table: pd.DataFrame, *, score: str = "balanced_accuracy") -> Picture:
    """Draw a score over the severity of each corruption."""
    names = list(dict.fromkeys(table.corruption))
    figure, axes = _figure(9, 4, rows=2, columns=-(-len(names) // 2))
    top = float(table[["accuracy", score]].max(axis=None))
    for axis, name in zip(axes, names, strict=False):
        rows = table[table.corruption == name]
        axis.plot(rows.severity, rows[score], "o-", color=PART_COLOURS["test"], markersize=3)
        axis.plot(rows.severity, rows.accuracy, color=MUTED, linewidth=1)
        axis.set(title=name, ylim=(0, top * 1.1), xticks=[0, 2, 4])
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
    figure, axes = _figure(9, 3.4, columns=3)
    for dx in DX:
        at = (cases.dx == dx).to_numpy()
        axes[0].scatter(points[at, 0], points[at, 1], s=5, color=COLOURS[dx], label=dx, alpha=0.8)
    sources = sorted(set(cases.dataset))
    for source, colour in zip(sources, sns.color_palette("colorblind", len(sources)), strict=True):
        at = (cases.dataset == source).to_numpy()
        axes[1].scatter(points[at, 0], points[at, 1], s=5, color=colour, label=source, alpha=0.8)
    axes[2].scatter(points[right, 0], points[right, 1], s=4, color="#c9ced6", label="right")
    axes[2].scatter(points[~right, 0], points[~right, 1], s=5, color=PART_COLOURS["test"], label="wrong")
    for axis, title in zip(axes, ("diagnosis", "source", "right or wrong"), strict=True):
        axis.set(title=title, xticks=[], yticks=[])
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4 if title == "diagnosis" else 2, frameon=False,
                    fontsize=7, markerscale=2, handletextpad=0.1, columnspacing=0.8)  # fmt: skip
    return Picture(
        figure, f"Map of {len(points)} test images by the network's features, by diagnosis, source and error."
    )


def doubt(table: pd.DataFrame, *, column: str) -> Picture:
    """Draw the share of images whose label is in doubt, per group."""
    figure, axes = _figure(8, 0.35 * len(table) + 0.8)
    axes[0].barh(table.index.astype(str), table.fraction, color=PART_COLOURS["validation"])
    for place, row in enumerate(table.itertuples()):
        axes[0].text(row.fraction, place, f" {row.candidates} of {row.images:,}", va="center", fontsize=8)
    axes[0].set(
        xlabel=f"share of the {heading(column)}'s images with a label in doubt",
        xlim=(0, table.fraction.max() * 1.3 or 1),
    )
    axes[0].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].invert_yaxis()
    return Picture(figure, f"Share of images with a label in doubt, by {heading(column)}.")


def overlays(pixels: np.ndarray, maps: np.ndarray, masks: np.ndarray, titles: Sequence[str], *, alt: str) -> Picture:
    """Draw images with their saliency as contours and the outline of the lesion.

    Parameters
    ----------
    pixels, maps, masks
        Of shapes (n, H, W, 3), (n, H, W) and (n, H, W).
    """
    columns = 5
    rows = -(-len(pixels) // columns)
    figure, axes = _figure(9, rows * (9 / columns + 0.3), rows=rows, columns=columns)
    for axis in axes:
        axis.axis("off")
    for axis, image, saliency, mask, title in zip(axes, pixels, maps, masks, titles, strict=False):
        axis.imshow(image)
        axis.imshow(saliency, cmap="inferno", alpha=0.45, vmin=0, vmax=1)
        if mask.any() and not mask.all():
            axis.contour(mask, levels=[0.5], colors="white", linewidths=1)
        axis.set_title(title, fontsize=7, fontweight="normal", loc="center")
    return Picture(figure, alt, resolution=70)


def _blocks(column: pd.Series) -> list[str]:
    """Return a colour for each row that changes where the column of the groups does."""
    return [INK if block % 2 else "#0173b2" for block in (column != column.shift()).cumsum()]


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
        axis.plot(row.value, place, "o", color=colour, markersize=4.5, clip_on=False)
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
