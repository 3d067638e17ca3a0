"""A table of the paper: its numbers, how a reader sees them, and the caption that says what they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from skinlesion import files, parameters
from skinlesion.paper.evidence import Evidence
from skinlesion.parameters import Parameters
from skinlesion.reporting import tables
from skinlesion.runs import listed
from skinlesion.scoring import evaluation, seeds

SHOWN = tuple(evaluation.names("paper"))
"""The scores that a table of the paper has columns for."""

FOLDER = "tables"
"""Where the tables lie, in ``reports/``."""


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
        What data, which part, how many images, lesions and seeds, what the interval is, on what it was trained.
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


def of(found: Mapping[str, Evidence], *, parts: Sequence[str] = ("test",), between: str = "") -> str:
    """Say what runs numbers are of: seeds, images, lesions, data, starting weights, hardware.

    Parameters
    ----------
    parts
        Of the split, those whose images are scored.
    between
        How trainings differ in the nearest study that has several, from :func:`between`: said beside an interval of
        one training.
    """
    there = {study: runs_of for study, runs_of in found.items() if runs_of.seeds}
    if not there:
        return "No run is here yet."
    part = " and ".join(parts)
    said: dict[str, list[str]] = {}
    for study, runs_of in there.items():
        tested = [table[table.part.isin(parts)] for table in runs_of.predictions.values()]
        images, lesions = np.mean([(len(table), table.lesion_group.nunique()) for table in tested], axis=0)
        number = len(runs_of.seeds)
        numbers = ", ".join(map(str, runs_of.seeds))
        what = (
            f"{number} seed{'s' if number > 1 else ''} ({numbers}), {images:,.0f} {part} images of "
            f"{lesions:,.0f} lesions{' on average' if number > 1 else ''}"
        )
        said.setdefault(what, []).append(study)
    single = [study for study, runs_of in there.items() if len(runs_of.seeds) == 1]
    alone = (
        f" Of one training ({', '.join(single)}) the interval is that of the {part} images alone{between}."
        if single
        else ""
    )
    data = listed(runs_of.said("data", "title") for runs_of in there.values())
    weights = {study: runs_of.said("weights").partition("; taught by ") for study, runs_of in there.items()}
    taught = "".join(f"; {study} is taught by {teachers}" for study, (*_, teachers) in weights.items() if teachers)
    starts = listed(start for start, *_ in weights.values())
    machines = listed(runs_of.hardware for runs_of in there.values())
    counted = "; ".join(
        f"{', '.join(names)}{' each' if len(names) > 1 else ''}: {what}" for what, names in said.items()
    )
    return f"{counted}.{alone} {data}; starting weights: {starts}{taught}; trained on {machines}."


def between(found: Mapping[str, Evidence], measured: Mapping[tuple[str, str], pd.DataFrame]) -> str:
    """Say by how much the trainings of one study differ in accuracy: the largest study that has at least three."""
    several = {}
    for study, runs_of in found.items():
        chosen = parameters.load(study)
        if len(runs_of.seeds) >= 3 and not (chosen.compare_with or chosen.crossover or chosen.split_by == "source"):
            several[study] = chosen.image_size
    if not several:
        return ""
    study = max(several, key=several.__getitem__)
    deviation = measured[study, "test"].between["accuracy"]
    number = len(found[study].seeds)
    if deviation < 0.0005:
        return f"; {number} trainings of {study} differ in accuracy by no more than their lesions explain"
    return f"; {number} trainings of {study} differ in accuracy by a deviation of {deviation:.3f}"


def size(chosen: Parameters) -> str:
    """Say at what size a study is run."""
    return f"{chosen.image_size}×{chosen.image_size}, {chosen.epochs} epochs"


def long(table: pd.DataFrame, **facts: object) -> list[dict]:
    """Return one row a score of a table of :class:`skinlesion.scoring.seeds.Scores`, with facts before it."""
    return [{**facts, "score": str(score), **row} for score, row in table.iterrows()]


def cells(
    table: pd.DataFrame, names: tuple[str, ...] = SHOWN, *, digits: int = 3, sign: bool = False
) -> dict[str, str]:
    """Return the means with their intervals as text, by score; with `sign`, differences with theirs."""
    ends = ["mean", "low", "high"]
    return {name: tables.interval(*table.loc[name, ends], digits=digits, sign=sign) for name in names}


def headed(rows: list[dict], *first: str) -> pd.DataFrame:
    """Return rows as a table whose columns have the names that a reader knows them by.

    Parameters
    ----------
    first
        The columns that say what a row is; the scores come next, whatever else is known of it last.
    """
    table = pd.DataFrame(rows)
    order = sorted(table, key=lambda name: 0 if name in first else 1 if name in evaluation.BY_NAME else 2)
    return table[order].rename(columns=tables.heading)


def mean(found: Mapping[str, Evidence]) -> str:
    """Say what a cell holds: a mean over seeds only where there are several."""
    several = any(len(runs_of.seeds) > 1 for runs_of in found.values())
    return "mean over seeds with 95% interval" if several else "value with 95% interval"


def over_seeds(runs_of: Evidence, part: str, draws: int) -> pd.DataFrame:
    """Return the headline scores over the seeds of a study; not a number where it has no run."""
    if not runs_of.seeds:
        return pd.DataFrame(np.nan, index=[*SHOWN], columns=seeds.COLUMNS)
    drawn = seeds.Draws.draw(runs_of.predictions, part, draws=draws)
    return seeds.headline(runs_of.predictions, part, drawn).table()
