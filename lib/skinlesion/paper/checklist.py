"""Which items of reporting guidelines the study answers, and where: ``checklist.csv``, beside this file, with links."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pandas as pd
from pandas.io.formats.style import Styler

from skinlesion.paper.tables import PaperTable
from skinlesion.reporting import tables
from skinlesion.reporting.tables import Absent

ITEMS = Path(__file__).with_suffix(".csv")

GUIDELINES = {"claim": "CLAIM 2024", "tripod_ai": "TRIPOD+AI", "reforms": "REFORMS"}

CAPTION = """Items of three reporting guidelines, those that ask the same in one row ({rows} rows: {answers}), in words
of this study, and where each is answered. Numbers are those of CLAIM 2024 (A. S. Tejani et al., Radiol. Artif. Intell.
6, e240300), TRIPOD+AI (G. S. Collins et al., BMJ 385, e078378) and REFORMS (S. Kapoor et al., Sci. Adv. 10, eadk3452).
Answered or not is the study's own judgement."""


@dataclass(frozen=True)
class Checklist(PaperTable):
    """The table whose column ``where`` links to what answers an item: files, and a heading of theirs after a ``#``."""

    def show(self) -> Styler | Absent:
        """Return it for a notebook to show, with its links."""
        links = dict(zip(self.shown["where"], _linked(self.numbers["where"], _html), strict=True))
        shown = super().show()
        return shown if isinstance(shown, Absent) else shown.format(links.__getitem__, subset=["where"])

    def texts(self) -> dict[str, str]:
        """Return the content of its files; Markdown has its links."""
        linked = self.shown.assign(where=_linked(self.numbers["where"], "[{}]({})".format))
        return super().texts() | {f"{self.name}.md": f"{tables.markdown(linked)}\n\n{self.caption}\n"}


def checklist() -> Checklist:
    """Return every item of the guidelines, in words of this study."""
    items = pd.read_csv(ITEMS, dtype=str, keep_default_na=False)
    shown = items.assign(where=_linked(items["where"], lambda words, link: words)).rename(columns=GUIDELINES)
    counts = items.groupby("answered", sort=False).size()
    answers = ", ".join(f"{count} {answer}" for answer, count in counts.items())
    return Checklist("checklist", items, shown, " ".join(CAPTION.format(rows=len(items), answers=answers).split()))


def link(target: str) -> str:
    """Return the link from the tables to a file of the project, and to a heading of it, as notebooks and GitHub do."""
    file, _, heading = target.partition("#")
    anchor = heading if file.endswith(".ipynb") else re.sub(r"[^\w\- ]", "", heading.lower())
    return f"../../{file}" + (f"#{quote(anchor.replace(' ', '-'))}" if heading else "")


def targets(where: str) -> list[str]:
    """Return the targets of a cell of the column ``where``."""
    return [target for target in where.split("; ") if target]


def _linked(cells: pd.Series, linked: Callable[[str, str], str]) -> list[str]:
    return ["; ".join(linked(_words(target), link(target)) for target in targets(cell)) for cell in cells]


def _words(target: str) -> str:
    file, _, heading = target.partition("#")
    name = PurePosixPath(file)
    return ": ".join(filter(None, [name.stem if name.suffix == ".ipynb" else name.name, heading]))


def _html(words: str, link: str) -> str:
    return f'<a href="{escape(link)}">{escape(words, quote=False)}</a>'
