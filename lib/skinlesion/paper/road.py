"""The road to 92%: what mistakes of protocol print, and what the same networks are worth on unseen lesions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from skinlesion.data.splits import VAULT
from skinlesion.paper import claims
from skinlesion.paper.evidence import Evidence
from skinlesion.paper.tables import Reports, Row, cells, long, table
from skinlesion.parameters import Augmentation, Parameters
from skinlesion.reporting.tables import heading
from skinlesion.runs import originals
from skinlesion.scoring import evaluation, readings, seeds
from skinlesion.scoring.readings import Left
from skinlesion.scoring.seeds import Draws, Scores, Spread

PRINTED, WORTH, OPTIMISM, GAIN = "printed", "vault", "printed − vault", "vault − clean vault"
"""What is said of every row: what its author prints; what its network scores on the vault; the difference of the two;
how much better the network is than the clean one, on the same images of the vault."""

SCORES = ("accuracy", "macro_f1", "loss")
"""What the preprint prints of a test part."""

DRAWN = ("accuracy", "macro_f1")
"""What the figure shows."""

CLAIMED = {claim.score: claim.value for claim in claims.CLAIMS if claim.part == "test"}


def crosses(row: pd.Series, score: str) -> str:
    """Say whether a printed score reaches the preprint's number: yes or no where its whole interval does, or open."""
    low, high, claimed = row.low, row.high, CLAIMED[score]
    if evaluation.BY_NAME[score].lower_is_better:
        low, high, claimed = -high, -low, -claimed
    return "yes" if low >= claimed else "no" if high < claimed else "open"


@table("road")
def road(reports: Reports) -> Iterator[Row | dict[str, Any]]:
    """Return what every mistake prints, and what its network is worth: trained rows, and readings of the clean one."""
    once = originals({(study, seed): run for study, each in reports.vaulted.items() for seed, run in each.runs.items()})
    own = [reports.vaulted[study] for study in reports.vaulted if study in {first for first, _ in once.values()}]
    largest = sorted(own, key=lambda each: (-each.chosen.image_size, -each.chosen.epochs))
    rows: list[tuple[dict[str, Any], dict[str, Scores]]] = []
    for size in dict.fromkeys(each.size for each in largest):
        rows += _of_one_size({each.study: each for each in own if each.size == size}, reports)
    for facts, found in rows:
        shown = {}
        for quantity, scored in found.items():  # trainings of one row vary alike at all sizes
            same = [each[quantity] for of, each in rows if of["row"] == facts["row"] and quantity in each]
            several = [[each] for each in same if len(each.measured["accuracy"]) > 1]
            spread = Spread.pooled(several) if several else None
            shown[quantity] = replace(scored, spread=spread).table().loc[list(SCORES)]
        yield _row(facts, shown)
    yield {"same": sorted({(study, other) for (study, _), (other, _) in once.items() if other != study})}


def _of_one_size(found: Mapping[str, Evidence], reports: Reports) -> Iterator[tuple[dict[str, Any], dict[str, Scores]]]:
    """Yield facts and scores of the rows of one size, all of the same draws; an untouched lesion is scored once."""
    recipes = {study: _recipe(runs_of.chosen) for study, runs_of in found.items()}
    plain = [each for study, each in found.items() if not each.chosen.mistake and not recipes[study]]
    splits = (plain or list(found.values()))[0].splits.values()
    groups = np.unique(np.concatenate([split.lesion_group.unique() for split in splits]))
    drawn = Draws.of(groups, draws=reports.draws)

    @cache
    def left(study: str, seed: int) -> Left:
        run = found[study].runs[seed]
        more = run.read_csv("readings.csv") if run.find("readings.csv") else None
        return Left(found[study].predictions[seed], more, found[study].splits[seed], seed)

    @cache
    def scored(study: str, own: tuple[int, ...], said: Callable[[Left], pd.DataFrame]) -> Scores:
        told = {seed: said(left(study, seed)).assign(part=VAULT) for seed in own}
        return seeds.headline(told, VAULT, drawn, where="road")

    for study, runs_of in found.items():
        own = tuple(runs_of.shared_with(plain[0]).seeds if plain else runs_of.seeds)
        made = readings.TRAINED[runs_of.chosen.mistake] | (readings.REREAD if runs_of.chosen.readings else {})
        for name, reading in made.items() if own else ():
            printed, worth = scored(study, own, reading.printed), scored(study, own, reading.vault)
            for score, instead in reading.scores.items():
                printed = replace(
                    printed,
                    measured=printed.measured | {score: printed.measured[instead]},
                    drawn=printed.drawn | {score: printed.drawn[instead]},
                )
            quantities = {PRINTED: printed, WORTH: worth, OPTIMISM: printed.minus(worth)}
            if plain:
                quantities[GAIN] = worth.minus(scored(plain[0].study, own, readings.TRAINED[None]["clean"].vault))
            facts: dict[str, Any] = {"row": name + recipes[study], "says": reading.says + recipes[study]}
            facts |= {"made by": "read" if name in readings.REREAD else "trained", "study": study}
            facts |= {"size": runs_of.size, "seeds": len(own)}
            reports.report(f"{facts['row']}, {runs_of.size}")
            yield facts, quantities


def _recipe(chosen: Parameters) -> str:
    """Say in what the recipe differs from the one as written."""
    if not any(getattr(chosen, name) for name in Augmentation.model_fields):
        return ", without augmentation"
    return ", improved recipe" if chosen.ema_decay else ""


def _row(facts: Mapping[str, Any], found: Mapping[str, pd.DataFrame]) -> Row:
    """Return one row: before a reader, accuracy in full, macro F1 and loss as printed and in the vault."""
    numbers = [line for quantity, each in found.items() for line in long(each, **facts, quantity=quantity)]
    shown = {"printed": facts["says"], **{name: facts[name] for name in ("made by", "size", "seeds")}}
    for score in SCORES:
        crossed = crosses(found[PRINTED].loc[score], score)
        shown |= {score: cells(found[PRINTED])[score], f"{heading(score)} in the vault": cells(found[WORTH])[score]}
        shown[f"crosses {CLAIMED[score]:g}"] = crossed
    shown["printed − vault"] = cells(found[OPTIMISM], sign=True)["accuracy"]
    shown["better than clean by"] = cells(found[GAIN], sign=True)["accuracy"] if GAIN in found else "–"
    return Row({}, shown=shown, numbers=numbers)
