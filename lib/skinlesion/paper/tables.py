"""The tables of the paper: a generator of rows and a caption declare one; all else is done here, once.

A declared table selects runs from :class:`Reports`, has them scored there, and yields a :class:`Row` for
each line. Numbers, cells, files and the check of ``make verify`` follow from that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from skinlesion import files, runs, studies
from skinlesion.paper import evidence, families
from skinlesion.paper.evidence import Evidence
from skinlesion.parameters import ABLATED
from skinlesion.reporting import tables
from skinlesion.reporting.prose import Words
from skinlesion.scoring import evaluation, seeds
from skinlesion.scoring.seeds import Draws, Scores, Spread

SHOWN = tuple(evaluation.names("paper"))
"""The scores that a table of the paper has columns for."""

FOLDER = "tables"
"""Where the tables lie, in ``reports/``."""

WORDS = Words(Path(__file__).with_name("words.md"))
"""Captions, and what the tables say."""

Predicted = Mapping[int, pd.DataFrame]
"""Predictions by seed."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes
    ----------
    name
        Of its files.
    numbers
        Its numbers, one row a number or a group of them.
    shown
        As a reader sees it: text.
    caption
        What its rows are, and what its words mean; what holds for all tables stands once on their page.
    """

    name: str
    numbers: pd.DataFrame
    shown: pd.DataFrame
    caption: str

    def show(self) -> Styler | tables.Absent:
        """Return it for a notebook to show, or that it has no number yet."""
        if self.numbers.empty:
            return tables.Absent("No run is here yet.")
        source = " ".join(f"{self.name}.{kind}" for kind in ("csv", "md", "tex"))
        words = self.name in ("assumptions", "checklist", "runs")
        return tables.show(self.shown, caption=self.caption, index=False, source=source, words=words)

    def texts(self) -> dict[str, str]:
        """Return the content of its files: CSV, Markdown and LaTeX, by file name."""
        return {
            f"{self.name}.csv": self.numbers.to_csv(index=False, float_format="%.6f", lineterminator="\n"),
            f"{self.name}.md": f"{tables.markdown(self.shown)}\n\n{self.caption}".strip() + "\n",
            f"{self.name}.tex": tables.latex(self.shown, caption=self.caption, label=f"tab:{self.name}"),
        }

    def write(self, folder: Path) -> None:
        """Write its files."""
        for name, text in self.texts().items():
            files.write_text(folder / name, text)


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes
    ----------
    facts
        What the line is of; in the numbers and, but for the table's hidden columns, before the reader. Scores are
        differences, shown with their signs, where one of them names a difference (``a − b``).
    scores
        From :meth:`Reports.scored`: one row a score, with its interval.
    shown
        What a reader sees besides, or in the place of a fact.
    numbers
        Its rows of numbers, where they are not the facts with each score; empty for what is not measured.
    rank
        Where it stands before the reader: the highest first, others in the order of the numbers.
    """

    facts: Mapping[str, Any]
    scores: pd.DataFrame | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)
    numbers: Sequence[Mapping[str, Any]] | None = None
    rank: float = 0.0

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return its rows of numbers."""
        if self.numbers is not None:
            return self.numbers
        return [self.facts] if self.scores is None else long(self.scores, **self.facts)

    def cells(self, hidden: Collection[str]) -> dict[str, str]:
        """Return its cells as text, by column."""
        facts = {name: value for name, value in self.facts.items() if name not in hidden}
        sign = any(" − " in str(value) for value in self.facts.values())
        scored = {} if self.scores is None else cells(self.scores, sign=sign)
        return {name: _text(value) for name, value in {**facts, **scored, **self.shown}.items()}


class Reports:
    """The finished runs in a folder, and the tables made from them, each made once.

    Parameters
    ----------
    folder
        ``reports/``.
    draws
        Of the bootstrap.
    report
        Is told what is being scored.

    Attributes
    ----------
    headline
        Returns the scores of a part over the seeds of a study.
    table
        Returns a declared table.
    planned
        Every study of ``parameters/``.
    runs
        The finished runs of every study that is planned or an ablation, by study.
    compared
        Those whose test parts are compared with each other: neither steps of the ladder nor runs with a vault.
    """

    def __init__(self, folder: Path, *, draws: int, report: Callable[[str], None] = lambda line: None) -> None:
        self.folder, self.draws, self.report = folder, draws, report
        self.planned = studies.everything()
        ablated = dict.fromkeys(study for study, _ in runs.find(folder) if ABLATED in study)
        self.runs = {study: evidence.find(folder, study) for study in [*self.planned, *ablated]}
        self.vaulted = {study: each for study, each in self.runs.items() if each.chosen.vault_fraction}
        self.compared = {k: v for k, v in self.runs.items() if k not in self.vaulted and k not in self.steps}
        self.blocks = families.blocks(self.runs, {name: study.table for name, study in self.planned.items()})
        self.headline, self.table = cache(self._headline), cache(lambda name: TABLES[name](self))
        self.study_scores, self.pooled = cache(self._study_scores), cache(self._pooled)

    @property
    def steps(self) -> list[str]:
        """The studies of the ladder: its foot, then every step in the order of the file of arms."""
        arms = {name: arm for name, arm in self.planned.items() if arm.table == "ladder"}
        feet = [arm.against for arm in arms.values() if arm.against and arm.against not in arms]
        return list(dict.fromkeys([*feet, *arms]))

    def of(self, *names: str) -> list[Evidence]:
        """Return the studies that have runs, of some."""
        return [self.runs[name] for name in names if name in self.runs and self.runs[name].seeds]

    def pair(self, runs_of: Evidence) -> tuple[Evidence, Evidence]:
        """Return the study that one is compared with, and that one, both with the seeds that both have."""
        base = self.runs[str(runs_of.chosen.compare_with)].shared_with(runs_of)
        return base, runs_of.shared_with(base)

    def scored(
        self,
        sides: Mapping[str, Predicted],
        *,
        of: str | Mapping[str, str] = "",
        minus: Iterable[tuple[str, str]] = (),
        names: Sequence[str] = SHOWN,
        parts: tuple[str, ...] = ("test",),
        drawn: Draws | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Score the test rows of several sides with the same draws of lesion groups, and differences of theirs.

        Parameters
        ----------
        of
            The study whose family says how trainings vary: of all sides or of each, which is else named as its study.
        parts
            Which are scored, whatever they are called in `sides`.
        minus
            Pairs of sides: the difference of ``(a, b)`` is called ``a − b``; it is paired by seed, or that of the means
            where the two have other seeds.
        drawn
            By default draws from the lesion groups of the first side.

        Returns
        -------
        dict of pandas.DataFrame
            By side, then by difference: :meth:`skinlesion.scoring.seeds.Scores.table` with the rows `names`.
        """
        drawn = drawn or Draws.draw(next(iter(sides.values())), "test", draws=self.draws)
        found = {}
        for name, side in sides.items():
            study = of if isinstance(of, str) and of else of.get(name, "") if isinstance(of, Mapping) else name
            found[name] = seeds.headline(side, "test", drawn, spread=self.spread(study, parts))
        for one, other in minus:
            paired = sides[one].keys() == sides[other].keys()
            pair = (found[name] if paired else found[name].mean() for name in (one, other))  # not of the luckiest
            found[f"{one} − {other}"] = next(pair).minus(next(pair), paired=paired)
        return {name: scores.table().loc[list(names)] for name, scores in found.items()}

    def _headline(self, study: str, part: str = "test") -> pd.DataFrame:
        """Return the scores of a part over the seeds of a study; not a number where it has no run."""
        if not self.runs[study].seeds:
            return pd.DataFrame(np.nan, index=[*SHOWN], columns=seeds.COLUMNS)
        return self.study_scores(study, part).table()

    def _study_scores(self, study: str, part: str) -> Scores:
        self.report(f"scores of {study}, {part}")
        said = self.runs[study].predictions
        drawn = Draws.draw(said, part, draws=self.draws)
        return seeds.headline(said, part, drawn, spread=self.spread(study, (part,)))

    def spread(self, study: str, parts: tuple[str, ...] = ("test",)) -> Spread | None:
        """Return how the trainings of a study's family vary; None where no study of it has several."""
        return self.pooled(families.family(self.runs[study].chosen), parts) if study in self.runs else None

    def _pooled(self, family: str, parts: tuple[str, ...] = ("test",)) -> Spread | None:
        some = self.blocks.get(family)
        return Spread.pooled([families.scored(block, parts) for block in some]) if some else None


