"""The ladder: what each step towards a better network gives, on the images it is chosen by and on the test part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from skinlesion import studies
from skinlesion.paper import tables as paper
from skinlesion.paper.evidence import Evidence
from skinlesion.paper.tables import PaperTable
from skinlesion.reporting.tables import heading, number
from skinlesion.scoring import seeds
from skinlesion.scoring.seeds import Draws

PARTS = {"development": ("validation", "calibration"), "test": ("test",)}
"""What chooses, and what is looked at once the choice is made."""

FINAL = "improved"
"""The study of all that is kept."""

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "melanoma_sensitivity", "loss")

CRITERION = ("accuracy", "macro_f1")
"""The scores whose mean decides whether a step is kept."""


def ladder(found: Mapping[str, Evidence], planned: Mapping[str, studies.Study], *, draws: int) -> PaperTable:
    """Return the scores of each step and their difference to the study it changes, on the same images.

    The test part is shown once the study of all that is kept is there.
    """
    rows, shown = [], []
    names = studies_of(planned)
    open_parts = [part for part in PARTS if part == "development" or (found[FINAL].seeds if FINAL in found else ())]
    for study in names:
        arm, runs_of = planned[study], found[study]
        base = found[arm.against].shared_with(runs_of) if arm.against else None
        if base is not None:
            runs_of = runs_of.shared_with(base)
        facts = {"step": study, "over": base.study if base else "–", "seeds": len(runs_of.seeds)}
        if not runs_of.seeds:
            shown.append({**facts, "kept": "not measured"})
            continue
        cells: dict[str, str] = {}
        for part in open_parts:
            scored, change = _scored(runs_of, base, PARTS[part], draws=draws)
            for quantity, table in (("score", scored), ("difference", change)):
                if table is not None:
                    rows += paper.long(table, **facts, part=part, quantity=quantity)
            if part == "development":
                facts["kept"] = "–" if change is None else _kept(change)
            own = change if change is not None else scored
            told = paper.cells(own, SCORES, sign=change is not None)
            cells |= told if part == "development" else {f"test {heading(name)}": cell for name, cell in told.items()}
        minutes = np.mean([manifest["training_seconds"] for manifest in runs_of.manifests.values()]) / 60
        shown.append({**facts, **cells, "minutes": f"{minutes:.0f}"})
    caption = (
        "Steps towards a better network, each over the study named beside it: scores of the first, differences of "
        "the others, on the development images (validation and calibration together) of one split by lesion, mean "
        "over seeds with 95% interval. A step is kept if the mean of accuracy and macro F1 rises. "
        + (
            "Columns with test are of the test part, which chose nothing. "
            if len(open_parts) > 1
            else f"The test part is looked at once {FINAL} is trained. "
        )
        + paper.of({name: found[name] for name in names}, parts=PARTS["development"])
        + _machines(found, names)
    )
    return PaperTable("ladder", pd.DataFrame(rows), paper.headed(shown, "step", "over", "kept").fillna("–"), caption)


def _machines(found: Mapping[str, Evidence], names: list[str]) -> str:
    """Say which steps were trained on which machine, where there are several: their minutes are not comparable."""
    trained: dict[str, list[str]] = {}
    for name in names:
        if found[name].seeds:
            trained.setdefault(found[name].hardware, []).append(name)
    if len(trained) < 2:
        return ""
    each = "; ".join(f"{machine} for {', '.join(steps)}" for machine, steps in trained.items())
    return f" Minutes are comparable on one machine alone: {each}."


def studies_of(planned: Mapping[str, studies.Study]) -> list[str]:
    """Return the studies of the ladder: its foot, then every step in the order of the file of arms."""
    arms = {name: arm for name, arm in planned.items() if arm.table == "ladder"}
    feet = [arm.against for arm in arms.values() if arm.against and arm.against not in arms]
    return list(dict.fromkeys([*feet, *arms]))


def kept(numbers: pd.DataFrame) -> list[str]:
    """Return the steps that are kept, by the table's numbers."""
    rows = numbers[(numbers.part == "development") & (numbers.quantity == "difference")]
    gains = rows[rows.score.isin(CRITERION)].groupby("step", sort=False)["mean"].mean()
    return list(gains.index[gains > 0])


def _kept(change: pd.DataFrame) -> str:
    gain = change.loc[list(CRITERION), "mean"].mean()
    return f"{'yes' if gain > 0 else 'no'}, {number(gain, 4, sign=True)}"


def _scored(
    runs_of: Evidence, base: Evidence | None, parts: tuple[str, ...], *, draws: int
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the scores over some parts, and their differences to those of the base, where there is one."""
    sides = [
        {seed: table[table.part.isin(parts)].assign(part="test") for seed, table in side.predictions.items()}
        for side in (runs_of, base)
        if side is not None
    ]
    drawn = Draws.draw(sides[0], "test", draws=draws)
    own, *others = (seeds.headline(side, "test", drawn) for side in sides)
    change = own.minus(others[0]).table().loc[list(SCORES)] if others else None
    return own.table().loc[list(SCORES)], change
