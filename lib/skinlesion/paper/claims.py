"""The preprint's claims beside what its recipe gives here: the tables of the paper, from the files that runs left."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from skinlesion import files, parameters
from skinlesion.data import splits
from skinlesion.data.dataset import DX
from skinlesion.paper import evidence
from skinlesion.paper.evidence import Evidence
from skinlesion.parameters import Parameters
from skinlesion.reporting import tables
from skinlesion.scoring import evaluation, predictions, seeds


@dataclass(frozen=True)
class Claim:
    """One number of the preprint, and the score of ours it is held against."""

    name: str
    part: str
    score: str
    value: float


CLAIMS = (
    Claim("accuracy", "test", "accuracy", 0.92),
    Claim("validation accuracy", "validation", "accuracy", 0.90),
    Claim("macro F1", "test", "macro_f1", 0.88),
    Claim("loss", "test", "loss", 0.26),
)
"""Source: "Skin Disease Classification Using Deep Learning: A Preprint Study". It does not say of which part its loss
is: the test part's is taken, as for the other numbers."""

RULE = (
    "reproduced: the claim lies in our 95% interval; exceeded: the whole interval is better; not reached: the whole "
    "interval is worse"
)

BY_IMAGE, BY_LESION = "paper", "paper_lesion"
STUDIES = {BY_IMAGE: "by image", BY_LESION: "by lesion"}
OTHERS = {
    "paper_clean": "clean arm",
    "paper_injected": "injected arm",
    "paper_folds": "five folds, by lesion",
    "quick_folds": "five folds, by lesion",
}
SHOWN = tuple(evaluation.names("paper"))
LEAKED, SPARED = "with a leaked sibling", "without one"
CHANGE = "injected − clean"
FOLDER = "tables"
"""Where the tables lie, in ``reports/``."""

Measured = dict[tuple[str, str], pd.DataFrame]
"""The headline scores over seeds, by study and part."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes
    ----------
    name
        Of its files.
    numbers
        Its numbers, one row a number or a group of them.
    shown
        As a reader sees it: text.
    caption
        What data, which part, how many images, lesions and seeds, what the interval is, on what it was trained.
    """

    name: str
    numbers: pd.DataFrame
    shown: pd.DataFrame
    caption: str

    def show(self) -> Styler:
        """Return it for a notebook to show; words wrap, numbers do not."""
        styler = tables.show(self.shown, caption=self.caption, index=False)
        if self.name in ("assumptions", "runs"):
            return styler.set_properties(**{"text-align": "left", "white-space": "normal"})
        return styler

    def texts(self) -> dict[str, str]:
        """Return the content of its files: CSV, Markdown and LaTeX, by file name."""
        return {
            f"{self.name}.csv": self.numbers.to_csv(index=False, float_format="%.6f", lineterminator="\n"),
            f"{self.name}.md": f"{tables.markdown(self.shown)}\n\n{self.caption}\n",
            f"{self.name}.tex": tables.latex(self.shown, caption=self.caption, label=f"tab:{self.name}"),
        }

    def write(self, folder: Path) -> None:
        """Write its files."""
        for name, text in self.texts().items():
            files.write_text(folder / name, text)


def verdict(claimed: float, low: float, high: float, *, lower_is_better: bool = False) -> str:
    """Judge a claim by :data:`RULE`; without an interval it is not measured."""
    if np.isnan(low):
        return "not measured"
    if low <= claimed <= high:
        return "reproduced"
    return "exceeded" if (low > claimed) != lower_is_better else "not reached"


