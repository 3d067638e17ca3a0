"""The best honest network: what one network and their ensemble reach by lesion and on the official test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from skinlesion import parameters, runs
from skinlesion.data.dataset import DX
from skinlesion.paper import claims, ladder
from skinlesion.paper.evidence import AFTERWARDS, Evidence
from skinlesion.paper.tables import Predicted, Reports, Row, long, table
from skinlesion.reporting.tables import heading, number
from skinlesion.scoring import evaluation, isic, predictions

ONE, ENSEMBLE = "one network", "ensemble"
ONE_VIEW, RECIPE = "one view of each image", "the recipe as written"
TAUGHT = "one network, taught by the ensemble"
LESION, OFFICIAL = "test part, by lesion", "official ISIC 2018 test"

AIMS = {
    (LESION, ONE): {"accuracy": 0.86, "macro_f1": 0.76},
    (LESION, ENSEMBLE): {"accuracy": 0.87, "macro_f1": 0.79},
    (OFFICIAL, ONE): {"balanced_accuracy": 0.72},
}
"""What parameters/PROTOCOL.md sets as aims."""

AT = ("accuracy", 0.80)
"""The score that the aim on the official test is to be reached at."""

SAME_SPLIT = f"paper_split_{parameters.load(ladder.FINAL).split_seed}"
"""The recipe as written, on the split of :data:`skinlesion.paper.ladder.FINAL`."""

PUPIL = f"{ladder.FINAL}_taught"
"""The study of the network that is taught by those of :data:`skinlesion.paper.ladder.FINAL`."""

ELSEWHERE = {
    "MetaOptima, ten networks": 0.885,
    "MetaOptima, their best network": 0.871,
    "the fourth of the challenge": 0.856,
}
"""Balanced accuracy on the official test, as others state it. Source: "MetaOptima Team Awarded The ISIC 2018 Challenge
Disease Classification Prize", dermengine.com, 25 March 2019, which states the fourth's distance to the first, 0.029.
Further images were allowed in training."""


@table("best", first=("of", "network"), hidden=("quantity",))
def best(reports: Reports) -> Iterator[Row | dict[str, Any]]:
    """Return the scores of the networks of :data:`skinlesion.paper.ladder.FINAL`, one by one and together.

    Beside them are what they say with their prior taken off, what they say of one view of each image, where they take
    several, and the recipe as written, where it was run on the same split or took the official test, each with the
    paired difference to it; and the network that they have taught.
    """
    runs_of, pupil, recipe, same = (
        reports.runs.get(study, Evidence(study, {})) for study in (ladder.FINAL, PUPIL, claims.BY_LESION, SAME_SPLIT)
    )
    for of, tests in {LESION: lambda each: each.tested, OFFICIAL: _official}.items() if runs_of.seeds else ():
        told = tests(runs_of)
        if told.keys() != runs_of.runs.keys():
            continue
        together, images = f"{ENSEMBLE} of {len(told)}", set(told[runs_of.seeds[0]].image_id)
        as_written = tests(recipe) | (tests(same) if of == LESION else {})
        networks = {
            ONE: told,
            together: {0: ensemble(told)} if len(told) > 1 else {},
            TAUGHT: tests(pupil),
            AFTERWARDS: runs_of.without_prior(told),
            ONE_VIEW: _one_view(runs_of) if of == LESION else {},
            RECIPE: {seed: each for seed, each in as_written.items() if set(each.image_id) == images},
        }
        networks = {name: each for name, each in networks.items() if each}
        minus = [(ONE, name) for name in (AFTERWARDS, ONE_VIEW, RECIPE) if name in networks]
        of_one = {
            name: ladder.FINAL for name in networks if name != together
        }  # an ensemble varies less: its images alone
        for network, scores in reports.scored(networks, of=of_one, minus=minus).items():
            _, difference, other = network.partition(" − ")
            seeds = len(told if network == together else networks[other or network])
            label = f"{ONE}, {network}" if network in (AFTERWARDS, ONE_VIEW) else network
            facts = {"of": of, "network": label, "seeds": seeds, "quantity": "difference" if difference else "score"}
            aims = AIMS.get((of, ENSEMBLE if network == together else network), {})
            yield Row(facts, scores) if difference else _aimed(facts, scores, aims)
        for network, value in ELSEWHERE.items() if of == OFFICIAL else ():
            facts = {"of": of, "network": network}
            numbers = {**facts, "seeds": 0, "quantity": "score", "score": "balanced_accuracy", "mean": value}
            yield Row(facts, shown={"balanced_accuracy": f"{value:.3f}, as stated"}, numbers=[numbers])
    if taken := [run.read_json("official.json") for run in runs_of.runs.values() if run.find("official.json")]:
        yield {"official": runs.listed(each["data"]["title"] for each in taken)}
    if runs_of.seeds:
        means = candidates(reports)
        (study, seed), (first, *others) = means.index[0], map(number, means)
        yield {"released": f"{study}, seed {seed}", "first": first, "others": ", ".join(others)}


def _aimed(facts: Mapping[str, Any], scores: pd.DataFrame, aims: Mapping[str, float]) -> Row:
    """Return the row of a network's scores: each with its aim, and whether it is reached."""
    at, least = AT if facts["of"] == OFFICIAL else ("", 0.0)
    numbers, words = [], []
    for line in long(scores, **facts):
        aim = aims.get(line["score"])
        judged = reached(line, aim)
        if judged and at:
            judged = min(judged, reached(scores.loc[at], least), key=["no", "open", "yes"].index)
        if judged:
            word = {"yes": "reached", "no": "missed"}.get(judged, judged)
            words.append(f"{heading(line['score'])} {aim:g}{f' at {heading(at)} {least:g}' if at else ''}: {word}")
        numbers.append(line | {"aim": aim, "reached": judged})
    return Row(facts, scores, shown={"aim": "; ".join(words) or "–"}, numbers=numbers)


