"""What there is to say of the trainings beside the claims: other scores, units, epochs, diagnoses, labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skinlesion.data.dataset import DX
from skinlesion.paper import families
from skinlesion.paper.claims import STUDIES
from skinlesion.paper.tables import Predicted, Reports, Row, images, table
from skinlesion.runs import originals
from skinlesion.scoring import doubt, lesions, predictions, seeds
from skinlesion.scoring.seeds import Draws, Spread

FLIPPED, REPEATS = 0.02, 10
"""Which share of the labels is exchanged to test the search for wrong ones, and how often."""


@table("scores", first=("study",))
def scores(reports: Reports) -> Iterator[Row]:
    """Return the scores the preprint does not report, and of always naming one class."""
    for runs_of in reports.of(*reports.compared):
        if not runs_of.synthetic:
            found = reports.headline(runs_of.study)
            facts = {"study": runs_of.study, "size": runs_of.size, "seeds": len(runs_of.seeds)}
            majority = _majority(runs_of.tested)
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
        names = ("accuracy", "balanced_accuracy", "macro_f1")
        for kind, found in reports.scored(kinds, of=runs_of.study, names=names).items():
            majority = _majority(kinds[kind])
            facts = {"split": STUDIES[runs_of.study], "over": kind, "count": images(kinds[kind]), "majority": majority}
            yield Row({**facts, "seeds": len(runs_of.seeds)}, found)


@table("families")
def pooled(reports: Reports) -> Iterator[Row]:
    """Return what is pooled to say how trainings vary in accuracy, and whether the studies of a family vary alike."""
    for name, blocks in reports.blocks.items():
        found, some = reports.pooled(name) or Spread({}, {}), [families.scored(block, ("test",)) for block in blocks]
        left = [each for each in families.residuals(some, "accuracy") if np.ptp(each) > 0]
        facts = {"family": name, "studies": len(left), "trainings": sum(map(len, left))}
        for what, square in (("", found.level["accuracy"]), (" of a pair", found.difference["accuracy"])):
            facts |= {f"SD{what}": square[0] ** 0.5, f"degrees of freedom{what}": square[1]}
        yield Row(facts | {"alike, p": stats.bartlett(*left).pvalue if len(left) > 1 else np.nan})


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


@table("per_class", first=("dx", "split"), hidden=("seeds",))
def per_class(reports: Reports) -> Iterator[Row]:
    """Return precision, recall, F1 and AUC of each diagnosis, by image and by lesion."""
    scored = {}
    for runs_of in reports.of(*STUDIES):
        drawn = Draws.draw(runs_of.predictions, "test", draws=reports.draws)
        scored[runs_of.study] = seeds.per_class(runs_of.predictions, "test", drawn)
    several = [study for study in scored if len(reports.runs[study].seeds) > 1]
    spreads = {dx: Spread.pooled([[scored[study][dx]] for study in several]) for dx in DX if several}
    for runs_of in reports.of(*STUDIES):
        for dx, found in scored[runs_of.study].items():
            number = np.mean([(each.dx == dx).sum() for each in runs_of.tested.values()])
            facts = {"dx": dx, "split": STUDIES[runs_of.study], "seeds": len(runs_of.seeds), "images": number}
            yield Row(facts, replace(found, spread=spreads.get(dx)).table(), rank=-DX.index(dx))


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
            loss, validated = history.train_loss, history.validation_loss
            lowest, end = validated.idxmin(), history.validation_accuracy.tail(last)
            facts = {"split": STUDIES[runs_of.study], "seed": seed, "epochs": len(history)}
            facts["selected"] = runs_of.manifests[seed]["selected_epoch"]
            facts |= {"train_loss_first": loss.iloc[0], "train_loss_last": loss.iloc[-1]}
            facts |= {"validation_loss_lowest": validated[lowest], "lowest_in_epoch": int(history.epoch[lowest])}
            facts |= {"validation_loss_last": validated.iloc[-1]}
            yield Row(facts | {"accuracy_lowest": end.min(), "accuracy_highest": end.max()})


@table("runs")
def runs(reports: Reports) -> Iterator[Row]:
    """List every run behind the tables: what it was made of, by which code, on what, in which time."""
    order = [*reports.compared, *reports.vaulted, *reports.steps]
    found = {(study, seed): run for study in order for seed, run in reports.runs[study].runs.items()}
    for own, first in originals(found).items():
        run, manifest = found[own], found[own].manifest
        began, tested = manifest["sittings"][0], run.read_csv("split.csv").query("part == 'test'")
        facts = {"study": own[0], "seed": own[1], "data": manifest["data"]["title"], "tested images": len(tested)}
        facts |= {"tested lesions": tested.lesion_group.nunique(), "weights": manifest["weights"]}
        facts |= {"commit": (began["source"]["commit"] or "none")[:12], "hardware": run.hardware}
        facts |= {"torch": began["environment"]["packages"]["torch"], "precision": manifest["precision"]}
        facts |= {"minutes": f"{manifest['training_seconds'] / 60:.1f}"}
        yield Row(facts | {"same training as": "" if own == first else f"{first[0]}, seed {first[1]}"})


def _majority(said: Predicted) -> float:
    """Return the accuracy of always naming the largest class."""
    return float(np.mean([each.dx.value_counts(normalize=True).max() for each in said.values()]))
