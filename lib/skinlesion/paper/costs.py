"""What networks cost and how accurate they are, and whether two words of the preprint hold: small, and efficient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from skinlesion.paper.tables import Reports, Row, table
from skinlesion.reporting import tables
from skinlesion.runs import Files

CLAIMED = "mobilenet_v2"
"""The network that the preprint calls efficient and small."""

SMALL = 10.0
"""Megabytes that the weights of a small network stay below."""

WORDS = ("small", "efficient")


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


def verdicts(numbers: pd.DataFrame) -> dict[str, str]:
    """Judge the two words as parameters/PROTOCOL.md says, by the table's numbers; without any, not measured."""
    if numbers.empty:
        return dict.fromkeys(WORDS, "not measured")
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


def _accuracy(numbers: pd.DataFrame, column: str, name: str) -> tuple[float, float, float]:
    """Return mean, low and high of the accuracy of a row; not a number where it is not there."""
    rows = numbers[(numbers[column] == name) & (numbers.score == "accuracy")] if len(numbers) else numbers
    return tuple(rows[["mean", "low", "high"]].iloc[0]) if len(rows) else (float("nan"),) * 3
