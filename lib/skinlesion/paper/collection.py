"""All tables of the paper, made from the files that runs left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown, display

# Importing these declares their tables.
from skinlesion.paper import best, checklist, claims, costs, effects, findings, ladder, road  # noqa: F401
from skinlesion.paper.tables import TABLES, PaperTable, Reports

Draw = Callable[[pd.DataFrame], Any]
"""Draws the figure of some numbers, or none."""


def make(
    folder: Path, *, draws: int, only: Collection[Path] | None = None, names: Collection[str] = ()
) -> dict[str, PaperTable]:
    """Return every table of notebook 06, by name.

    Rows come from the runs that are there, and from those that are planned.

    Parameters
    ----------
    folder
        ``reports/``.
    draws
        Of the bootstrap.
    only
        Run folders to be considered; absent, all.
    names
        Tables to be made, in place of all of notebook 06.
    """
    reports = Reports(folder, draws=draws, only=only)
    made = {name: reports.table(name) for name in names or TABLES if names or name != "road"}
    return made if names else made | {"checklist": checklist.checklist()}


def make_road(folder: Path, *, draws: int, only: Collection[Path] | None = None) -> PaperTable:
    """Return the table of notebook 07; parameters as :func:`make`."""
    return make(folder, draws=draws, only=only, names=["road"])["road"]


class Page:
    """Tables as a notebook shows them.

    Parameters
    ----------
    made
        Tables by name.
    """

    def __init__(self, made: Mapping[str, PaperTable]) -> None:
        self.made = made
        self.numbers = {name: each.numbers for name, each in made.items() if len(each.numbers)}
        self.said = findings.conclusions(self.numbers)

    def answer(self, draw: Draw) -> None:
        """Show the answer to the study's question, the figure of the claims, and what else was found."""
        display(Markdown(f"**{findings.headline(self.numbers)}**"), draw(self.numbers["claims"]))
        display(Markdown("\n".join(f"- {sentence}" for sentence in findings.findings(self.numbers))))

    def show(self, name: str, draw: Draw = lambda numbers: None) -> None:
        """Show a table with its figure, where there is one, and what it says."""
        picture = draw(self.numbers[name]) if name in self.numbers else None
        display(*([picture] if picture else []), self.made[name].show())
        if self.said[name]:
            display(Markdown(self.said[name]))

    def write(self, folder: Path) -> None:
        """Write the files of all tables."""
        for table in self.made.values():
            table.write(folder)
