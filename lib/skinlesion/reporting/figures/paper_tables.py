"""The figures of notebook 06."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from skinlesion.reporting.figures.base import (
    INK,
    MUTED,
    PART_COLOURS,
    SPLIT_COLOURS,
    Picture,
    blank,
    direct_labels,
    forest,
)
from skinlesion.reporting.tables import heading
from skinlesion.scoring import evaluation


def claims(table: pd.DataFrame) -> Picture:
    """Draw what is claimed beside what is measured, by image and by lesion, with intervals; losses on an axis apart.

    Parameters
    ----------
    table
        The numbers of the table ``claims`` of :func:`skinlesion.paper.claims.make`.
    """
    table = table[table.preprint.notna()]
    figure, axes = blank(9, 2.8, columns=2)
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
        sides = rows["mean"] < rows.preprint, rows["mean"] > rows.preprint  # where the names stand
        below, above = (1.0 if side.any() else 0.35 for side in sides)
        axis.set(xlim=(known[0] - below * room, known[1] + above * room))
        axis.set_xlabel("loss (nats): less is better" if "loss" in names else "score: more is better")
    return Picture(figure, f"Claims beside measured scores: {', '.join(said)}.", source="claims.csv")


def curves_of_runs(histories: Mapping[str, Mapping[int, pd.DataFrame]]) -> Picture:
    """Draw loss and accuracy per epoch of every seed, a row of axes a kind of split.

    Parameters
    ----------
    histories
        By kind of split and seed; not all may be empty.
    """
    shown = {name: runs for name, runs in histories.items() if runs}
    figure, axes = blank(9, 2.6 * len(shown), rows=len(shown), columns=2)
    for k, (name, runs) in enumerate(shown.items()):
        for axis, quantity in zip(axes[2 * k : 2 * k + 2], ("loss", "accuracy"), strict=True):
            for history in runs.values():
                ends = {}
                for part in ("train", "validation"):
                    values = history[f"{part}_{quantity}"]
                    axis.plot(history.epoch, values, "-", color=PART_COLOURS[part], linewidth=1.2, alpha=0.8)
                    ends[part] = values.iloc[-1]
            direct_labels(axis, history.epoch.iloc[-1], ends)
            unit = " (cross-entropy, nats)" if quantity == "loss" else ""
            axis.set(xlabel="epoch", title=f"{name}: {quantity}{unit}")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.margins(x=0.02, y=0.12)
    count = ", ".join(f"{len(runs)} {name}" for name, runs in shown.items())
    return Picture(
        figure,
        f"Loss and accuracy per epoch, in training and validation, of every run: {count}.",
        source="convergence.csv",
    )


def effects(
    table: pd.DataFrame, *, source: str = "effects.csv", names: Sequence[str] = tuple(evaluation.names("effects"))
) -> Picture:
    """Draw the effect of single choices on some scores: mean, interval, and as ticks the lowest and the highest seed.

    Parameters
    ----------
    table
        The numbers of a table of :func:`skinlesion.paper.effects.effects`; at least one difference. Where a column
        `part` names several parts, each has its colour.
    source
        The file of these numbers.
    names
        The scores that are drawn, beside each other.
    """
    if "quantity" in table:
        table = table[table.quantity == "difference"]
    colours = {part: PART_COLOURS["test" if part == "test" else "validation"] for part in table.get("part", ())}
    figure, order = _forests(table, "difference", names, group="part", colours=colours, ticks=("minimum", "maximum"))
    for axis in figure.axes:
        axis.axvline(0, color=MUTED, linestyle=":")
    on = f" on {' and '.join(colours)} images" if colours else ""
    alt = f"Effects of {', '.join(order)}{on}, with 95% intervals and range of the seeds."
    return Picture(figure, alt, source=source)


def leak(table: pd.DataFrame) -> Picture:
    """Draw what having seen a lesion in training does, by which images are tested, as :func:`effects`."""
    rows = table[table.lesion == "seen − unseen"]
    return effects(rows.assign(difference=rows["size"] + ", " + rows["tested images"]), source="leak.csv")


def ladder(table: pd.DataFrame, *, names: Sequence[str]) -> Picture | None:
    """Draw what each step changes, as :func:`effects`; nothing where no step was compared."""
    steps = table.assign(difference=table.step)
    return effects(steps, source="ladder.csv", names=names) if (table.quantity == "difference").any() else None


def best(table: pd.DataFrame) -> Picture:
    """Draw the scores of networks on the test part and on the official test, with intervals, and the aims as ticks.

    Parameters
    ----------
    table
        The numbers of the table of :func:`skinlesion.paper.best.best`.
    """
    table = table[table.quantity == "score"]
    colours = dict(zip(table.of.unique(), (PART_COLOURS["test"], INK), strict=False))
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    figure, order = _forests(table, "network", names, group="of", colours=colours, ticks=("aim",))
    alt = f"Scores of {', '.join(order)} on the {' and the '.join(colours)}, with 95% intervals; ticks are aims."
    return Picture(figure, alt, source="best.csv")


def _forests(
    table: pd.DataFrame,
    row: str,
    names: Sequence[str],
    *,
    group: str,
    colours: Mapping[str, str],
    ticks: Sequence[str],
) -> tuple[Figure, list[str]]:
    """Draw scores with intervals, a row of axes for each value of a column, a colour for each of another, and ticks."""
    order = list(dict.fromkeys(table[row]))
    figure, axes = blank(9, 0.35 * len(order) + 1.0, columns=len(names))
    for axis, name in zip(axes, names, strict=True):
        scored = table[table.score == name].rename(columns={"mean": "value"})
        for place, (of, colour) in enumerate(colours.items() or [(None, INK)]):
            rows = (scored[scored[group] == of] if of else scored).set_index(row).reindex(order)
            forest(axis, rows, colours=[colour] * len(rows), lower=place / 3)
            for tick in ticks:
                axis.plot(rows[tick], np.arange(len(rows)) + place / 3, "|", color=colour, markersize=9)
            if of and axis is axes[0]:
                axis.plot([], [], "o-", color=colour, label=of)
        axis.set_xlabel(heading(name))
        axis.tick_params(labelleft=axis is axes[0])
    if colours:
        figure.legend(loc="outside upper center", ncols=len(colours), frameon=False)
    return figure, order


def costs(table: pd.DataFrame) -> Picture | None:
    """Draw the accuracy of networks, with intervals, over the operations that one image takes.

    Parameters
    ----------
    table
        The numbers of the table of :func:`skinlesion.paper.costs.costs`; nothing is drawn where none was trained.
    """
    trained = table[table["mean"].notna()].sort_values("million_operations")
    if trained.empty:
        return None
    figure, (axis,) = blank(6, 3.2)
    said = []
    for place, row in enumerate(trained.itertuples()):
        said.append(f"{row.network} {row.mean:.2f} at {row.million_operations:.0f} million")
        axis.plot([row.million_operations] * 2, [row.low, row.high], color=MUTED, linewidth=1.5)
        axis.plot(row.million_operations, row.mean, "o", color=INK, markersize=4.5)
        axis.annotate(
            f"{row.network}, {row.megabytes:.0f} MB",
            (row.million_operations, row.high if place else row.low),  # beside an end, so that no interval is crossed
            xytext=(6, -4 if place else 0),
            textcoords="offset points",
            fontsize=8,
        )
    axis.set(xscale="log", xlabel="million operations for one image", ylabel="accuracy")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.4)
    return Picture(figure, f"Accuracy over operations: {', '.join(said)}.", source="costs.csv")
