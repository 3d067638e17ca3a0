"""The best honest network: what one network and their ensemble reach by lesion and on the official test."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from skinlesion import parameters, runs
from skinlesion.data.dataset import DX
from skinlesion.paper import claims, ladder
from skinlesion.paper import tables as paper
from skinlesion.paper.evidence import AFTERWARDS, Evidence
from skinlesion.paper.tables import PaperTable
from skinlesion.reporting.tables import heading, number
from skinlesion.scoring import evaluation, isic, predictions, seeds
from skinlesion.scoring.seeds import Draws

ONE, ENSEMBLE = "one network", "ensemble"
ADJUSTED, ONE_VIEW = f"{ONE}, {AFTERWARDS}", f"{ONE}, one view of each image"
RECIPE = "the recipe as written"
TAUGHT = "one network, taught by the ensemble"
LESION, OFFICIAL = "test part, by lesion", "official ISIC 2018 test"

AIMS = {
    (LESION, ONE): {"accuracy": 0.86, "macro_f1": 0.76},
    (LESION, ENSEMBLE): {"accuracy": 0.87, "macro_f1": 0.79},
    (OFFICIAL, ONE): {"balanced_accuracy": 0.72},
}
"""What parameters/PROTOCOL.md sets as aims."""

AT = {(OFFICIAL, ONE): ("accuracy", 0.80)}
"""The score that an aim is to be reached at."""

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


def best(found: Mapping[str, Evidence], *, draws: int) -> PaperTable:
    """Return the scores of the networks of :data:`skinlesion.paper.ladder.FINAL`, one by one and together.

    Beside them are what they say with their prior taken off, what they say of one view of each image, where they take
    several, and the recipe as written, where it was run on the same split or took the official test, each with the
    paired difference to it; and the network that they have taught.
    """
    runs_of, pupil = (found.get(study, Evidence(study, {})) for study in (ladder.FINAL, PUPIL))
    if not runs_of.seeds:
        return PaperTable("best", pd.DataFrame(), pd.DataFrame(), "No run is here yet.")
    rows, shown = [], []
    for of, tables_of in _sets(runs_of).items():
        drawn = Draws.draw(tables_of, "test", draws=draws)
        several = {ONE: tables_of, ENSEMBLE: {0: together(tables_of)}, TAUGHT: _sets(pupil).get(of, {})}
        several[ADJUSTED] = runs_of.without_prior(tables_of)
        recipe = found[claims.BY_LESION]
        if of == LESION:
            several |= {ONE_VIEW: _one_view(runs_of), RECIPE: _same_images(recipe, tables_of)}
            several[RECIPE] |= _same_images(found.get(SAME_SPLIT, Evidence(SAME_SPLIT, {})), tables_of)
        else:
            several[RECIPE] = _official(recipe)
        for network, each in several.items():
            if not each or (network == ENSEMBLE and len(tables_of) == 1):
                continue
            scored = seeds.headline(each, "test", drawn).table().loc[list(paper.SHOWN)]
            number = len(tables_of) if network == ENSEMBLE else len(each)
            facts = {"of": of, "network": f"{network} of {number}" if network == ENSEMBLE else network, "seeds": number}
            for name, row in scored.iterrows():
                aim = AIMS.get((of, network), {}).get(str(name))
                judged = reached(row, aim)
                if judged and (of, network) in AT:
                    score, least = AT[of, network]
                    judged = min(judged, reached(scored.loc[score], least), key=["no", "open", "yes"].index)
                rows.append({**facts, "quantity": "score", "score": name, **row, "aim": aim, "reached": judged})
            shown.append({**facts, **paper.cells(scored), "aim": _aims(rows[-len(scored) :])})
        for network in (ADJUSTED, ONE_VIEW, RECIPE):
            beside = several.get(network, {})
            if beside:
                mine, other = (seeds.headline(side, "test", drawn) for side in (tables_of, beside))
                if tables_of.keys() != beside.keys():  # no pairs of trainings: the mean of all, not of the luckiest
                    mine, other = mine.mean(), other.mean()
                change = mine.minus(other).table().loc[list(paper.SHOWN)]
                facts = {"of": of, "network": minus(network), "seeds": len(beside)}
                rows += paper.long(change, **facts, quantity="difference")
                shown.append({**facts, **paper.cells(change, sign=True), "aim": "–"})
    if any(row["of"] == OFFICIAL for row in rows):
        for network, value in ELSEWHERE.items():
            facts = {"of": OFFICIAL, "network": network, "seeds": 0, "quantity": "score"}
            rows.append({**facts, "score": "balanced_accuracy", "mean": value})
            stated = {"balanced_accuracy": f"{value:.3f}, as stated", "seeds": "–"}
            shown.append({"of": OFFICIAL, "network": network, **stated})
    caption = (
        "The best honest network: its scores on the test part of its split, and on the official test; neither took "
        f"part in a choice. One network: {paper.mean({runs_of.study: runs_of})}; ensemble: the mean of the "
        "probabilities, its interval of the test images alone. Prior taken off: each probability divided by the share "
        "of its class in the training images. A difference (−) is paired by image, and by seed where both have as "
        "many; else it is of the means, with the interval of the test images alone. An aim is reached where the whole "
        "interval is at or above it, "
        f"missed where it is below, open otherwise.{_official_data(runs_of)} {_released(candidates(found))} "
        f"{paper.of({runs_of.study: runs_of, pupil.study: pupil})}"
    )
    return PaperTable("best", pd.DataFrame(rows), paper.headed(shown, "of", "network").fillna("–"), caption)


def candidates(found: Mapping[str, Evidence]) -> pd.Series:
    """Return the mean of accuracy and macro F1 on the development images, of which the highest is released.

    Its index is study and seed; the highest comes first.
    """
    means = {}
    for study in (ladder.FINAL, PUPIL):
        for seed, table in found[study].predictions.items() if study in found else ():
            seen = table[table.part.isin(ladder.PARTS["development"])]
            scored = evaluation.measured(seen.dx.map(DX.index).to_numpy(), seen[predictions.COLUMNS].to_numpy())
            means[study, seed] = sum(scored[name] for name in ladder.CRITERION) / len(ladder.CRITERION)
    return pd.Series(means).sort_values(ascending=False)


def minus(network: str) -> str:
    """Return how the row is named that holds the difference of one network to another."""
    return f"{ONE} − {network.removeprefix(f'{ONE}, ')}"


def _official_data(runs_of: Evidence) -> str:
    """Say what the official test was, where it was taken."""
    taken = [run.read_json("official.json") for run in runs_of.runs.values() if run.find("official.json")]
    titles = runs.listed(each["data"]["title"] for each in taken)
    return f" Official test: {titles}; numbers as stated are not of this study." if taken else ""


def _released(means: pd.Series) -> str:
    """Say which network is released, and why."""
    study, seed = means.index[0]
    others = ", ".join(number(value) for value in means[1:])
    return (
        f"Released is {study}, seed {seed}: its mean of accuracy and macro F1 on the development images, "
        f"{number(means.iloc[0])}, is the highest{f' (the others: {others})' if others else ''}."
    )


def together(tables: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return what an ensemble says: the mean of the probabilities that networks of the same images give."""
    first = next(iter(tables.values()))
    means = pd.concat(list(tables.values())).groupby("image_id")[predictions.COLUMNS].mean()
    return first.assign(**means.loc[first.image_id].reset_index(drop=True).set_axis(first.index))


