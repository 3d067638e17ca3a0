"""The preprint's claims beside what its recipe gives here, and what else there is to say of these runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinlesion import studies
from skinlesion.paper.tables import Reports, Row, table
from skinlesion.reporting import tables
from skinlesion.scoring import evaluation


@dataclass(frozen=True)
class Claim:
    """One number of the preprint, the score of ours it is held against, and how near counts as the same."""

    name: str
    part: str
    score: str
    value: float
    margin: float


CLAIMS = (
    Claim("accuracy", "test", "accuracy", 0.92, 0.02),
    Claim("validation accuracy", "validation", "accuracy", 0.90, 0.02),
    Claim("macro F1", "test", "macro_f1", 0.88, 0.03),
    Claim("loss", "test", "loss", 0.26, 0.03),
)
"""Source: "Skin Disease Classification Using Deep Learning: A Preprint Study". It does not say of which part its loss
is: the test part's is taken, as for the other numbers. Margins are those of parameters/PROTOCOL.md."""

BY_IMAGE, BY_LESION = "paper", "paper_lesion"
STUDIES = {BY_IMAGE: "by image", BY_LESION: "by lesion"}


def verdict(low: float, high: float, *, margin: float, lower_is_better: bool = False) -> str:
    """Judge the interval of the difference to a claim, as parameters/PROTOCOL.md says."""
    if np.isnan(low):
        return "not measured"
    if -margin <= low and high <= margin:
        return "reproduced"
    if lower_is_better:
        low, high = -high, -low
    return "not reached" if high < -margin else "exceeded" if low > margin else "inconclusive"


@table("claims")
def claims(reports: Reports) -> Iterator[Row | dict[str, Any]]:
    """Hold each claim against the runs by image and by lesion."""
    wide = cells = 0
    for claim in CLAIMS:
        numbers, shown = [], {"preprint": f"{claim.value:.2f} ± {claim.margin:.2f}"}
        for study, split in STUDIES.items():
            runs_of, score = reports.runs[study], reports.headline(study, claim.part).loc[claim.score]
            gap, lower = score - claim.value, evaluation.BY_NAME[claim.score].lower_is_better
            judged = verdict(gap.low, gap.high, margin=claim.margin, lower_is_better=lower)
            facts = {"claim": claim.name, "part": claim.part, "score": claim.score, "preprint": claim.value}
            facts |= {"margin": claim.margin, "split": split, "seeds": len(runs_of.seeds)}
            if runs_of.seeds:  # beside it the interval of the protocol as it was first written
                facts |= dict(reports.study_scores(study, claim.part).unpooled().loc[claim.score])
                half = (score.high - score.low) / 2
                facts["half_width"] = half
                wide, cells = wide + (half > claim.margin), cells + 1
            numbers.append({**facts, **score, "gap": gap["mean"], "verdict": judged, "hardware": runs_of.hardware})
            shown[split] = tables.interval(score["mean"], score.low, score.high)
            shown[f"{split}, verdict"] = judged + (
                f", {tables.number(gap['mean'], sign=True)}" if runs_of.seeds else ""
            )
        yield Row({"claim": claim.name}, shown=shown, numbers=numbers)
    yield {"wide": wide, "cells": cells}


@table("assumptions")
def assumptions(reports: Reports) -> Iterator[Row]:
    """Return what the preprint leaves open and what is assumed here, from the comments of the study by image."""
    pattern = re.compile(r"^(\w+): *(\S+) *# open(?: \((.*?)\))?: (.+)$", re.MULTILINE)
    for key, value, said, reason in pattern.findall((studies.FOLDER / f"{BY_IMAGE}.yaml").read_text(encoding="utf-8")):
        yield Row({"parameter": key, "assumed": value, "the preprint says": said or "nothing", "reason": reason})
