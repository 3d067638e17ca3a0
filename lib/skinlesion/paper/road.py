"""The road to 92%: what mistakes of protocol print, and what the same networks are worth on unseen lesions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from skinlesion import parameters
from skinlesion.data.splits import VAULT
from skinlesion.paper import claims
from skinlesion.paper import tables as paper
from skinlesion.paper.evidence import Evidence
from skinlesion.paper.tables import PaperTable
from skinlesion.parameters import Augmentation, Parameters
from skinlesion.reporting import tables
from skinlesion.runs import originals
from skinlesion.scoring import evaluation, readings, seeds
from skinlesion.scoring.readings import Left, Reading
from skinlesion.scoring.seeds import Draws, Scores

PRINTED, WORTH, OPTIMISM, GAIN = "printed", "vault", "printed − vault", "vault − clean vault"
"""What is said of every row: what its author prints; what its network scores on the vault; the difference of the two;
how much better the network is than the clean one, on the same images of the vault."""

SCORES = ("accuracy", "macro_f1", "loss")
"""What the preprint prints of a test part."""

DRAWN = ("accuracy", "macro_f1")
"""What the figure shows."""

CLAIMED = {claim.score: claim.value for claim in claims.CLAIMS if claim.part == "test"}


def road(found: Mapping[str, Evidence], *, draws: int, report: Callable[[str], None] = lambda line: None) -> PaperTable:
    """Return what every mistake prints, and what its network is worth: trained rows, and readings of the clean network.

    Parameters
    ----------
    found
        The runs of every study that has a vault.
    report
        Is told of every row that is made.
    """
    rows, shown = [], []
    first = originals({(study, seed): run for study, each in found.items() for seed, run in each.runs.items()})
    own = {study for study, seed in first.values()}
    measured = {study: each for study, each in found.items() if study in own}
    largest = sorted(map(parameters.load, measured), key=lambda chosen: (-chosen.image_size, -chosen.epochs))
    for size in dict.fromkeys(map(paper.size, largest)):
        beside = {study: each for study, each in measured.items() if paper.size(parameters.load(study)) == size}
        for facts, scored in _rows(beside, draws=draws):
            for quantity, scores in scored.items():
                rows += paper.long(scores.table().loc[list(SCORES)], **facts, quantity=quantity)
            shown.append(_cells(facts, {quantity: scores.table() for quantity, scores in scored.items()}))
            report(f"{len(shown)} rows: {facts['row']}, {size}")
    claimed = " and ".join(f"{value:g} ({tables.heading(score)})" for score, value in CLAIMED.items())
    caption = (
        "What mistakes of protocol print, and what the same networks are worth: scores as an author prints them, and "
        "scores on a vault of lesions that no mistake touches, the same in every row. A row that is read is another "
        f"reading of the clean network, without training. A cell is a {paper.mean(measured)}; printed minus vault "
        f"accuracy is the primary endpoint. The preprint prints {claimed}; a row crosses a number where its whole "
        f"interval does. {_merged(first)}{paper.of(measured)}"
    )
    return PaperTable("road", pd.DataFrame(rows), paper.headed(shown, *(shown or [{}])[0]), caption)


def crosses(row: pd.Series) -> str:
    """Say whether a printed score reaches the preprint's number: yes or no where its whole interval does, or open."""
    low, high, claimed = row.low, row.high, CLAIMED[row.score]
    if evaluation.BY_NAME[row.score].lower_is_better:
        low, high, claimed = -high, -low, -claimed
    return "yes" if low >= claimed else "no" if high < claimed else "open"


def _merged(first: Mapping[tuple[str, int], tuple[str, int]]) -> str:
    """Name the studies that are the trainings of another row."""
    same = {study: other for (study, _), (other, _) in first.items() if other != study}
    return "".join(f"{study} is the training of {other}, and has no row of its own. " for study, other in same.items())


def _recipe(chosen: Parameters) -> str:
    """Say in what the recipe differs from the one as written."""
    if not any(getattr(chosen, name) for name in Augmentation.model_fields):
        return ", without augmentation"
    return ", improved recipe" if chosen.ema_decay else ""


