"""What networks cost and how accurate they are, and whether two words of the preprint hold: small, and efficient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from skinlesion import parameters, studies
from skinlesion.paper.tables import PaperTable
from skinlesion.reporting import tables
from skinlesion.runs import Files

CLAIMED = "mobilenet_v2"
"""The network that the preprint calls efficient and small."""

SMALL = 10.0
"""Megabytes that the weights of a small network stay below."""

RULES = {
    "small": f"reproduced where its weights in float32 take less than {SMALL:g} MB, else not reached",
    "efficient": (
        "reproduced where every other network that needs no more operations is less accurate by its whole interval, "
        "not reached where one is more accurate by its whole interval, inconclusive otherwise"
    ),
}
"""How the two words are judged, as parameters/PROTOCOL.md says."""

CELLS = {
    "parameters": ("million parameters", 1e-6, 2),
    "megabytes": ("MB in float32", 1, 1),
    "million_operations": ("million operations", 1, 0),
    "training": ("training, images/s", 1, 0),
    "inference": ("inference, images/s", 1, 0),
    "training_memory_mb": ("training, MB", 1, 0),
    "inference_memory_mb": ("inference, MB", 1, 0),
}
"""How a reader sees what was measured: heading, factor, digits."""


def costs(
    folder: Path, planned: Mapping[str, studies.Study], *, scores: pd.DataFrame, networks: pd.DataFrame
) -> PaperTable:
    """Return what each network costs (``benchmarks/costs.csv``), and its accuracy where it was trained.

    Parameters
    ----------
    folder
        ``reports/``.
    scores, networks
        The numbers of these tables.

    Returns
    -------
    PaperTable
        Its numbers are those of the benchmark, with the accuracy (mean, low, high) and its paired difference to
        MobileNetV2 (difference, difference_low, difference_high).
    """
    record = Files(folder / "benchmarks")
    if not record.find("costs.csv"):
        return PaperTable("costs", pd.DataFrame(), pd.DataFrame(), "Not measured yet: `make costs` measures it.")
    trained = _studies(planned)
    rows, shown = [], []
    for _, cost in record.read_csv("costs.csv").iterrows():
        study, base = trained.get(cost.network, ("", ""))
        accuracy = _row(scores, study=study, score="accuracy")
        change = _row(networks, difference=f"{study} − {base}", score="accuracy")
        rows.append(
            {
                **cost,
                "study": study,
                **dict(zip(("mean", "low", "high"), accuracy, strict=True)),
                **dict(zip(("difference", "difference_low", "difference_high"), change, strict=True)),
            }
        )
        cells = {words: f"{cost[name] * factor:,.{digits}f}" for name, (words, factor, digits) in CELLS.items()}
        shown.append({"network": cost.network, "accuracy": tables.interval(*accuracy), **cells})
    facts = record.read_json("costs.json")
    side = rows[0]["side"]
    caption = (
        f"What networks cost at {side}×{side}, batch 32, and how accurate they are from random weights at reduced size "
        "(mean over seeds with 95% interval; a dash: not measured). Operations are multiplications, each with an "
        f"addition, for one image; memory is the peak of the process. Measured on {facts['environment']['hardware']}."
    )
    return PaperTable("costs", pd.DataFrame(rows), pd.DataFrame(shown), caption)


def verdicts(numbers: pd.DataFrame) -> dict[str, str]:
    """Judge the two words by :data:`RULES`, given the numbers of the table; what is not there is not measured."""
    if numbers.empty:
        return dict.fromkeys(RULES, "not measured")
    rows = numbers.set_index("network")
    claimed, others = rows.loc[CLAIMED], rows.drop(CLAIMED)
    rivals = others[others.million_operations <= claimed.million_operations]
    if (rivals.difference_low > 0).any():
        efficient = "not reached"
    elif (rivals.difference_high < 0).all():
        efficient = "reproduced"
    else:
        efficient = "not measured" if rivals.difference.isna().any() else "inconclusive"
    return {"small": "reproduced" if claimed.megabytes < SMALL else "not reached", "efficient": efficient}


def _studies(planned: Mapping[str, studies.Study]) -> dict[str, tuple[str, str]]:
    """Return the study of each network, and the one that it is compared with."""
    arms = {name: str(arm.against) for name, arm in planned.items() if arm.table == "networks"}
    pairs = [*((base, base) for base in set(arms.values())), *arms.items()]
    return {parameters.load(study).backbone: (study, base) for study, base in pairs}


def _row(numbers: pd.DataFrame, **where: str) -> tuple[float, float, float]:
    """Return mean, low and high of a score; not a number where it is not there."""
    for column, value in where.items():
        numbers = numbers[numbers[column] == value] if column in numbers else numbers.head(0)
    return tuple(numbers.iloc[0][["mean", "low", "high"]]) if len(numbers) else (float("nan"),) * 3
