"""What README.md says of the published reports: between two marker lines each, written by ``make paper``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from skinlesion import files
from skinlesion.paper import findings
from skinlesion.paper.tables import FOLDER
from skinlesion.reporting import tables

MOST = 3
"""Findings that the README shows."""

FIGURE = "What is printed, and what the same network scores on unseen lesions"
"""Text for whoever cannot see the figure."""


def answer(folder: Path) -> str:
    """Return the answer to the study's question, its figure, and the claims beside what was measured."""
    numbers = findings.read(folder)
    said = [findings.answer(numbers)]
    if (folder / FOLDER / "road.svg").is_file():
        said.append(f"![{FIGURE}](reports/{FOLDER}/road.svg)")
    if "claims" in numbers:
        rows: dict[str, dict[str, str]] = {}
        for row in numbers["claims"].dropna(subset="mean").itertuples():
            cells = rows.setdefault(row.claim, {"score": row.claim, "preprint": f"{row.preprint:.2f}"})
            cells[f"ours, split {row.split}"] = tables.interval(row.mean, row.low, row.high)
        said.append(tables.markdown(pd.DataFrame(rows.values()).fillna("–")))
        said.append(f"{findings.conclusions(numbers)['claims']} [How we decide](reports/{FOLDER}/claims.md).".strip())
    return "\n\n".join(said)


def found(folder: Path) -> str:
    """Return the first :data:`MOST` of what else was found, as a list; the index has all."""
    return "\n".join(f"- {sentence}" for sentence in findings.findings(findings.read(folder))[:MOST]) or "Nothing yet."


BLOCKS: dict[str, Callable[[Path], str]] = {"answer": answer, "findings": found}
"""The blocks of README.md, and what makes each from ``reports/``."""


def markers(block: str) -> tuple[str, str]:
    """Return the lines of README.md between which a block stands."""
    return f"<!-- {block}: made by `make paper` -->", f"<!-- end of {block} -->"


def write(readme: Path, folder: Path) -> None:
    """Put every one of :data:`BLOCKS` into a README, between its two marker lines."""
    text = readme.read_text(encoding="utf-8")
    for block, make in BLOCKS.items():
        start, end = markers(block)
        before, there, rest = text.partition(start)
        if there:
            text = f"{before}{start}\n\n{make(folder)}\n\n{end}{rest.partition(end)[2]}"
    files.write_text(readme, text)