def make(folder: Path, *, draws: int, only: Collection[Path] | None = None) -> dict[str, PaperTable]:
    """Return every table of the paper, by name.

    Parameters
    ----------
    folder
        ``reports/``.
    draws
        Of the bootstrap.
    only
        Run folders to be considered; absent, all.
    """
    found = {study: evidence.find(folder, study, only=only) for study in parameters.studies()}
    main, full = ({study: found[study] for study in names} for names in (STUDIES, (*STUDIES, *OTHERS)))
    measured = {(study, "test"): _headline(runs_of, "test", draws) for study, runs_of in full.items()}
    measured |= {(study, "validation"): _headline(runs_of, "validation", draws) for study, runs_of in main.items()}
    made = [
        claims(main, measured),
        scores(full, measured),
        siblings(found[BY_IMAGE], draws=draws),
        leak(found, draws=draws),
        effects(found, draws=draws),
        per_class(main, draws=draws),
        convergence(main),
        assumptions(),
        runs(found),
    ]
    return {table.name: table for table in made}


def claims(main: dict[str, Evidence], measured: Measured) -> PaperTable:
    """Hold each claim against the runs by image and by lesion."""
    rows, shown = [], []
    for claim in CLAIMS:
        row = {"claim": claim.name, "preprint": f"{claim.value:.2f}"}
        for study, split in STUDIES.items():
            found = measured[study, claim.part].loc[claim.score]
            judged = verdict(
                claim.value, found.low, found.high, lower_is_better=evaluation.BY_NAME[claim.score].lower_is_better
            )
            gap = found["mean"] - claim.value
            number = len(main[study].seeds)
            rows.append(
                {
                    "claim": claim.name,
                    "part": claim.part,
                    "score": claim.score,
                    "preprint": claim.value,
                    "split": split,
                    "seeds": number,
                    **found,
                    "gap": gap,
                    "verdict": judged,
                    "hardware": main[study].hardware,
                }
            )
            row[split] = tables.interval(found["mean"], found.low, found.high)
            if number > 1:
                row[f"{split}, range"] = f"{found.minimum:.3f}–{found.maximum:.3f}"
            row[f"{split}, verdict"] = judged if judged in ("reproduced", "not measured") else f"{judged}, {gap:+.3f}"
        shown.append(row)
    caption = (
        f"The preprint's claims beside its recipe: mean over seeds with 95% interval. Verdict: {RULE}; beside it the "
        f"gap to the claim. {_of(main)}"
    )
    return PaperTable("claims", pd.DataFrame(rows), pd.DataFrame(shown), caption)


def scores(found: dict[str, Evidence], measured: Measured) -> PaperTable:
    """Return the scores the preprint does not report, and of always naming one class."""
    rows, shown = [], []
    for study, runs_of in found.items():
        row = {
            "study": study,
            "split": (STUDIES | OTHERS)[study],
            "size": _size(parameters.load(study)),
            "seeds": len(runs_of.seeds),
        }
        if runs_of.seeds:
            table = measured[study, "test"].loc[list(SHOWN)]
            labels = [predictions.part(each, "test")[0] for each in runs_of.predictions.values()]
            row["always the largest class"] = np.mean([evaluation.majority_accuracy(each) for each in labels])
            rows += _long(table, **row)
            texts = {name: tables.interval(*table.loc[name, ["mean", "low", "high"]]) for name in SHOWN}
            shown.append({**row, "always the largest class": f"{row['always the largest class']:.3f}", **texts})
        else:
            shown.append({**row, "always the largest class": "–", **dict.fromkeys(SHOWN, "not measured")})
    caption = f"Scores on the test part: mean over seeds with 95% interval; accuracy of a constant answer. {_of(found)}"
    return PaperTable("scores", pd.DataFrame(rows), _headed(shown), caption)


