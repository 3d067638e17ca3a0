"""What the tables say, in the sentences of ``words.md``: each is said only while its guard holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from skinlesion.errors import StudyError
from skinlesion.paper import ladder, road
from skinlesion.paper.tables import FOLDER, WORDS

Numbers = Mapping[str, pd.DataFrame]
"""The numbers of the paper's tables, by name."""

NOT_MEASURED = "Not measured yet."

FINDINGS = ("road", "leak", "best", "estimands", "sources", "effects", "spread")
"""The tables whose sentences are findings, the first ones first."""


class FindingsError(StudyError):
    """A sentence was written for other numbers; the message names it."""


class _MissingError(Exception):
    """Numbers that a sentence needs were not measured."""


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the numbers of the tables in ``reports/``, by name; none where there is no table."""
    paths = [path for path in sorted((folder / FOLDER).glob("*.csv")) if path.stat().st_size > 1]
    return {path.stem: pd.read_csv(path) for path in paths}


def headline(numbers: Numbers) -> str:
    """Answer the study's question in one sentence, in per cent."""
    return _say("headline", numbers)[0] or NOT_MEASURED


def answer(numbers: Numbers) -> str:
    """Answer the study's question in a sentence or two."""
    return _say("answer", numbers)[0] or NOT_MEASURED


def findings(numbers: Numbers) -> list[str]:
    """Return what else was found, a sentence or two each; what was not measured is left out."""
    return [sentence for name in FINDINGS if (sentence := _say(name, numbers)[0])]


def conclusions(numbers: Numbers) -> dict[str, str]:
    """Return what each of the paper's tables says, by the name of the table; empty where it was not measured."""
    return {name: _say(name, numbers)[0] for name in WORDS.blocks if not name.endswith("_caption")}


def outdated(numbers: Numbers) -> list[str]:
    """Return the sentences whose guard no longer holds."""
    return [name for name in WORDS.blocks if not name.endswith("_caption") and not _say(name, numbers)[1]]


def check(numbers: Numbers) -> None:
    """Refuse numbers that a sentence was not written for.

    Raises
    ------
    FindingsError
        It names the sentences.
    """
    if names := outdated(numbers):
        raise FindingsError(f"what words.md says of {', '.join(names)} no longer holds: write it anew")


def _say(name: str, numbers: Numbers) -> tuple[str, bool]:
    """Return a sentence, empty where its numbers are missing, and whether its guard holds."""
    held = []

    def holds(condition: object) -> bool:
        held.append(bool(condition))
        return held[-1]

    def table(of: str) -> pd.DataFrame:
        if of not in numbers or numbers[of].empty:
            raise _MissingError
        return numbers[of]

    def rows(of: str, /, **where: Any) -> list[dict[str, Any]]:
        found = table(of)
        for column, value in where.items():
            found = found[found[column].isin(value if isinstance(value, list) else [value])]
        found = found.dropna(subset="mean") if "mean" in found else found
        if found.empty:
            raise _MissingError
        return found.to_dict("records")

    given = {"holds": holds, "table": table, "rows": rows, "one": lambda of, /, **where: rows(of, **where)[0]}
    try:
        return WORDS.say(name, **given, kept_steps=ladder.kept, claimed=road.CLAIMED["accuracy"]), all(held)
    except (_MissingError, ValueError):  # a ValueError: fewer rows than the sentence names
        return "", True