def reached(row: pd.Series, aim: float | None) -> str:
    """Say whether a score reaches an aim by its whole interval: yes or no, or open."""
    return "" if aim is None else "yes" if row.low >= aim else "no" if row.high < aim else "open"


def _aims(rows: list[dict]) -> str:
    words = {"yes": "reached", "no": "missed", "open": "open"}
    said = []
    for row in rows:
        if row["reached"]:
            score, least = AT.get((row["of"], row["network"]), ("", 0))
            at = f" at {heading(score)} {least:g}" if score else ""
            said.append(f"{heading(row['score'])} {row['aim']:g}{at}: {words[row['reached']]}")
    return "; ".join(said) or "–"


def _sets(runs_of: Evidence) -> dict[str, dict[int, pd.DataFrame]]:
    """Return what the networks say of the test part, and of the official test where all have taken it."""
    sets = {LESION: {seed: table[table.part == "test"] for seed, table in runs_of.predictions.items()}}
    told = _official(runs_of)
    return {**sets, OFFICIAL: told} if told.keys() == runs_of.runs.keys() else sets


def _official(runs_of: Evidence) -> dict[int, pd.DataFrame]:
    """Return what the networks that have taken the official test say of it."""
    taken = {seed: run for seed, run in runs_of.runs.items() if run.find("official.csv")}
    told = {seed: isic.tested(run.read_csv("official.csv")) for seed, run in taken.items()}
    return {seed: table[table["shape"] == isic.UNDISTORTED] for seed, table in told.items()}


def _one_view(runs_of: Evidence) -> dict[int, pd.DataFrame]:
    """Return what the networks say of one view of each test image, where they all take several."""
    if not all(run.find("readings.csv") for run in runs_of.runs.values()):
        return {}
    read = {seed: run.read_csv("readings.csv") for seed, run in runs_of.runs.items()}
    return {seed: table[(table.reading == "one_view") & (table.part == "test")] for seed, table in read.items()}


def _same_images(runs_of: Evidence, tables: Mapping[int, pd.DataFrame]) -> dict[int, pd.DataFrame]:
    """Return the test rows of the runs that test the same images."""
    images = set(next(iter(tables.values())).image_id)
    tested = {seed: table[table.part == "test"] for seed, table in runs_of.predictions.items()}
    return {seed: table for seed, table in tested.items() if set(table.image_id) == images}
