"""The figure of notebook 07."""

from __future__ import annotations

import pandas as pd

from skinlesion.reporting.figures.base import INK, MUTED, PART_COLOURS, Picture, blank
from skinlesion.reporting.tables import heading


def road(table: pd.DataFrame, score: str, *, claimed: float) -> Picture:
    """Draw what every mistake prints, joined to what its network scores on the vault; the preprint's number is a line.

    Parameters
    ----------
    table
        The numbers of :func:`skinlesion.paper.road.road`; not empty. Each size has axes of its own.
    score
        Which of its scores.
    claimed
        What the preprint prints.
    """
    cells = (
        table[(table.score == score) & table.quantity.isin(("printed", "vault"))]
        .set_index(["size", "says", "quantity"])[["mean", "low", "high"]]
        .sort_index()
    )
    sizes = list(dict.fromkeys(table["size"]))
    highest = cells.xs("printed", level="quantity")["mean"].groupby("says").max().sort_values()
    rows = list(highest.index)
    figure, axes = blank(4 + 2.4 * len(sizes), 1.1 + 0.25 * len(rows), columns=len(sizes))
    ends_of_axis = min(cells.low.min(), claimed) - 0.02, max(cells.high.max(), claimed) + 0.02
    for axis, size in zip(axes, sizes, strict=True):
        axis.axvline(claimed, color=PART_COLOURS["test"], linewidth=1.5)
        axis.text(claimed, -1.0, f"preprint {claimed:g}", color=PART_COLOURS["test"], ha="right", fontsize=8)
        for place, row in enumerate(rows):
            if (size, row, "printed") not in cells.index:
                continue
            ends = {}
            for quantity, colour, mark in (("vault", MUTED, "o"), ("printed", INK, "D")):
                cell = cells.loc[(size, row, quantity)]
                ends[quantity] = cell["mean"]
                axis.plot([cell.low, cell.high], [place, place], color=colour, linewidth=3, alpha=0.3)
                axis.plot(cell["mean"], place, mark, color=colour, markersize=4.5, zorder=3)
            axis.plot(list(ends.values()), [place, place], color=INK, linewidth=0.8)
        axis.set(ylim=(len(rows) - 0.5, -1.6), yticks=range(len(rows)), yticklabels=rows, xlabel=heading(score))
        axis.tick_params(labelleft=axis is axes[0])
        axis.set_xlim(ends_of_axis)
        axis.set_title(size, fontsize=9)
        axis.grid(axis="x", color="#e5e7eb", linewidth=0.7)
        axis.set_axisbelow(True)
    first = cells.loc[sizes[0]]
    row = next(row for row in reversed(rows) if row in first.index)
    for quantity, colour, words in (("vault", MUTED, "worth (vault)"), ("printed", INK, "printed")):
        at = first.loc[(row, quantity), "mean"], rows.index(row)
        axes[0].annotate(words, at, xytext=(0, 6), textcoords="offset points", ha="center", color=colour, fontsize=8)
    printed, vault = (cells["mean"].xs(quantity, level="quantity") for quantity in ("printed", "vault"))
    most = [(size, printed[size].idxmax()) for size in sizes]
    said = "; ".join(f"at {size}: {row}, {printed[size, row]:.2f} ({vault[size, row]:.2f})" for size, row in most)
    alt = f"Printed {heading(score)}, joined to what the same network scores on unseen lesions. Highest, {said}."
    return Picture(figure, alt, source="road.csv")
