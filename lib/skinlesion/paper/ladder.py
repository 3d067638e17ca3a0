"""The ladder: what each step towards a better network gives, on the images it is chosen by and on the test part."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from skinlesion.paper.tables import Reports, Row, cells, long, table
from skinlesion.reporting.tables import heading, number

PARTS = {"development": ("validation", "calibration"), "test": ("test",)}
"""What chooses, and what is looked at once the choice is made."""

FINAL = "improved"
"""The study of all that is kept."""

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "melanoma_sensitivity", "loss")

CRITERION = ("accuracy", "macro_f1")
"""The scores whose mean decides whether a step is kept."""


@table("ladder", first=("step", "over", "kept"))
def ladder(reports: Reports) -> Iterator[Row]:
    """Return the scores of each step and their difference to the study it changes, on the same images.

    The test part is shown once the study of all that is kept is there.
    """
    for study in reports.steps:
        against = reports.planned[study].against
        sides = [reports.runs[study]] if against is None else [*reversed(reports.pair(reports.runs[study]))]
        facts = {"step": study, "over": against or "–", "seeds": len(sides[0].seeds)}
        if not sides[0].seeds:
            yield Row(facts, shown={"kept": "not measured"}, numbers=[])
            continue
        numbers, shown = [], {"kept": "–"}
        for part in PARTS if reports.of(FINAL) else ("development",):
            cut = {
                side.study: {
                    seed: each[each.part.isin(PARTS[part])].assign(part="test")
                    for seed, each in side.predictions.items()
                }
                for side in sides
            }
            minus = [(study, side.study) for side in sides[1:]]
            own, *others = reports.scored(cut, minus=minus, names=SCORES, parts=PARTS[part]).values()
            numbers += long(own, **facts, part=part, quantity="score")
            if others:
                numbers += long(others[-1], **facts, part=part, quantity="difference")
            told = cells(others[-1] if others else own, sign=bool(others))
            shown |= told if part == "development" else {f"test {heading(name)}": cell for name, cell in told.items()}
            if others and part == "development":
                gain = others[-1].loc[list(CRITERION), "mean"].mean()
                shown["kept"] = f"{'yes' if gain > 0 else 'no'}, {number(gain, 4, sign=True)}"
        minutes = np.mean([manifest["training_seconds"] for manifest in sides[0].manifests.values()]) / 60
        yield Row(facts, shown={**shown, "minutes": f"{minutes:.0f}"}, numbers=numbers)


def kept(numbers: pd.DataFrame) -> list[str]:
    """Return the steps that are kept, by the table's numbers."""
    rows = numbers[(numbers.part == "development") & (numbers.quantity == "difference")]
    gains = rows[rows.score.isin(CRITERION)].groupby("step", sort=False)["mean"].mean()
    return list(gains.index[gains > 0])
