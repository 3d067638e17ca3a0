"""The preprint's claims beside what its recipe gives here, and what else there is to say of these runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skinlesion import parameters, studies
from skinlesion.data.dataset import DX
from skinlesion.paper import costs
from skinlesion.paper import tables as paper
from skinlesion.paper.evidence import Evidence
from skinlesion.paper.tables import PaperTable
from skinlesion.reporting import tables
from skinlesion.runs import originals
from skinlesion.scoring import doubt, evaluation, lesions, predictions, seeds


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

RULE = (
    "reproduced: the whole interval of the difference to the claim lies within the margin; not reached: it is worse by "
    "more than the margin; exceeded: better by more; inconclusive: anything else"
)

BY_IMAGE, BY_LESION = "paper", "paper_lesion"
STUDIES = {BY_IMAGE: "by image", BY_LESION: "by lesion"}

Measured = dict[tuple[str, str], pd.DataFrame]
"""The headline scores over seeds, by study and part."""


def verdict(low: float, high: float, *, margin: float, lower_is_better: bool = False) -> str:
    """Judge the difference to a claim, given its interval, by :data:`RULE`; without an interval it is not measured."""
    if np.isnan(low):
        return "not measured"
    if -margin <= low and high <= margin:
        return "reproduced"
    if lower_is_better:
        low, high = -high, -low
    return "not reached" if high < -margin else "exceeded" if low > margin else "inconclusive"


def claims(main: dict[str, Evidence], measured: Measured, words: Mapping[str, str], *, between: str = "") -> PaperTable:
    """Hold each claim against the runs by image and by lesion.

    Parameters
    ----------
    words
        The verdict on each word that the preprint claims (:func:`skinlesion.paper.costs.verdicts`).
    """
    rows, shown = [], []
    for claim in CLAIMS:
        row: dict[str, str] = {"claim": claim.name, "preprint": f"{claim.value:.2f} ± {claim.margin:.2f}"}
        for study, split in STUDIES.items():
            found = measured[study, claim.part].loc[claim.score]
            gap = found[["mean", "low", "high"]] - claim.value
            judged = verdict(gap.low, gap.high, margin=claim.margin, lower_is_better=_lower(claim))
            facts = {"claim": claim.name, "part": claim.part, "score": claim.score, "preprint": claim.value}
            facts |= {"margin": claim.margin, "split": split, "seeds": len(main[study].seeds)}
            rows.append({**facts, **found, "gap": gap["mean"], "verdict": judged, "hardware": main[study].hardware})
            row[split] = tables.interval(found["mean"], found.low, found.high)
            row[f"{split}, verdict"] = (
                judged if judged == "not measured" else f"{judged}, {tables.number(gap['mean'], sign=True)}"
            )
        shown.append(row)
    for word, judged in words.items():
        rows.append({"claim": word, "part": "–", "score": "–", "split": "–", "seeds": 0, "verdict": judged})
        shown.append({"claim": word, **{f"{split}, verdict": judged for split in STUDIES.values()}})
    caption = (
        "The preprint's claims, with the margin within which a number is the same, beside what its recipe gives: "
        f"{paper.mean(main)}; the validation accuracy is that of the best epoch. Verdict and difference: {RULE}. "
        f"{' '.join(f'{word.capitalize()}: {rule}.' for word, rule in costs.RULES.items())} "
        f"{paper.of(main, between=between)}"
    )
    return PaperTable("claims", pd.DataFrame(rows), pd.DataFrame(shown).fillna("–"), caption)


def _lower(claim: Claim) -> bool:
    return evaluation.BY_NAME[claim.score].lower_is_better


def scores(found: dict[str, Evidence], measured: Measured) -> PaperTable:
    """Return the scores the preprint does not report, and of always naming one class."""
    rows, shown = [], []
    for study, runs_of in found.items():
        if not runs_of.seeds:
            continue
        row = {"study": study, "size": paper.size(parameters.load(study)), "seeds": len(runs_of.seeds)}
        table = measured[study, "test"].loc[list(paper.SHOWN)]
        labels = [predictions.part(each, "test")[0] for each in runs_of.predictions.values()]
        row["always the largest class"] = np.mean([evaluation.majority_accuracy(each) for each in labels])
        rows += paper.long(table, **row)
        said = {
            "between trainings": _deviation(table.between["accuracy"]),
            "of lesions": f"{table.lesions['accuracy']:.3f}",
        }
        shown.append(
            {**row, "always the largest class": f"{row['always the largest class']:.3f}", **paper.cells(table), **said}
        )
    caption = (
        f"Scores on the test part: {paper.mean(found)}; accuracy of a constant answer; the standard deviation of "
        "accuracy between trainings on the same lesions, and its standard error from the lesions. "
        f"{paper.of(found)}"
    )
    return PaperTable("scores", pd.DataFrame(rows), paper.headed(shown, "study"), caption)


def estimands(main: dict[str, Evidence], *, draws: int, between: str = "") -> PaperTable:
    """Score the same networks over images (the primary number), with one vote a lesion, and on lesions of one image."""
    rows, shown = [], []
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    for study, runs_of in main.items():
        if not runs_of.seeds:
            continue
        tested = {seed: table[table.part == "test"] for seed, table in runs_of.predictions.items()}
        drawn = seeds.Draws.draw(tested, "test", draws=draws)
        kinds = {
            "images (primary)": tested,
            "one vote a lesion": {seed: lesions.votes(table) for seed, table in tested.items()},
            "lesions with a single image": {
                seed: lesions.alone(table, runs_of.splits[seed]) for seed, table in tested.items()
            },
        }
        for kind, cases in kinds.items():
            table = seeds.headline(cases, "test", drawn).table().loc[list(names)]
            majority = np.mean(
                [evaluation.majority_accuracy(predictions.part(each, "test")[0]) for each in cases.values()]
            )
            facts: dict[str, object] = {
                "split": STUDIES[study],
                "over": kind,
                "count": np.mean([len(each) for each in cases.values()]),
            }
            rows += paper.long(table, **facts, majority=majority, seeds=len(runs_of.seeds))
            texts = paper.cells(table, names)
            said = {"count": f"{facts['count']:,.0f}", "always the largest class": f"{majority:.3f}"}
            shown.append({**facts, **said, **texts})
    caption = (
        "The same networks, counted in three ways; the first is the one in every headline. A vote is the mean of the "
        f"probabilities of a lesion's images. In a cell: {paper.mean(main)}. {paper.of(main, between=between)}"
    )
    return PaperTable("estimands", pd.DataFrame(rows), paper.headed(shown, "over", "split"), caption)


def selection(main: dict[str, Evidence], *, last: int = 5) -> PaperTable:
    """Say what choosing the best epoch adds to the validation accuracy, and what the test part says of each rule."""
    rows, shown = [], []
    for study, runs_of in main.items():
        accuracy = {seed: history.validation_accuracy.to_numpy() for seed, history in runs_of.histories.items()}
        tested = {seed: _accuracies(runs_of, seed) for seed in runs_of.seeds}
        rules = {
            "best epoch on validation (the study's)": lambda validation, test: slice(
                argmax := validation.argmax(), argmax + 1
            ),
            "last epoch": lambda validation, test: slice(-1, None),
            f"mean of the last {last} epochs": lambda validation, test: slice(-last, None),
            "best epoch on test (a mistake)": lambda validation, test: slice(argmax := test.argmax(), argmax + 1),
        }
        for rule, chosen in rules.items():
            there = [(accuracy[seed], tested[seed]) for seed in runs_of.seeds]
            if not there or ("on test" in rule and any(test is None for _, test in there)):
                continue
            pairs = [
                (one[part := chosen(one, test)].mean(), np.nan if test is None else test[part].mean())
                for one, test in there
            ]
            validation, test = np.mean(pairs, axis=0)
            row = {"split": STUDIES[study], "epoch": rule, "validation": validation, "test": test, "seeds": len(there)}
            rows.append(row)
            shown.append({**row, "validation": f"{validation:.3f}", "test": _deviation(test)})
    caption = (
        "Accuracy of the same trainings when other epochs are kept. The best of many epochs on a part is too high on "
        "that part: by about what its column loses from there to the mean of the last epochs. "
        f"{paper.of(main)}"
    )
    return PaperTable("selection", pd.DataFrame(rows), pd.DataFrame(shown), caption)


def per_class(main: dict[str, Evidence], *, draws: int, between: str = "") -> PaperTable:
    """Return precision, recall, F1 and AUC of each diagnosis, by image and by lesion."""
    rows, cells = [], {}
    names = tuple(evaluation.names("paper class"))
    for study, runs_of in main.items():
        if not runs_of.seeds:
            continue
        drawn = seeds.Draws.draw(runs_of.predictions, "test", draws=draws)
        for dx, found in seeds.per_class(runs_of.predictions, "test", drawn).items():
            table = found.table()
            tested = [each[each.part == "test"] for each in runs_of.predictions.values()]
            images = np.mean([(each.dx == dx).sum() for each in tested])
            facts = {"dx": dx, "split": STUDIES[study], "seeds": len(runs_of.seeds), "images": images}
            rows += paper.long(table, **facts)
            shown_cells = paper.cells(table, names, digits=2)
            cells[dx, study] = {"dx": dx, "split": STUDIES[study], "images": f"{images:,.0f}", **shown_cells}
    shown = [cells[dx, study] for dx in DX for study in STUDIES if (dx, study) in cells]
    said = paper.of(main, between=between)
    caption = f"Each diagnosis against the rest on the test part: {paper.mean(main)}. {said}"
    return PaperTable("per_class", pd.DataFrame(rows), paper.headed(shown, "dx", "split"), caption)


def labels(found: dict[str, Evidence]) -> PaperTable:
    """Count the candidates for a wrong label over all images; labels exchanged at random say what that is worth."""
    folds = found["quick_folds"]
    rows, shown = [], []
    if len(folds.seeds) == parameters.load(folds.study).folds:
        told = folds.out_of_fold
        doubted = doubt.candidates(told)
        wrong = told[predictions.COLUMNS].to_numpy().argmax(1) != told.dx.map(DX.index)
        tests = doubt.null(told, share=FLIPPED, repeats=REPEATS, seed=0)
        cases = {dx: (told.dx == dx).to_numpy() for dx in DX} | {"all": np.ones(len(told), dtype=bool)}
        for dx, at in cases.items():
            number = int(told.image_id[at].isin(doubted.image_id).sum())
            row = {"dx": dx, "images": int(at.sum()), "told wrongly": int(wrong[at].sum()), "label in doubt": number}
            rows.append(row | {"share": number / at.sum()})
            said = {"dx": dx, "images": row["images"], "told wrongly": row["told wrongly"], "candidates": number}
            shown.append({key: f"{value:,}" if key != "dx" else value for key, value in said.items()})
            shown[-1]["share"] = f"{number / at.sum():.1%}"
        null = f"{tests.recall.mean():.0%} of these become candidates, and {tests.others.mean():.1%} of the others"
    else:
        null = "not measured"
    caption = (
        "Candidates for a wrong label by confident learning, from answers of networks trained on other lesions. "
        "A network that errs doubts right labels: its wrong answers stand beside. As a test of the method, "
        f"{FLIPPED:.0%} of all labels were exchanged at random ({REPEATS} times): {null}. "
        f"{paper.of({folds.study: folds})}"
    )
    return PaperTable("labels", pd.DataFrame(rows), paper.headed(shown), caption)


FLIPPED, REPEATS = 0.02, 10


def convergence(main: dict[str, Evidence], *, last: int = 5) -> PaperTable:
    """Say of every run whether its losses fell and its validation accuracy stood still at the end."""
    rows, shown = [], []
    for study, runs_of in main.items():
        for seed, history in runs_of.histories.items():
            end = history.validation_accuracy.tail(last)
            row = {
                "split": STUDIES[study],
                "seed": seed,
                "epochs": len(history),
                "selected": runs_of.manifests[seed]["selected_epoch"],
                "train_loss_first": history.train_loss.iloc[0],
                "train_loss_last": history.train_loss.iloc[-1],
                "validation_loss_lowest": history.validation_loss.min(),
                "lowest_in_epoch": int(history.epoch[history.validation_loss.idxmin()]),
                "validation_loss_last": history.validation_loss.iloc[-1],
                "accuracy_lowest": end.min(),
                "accuracy_highest": end.max(),
            }
            rows.append(row)
            shown.append(
                {
                    "split": row["split"],
                    "seed": seed,
                    "selected epoch": f"{row['selected']} of {row['epochs']}",
                    "training loss, first to last": f"{row['train_loss_first']:.3f} to {row['train_loss_last']:.3f}",
                    "validation loss, lowest": f"{row['validation_loss_lowest']:.3f} (epoch {row['lowest_in_epoch']})",
                    "validation loss, last": f"{row['validation_loss_last']:.3f}",
                    f"validation accuracy, last {last} epochs": f"{end.min():.3f}–{end.max():.3f}",
                }
            )
    caption = f"Did training converge? One row a run; losses in nats. {paper.of(main)}"
    return PaperTable("convergence", pd.DataFrame(rows), pd.DataFrame(shown), caption)


def assumptions() -> PaperTable:
    """Return what the preprint leaves open and what is assumed here, from the comments of the study by image."""
    pattern = re.compile(r"^(\w+): *(\S+) *# open(?: \((.*?)\))?: (.+)$")
    lines = (studies.FOLDER / f"{BY_IMAGE}.yaml").read_text(encoding="utf-8").splitlines()
    found = [match.groups() for line in lines if (match := pattern.match(line))]
    rows = [
        {"parameter": key, "assumed": value, "the preprint says": said or "nothing", "reason": reason}
        for key, value, said, reason in found
    ]
    table = pd.DataFrame(rows)
    caption = (
        f"What the preprint leaves open, and what is assumed in its place (parameters/{BY_IMAGE}.yaml); the starting "
        "weights that each run really had are in the table of runs."
    )
    return PaperTable("assumptions", table, table, caption)


def runs(found: dict[str, Evidence]) -> PaperTable:
    """List every run behind the tables: what it was made of, by which code, on what, in which time."""
    rows = []
    once = originals({(study, seed): run for study, runs_of in found.items() for seed, run in runs_of.runs.items()})
    for study, runs_of in found.items():
        for seed, manifest in runs_of.manifests.items():
            first = manifest["sittings"][0]
            rows.append(
                {
                    "study": study,
                    "seed": seed,
                    "data": manifest["data"]["title"],
                    "weights": manifest["weights"],
                    "commit": (first["source"]["commit"] or "none")[:12],
                    "hardware": runs_of.runs[seed].hardware,
                    "torch": first["environment"]["packages"]["torch"],
                    "precision": manifest["precision"],
                    "minutes": f"{manifest['training_seconds'] / 60:.1f}",
                    "same training as": _unless(once[study, seed], (study, seed)),
                }
            )
    table = pd.DataFrame(rows)
    caption = "Every run behind these tables, from the manifests. Two runs of one training count once."
    return PaperTable("runs", table, table, caption)


def _unless(first: tuple[str, int], own: tuple[str, int]) -> str:
    return "" if first == own else f"{first[0]}, seed {first[1]}"


def _accuracies(runs_of: Evidence, seed: int) -> np.ndarray | None:
    """Return the test accuracy after each epoch of a run, or None where it is not published."""
    run = runs_of.runs[seed]
    return run.read_csv("epochs.csv").test_accuracy.to_numpy() if run.find("epochs.csv") else None


def _deviation(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
