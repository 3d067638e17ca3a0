"""What published runs say of any image, threshold or group of images: the tables behind notebook 00's controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion import files, parameters, runs
from skinlesion.data import archives, dataset, images, mistakes
from skinlesion.data.dataset import DX, DX_NAMES
from skinlesion.errors import StudyError
from skinlesion.scoring import comparison, decisions, evaluation, predictions, subgroups
from skinlesion.scoring.evaluation import Bootstrap
from skinlesion.scoring.predictions import COLUMNS

PAIR_DRAWS = 1000
"""Of the bootstrap for two runs: an interval's ends are then known to about a tenth of its width. For one run there are
as many draws as its metrics.json and errors.json are made with, and the same ones."""

PAIR = ["accuracy", "balanced_accuracy", "macro_f1", "melanoma_sensitivity", "loss"]
"""Scores of two runs side by side."""

OUTCOMES = ("only the first is right", "only the second is right", "both are wrong", "both are right")


class ExplorerError(StudyError):
    """There is nothing to explore, or no such image."""


@dataclass(frozen=True)
class Decision:
    """A yes-or-no question put to the test part of a run.

    Attributes
    ----------
    truth, score
        bool and float, shape (N,): from :func:`skinlesion.scoring.decisions.question`.
    bootstrap
        Draws of these images' lesions.
    suggested
        The threshold of :data:`skinlesion.scoring.decisions.RULE`, or None where the run has no calibration part.
    """

    truth: np.ndarray
    score: np.ndarray
    bootstrap: Bootstrap
    suggested: float | None

    def at(self, threshold: float, *, prevalence: float | None = None) -> pd.DataFrame:
        """Return value, low and high of what a threshold gives (:func:`skinlesion.scoring.decisions.at_threshold`)."""
        return decisions.at_threshold(self.truth, self.score, threshold, self.bootstrap, prevalence=prevalence)

    def counts(self, threshold: float) -> dict[str, int]:
        """Return how many images are called a yes, and how many of the true ones are missed."""
        called = self.score >= threshold
        return {
            "images": len(called),
            "yes": int(self.truth.sum()),
            "called": int(called.sum()),
            "missed": int((self.truth & ~called).sum()),
        }


@dataclass(frozen=True)
class Explorer:
    """The finished runs of a folder, and the data where it is at hand.

    Attributes
    ----------
    runs
        Their folders, by a name such as ``paper_lesion, seed 0``.
    predictions, splits
        Their tables, by the same names.
    data
        HAM10000, or None where it is not at hand.
    """

    runs: dict[str, runs.Files]
    predictions: dict[str, pd.DataFrame]
    splits: dict[str, pd.DataFrame]
    data: dataset.Dataset | None
    _bootstraps: dict[str, Bootstrap] = field(default_factory=dict, repr=False)

    @cached_property
    def images(self) -> pd.DataFrame:
        """What is known of every image, by its id: dx, and the other columns of the data's table where it is there.

        Without the data an image's dx is from the runs that were not trained on it; it may be missing.
        """
        if self.data is not None:
            known = self.data.metadata.set_index("image_id")
            return known.assign(age_band=subgroups.age_bands(known.age).astype(str))
        told = pd.concat([table[["image_id", "dx"]] for table in self.predictions.values()])
        ids = sorted({image for split in self.splits.values() for image in mistakes.original(split.image_id)})
        ids = pd.Index(ids, name="image_id")
        return told.drop_duplicates("image_id").set_index("image_id").reindex(ids)

    def facts(self, image_id: str) -> dict[str, str]:
        """Return what is known of an image, in words.

        Raises
        ------
        ExplorerError
            If no run knows it.
        """
        if image_id not in self.images.index:
            raise ExplorerError(f"no run here has an image {image_id!r}; ids are such as {self.images.index[0]}")
        known = self.images.loc[image_id].dropna().drop("lesion_id", errors="ignore").astype(str)
        return {name: f"{dx}, {DX_NAMES[dx]}" if name == "dx" else dx for name, dx in known.items()}

    def said(self, image_id: str) -> pd.DataFrame:
        """Return what each run says of an image: run, part, predicted and the seven probabilities.

        A run that was trained on it says nothing.
        """
        rows = []
        for name, split in self.splits.items():
            part = split.part[split.image_id == image_id]
            found = self.predictions[name][self.predictions[name].image_id == image_id]
            if len(part):
                rows.append({"run": name, "part": part.iloc[0], **_told(found)})
        return pd.DataFrame(rows, columns=["run", "part", "predicted", *COLUMNS])

    def siblings(self, image_id: str, run: str) -> pd.DataFrame:
        """Return the other images of its lesion group, in a run: image_id, part, dx, predicted, probability of dx."""
        split, table = self.splits[run], self.predictions[run]
        group = split.lesion_group[split.image_id == image_id]
        rows = []
        for row in split[split.lesion_group.isin(group) & (split.image_id != image_id)].itertuples():
            told, dx = _told(table[table.image_id == row.image_id]), self.images.dx[row.image_id]
            shown = {"image_id": row.image_id, "part": row.part, "dx": dx, "predicted": told["predicted"]}
            rows.append(shown | {"probability of dx": told[f"p_{dx}"] if dx in DX else np.nan})
        return pd.DataFrame(rows, columns=["image_id", "part", "dx", "predicted", "probability of dx"])

    def decision(self, run: str, question: str) -> Decision:
        """Put one of :data:`skinlesion.scoring.decisions.QUESTIONS` to the test part of a run."""
        yes, table = decisions.QUESTIONS[question], self.predictions[run]
        labels, probabilities, _ = predictions.part(table, "test")
        truth, score = decisions.question(labels, probabilities, yes)
        suggested = None
        if (table.part == "calibration").any():
            chooser = decisions.question(*predictions.part(table, "calibration")[:2], yes)
            suggested = decisions.choose_threshold(*chooser, sensitivity=0.9)
        return Decision(truth, score, self.bootstrap(run), suggested)

    def bootstrap(self, run: str) -> Bootstrap:
        """Return the draws of the test part's lesions that a run's published intervals are of."""
        if run not in self._bootstraps:
            lesions, chosen = predictions.part(self.predictions[run], "test")[2], self.runs[run].manifest["parameters"]
            draws = {"draws": chosen["bootstrap_draws"], "seed": chosen["seed"]}
            self._bootstraps[run] = Bootstrap.draw(lesions, **draws)
        return self._bootstraps[run]

    def tested(self, run: str) -> pd.DataFrame:
        """Return the test part of a run: predictions, predicted, confidence, outcome, and what is known of each."""
        table = self.predictions[run].query("part == 'test'").reset_index(drop=True)
        probabilities = table[COLUMNS].to_numpy()
        table["predicted"] = np.array(DX)[probabilities.argmax(1)]
        table["confidence"] = probabilities.max(1)
        table["outcome"] = np.where(table.predicted == table.dx, "right", "wrong")
        known = self.images.drop(columns=["dx", "lesion_id"], errors="ignore")
        return table.join(known, on="image_id")

    def scored(self, run: str, shown: pd.DataFrame) -> pd.DataFrame:
        """Return the scores of some tested images, by name: value, low, high, and gap, gap_low, gap_high to the others.

        By the rules of :func:`skinlesion.scoring.subgroups.scores`: too few images have no score.
        """
        tested = self.tested(run)
        cases = tested.assign(shown=np.where(tested.image_id.isin(shown.image_id), "shown", "others"))
        bootstrap, probabilities = self.bootstrap(run), tested[COLUMNS].to_numpy()
        table = subgroups.scores(cases, probabilities, columns=["shown"], bootstrap=bootstrap)
        names = [name for name in evaluation.names("groups") if not evaluation.BY_NAME[name].macro]
        columns = ["value", "low", "high", "gap", "gap_low", "gap_high"]
        return table[table.group == "shown"].set_index("score").reindex(index=names, columns=columns)

    def columns(self) -> list[str]:
        """Return the columns by which tested images can be filtered: more of them where the data's table is there."""
        known = [name for name in subgroups.COLUMNS if isinstance(name, str) and name in self.images]
        return ["dx", "predicted", "outcome", *known]

    def pictures(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Return images by id as they lie in the archives, uint8 (height, width, 3): those that are at hand."""
        if self.data is None:
            return {}
        at = pd.Index(self.data.metadata.image_id).get_indexer(ids)
        return dict(zip(np.array(ids)[at >= 0], images.read(self.data, at[at >= 0]), strict=True))


def open_runs(folder: str | Path, *, data: str | Path = "data/ham10000") -> Explorer:
    """Open all finished runs of a folder.

    Parameters
    ----------
    folder
        ``reports``, or ``reports/local``.
    data
        Where HAM10000 may lie.

    Raises
    ------
    ExplorerError
        If there is no finished run.
    skinlesion.runs.RunError, skinlesion.scoring.predictions.PredictionsError
        If a table cannot be used.
    """
    found = {f"{study}, seed {seed}": run for (study, seed), run in runs.find(files.resolve(folder)).items()}
    found = {name: run for name, run in found.items() if run.finished}
    if not found:
        where = files.shown(files.resolve(folder))
        raise ExplorerError(f"there is no finished run in {where}: `make report` makes one")
    try:
        opened = dataset.open_dataset(parameters.load("paper", {"data": str(data)}))
    except archives.DatasetError:
        opened = None
    tables = {name: predictions.check(run.read_csv("predictions.csv")) for name, run in found.items()}
    splits = {name: run.read_csv("split.csv") for name, run in found.items()}
    if opened is not None and not set(next(iter(splits.values())).image_id) <= set(opened.metadata.image_id):
        opened = None  # of other data than the runs
    return Explorer(found, tables, splits, opened)


def chosen(rows: pd.DataFrame, values: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows that have these values in these columns, the most confident mistakes first."""
    for column, value in values.items():
        rows = rows[rows[column].astype(str) == value]
    return rows.sort_values(["outcome", "confidence"], ascending=False, kind="stable", ignore_index=True)


def side_by_side(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare two runs on the test images that both have.

    Returns
    -------
    tuple of pandas.DataFrame
        first, second, difference, low and high of each score of :data:`PAIR`; and image_id, dx, what the first and the
        second say, and which of :data:`OUTCOMES` it is, of each image.

    Raises
    ------
    skinlesion.scoring.comparison.ComparisonError
        If they have none in common.
    """
    pair = comparison.common(first, second)
    scores = comparison.paired(*pair, draws=PAIR_DRAWS, seed=0).loc[PAIR]
    called = [np.array(DX)[table[COLUMNS].to_numpy().argmax(1)] for table in pair]
    right = [each == pair[0].dx.to_numpy() for each in called]
    outcome = np.select([right[0] & ~right[1], ~right[0] & right[1], ~right[0]], OUTCOMES[:3], OUTCOMES[3])
    told = pair[0][["image_id", "dx"]].assign(first=called[0], second=called[1], outcome=outcome)
    return scores, told


def first_choice(found: Explorer, run: str) -> str:
    """Return an image to begin with: the melanoma in the test part that got the least probability, if there is one."""
    tested = found.tested(run)
    tested = tested[tested.image_id.isin(found.images.index)]  # no copies
    melanomas: pd.DataFrame = tested[tested.dx == "mel"]
    return str((melanomas if len(melanomas) else tested).sort_values("p_mel").image_id.iloc[0])


def options(rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the values that each column has, in order."""
    return {name: sorted(rows[name].dropna().astype(str).unique()) for name in columns}


def _told(found: pd.DataFrame) -> dict[str, object]:
    """Return predicted and the probabilities of at most one row of predictions."""
    if found.empty:
        return {"predicted": None, **dict.fromkeys(COLUMNS, np.nan)}
    row = found.iloc[0]
    return {"predicted": DX[row[COLUMNS].astype(float).argmax()], **row[COLUMNS]}