def candidates(reports: Reports) -> pd.Series:
    """Return the mean of accuracy and macro F1 on the development images, of which the highest is released.

    Its index is study and seed; the highest comes first.
    """
    means = {}
    for runs_of in reports.of(ladder.FINAL, PUPIL):
        for seed, said in runs_of.predictions.items():
            seen = said[said.part.isin(ladder.PARTS["development"])]
            scored = evaluation.measured(seen.dx.map(DX.index).to_numpy(), seen[predictions.COLUMNS].to_numpy())
            means[runs_of.study, seed] = np.mean([scored[name] for name in ladder.CRITERION])
    return pd.Series(means).sort_values(ascending=False)


def ensemble(said: Predicted) -> pd.DataFrame:
    """Return what an ensemble says: the mean of the probabilities that networks of the same images give."""
    first = next(iter(said.values()))
    means = pd.concat(list(said.values())).groupby("image_id")[predictions.COLUMNS].mean()
    return first.assign(**means.loc[first.image_id].set_axis(first.index))


def reached(score: Mapping[str, Any] | pd.Series, aim: float | None) -> str:
    """Say whether a score reaches an aim by its whole interval: yes or no, or open."""
    return "" if aim is None else "yes" if score["low"] >= aim else "no" if score["high"] < aim else "open"


def _official(runs_of: Evidence) -> dict[int, pd.DataFrame]:
    """Return what the networks that have taken the official test say of it."""
    taken = {seed: run.read_csv("official.csv") for seed, run in runs_of.runs.items() if run.find("official.csv")}
    told = {seed: isic.tested(each) for seed, each in taken.items()}
    return {seed: each[each["shape"] == isic.UNDISTORTED] for seed, each in told.items()}


def _one_view(runs_of: Evidence) -> dict[int, pd.DataFrame]:
    """Return what the networks say of one view of each test image, where they all take several."""
    if not all(run.find("readings.csv") for run in runs_of.runs.values()):
        return {}
    read = {seed: run.read_csv("readings.csv") for seed, run in runs_of.runs.items()}
    return {seed: each[(each.reading == "one_view") & (each.part == "test")] for seed, each in read.items()}
