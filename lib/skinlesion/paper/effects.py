"""What one thing does: pairs of runs that differ in it, on the same images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from skinlesion.data.dataset import DX
from skinlesion.paper.evidence import AFTERWARDS, Evidence
from skinlesion.paper.tables import SHOWN, Predicted, Reports, Row, images, table
from skinlesion.parameters import ABLATED
from skinlesion.reporting import tables
from skinlesion.scoring import crossover, evaluation, predictions, seeds, variance
from skinlesion.scoring.seeds import Draws

ENDPOINTS = dict.fromkeys(("effects", "perturbation", "networks"), "accuracy") | {"imbalance": "balanced_accuracy"}
"""The tables of effects, and the primary endpoint of each."""

NOT_MEASURED = dict.fromkeys(SHOWN, "not measured")


def effects(reports: Reports, name: str) -> Iterator[Row]:
    """Return what each arm does to the study it is compared with, in pairs of runs: largest effect first.

    Arms of other tables are left out; of those that are planned and not there it is said. Where all arms are compared
    with one study, its scores come first.

    Parameters
    ----------
    name
        One of :data:`ENDPOINTS`: arms that name another table are left out. An ablation is in the first.
    """
    endpoint, bases = ENDPOINTS[name], []

    def row(label: str, of: Evidence, found: pd.DataFrame, said: Predicted, quantity: str = "difference") -> Row:
        facts = {"difference": label, "size": of.size, "seeds": len(said), "quantity": quantity}
        facts |= {"images": images(said), "ablation": ABLATED in of.study, "hardware": of.hardware}
        return Row(facts, found, rank=abs(found["mean"][endpoint]) if quantity == "difference" else np.inf)

    for study, runs_of in reports.compared.items():
        arm = reports.planned.get(study)
        if runs_of.chosen.compare_with is None or name != (arm.table if arm else "effects"):
            continue
        base, runs_of = reports.pair(runs_of)
        label = f"{study} − {base.study}"
        if base.seeds:
            first, second = seeds.pairs(base.predictions, runs_of.predictions)
            found = reports.scored({base.study: first, study: second}, minus=[(study, base.study)])
            bases.append(base.study)
            yield row(label, runs_of, found[label], first)
        elif arm and arm.seeds:
            yield Row({"difference": label, "size": runs_of.size, "seeds": 0}, shown=NOT_MEASURED, numbers=[], rank=-1)
    for base in reports.of(*dict.fromkeys(bases)) if name != "effects" else ():
        if name == "imbalance":
            without = base.without_prior(base.tested)
            sides = {"prior": without, "as is": base.tested}
            found = reports.scored(sides, of=base.study, minus=[("prior", "as is")])
            label = f"{base.study}, {AFTERWARDS}, − {base.study}"
            yield row(label, base, found["prior − as is"], without)
        yield row(base.study, base, reports.headline(base.study), base.tested, "score")


for _name in ENDPOINTS:
    table(_name, first=("difference",), hidden=("quantity", "ablation", "hardware"))(partial(effects, name=_name))

ALL, SEEN_MINUS_UNSEEN = "all", "seen − unseen"


@table("leak", first=("tested images", "lesion"))
def leak(reports: Reports) -> Iterator[Row]:
    """Score what is said of images whose lesion was seen in training, and of the same images where it was not."""
    for runs_of in reports.compared.values():
        if not runs_of.chosen.crossover or runs_of.chosen.compare_with is None:
            continue
        first, second = reports.pair(runs_of)
        facts = {"pairs of runs": f"{first.study}, {second.study}", "size": first.size, "seeds": len(first.seeds)}
        if not first.seeds:
            yield Row(facts, shown=NOT_MEASURED, numbers=[])
            continue
        sides = {
            seed: crossover.sides(
                first.predictions[seed], second.predictions[seed], splits=(first.splits[seed], second.splits[seed])
            )
            for seed in first.seeds
        }
        seen, unseen = ({seed: pair[k] for seed, pair in sides.items()} for k in (0, 1))
        drawn = Draws.draw(seen, "test", draws=reports.draws)
        for group, kept in _groups(seen).items():
            one, other = ({seed: each[kept[seed]] for seed, each in side.items()} for side in (seen, unseen))
            many = group == ALL or group.startswith("with")
            found = reports.scored(
                {"seen": one, "unseen": other},
                of=first.study,
                drawn=drawn,
                minus=[("seen", "unseen")],
                names=SHOWN if many else ("accuracy", "loss"),
            )
            for lesion, each in found.items():
                if lesion == SEEN_MINUS_UNSEEN or group == ALL:
                    which = {"tested images": group, "images": images(one), "lesion": lesion}
                    yield Row({**facts, **which}, each)


@table("sources", first=("source", "network"))
def sources(reports: Reports) -> Iterator[Row]:
    """Score the images of each source by a network that has not seen the source, and by networks that have.

    The same images both times: the cross-validation holds an answer to every image by a network that was trained on
    other lesions of all sources.
    """
    for runs_of in reports.compared.values():
        if runs_of.chosen.split_by != "source" or runs_of.chosen.compare_with is None:
            continue
        folds = reports.runs[runs_of.chosen.compare_with]
        whole = len(folds.seeds) == folds.chosen.folds
        for seed, unseen in runs_of.tested.items() if whole else ():
            seen = folds.out_of_fold.set_index("image_id").loc[unseen.image_id].reset_index()
            sides = {"seen": {seed: seen}, "unseen": {seed: unseen}}
            found = reports.scored(sides, of=runs_of.study, minus=[("unseen", "seen")])
            facts = {"source": runs_of.runs[seed].left_out, "images": len(unseen)}
            facts["tested lesions"] = unseen.lesion_group.nunique()
            facts["without images of"] = ", ".join(dx for dx in DX if dx not in set(unseen.dx)) or "–"
            facts["trained on"] = int((runs_of.splits[seed].part == "train").sum())
            for network, each in found.items():
                label = "source seen" if network == "seen" else network
                yield Row({**facts, "network": label}, each)


@table("spread")
def spread(reports: Reports) -> Iterator[Row]:
    """Return how much of the variance between runs is due to the split and to the training: arms that cross the two."""
    arms = {name: arm.of for name, arm in reports.planned.items() if arm.table == "spread"}
    base = max(arms.values(), key=list(arms.values()).count)
    crossed = reports.of(*(name for name, of in arms.items() if of == base))
    shared = sorted(set.intersection(*(set(each.seeds) for each in crossed))) if crossed else []
    if len(crossed) < 2 or len(shared) < 2:
        return
    told = [[predictions.part(each.predictions[seed], "test")[:2] for seed in shared] for each in crossed]
    measured = [[evaluation.measured(*each, where="paper") for each in row] for row in told]
    for score in SHOWN:
        found = variance.components(pd.DataFrame([[float(each[score]) for each in row] for row in measured]))
        if score != "loss":
            found.high = found.high.clip(upper=0.5)  # no share has a larger one
        shown = {
            part: tables.interval(row.deviation, row.low, row.high).replace("inf", "no limit")
            for part, row in found.iterrows()
        }
        shown |= {f"{part}, share": f"{share:.0%}" for part, share in found.share.dropna().items()}
        numbers = [{"score": score, "due to": part, **row} for part, row in found.iterrows()]
        yield Row({"score": tables.heading(score)}, shown=shown, numbers=numbers)


def _groups(seen: Predicted) -> dict[str, dict[int, pd.Series]]:
    """Return which rows of each seed are in which group: all, by number of siblings, by diagnosis."""
    groups = {ALL: {seed: each.siblings > 0 for seed, each in seen.items()}}
    for name, low, high in (("with 1 sibling", 1, 1), ("with 2 siblings", 2, 2), ("with 3 or more", 3, 99)):
        groups[name] = {seed: each.siblings.between(low, high) for seed, each in seen.items()}
    for dx in DX:
        groups[dx] = {seed: each.dx == dx for seed, each in seen.items()}
    return {name: kept for name, kept in groups.items() if all(each.any() for each in kept.values())}
