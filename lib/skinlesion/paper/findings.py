"""What the tables say, in sentences: each with its number, its interval, and what the interval does not exclude."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from skinlesion.paper.effects import ALL, SEEN_MINUS_UNSEEN
from skinlesion.paper.tables import FOLDER
from skinlesion.reporting import tables

Numbers = Mapping[str, pd.DataFrame]
"""The numbers of the paper's tables, by name."""

WORDS = {
    "not reached": "No.",
    "reproduced": "Yes.",
    "exceeded": "Yes, and more.",
    "inconclusive": "It cannot be told.",
    "not measured": "Not measured yet.",
}


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the numbers of the tables in ``reports/``, by name; none where there is no table."""
    paths = [path for path in sorted((folder / FOLDER).glob("*.csv")) if path.stat().st_size > 1]
    return {path.stem: pd.read_csv(path) for path in paths}


def answer(numbers: Numbers) -> str:
    """Answer the study's question in a sentence or two."""
    if "claims" not in numbers:
        return WORDS["not measured"]
    rows = numbers["claims"].query("claim == 'accuracy'").set_index("split")
    lesion, image = rows.loc["by lesion"], rows.loc["by image"]
    words = WORDS[lesion.verdict]
    if lesion.verdict == "not measured":
        return words
    said = (
        f"**{words}** On lesions it has not seen, the recipe's accuracy is **{_value(lesion)}**, where "
        f"{lesion.preprint:.2f} is claimed"
    )
    if image.verdict != "not measured":
        said += f"; split by image, with other images of many test lesions in training, it is {_value(image)}"
    f1 = numbers["claims"].query("claim == 'macro F1' and split == 'by lesion'").iloc[0]
    return f"{said}. Macro F1 is {_value(f1)}, where {f1.preprint:.2f} is claimed. {_trainings(lesion.seeds)}"


def findings(numbers: Numbers) -> list[str]:
    """Return what else was found, a sentence or two each; what was not measured is left out."""
    made = (_leak, _counted, _sources, _choices, _spread)
    return [sentence for each in made if (sentence := each(numbers))]


def _leak(numbers: Numbers) -> str:
    rows = _of(numbers, "leak", score="accuracy", lesion=SEEN_MINUS_UNSEEN)
    whole = rows[rows["tested images"] == ALL] if len(rows) else rows
    said = [f"{_value(row)} at {row['size']} ({_pairs(row.seeds)})" for _, row in whole.iterrows()]
    if not said:
        return ""
    return (
        "**What the leak does.** Having been trained on other photographs of a lesion changes the accuracy on it by "
        f"{' and '.join(said)}; {_zero(whole.iloc[-1])}. Every tested image is its own control."
    )


def _counted(numbers: Numbers) -> str:
    rows = _of(numbers, "estimands", score="accuracy", split="by lesion").set_index("over")
    if rows.empty:
        return ""
    return (
        "**What is counted.** One and the same network: "
        + ", ".join(f"{row['mean']:.3f} over {over}" for over, row in rows.iterrows())
        + ". The first is the one in every headline."
    )


def _sources(numbers: Numbers) -> str:
    rows = _of(numbers, "sources", score="accuracy", network="unseen − seen")
    if rows.empty:
        return ""
    worst, least = rows.loc[rows["mean"].idxmin()], rows.loc[rows["mean"].idxmax()]
    return (
        f"**Another source.** On images of a source that it was not trained on, accuracy changes by {_value(worst)} "
        f"({worst.source}) to {_value(least)} ({least.source}), against networks that know the source, on the same "
        "images (one training a source)."
    )


def _choices(numbers: Numbers) -> str:
    rows = _of(numbers, "effects", score="accuracy", ablation=False)
    if rows.empty:
        return ""
    said = [f"{row.difference}: {_value(row)}, {_zero(row)}" for _, row in rows.iterrows()]
    return f"**What the open choices do** to accuracy. {'; '.join(said)}."


def _spread(numbers: Numbers) -> str:
    rows = _of(numbers, "spread", score="accuracy").set_index("due to")
    if rows.empty:
        return ""
    return (
        "**Two runs differ** in accuracy by a standard deviation of "
        f"{rows.deviation['split']:.3f} due to the split and {rows.deviation['training']:.3f} due to the training "
        f"(together with what neither explains, {(rows.deviation**2).sum() ** 0.5:.3f})."
    )


def _of(numbers: Numbers, name: str, **where: object) -> pd.DataFrame:
    table = numbers.get(name, pd.DataFrame())
    if table.empty:
        return pd.DataFrame(columns=["over", "due to"])
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def _value(row: pd.Series) -> str:
    return tables.interval(row["mean"], row.low, row.high)


def _zero(row: pd.Series) -> str:
    return "zero is not excluded" if row.low <= 0 <= row.high else "zero is excluded"


def _trainings(number: int) -> str:
    if number == 1:
        return "One training: the interval is of the test images alone."
    return f"Means of {number} trainings, 95% intervals."


def _pairs(number: int) -> str:
    return f"{number} pair{'s' if number > 1 else ''} of runs"