def siblings(runs_of: Evidence, *, draws: int) -> PaperTable:
    """Score the test images that have an image of the same lesion in training apart from those that have none."""
    rows, shown = [], []
    leaked = {seed: splits.has_sibling(split) for seed, split in runs_of.splits.items()}
    has = {seed: table.image_id.map(leaked[seed]) for seed, table in _tests(runs_of).items()}
    with_one = {seed: table[has[seed]] for seed, table in _tests(runs_of).items()}
    without = {seed: table[~has[seed]] for seed, table in _tests(runs_of).items()}
    if runs_of.seeds and all(len(each) for each in (*with_one.values(), *without.values())):
        drawn = seeds.Draws.draw(runs_of.predictions, "test", draws=draws)
        one, other = (seeds.headline(each, "test", drawn) for each in (with_one, without))
        for name, found, tested in (
            ("with an image of the lesion in training", one, with_one),
            ("without", other, without),
            ("difference", one.minus(other), None),
        ):
            table = found.table().loc[list(SHOWN)]
            images = np.mean([len(each) for each in tested.values()]) if tested else np.nan
            nevi = np.mean([(each.dx == "nv").mean() for each in tested.values()]) if tested else np.nan
            facts = {"test images": name, "images": images, "nv": nevi}
            rows += _long(table, **facts, seeds=len(runs_of.seeds))
            texts = {score: tables.interval(*table.loc[score, ["mean", "low", "high"]]) for score in SHOWN}
            said = {"images": f"{images:,.0f}", "of them nv": f"{nevi:.0%}"} if tested else {}
            shown.append({"test images": name, **({"images": "–", "of them nv": "–"} | said), **texts})
    caption = (
        "The split by image, test images apart: with and without an image of the same lesion group in training. The "
        f"two differ in their cases too, so only the paired arms measure the leak itself. {_of({BY_IMAGE: runs_of})}"
    )
    return PaperTable("siblings", pd.DataFrame(rows), _headed(shown), caption)


def leak(found: dict[str, Evidence], *, draws: int) -> PaperTable:
    """Score the paired arms of the leak where it can help and where it cannot.

    The injected arm trains on the other images of the test lesions that have several. The test images of all other
    lesions are a control: what changes there is of two trainings and not of the leak, and the difference between the
    two changes is free of it as far as it moves both groups alike.
    """
    rows, shown = [], []
    measured: dict[str, Evidence] = {}
    for study, runs_of in found.items():
        chosen = parameters.load(study)
        if chosen.leakage_arm is None or chosen.compare_with is None:
            continue
        base, runs_of = _pair(found[chosen.compare_with], runs_of)
        clean, injected = seeds.pairs(base.predictions, runs_of.predictions)
        leaked = {seed: table.image_id.map(splits.has_sibling(runs_of.splits[seed])) for seed, table in clean.items()}
        facts = {"arms": study, "size": _size(chosen), "seeds": len(clean)}
        if not clean or not all(0 < each.sum() < len(each) for each in leaked.values()):
            missing = {"test images": "–", "images": "–", "arm": CHANGE}
            shown.append({**facts, **missing, **dict.fromkeys(SHOWN, "not measured")})
            continue
        measured |= {base.study: base, study: runs_of}
        drawn = seeds.Draws.draw(clean, "test", draws=draws)
        groups = {
            LEAKED: leaked,
            SPARED: {seed: ~each for seed, each in leaked.items()},
            "all": {seed: each | True for seed, each in leaked.items()},
        }
        scored = {}
        for group, kept in groups.items():
            for arm, tested in (("clean", clean), ("injected", injected)):
                chosen_rows = {seed: table[kept[seed]] for seed, table in tested.items()}
                scored[group, arm] = seeds.headline(chosen_rows, "test", drawn)
            scored[group, CHANGE] = scored[group, "injected"].minus(scored[group, "clean"])
        scored[f"{LEAKED} − {SPARED}", CHANGE] = scored[LEAKED, CHANGE].minus(scored[SPARED, CHANGE])
        for (group, arm), each in scored.items():
            images = np.mean([kept.sum() for kept in groups[group].values()]) if group in groups else np.nan
            table = each.table().loc[list(SHOWN)]
            which = {**facts, "test images": group, "images": images, "arm": arm}
            rows += _long(table, **which)
            texts = {name: tables.interval(*table.loc[name, ["mean", "low", "high"]]) for name in SHOWN}
            shown.append({**which, "images": "–" if np.isnan(images) else f"{images:,.0f}", **texts})
    caption = (
        "What the leak does, in pairs of runs that differ in it alone (same test images, training size and class mix), "
        "where another image of the lesion is in the injected arm's training and where there is none: "
        f"mean over seeds with 95% interval, paired for the differences. {_of(measured)}"
    )
    return PaperTable("leak", pd.DataFrame(rows), _headed(shown), caption)


