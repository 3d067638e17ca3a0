"""What one thing does: pairs of runs that differ in it, on the same images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from skinlesion import parameters, studies
from skinlesion.data.dataset import DX
from skinlesion.paper import tables as paper
from skinlesion.paper.evidence import AFTERWARDS, Evidence
from skinlesion.paper.tables import PaperTable
from skinlesion.parameters import ABLATED
from skinlesion.reporting import tables
from skinlesion.scoring import crossover, evaluation, predictions, seeds, variance

Tables = Mapping[int, pd.DataFrame]
"""Predictions by seed."""


QUESTIONS = {
    "effects": "What one choice does",
    "imbalance": "What the remedies of class imbalance do, the one limitation that the preprint names",
    "perturbation": "What perturbing gradients or weights does, at the same number of passes through the network",
    "networks": "How other networks do beside MobileNetV2, all from random weights",
}
"""The tables of effects, and what each answers."""

ENDPOINTS = {"imbalance": "balanced_accuracy"}
"""The primary endpoint of a table, where it is not accuracy."""


def effects(
    found: dict[str, Evidence],
    planned: Mapping[str, studies.Study],
    *,
    draws: int,
    between: str = "",
    name: str = "effects",
) -> PaperTable:
    """Return what each arm does to the study it is compared with, in pairs of runs: largest effect first.

    Arms of other tables are left out; of those that are planned and not there it is said. Where all arms are compared
    with one study, its scores come first.

    Parameters
    ----------
    name
        One of :data:`QUESTIONS`: arms that name another table are left out. An ablation is in the first.
    """
    endpoint = ENDPOINTS.get(name, "accuracy")
    rows, shown = [], []
    measured: dict[str, Evidence] = {}
    bases: dict[str, Evidence] = {}
    for study, runs_of in found.items():
        chosen = parameters.load(study)
        if chosen.compare_with is None or name != (planned[study].table if study in planned else "effects"):
            continue
        base = found[chosen.compare_with].shared_with(runs_of)
        runs_of = runs_of.shared_with(base)
        facts = {"difference": f"{study} − {base.study}", "size": paper.size(chosen), "seeds": len(base.seeds)}
        if base.seeds:
            table, images = _paired(base.predictions, runs_of.predictions, draws=draws)
            measured |= {base.study: base, study: runs_of}
            bases[base.study] = found[base.study]
            rows += _long(table, facts, images, runs_of, ablation=ABLATED in study)
            shown.append((abs(table["mean"][endpoint]), _cells(table, facts, images)))
        elif study in planned and planned[study].seeds:
            shown.append((-1.0, {**facts, "images": "–", **dict.fromkeys(paper.SHOWN, "not measured")}))
    for base in bases.values() if name != "effects" else ():
        if name == "imbalance":
            table, images = _paired(base.predictions, base.without_prior(base.predictions), draws=draws)
            facts = {"difference": f"{base.study}, {AFTERWARDS}, − {base.study}", **_facts(base)}
            rows += _long(table, facts, images, base)
            shown.append((abs(table["mean"][endpoint]), _cells(table, facts, images)))
        table, images = paper.over_seeds(base, "test", draws).loc[list(paper.SHOWN)], _images(base.predictions)
        facts = {"difference": base.study, **_facts(base)}
        rows += _long(table, facts, images, base, quantity="score")
        shown.append((np.inf, _cells(table, facts, images, sign=False)))
    ordered = [row for _, row in sorted(shown, key=lambda pair: -pair[0])]
    first = "" if len(bases) != 1 or name == "effects" else f"Scores of {next(iter(bases))}; then "
    caption = (
        f"{QUESTIONS[name]}: {first}score of the first study minus score of the second, on the same test images: "
        f"{paper.mean(measured)} of the paired difference. {tables.words(endpoint).capitalize()} is the primary "
        f"endpoint, the other scores are secondary. {paper.of(measured, between=between)}"
    )
    return PaperTable(name, pd.DataFrame(rows), paper.headed(ordered, "difference"), caption)


def _facts(runs_of: Evidence) -> dict[str, object]:
    return {"size": paper.size(parameters.load(runs_of.study)), "seeds": len(runs_of.seeds)}


def _images(tables: Tables) -> float:
    return float(np.mean([(table.part == "test").sum() for table in tables.values()]))


def _paired(first: Tables, second: Tables, *, draws: int) -> tuple[pd.DataFrame, float]:
    """Return second minus first, one row a score, and the number of images of which it is."""
    pair = seeds.pairs(first, second)
    drawn = seeds.Draws.draw(pair[0], "test", draws=draws)
    return seeds.difference(*pair, drawn).table().loc[list(paper.SHOWN)], _images(pair[0])


def _long(
    table: pd.DataFrame,
    facts: Mapping[str, object],
    images: float,
    runs_of: Evidence,
    *,
    quantity: str = "difference",
    ablation: bool = False,
) -> list[dict]:
    more = {"quantity": quantity, "images": images, "ablation": ablation, "hardware": runs_of.hardware}
    return paper.long(table, **facts, **more)


def _cells(table: pd.DataFrame, facts: Mapping[str, object], images: float, *, sign: bool = True) -> dict[str, object]:
    return {**facts, "images": f"{images:,.0f}", **paper.cells(table, sign=sign)}


def leak(found: dict[str, Evidence], *, draws: int, between: str = "") -> PaperTable:
    """Score what is said of images whose lesion was seen in training, and of the same images where it was not."""
    rows, shown = [], []
    measured: dict[str, Evidence] = {}
    for study, second in found.items():
        chosen = parameters.load(study)
        if not chosen.crossover or chosen.compare_with is None:
            continue
        first = found[chosen.compare_with].shared_with(second)
        second = second.shared_with(first)
        facts = {
            "pairs of runs": f"{first.study}, {second.study}",
            "size": paper.size(chosen),
            "seeds": len(first.seeds),
        }
        if not first.seeds:
            shown.append({**facts, "tested images": "–", "images": "–", **dict.fromkeys(paper.SHOWN, "not measured")})
            continue
        measured |= {first.study: first, second.study: second}
        sides = {
            seed: crossover.sides(
                first.predictions[seed], second.predictions[seed], splits=(first.splits[seed], second.splits[seed])
            )
            for seed in first.seeds
        }
        seen, unseen = ({seed: pair[k] for seed, pair in sides.items()} for k in (0, 1))
        drawn = seeds.Draws.draw(seen, "test", draws=draws)
        for group, kept in _groups(seen).items():
            one, other = ({seed: table[kept[seed]] for seed, table in side.items()} for side in (seen, unseen))
            names = paper.SHOWN if group == ALL or group.startswith("with") else ("accuracy", "loss")
            where = "paper" if names == paper.SHOWN else "probes"
            with_leak, without = (seeds.headline(side, "test", drawn, where=where) for side in (one, other))
            images = np.mean([len(table) for table in one.values()])
            which = {**facts, "tested images": group, "images": images}
            arms = {"seen": with_leak, "unseen": without, SEEN_MINUS_UNSEEN: with_leak.minus(without)}
            for arm, scored in arms.items():
                if arm != SEEN_MINUS_UNSEEN and group != ALL:
                    continue
                table = scored.table().loc[list(names)]
                rows += paper.long(table, **which, lesion=arm)
                shown.append({**which, "images": f"{images:,.0f}", "lesion": arm, **paper.cells(table, names)})
    caption = (
        "What the leak does: one image of every lesion that has several is tested; of two runs, one has trained on the "
        "lesion's other images and one has not, so that every tested image is its own control. Siblings: how many "
        f"other images of it were trained on. In a cell: {paper.mean(measured)}, paired. Accuracy over all tested "
        f"images is the primary endpoint, the rest is secondary. {paper.of(measured, between=between)}"
    )
    return PaperTable("leak", pd.DataFrame(rows), paper.headed(shown, "tested images", "lesion").fillna("–"), caption)


ALL, SEEN_MINUS_UNSEEN = "all", "seen − unseen"


def sources(found: dict[str, Evidence], *, draws: int) -> PaperTable:
    """Score the images of each source by a network that has not seen the source, and by networks that have.

    The same images both times: the cross-validation holds an answer to every image by a network that was trained on
    other lesions of all sources.
    """
    rows, shown = [], []
    measured: dict[str, Evidence] = {}
    for study, runs_of in found.items():
        chosen = parameters.load(study)
        if chosen.split_by != "source" or chosen.compare_with is None:
            continue
        folds = found[chosen.compare_with]
        whole = len(folds.seeds) == parameters.load(folds.study).folds
        for seed, left_out in runs_of.predictions.items() if whole else ():
            measured |= {folds.study: folds, study: runs_of}
            unseen = left_out[left_out.part == "test"]
            names = runs_of.splits[seed]
            seen = folds.out_of_fold.set_index("image_id").loc[unseen.image_id].reset_index()
            drawn = seeds.Draws.draw({seed: unseen}, "test", draws=draws)
            scored = [seeds.headline({seed: side}, "test", drawn) for side in (seen, unseen)]
            facts = {
                "source": runs_of.runs[seed].left_out,
                "images": len(unseen),
                "lesions": unseen.lesion_group.nunique(),
            }
            absent = [dx for dx in DX if dx not in set(unseen.dx)]
            facts["without images of"] = ", ".join(absent) or "–"
            facts["trained on"] = int((names.part == "train").sum())
            for arm, each in (
                ("source seen", scored[0]),
                ("unseen", scored[1]),
                ("unseen − seen", scored[1].minus(scored[0])),
            ):
                table = each.table().loc[list(paper.SHOWN)]
                rows += paper.long(table, **facts, network=arm)
                said = {name: f"{value:,}" if isinstance(value, int) else value for name, value in facts.items()}
                shown.append({**said, "network": arm, **paper.cells(table)})
    caption = (
        "Another source, with its own camera and patients: the same images, told by a network that was trained without "
        "their source and by networks that were trained with it (cross-validation, other lesions). 95% interval of the "
        "lesions alone, one training a source; accuracy is the primary endpoint. Macro scores are over the diagnoses "
        f"that the source has. {paper.of(measured)}"
    )
    return PaperTable("sources", pd.DataFrame(rows), paper.headed(shown, "source", "network"), caption)


def spread(found: dict[str, Evidence], planned: Mapping[str, studies.Study]) -> PaperTable:
    """Return how much of the variance between runs is due to the split and to the training: arms that cross the two."""
    bases = [arm.of for arm in planned.values() if arm.table == "spread"]
    base = max(bases, key=bases.count) if bases else None
    crossed = {name: runs_of for name, runs_of in found.items() if _crosses(planned.get(name), base) and runs_of.seeds}
    shared = set.intersection(*(set(runs_of.seeds) for runs_of in crossed.values())) if crossed else set()
    rows, shown = [], []
    if len(crossed) > 1 and len(shared) > 1:
        for score in paper.SHOWN:
            values = {
                study: {seed: _score(runs_of.predictions[seed], score) for seed in sorted(shared)}
                for study, runs_of in crossed.items()
            }
            table = variance.components(pd.DataFrame(values).T)
            for part, row in table.iterrows():
                rows.append({"score": score, "due to": part, **row})
            texts = {
                f"{part}, share": "–" if np.isnan(row.share) else f"{row.share:.0%}" for part, row in table.iterrows()
            }
            deviations = {part: _range(row) for part, row in table.iterrows()}
            shown.append({"score": tables.heading(score), **deviations, **texts})
    caption = (
        f"What makes runs differ: {len(crossed)} splits crossed with {len(shared)} seeds of training. Standard "
        "deviation of a test score due to the split (other images are trained on and tested), to the training, and to "
        "the two together, with 95% interval (wide, of so few runs), and its share of the variance. "
        f"{paper.of(crossed)}"
    )
    return PaperTable("spread", pd.DataFrame(rows), pd.DataFrame(shown), caption)


def _crosses(arm: studies.Study | None, base: str | None) -> bool:
    return arm is not None and (arm.table, arm.of) == ("spread", base)


def _range(row: pd.Series) -> str:
    high = "no limit" if np.isinf(row.high) else f"{row.high:.3f}"
    return f"{row.deviation:.3f}" if np.isnan(row.low) else f"{row.deviation:.3f} ({row.low:.3f}–{high})"


def _score(table: pd.DataFrame, name: str) -> float:
    labels, probabilities, _ = predictions.part(table, "test")
    return float(evaluation.measured(labels, probabilities, where="paper")[name])


def _groups(seen: Tables) -> dict[str, dict[int, pd.Series]]:
    """Return which rows of each seed are in which group: all, by number of siblings, by diagnosis."""
    groups = {ALL: {seed: table.siblings > 0 for seed, table in seen.items()}}
    for name, low, high in (("with 1 sibling", 1, 1), ("with 2 siblings", 2, 2), ("with 3 or more", 3, 99)):
        groups[name] = {seed: table.siblings.between(low, high) for seed, table in seen.items()}
    for dx in DX:
        groups[dx] = {seed: table.dx == dx for seed, table in seen.items()}
    return {name: kept for name, kept in groups.items() if all(each.any() for each in kept.values())}
