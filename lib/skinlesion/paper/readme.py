"""What README.md says of the published reports: between two marker lines each, written by ``make paper``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skinlesion import files
from skinlesion.paper import findings
from skinlesion.paper.tables import FOLDER

MOST = 3
"""Findings that the README shows."""

FIGURE = "What is printed, and what the same network scores on unseen lesions"
"""Text for whoever cannot see the figure."""


def answer(folder: Path) -> str:
    """Return the answer to the study's question, and the claims that were measured, as ``make paper`` left them."""
    path = folder / FOLDER / "claims.md"
    said = findings.answer(findings.read(folder))
    if not path.is_file():
        return said
    lines = path.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    rows = {line: line.split(" | ") for line in lines if "not measured | – | not measured" not in line}
    words = " ".join(f"{row[0].capitalize()}: {row[-1]}." for row in rows.values() if row[1] == "–")
    table = "\n".join(line for line, row in rows.items() if row[1] != "–")
    if (folder / FOLDER / "road.svg").is_file():
        said += f"\n\n![{FIGURE}](reports/{FOLDER}/road.svg)"
    rule = f"The rule, and of what these are: [claims](reports/{FOLDER}/claims.md)."
    return "\n\n".join([said, table, f"{words} {rule}".strip()])


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
