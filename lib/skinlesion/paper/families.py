"""Families of studies whose trainings vary alike: pooled, they say how trainings vary, which two or three cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skinlesion.paper.evidence import Evidence
from skinlesion.parameters import RANDOM, Parameters, Split
from skinlesion.scoring import seeds
from skinlesion.scoring.seeds import Draws, Scores

APART = ("leak", "spread", "sources", "labels", "road", "pixels", "data_size")
"""Tables whose studies test other images, share their runs, or vary what others keep: in no family's pool."""

SIDES = {96: 112, 128: 176}
"""A family by size holds studies with images up to so many pixels a side; the last, 224, all others."""

DRAWS = 1000
"""Of the lesions, to say which share of the variance between trainings is theirs."""


def family(chosen: Parameters) -> str:
    """Return the family of a study: by size, by what it starts from, and by whether classes are rebalanced."""
    side = next((side for side, most in SIDES.items() if chosen.image_size <= most), 224)
    rebalanced = chosen.weighted_sampling or chosen.class_weighted_loss or chosen.logit_adjustment >= 1
    kind = "random weights" if chosen.weights == RANDOM else "classes rebalanced" if rebalanced else "ImageNet weights"
    return f"{side}×{side}, {kind}"


def blocks(found: Mapping[str, Evidence], tables: Mapping[str, str]) -> dict[str, list[list[Evidence]]]:
    """Return the studies of each family that have several runs, those of the same seeds and splits together.

    Parameters
    ----------
    found
        Studies by name.
    tables
        The table of the paper that each planned study is for.
    """
    together: dict[tuple, list[Evidence]] = {}
    for name, each in found.items():
        if len(each.seeds) > 1 and name in tables and tables[name] not in APART:
            split = tuple(getattr(each.chosen, field) for field in Split.model_fields)
            together.setdefault((family(each.chosen), split, tuple(each.seeds)), []).append(each)
    made: dict[str, list[list[Evidence]]] = {}
    for (name, *_), some in together.items():
        made.setdefault(name, []).append(some)
    return made


def scored(block: Sequence[Evidence], parts: Sequence[str]) -> list[Scores]:
    """Return the scores of the studies of a block over some parts, of the same draws of lesion groups."""
    told = [
        {seed: said[said.part.isin(parts)].assign(part="test") for seed, said in each.predictions.items()}
        for each in block
    ]
    groups = np.unique(np.concatenate([said.lesion_group for each in told for said in each.values()]))
    drawn = Draws.of(groups, draws=DRAWS)
    return [seeds.headline(each, "test", drawn) for each in told]


def residuals(block_scores: Sequence[Sequence[Scores]], name: str) -> list[np.ndarray]:
    """Return each study's score less its mean, and less the mean of each seed where several studies share the seeds."""
    left = []
    for block in block_scores:
        values = np.stack([each.measured[name] for each in block])
        values = values - values.mean(1, keepdims=True)
        left += list(values - (values.mean(0) if len(block) > 1 else 0))
    return left