def _rows(found: Mapping[str, Evidence], *, draws: int) -> Iterator[tuple[dict[str, Any], dict[str, Scores]]]:
    """Yield the facts of each row of one size, and its scores by quantity, all of the same draws of lesion groups."""
    chosen = {study: parameters.load(study) for study in found}
    clean = next((found[study] for study in found if not chosen[study].mistake and not _recipe(chosen[study])), None)
    splits = (clean or next(iter(found.values()))).splits.values()
    groups = np.unique(np.concatenate([split.lesion_group.unique() for split in splits]))
    worth = _Worth(clean, Draws.of(groups, draws=draws))
    for study, runs_of in found.items():
        mistake, recipe = chosen[study].mistake, _recipe(chosen[study])
        made = {**readings.TRAINED[mistake], **(readings.REREAD if chosen[study].readings else {})}
        shared = runs_of.shared_with(clean) if clean else runs_of
        for name, reading in made.items() if shared.seeds else ():
            facts = {
                "row": name + recipe,
                "says": reading.says + recipe,
                "made by": "read" if name in readings.REREAD else "trained",
                "study": study,
                "size": paper.size(parameters.load(study)),
                "seeds": len(shared.seeds),
            }
            yield facts, worth.of(shared, reading)


class _Worth:
    """Scores of readings and of what the vault says of their networks, each network's vault scored once."""

    def __init__(self, clean: Evidence | None, drawn: Draws) -> None:
        self.drawn = drawn
        self.known: dict[Any, Scores] = {}
        self.clean = clean

    def of(self, runs_of: Evidence, reading: Reading) -> dict[str, Scores]:
        """Return the scores of one row, by quantity."""
        left = {seed: _left(runs_of, seed) for seed in runs_of.seeds}
        printed = self._scores({seed: reading.printed(each) for seed, each in left.items()})
        for score, instead in reading.scores.items():
            printed.measured[score], printed.drawn[score] = printed.measured[instead], printed.drawn[instead]
        worth = self._vault(runs_of, left, reading)
        scored = {PRINTED: printed, WORTH: worth, OPTIMISM: printed.minus(worth)}
        if self.clean:
            clean = self._vault(self.clean.shared_with(runs_of), None, readings.TRAINED[None]["clean"])
            scored[GAIN] = worth.minus(clean)
        return scored

    def _vault(self, runs_of: Evidence, left: Mapping[int, Left] | None, reading: Reading) -> Scores:
        key = (runs_of.study, tuple(runs_of.seeds), reading.vault)
        if key not in self.known:
            left = left or {seed: _left(runs_of, seed) for seed in runs_of.seeds}
            self.known[key] = self._scores({seed: reading.vault(each) for seed, each in left.items()})
        return self.known[key]

    def _scores(self, said: Mapping[int, pd.DataFrame]) -> Scores:
        return seeds.headline(
            {seed: table.assign(part=VAULT) for seed, table in said.items()}, VAULT, self.drawn, where="road"
        )


def _left(runs_of: Evidence, seed: int) -> Left:
    run = runs_of.runs[seed]
    more = run.read_csv("readings.csv") if run.find("readings.csv") else None
    return Left(runs_of.predictions[seed], more, runs_of.splits[seed], seed)


def _cells(facts: Mapping[str, object], found: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """Return one row as a reader sees it: accuracy in full, macro F1 and loss as printed and in the vault."""
    printed = found[PRINTED].assign(score=found[PRINTED].index)
    cells = {quantity: paper.cells(table, SCORES) for quantity, table in found.items()}
    return {
        "printed": facts["says"],
        "made by": facts["made by"],
        "size": facts["size"],
        "seeds": facts["seeds"],
        "accuracy": cells[PRINTED]["accuracy"],
        "in the vault": cells[WORTH]["accuracy"],
        "difference": cells[OPTIMISM]["accuracy"],
        "better than clean by": cells[GAIN]["accuracy"] if GAIN in cells else "–",
        f"crosses {CLAIMED['accuracy']:g}": crosses(printed.loc["accuracy"]),
        "macro F1": cells[PRINTED]["macro_f1"],
        "macro F1 in the vault": cells[WORTH]["macro_f1"],
        f"crosses {CLAIMED['macro_f1']:g}": crosses(printed.loc["macro_f1"]),
        "loss": cells[PRINTED]["loss"],
        "loss in the vault": cells[WORTH]["loss"],
    }
