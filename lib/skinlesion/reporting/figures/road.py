"""The figure of notebook 07."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from skinlesion.reporting.figures.base import INK, MUTED, PART_COLOURS, Picture, blank
from skinlesion.reporting.tables import heading


def road(table: pd.DataFrame, *, claimed: Mapping[str, float]) -> Picture:
    """Draw what every mistake prints, joined to what its network scores on the vault; the preprint's number is a line.

    Parameters
    ----------
    table
        The numbers of :func:`skinlesion.paper.road.road`; not empty.
    claimed
        What the preprint prints, by score: one pair of axes each.
    """
    keys = ["size", "row", "score", "quantity"]
    cells = table.set_index(keys)[["mean", "low", "high"]].sort_index()
    printed = table[(table.quantity == "printed") & (table.score == "accuracy")]
    order = printed.sort_values(
        ["size", "mean"], key=lambda column: column if column.name == "mean" else -column.str.len()
    )
    rows = list(order[["size", "row", "says", "made by"]].itertuples(index=False))
    figure, axes = blank(10, 0.8 + 0.27 * len(rows), columns=len(claimed))
    said = []
    for axis, (score, number) in zip(axes, claimed.items(), strict=True):
        axis.axvline(number, color=PART_COLOURS["test"], linewidth=1.5)
        axis.text(number, -0.9, f"preprint {number:g}", color=PART_COLOURS["test"], ha="center", fontsize=8)
        for place, (size, row, *_) in enumerate(rows):
            ends = {}
            for quantity, colour, style in (("vault", MUTED, "o"), ("printed", INK, "D")):
                cell = cells.loc[(size, row, score, quantity)]
                ends[quantity] = cell["mean"]
                axis.plot([cell.low, cell.high], [place, place], color=colour, linewidth=3, alpha=0.3)
                axis.plot(cell["mean"], place, style, color=colour, markersize=4.5, zorder=3)
            axis.plot(list(ends.values()), [place, place], color=INK, linewidth=0.8)
            if score == "accuracy":
                said.append(f"{row} {ends['printed']:.2f} and {ends['vault']:.2f}")
        axis.set(ylim=(len(rows) - 0.5, -1.4), xlabel=heading(score), yticks=range(len(rows)), yticklabels=[])
        axis.grid(axis="x", color="#e5e7eb", linewidth=0.7)
        axis.set_axisbelow(True)
    sizes = len({size for size, *_ in rows}) > 1
    axes[0].set_yticklabels([f"{says}{f', {size}' if sizes else ''}" for size, _, says, _ in rows])
    first = cells.loc[(*rows[-1][:2], "accuracy")]
    for quantity, colour, words in (("vault", MUTED, "worth (vault)"), ("printed", INK, "printed")):
        axes[0].annotate(
            words,
            (first.loc[quantity, "mean"], len(rows) - 1),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=8,
        )
    return Picture(
        figure,
        f"Printed scores, joined to what the same network scores on unseen lesions; accuracy: {', '.join(said)}.",
        source="road.csv",
    )