def effects(found: dict[str, Evidence], *, draws: int) -> PaperTable:
    """Return the differences between every study that names one to be compared with and that one, in pairs of runs.

    Pairs of runs share seed and test images; a study names the other in its parameter ``compare_with``. The arms of the
    leak have a table of their own, :func:`leak`.
    """
    rows, shown = [], []
    measured: dict[str, Evidence] = {}
    for study, runs_of in found.items():
        chosen = parameters.load(study)
        if chosen.compare_with is None or chosen.leakage_arm is not None:
            continue
        base, runs_of = _pair(found[chosen.compare_with], runs_of)
        pair = seeds.pairs(base.predictions, runs_of.predictions)
        names = {"difference": f"{study} − {base.study}", "size": _size(chosen), "seeds": len(pair[0])}
        if pair[0]:
            drawn = seeds.Draws.draw(pair[0], "test", draws=draws)
            table = seeds.difference(*pair, drawn).table().loc[list(SHOWN)]
            images = np.mean([len(each) for each in pair[0].values()])
            measured |= {base.study: base, study: runs_of}
            rows += _long(table, **names, images=images, hardware=runs_of.hardware)
            texts = {name: tables.interval(*table.loc[name, ["mean", "low", "high"]]) for name in SHOWN}
            shown.append({**names, "images": f"{images:,.0f}", **texts})
        else:
            shown.append({**names, "images": "–", **dict.fromkeys(SHOWN, "not measured")})
    caption = (
        "What one choice does: score of the first study minus score of the second, on the same test images, mean over "
        f"seeds with 95% interval of the paired difference. {_of(measured)}"
    )
    return PaperTable("effects", pd.DataFrame(rows), _headed(shown), caption)


def per_class(main: dict[str, Evidence], *, draws: int) -> PaperTable:
    """Return precision, recall, F1 and AUC of each diagnosis, by image and by lesion."""
    rows, cells = [], {}
    names = evaluation.names("paper class")
    for study, runs_of in main.items():
        if not runs_of.seeds:
            continue
        drawn = seeds.Draws.draw(runs_of.predictions, "test", draws=draws)
        for dx, found in seeds.per_class(runs_of.predictions, "test", drawn).items():
            table = found.table()
            images = np.mean([(table_of.dx == dx).sum() for table_of in _tests(runs_of).values()])
            facts = {"dx": dx, "split": STUDIES[study], "seeds": len(runs_of.seeds), "images": images}
            rows += _long(table, **facts)
            texts = {name: tables.interval(*table.loc[name, ["mean", "low", "high"]], digits=2) for name in names}
            cells[dx, study] = {"dx": dx, "split": STUDIES[study], "images": f"{images:,.0f}", **texts}
    shown = [cells[dx, study] for dx in DX for study in STUDIES if (dx, study) in cells]
    caption = f"Each diagnosis against the rest on the test part: mean over seeds with 95% interval. {_of(main)}"
    return PaperTable("per_class", pd.DataFrame(rows), _headed(shown), caption)


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
    caption = f"Did training converge? One row a run; losses in nats. {_of(main)}"
    return PaperTable("convergence", pd.DataFrame(rows), pd.DataFrame(shown), caption)


