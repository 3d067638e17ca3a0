"""All tables of the paper, made from the files that runs left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from IPython.display import Markdown, display

# Importing these declares their tables.
from skinlesion.paper import best, checklist, claims, costs, effects, findings, road, trainings  # noqa: F401
from skinlesion.paper.tables import TABLES, PaperTable, Reports


def make(
    folder: Path, *, draws: int, names: Collection[str] = (), report: Callable[[str], None] = lambda line: None
) -> dict[str, PaperTable]:
    """Return every table of notebook 06, by name.

    Rows come from the runs that are there, and from those that are planned.

    Parameters
    ----------
    folder
        ``reports/``.
    draws
        Of the bootstrap.
    names
        Tables to be made, in place of all of notebook 06.
    report
        Is told how far it is: it takes minutes.
    """
    reports, made = Reports(folder, draws=draws, report=report), {}
    for name in names or [name for name in TABLES if name != "road"]:
        made[name] = reports.table(name)
        report(f"{len(made)} tables: {name}")
    return made if names else made | {"checklist": checklist.checklist()}


def make_road(folder: Path, *, draws: int, report: Callable[[str], None] = lambda line: None) -> PaperTable:
    """Return the table of notebook 07; parameters as :func:`make`."""
    return make(folder, draws=draws, names=["road"], report=report)["road"]


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

    def show(self, name: str, draw: Callable[..., Any] | None = None, *given: Any) -> None:
        """Show a table with its figure, drawn of its numbers or of what is given, and with what it says."""
        picture = draw(*(given or [self.numbers[name]])) if draw and name in self.numbers else None
        display(*([picture] if picture else []), self.made[name].show())
        if self.said[name]:
            display(Markdown(self.said[name]))