Declared = Callable[[Reports], Iterable[Row | dict[str, Any]]]
"""Yields the rows of a table, and what its caption in ``words.md`` has bound into it."""

TABLES: dict[str, Callable[[Reports], PaperTable]] = {}
"""What makes each declared table, by name."""


def table(name: str, *, first: Sequence[str] = (), hidden: Sequence[str] = ()) -> Callable[[Declared], Declared]:
    """Declare a table: decorate what yields its rows.

    Parameters
    ----------
    first
        The columns before the scores; other facts come after them. Absent, all stand as they are yielded.
    hidden
        Facts that are in the numbers alone.
    """

    def declare(yielded: Declared) -> Declared:
        def make(reports: Reports) -> PaperTable:
            rows: list[Row] = []
            bound: dict[str, Any] = {}
            for each in yielded(reports):
                rows += [each] if isinstance(each, Row) else []
                bound |= each if isinstance(each, dict) else {}
            numbers = pd.DataFrame([line for row in rows for line in row.rows()])
            shown = [row.cells(hidden) for row in sorted(rows, key=lambda row: -row.rank)]
            return PaperTable(name, numbers, _headed(shown, first), WORDS.say(f"{name}_caption", **bound))

        TABLES[name] = make
        return yielded

    return declare


def images(said: Predicted) -> float:
    """Return how many images are told, on average over the seeds."""
    return float(np.mean([len(each) for each in said.values()]))


def long(table: pd.DataFrame, **facts: object) -> list[dict]:
    """Return one row a score of a table of :class:`skinlesion.scoring.seeds.Scores`, with facts before it."""
    return [{**facts, "score": str(score), **row} for score, row in table.iterrows()]


def cells(scores: pd.DataFrame, *, sign: bool = False) -> dict[str, str]:
    """Return the means with their intervals as text, by score; with `sign`, differences with theirs."""
    rows = scores[["mean", "low", "high"]].itertuples()
    return {name: tables.interval(*row, digits=evaluation.BY_NAME[name].digits, sign=sign) for name, *row in rows}


def _headed(rows: list[dict[str, str]], first: Sequence[str]) -> pd.DataFrame:
    """Return rows as a table with readable column names: those of `first`, scores, all others; without it, as given."""
    table = pd.DataFrame(rows)
    order = sorted(table, key=lambda name: 0 if not first or name in first else 1 if name in evaluation.BY_NAME else 2)
    return table[order].rename(columns=tables.heading).fillna("–")


def _text(value: object) -> str:
    """Return a fact as text: numbers of images and lesions without decimals, also where they are means."""
    if not isinstance(value, Real):
        return str(value)
    if float(value) != value:
        return "–"
    return f"{value:,.0f}" if isinstance(value, Integral) or float(value) >= 10 else tables.number(float(value))
