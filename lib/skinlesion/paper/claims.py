"""The preprint's claims beside what its recipe gives here, and what else there is to say of these runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skinlesion import studies
from skinlesion.data.dataset import DX
from skinlesion.paper import costs
from skinlesion.paper.tables import Reports, Row, images, scored, table
from skinlesion.reporting import tables
from skinlesion.runs import originals
from skinlesion.scoring import doubt, evaluation, lesions, predictions, seeds
from skinlesion.scoring.seeds import Draws


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
    yield {"small": costs.SMALL}
    for claim in CLAIMS:
        numbers, shown = [], {"preprint": f"{claim.value:.2f} ± {claim.margin:.2f}"}
        for study, split in STUDIES.items():
            runs_of, score = reports.runs[study], reports.headline(study, claim.part).loc[claim.score]
            gap, lower = score - claim.value, evaluation.BY_NAME[claim.score].lower_is_better
            judged = verdict(gap.low, gap.high, margin=claim.margin, lower_is_better=lower)
            facts = {"claim": claim.name, "part": claim.part, "score": claim.score, "preprint": claim.value}
            facts |= {"margin": claim.margin, "split": split, "seeds": len(runs_of.seeds)}
            numbers.append({**facts, **score, "gap": gap["mean"], "verdict": judged, "hardware": runs_of.hardware})
            shown[split] = tables.interval(score["mean"], score.low, score.high)
            shown[f"{split}, verdict"] = judged + (
                f", {tables.number(gap['mean'], sign=True)}" if runs_of.seeds else ""
            )
        yield Row({"claim": claim.name}, shown=shown, numbers=numbers)
    for word, judged in costs.verdicts(reports.table("costs").numbers).items():
        facts = {"claim": word, "part": "–", "score": "–", "split": "–", "seeds": 0, "verdict": judged}
        yield Row({"claim": word}, shown={f"{split}, verdict": judged for split in STUDIES.values()}, numbers=[facts])


@table("scores", first=("study",))
def scores(reports: Reports) -> Iterator[Row]:
    """Return the scores the preprint does not report, and of always naming one class."""
    for runs_of in reports.of(*reports.compared):
        if not runs_of.synthetic:
            found = reports.headline(runs_of.study)
            facts = {"study": runs_of.study, "size": runs_of.size, "seeds": len(runs_of.seeds)}
            majority = np.mean([_majority(each) for each in runs_of.tested.values()])
            accuracy = found.loc["accuracy"]
            shown = {"between trainings": accuracy["between"], "of lesions": accuracy["lesions"]}
            yield Row({**facts, "always the largest class": majority}, found, shown=shown)


@table("estimands", first=("over", "split"), hidden=("seeds",))
def estimands(reports: Reports) -> Iterator[Row]:
    """Score the same networks over images (the primary number), with one vote a lesion, and on lesions of one image."""
    for runs_of in reports.of(*STUDIES):
        tested = runs_of.tested
        kinds = {
            "images (primary)": tested,
            "one vote a lesion": {seed: lesions.votes(each) for seed, each in tested.items()},
            "lesions with a single image": {
                seed: lesions.alone(each, runs_of.splits[seed]) for seed, each in tested.items()
            },
        }
        drawn = Draws.draw(tested, "test", draws=reports.draws)
        names = ("accuracy", "balanced_accuracy", "macro_f1")
        for kind, found in scored(kinds, drawn, names=names).items():
            majority = np.mean([_majority(each) for each in kinds[kind].values()])
            facts = {"split": STUDIES[runs_of.study], "over": kind, "count": images(kinds[kind]), "majority": majority}
            yield Row({**facts, "seeds": len(runs_of.seeds)}, found)


@table("selection")
def selection(reports: Reports, last: int = 5) -> Iterator[Row]:
    """Say what choosing the best epoch adds to the validation accuracy, and what the test part says of each rule."""
    rules: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "best epoch on validation (the study's)": lambda curve: curve.loc[[curve.validation.idxmax()]],
        "last epoch": lambda curve: curve.tail(1),
        f"mean of the last {last} epochs": lambda curve: curve.tail(last),
        "best epoch on test (a mistake)": lambda curve: curve.loc[[curve.test.idxmax()]],
    }
    for runs_of in reports.of(*STUDIES):
        curves = []
        for seed, run in runs_of.runs.items():
            test = run.read_csv("epochs.csv").test_accuracy if run.find("epochs.csv") else np.nan
            curves.append(pd.DataFrame({"validation": runs_of.histories[seed].validation_accuracy, "test": test}))
        told = not any(curve.test.isna().any() for curve in curves)
        for rule, kept in rules.items():
            if told or "on test" not in rule:
                validation, test = np.mean([kept(curve).mean() for curve in curves], axis=0)
                facts = {"split": STUDIES[runs_of.study], "epoch": rule, "validation": validation, "test": test}
                yield Row({**facts, "seeds": len(runs_of.seeds)})


@table("per_class", first=("dx", "split"), hidden=("seeds",), digits=2)
def per_class(reports: Reports) -> Iterator[Row]:
    """Return precision, recall, F1 and AUC of each diagnosis, by image and by lesion."""
    for runs_of in reports.of(*STUDIES):
        drawn = Draws.draw(runs_of.predictions, "test", draws=reports.draws)
        for dx, found in seeds.per_class(runs_of.predictions, "test", drawn).items():
            number = np.mean([(each.dx == dx).sum() for each in runs_of.tested.values()])
            facts = {"dx": dx, "split": STUDIES[runs_of.study], "seeds": len(runs_of.seeds), "images": number}
            yield Row(facts, found.table(), rank=-DX.index(dx))


FLIPPED, REPEATS = 0.02, 10


@table("labels")
def labels(reports: Reports) -> Iterator[Row | dict[str, Any]]:
    """Count the candidates for a wrong label over all images; labels exchanged at random say what that is worth."""
    folds = reports.runs["quick_folds"]
    if len(folds.seeds) != folds.chosen.folds:
        return
    told = folds.out_of_fold
    wrong = told[predictions.COLUMNS].to_numpy().argmax(1) != told.dx.map(DX.index)
    doubted = told.image_id.isin(doubt.candidates(told).image_id)
    for dx in (*DX, "all"):
        at = (told.dx == dx) | (dx == "all")
        counts = {"images": at.sum(), "told wrongly": wrong[at].sum(), "label in doubt": doubted[at].sum()}
        share = doubted[at].mean()
        yield Row({"dx": dx, **counts, "share": share}, shown={"share": f"{share:.1%}"})
    tests = doubt.null(told, share=FLIPPED, repeats=REPEATS, seed=0)
    yield {"share": FLIPPED, "repeats": REPEATS, "recall": tests.recall.mean(), "others": tests.others.mean()}


@table("convergence")
def convergence(reports: Reports, last: int = 5) -> Iterator[Row]:
    """Say of every run whether its losses fell and its validation accuracy stood still at the end."""
    for runs_of in reports.of(*STUDIES):
        for seed, history in runs_of.histories.items():
            loss, end = history.validation_loss, history.validation_accuracy.tail(last)
            yield Row(
                {
                    "split": STUDIES[runs_of.study],
                    "seed": seed,
                    "epochs": len(history),
                    "selected": runs_of.manifests[seed]["selected_epoch"],
                    "train_loss_first": history.train_loss.iloc[0],
                    "train_loss_last": history.train_loss.iloc[-1],
                    "validation_loss_lowest": loss.min(),
                    "lowest_in_epoch": int(history.epoch[loss.idxmin()]),
                    "validation_loss_last": loss.iloc[-1],
                    "accuracy_lowest": end.min(),
                    "accuracy_highest": end.max(),
                }
            )


@table("assumptions")
def assumptions(reports: Reports) -> Iterator[Row]:
    """Return what the preprint leaves open and what is assumed here, from the comments of the study by image."""
    pattern = re.compile(r"^(\w+): *(\S+) *# open(?: \((.*?)\))?: (.+)$", re.MULTILINE)
    for key, value, said, reason in pattern.findall((studies.FOLDER / f"{BY_IMAGE}.yaml").read_text(encoding="utf-8")):
        yield Row({"parameter": key, "assumed": value, "the preprint says": said or "nothing", "reason": reason})


@table("runs")
def runs(reports: Reports) -> Iterator[Row]:
    """List every run behind the tables: what it was made of, by which code, on what, in which time."""
    order = [*reports.compared, *reports.vaulted, *reports.steps]
    found = {(study, seed): run for study in order for seed, run in reports.runs[study].runs.items()}
    for own, (study, seed) in originals(found).items():
        manifest = found[own].manifest
        first, tested = manifest["sittings"][0], found[own].read_csv("split.csv").query("part == 'test'")
        yield Row(
            {
                "study": own[0],
                "seed": own[1],
                "data": manifest["data"]["title"],
                "tested images": len(tested),
                "tested lesions": tested.lesion_group.nunique(),
                "weights": manifest["weights"],
                "commit": (first["source"]["commit"] or "none")[:12],
                "hardware": found[own].hardware,
                "torch": first["environment"]["packages"]["torch"],
                "precision": manifest["precision"],
                "minutes": f"{manifest['training_seconds'] / 60:.1f}",
                "same training as": "" if own == (study, seed) else f"{study}, seed {seed}",
            }
        )


def _majority(said: pd.DataFrame) -> float:
    return evaluation.majority_accuracy(said.dx.map(DX.index).to_numpy())
