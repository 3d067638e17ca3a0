"""The figures of notebook 04."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from skinlesion.data.dataset import DX
from skinlesion.reporting.figures.base import COLOURS, INK, LINES, MUTED, PART_COLOURS, Picture, blank, forest, heat
from skinlesion.reporting.tables import heading
from skinlesion.scoring import evaluation


def confusion(matrix: np.ndarray) -> Picture:
    """Draw a confusion matrix: shares of each row's true class, with counts."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, axes = blank(6.6, 5.4)
    words = np.array(
        [[f"{s:.0%}\n{n}" if n else "" for s, n in zip(*row, strict=True)] for row in zip(share, matrix, strict=True)]
    )
    names = [f"{dx} (n={n})" for dx, n in zip(DX, matrix.sum(1), strict=True)]
    heat(axes[0], pd.DataFrame(share, index=names, columns=DX), words=words)
    axes[0].set(xlabel="predicted", ylabel="true diagnosis", aspect="equal")
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
    figure, axes = blank(9, 3, columns=3)
    for axis, score in zip(axes, scores, strict=True):
        rows = table.xs(score, level="score").reindex(DX)
        forest(axis, rows, colours=[COLOURS[dx] for dx in DX])
        axis.set(title=heading(score), xlim=(0, 1))
        if axis is not axes[0]:
            axis.tick_params(labelleft=False)
    return Picture(figure, "Precision, recall and F1 of each class as points with 95% intervals.")


def discrimination(labels: np.ndarray, probabilities: np.ndarray, *, areas: np.ndarray) -> Picture:
    """Draw the ROC and the precision–recall curve of each class against the rest."""
    figure, axes = blank(9, 4.2, columns=2)
    precisions = evaluation.average_precision(labels, probabilities)
    for k, dx in enumerate(DX):
        if not (labels == k).any():
            continue
        look: dict[str, Any] = {"color": COLOURS[dx], "linestyle": LINES[dx]}
        axes[0].plot(*evaluation.roc(labels, probabilities, k), **look, label=f"{dx} {areas[k]:.2f}")
        recall, precision = evaluation.precision_recall(labels, probabilities, k)
        axes[1].plot(recall, precision, **look, label=f"{dx} {precisions[k]:.2f}")
    axes[0].plot([0, 1], [0, 1], color=MUTED, linestyle=":")
    axes[0].set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, and the area under it")
    axes[1].set(xlabel="recall", ylabel="precision", title="precision–recall, and average precision")
    for axis in axes:
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
    boxed: dict[str, Any] = {"framealpha": 0.8, "edgecolor": "none", "fontsize": 8, "handlelength": 3}
    axes[0].legend(loc="lower right", **boxed)
    axes[1].legend(loc="lower left", **boxed)
    best, worst = DX[int(np.nanargmax(areas))], DX[int(np.nanargmin(areas))]
    return Picture(
        figure,
        f"ROC and precision–recall curves per class; the area under the ROC is largest for {best} "
        f"({np.nanmax(areas):.2f}) and smallest for {worst} ({np.nanmin(areas):.2f}).",
    )


def calibration(before: pd.DataFrame, after: pd.DataFrame, *, temperature: float) -> Picture:
    """Draw the reliability of the confidence, before and after temperature scaling.

    Parameters
    ----------
    before, after
        From :func:`skinlesion.scoring.calibration.reliability`.
    """
    figure, axes = blank(9, 3.6, columns=2)
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
    figure, axes = blank(9, 4, columns=2)
    colour = COLOURS.get(name, COLOURS["mel"])
    for axis, (curve, table) in zip(axes, bands.items(), strict=True):
        axis.fill_between(table.x, table.low, table.high, color=colour, alpha=0.2, linewidth=0)
        axis.plot(table.x, table.value, color=colour)
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
        axis.set_title("ROC" if curve == "roc" else "precision–recall")
    for label, (sensitivity, specificity) in chosen.items():
        axes[0].plot(1 - specificity, sensitivity, "o", color=INK, markersize=5)
        axes[0].annotate(
            label, (1 - specificity, sensitivity), xytext=(6, -4), textcoords="offset points", fontsize=8, va="top"
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
    figure, axes = blank(8, 3.4)
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
    figure, axes = blank(9, 3, columns=2)
    axes[0].plot(curve.coverage, curve.risk, color=PART_COLOURS["test"])
    axes[0].set(xlabel="share of images kept, the most confident first", ylabel="share that is wrong")
    axes[0].set(xlim=(0, 1.01), ylim=(0, None))
    rows = referral.set_index(referral.referred.map("{:.0%} referred".format))
    forest(
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
    figure, axes = blank(9, 3.4, columns=2)
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
    figure, axes = blank(8, 0.3 * len(shown) + 0.9)
    rows = shown[["difference", "low", "high"]].set_axis(["value", "low", "high"], axis=1)
    forest(axes[0], rows.set_axis([heading(name) for name in shown.index]), colours=[INK] * len(shown))
    axes[0].axvline(0, color=MUTED, linestyle=":")
    axes[0].set_xlabel(f"{second} minus {first}")
    return Picture(figure, f"Differences between {second} and {first} with 95% intervals.")
