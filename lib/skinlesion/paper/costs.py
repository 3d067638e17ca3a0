"""What networks cost, and how accurate they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from skinlesion.paper.tables import Reports, Row, table
from skinlesion.reporting import tables
from skinlesion.runs import Files


@table("costs", first=("network",), hidden=("side",))
def costs(reports: Reports) -> Iterator[Row | dict[str, Any]]:
    """Return what each network costs (``benchmarks/costs.csv``), its accuracy and the difference to MobileNetV2's."""
    record = Files(reports.folder / "benchmarks")
    if not record.find("costs.csv"):
        return
    arms = {name: str(arm.against) for name, arm in reports.planned.items() if arm.table == "networks"}
    trained = {
        reports.runs[study].chosen.backbone: (study, f"{study} − {base}")
        for study, base in [*((base, base) for base in arms.values()), *arms.items()]
    }
    scores, networks = (reports.table(name).numbers for name in ("scores", "networks"))
    for cost in record.read_csv("costs.csv").to_dict("records"):
        study, difference = trained.get(cost["network"], ("", ""))
        accuracy, change = _accuracy(scores, "study", study), _accuracy(networks, "difference", difference)
        facts = {**cost, "study": study, **dict(zip(("mean", "low", "high"), accuracy, strict=True))}
        facts |= dict(zip(("difference", "difference_low", "difference_high"), change, strict=True))
        yield Row(cost, shown={"accuracy": tables.interval(*accuracy)}, numbers=[facts])
    yield {"side": cost["side"], "machine": record.read_json("costs.json")["environment"]["hardware"]}


def _accuracy(numbers: pd.DataFrame, column: str, name: str) -> tuple[float, float, float]:
    """Return mean, low and high of the accuracy of a row; not a number where it is not there."""
    rows = numbers[(numbers[column] == name) & (numbers.score == "accuracy")] if len(numbers) else numbers
    return tuple(rows[["mean", "low", "high"]].iloc[0]) if len(rows) else (float("nan"),) * 3