def assumptions() -> PaperTable:
    """Return what the preprint leaves open and what is assumed here, from the comments of the study by image."""
    pattern = re.compile(r"^(\w+): *(\S+) *# open(?: \((.*?)\))?: (.+)$")
    lines = (parameters.STUDIES / f"{BY_IMAGE}.yaml").read_text(encoding="utf-8").splitlines()
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
    for study, runs_of in found.items():
        if study in (*STUDIES, *OTHERS) or _compared(study):
            for seed, manifest in runs_of.manifests.items():
                first = manifest["sittings"][0]
                rows.append(
                    {
                        "study": study,
                        "seed": seed,
                        "data": manifest["data"]["title"],
                        "weights": manifest["weights"],
                        "commit": (first["source"]["commit"] or "none")[:12],
                        "hardware": runs_of.hardware,
                        "torch": first["environment"]["packages"]["torch"],
                        "precision": manifest["precision"],
                        "minutes": f"{manifest['training_seconds'] / 60:.1f}",
                    }
                )
    table = pd.DataFrame(rows)
    return PaperTable("runs", table, table, "Every run behind these tables, from the manifests.")


def _headline(runs_of: Evidence, part: str, draws: int) -> pd.DataFrame:
    """Return the headline scores over the seeds of a study; not a number where it has no run."""
    if not runs_of.seeds:
        return pd.DataFrame(np.nan, index=[*SHOWN], columns=seeds.COLUMNS)
    drawn = seeds.Draws.draw(runs_of.predictions, part, draws=draws)
    return seeds.headline(runs_of.predictions, part, drawn).table()


def _pair(base: Evidence, runs_of: Evidence) -> tuple[Evidence, Evidence]:
    """Return the runs of both studies whose seed the other has too."""
    return base.shared_with(runs_of), runs_of.shared_with(base)


def _compared(study: str) -> bool:
    """Say whether a study is one side of a comparison."""
    chosen = {name: parameters.load(name).compare_with for name in parameters.studies()}
    return chosen[study] is not None or study in chosen.values()


def _tests(runs_of: Evidence) -> dict[int, pd.DataFrame]:
    return {seed: table[table.part == "test"] for seed, table in runs_of.predictions.items()}


def _of(found: dict[str, Evidence]) -> str:
    """Say what runs numbers are of: seeds, images, lesions, data, starting weights, hardware."""
    there = {study: runs_of for study, runs_of in found.items() if runs_of.seeds}
    if not there:
        return "No run is here yet."
    said = []
    for study, runs_of in there.items():
        tested = list(_tests(runs_of).values())
        images, lesions = (np.mean([size(table) for table in tested]) for size in (len, _lesions))
        number = len(runs_of.seeds)
        listed = ", ".join(map(str, runs_of.seeds))
        said.append(
            f"{study}: {number} seed{'s' if number > 1 else ''} ({listed}), {images:,.0f} test images of "
            f"{lesions:,.0f} lesions{' on average' if number > 1 else ''}"
        )
    facts = [
        ", and ".join(dict.fromkeys(runs_of.said(*keys) for runs_of in there.values()))
        for keys in (("data", "title"), ("weights",))
    ]
    machines = " and ".join(dict.fromkeys(runs_of.hardware for runs_of in there.values()))
    return f"{'; '.join(said)}. {facts[0]}; starting weights: {facts[1]}; trained on {machines}."


def _size(chosen: Parameters) -> str:
    return f"{chosen.image_size}×{chosen.image_size}, {chosen.epochs} epochs"


def _lesions(table: pd.DataFrame) -> int:
    return int(table.lesion_id.nunique())


def _long(table: pd.DataFrame, **facts: object) -> list[dict]:
    """Return one row a score of a table of :class:`skinlesion.scoring.seeds.Scores`, with facts before it."""
    return [{**facts, "score": str(score), **row} for score, row in table.iterrows()]


def _headed(rows: list[dict]) -> pd.DataFrame:
    """Return rows as a table whose columns have the names that a reader knows them by."""
    return pd.DataFrame(rows).rename(columns=tables.heading)
