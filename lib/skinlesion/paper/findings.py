"""What the tables say, in sentences: each with its number, its interval, and what the interval does not exclude."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from skinlesion.paper import costs, ladder, road
from skinlesion.paper.effects import ALL, ENDPOINTS, SEEN_MINUS_UNSEEN
from skinlesion.paper.tables import FOLDER
from skinlesion.reporting import tables

Numbers = Mapping[str, pd.DataFrame]
"""The numbers of the paper's tables, by name."""

WORDS = {
    "not reached": "No.",
    "reproduced": "Yes.",
    "exceeded": "Yes, and more.",
    "inconclusive": "It cannot be told.",
    "not measured": "Not measured yet.",
}


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the numbers of the tables in ``reports/``, by name; none where there is no table."""
    paths = [path for path in sorted((folder / FOLDER).glob("*.csv")) if path.stat().st_size > 1]
    return {path.stem: pd.read_csv(path) for path in paths}


def headline(numbers: Numbers) -> str:
    """Answer the study's question in one sentence, in per cent."""
    if "claims" not in numbers:
        return WORDS["not measured"]
    rows = numbers["claims"].query("claim == 'accuracy'").set_index("split")
    lesion, image = rows.loc["by lesion"], rows.loc["by image"]
    word = WORDS[lesion.verdict].removesuffix(".")
    if lesion.verdict == "not measured":
        return f"{word}."
    said = f"{word}: {_percent(lesion)}, {'not' if lesion.verdict == 'not reached' else 'where'} {lesion.preprint:.0%}"
    said += f"{'' if lesion.verdict == 'not reached' else ' is claimed'}, on lesions that it has not seen"
    if image.verdict != "not measured":
        said += f"; {_percent(image)} where the split is by image"
    return f"{said}."


def answer(numbers: Numbers) -> str:
    """Answer the study's question in a sentence or two."""
    if "claims" not in numbers:
        return WORDS["not measured"]
    rows = numbers["claims"].query("claim == 'accuracy'").set_index("split")
    lesion, image = rows.loc["by lesion"], rows.loc["by image"]
    words = WORDS[lesion.verdict]
    if lesion.verdict == "not measured":
        return words
    said = (
        f"**{words}** On lesions it has not seen, the recipe's accuracy is **{_value(lesion)}**, where "
        f"{lesion.preprint:.2f} is claimed"
    )
    if image.verdict != "not measured":
        said += f"; split by image, with other images of many test lesions in training, it is {_value(image)}"
    f1 = numbers["claims"].query("claim == 'macro F1' and split == 'by lesion'").iloc[0]
    return f"{said}. Macro F1 is {_value(f1)}, where {f1.preprint:.2f} is claimed. {_trainings(rows)}"


def findings(numbers: Numbers) -> list[str]:
    """Return what else was found, a sentence or two each; what was not measured is left out."""
    said = conclusions(numbers)
    return [said[name] for name in ("road", "leak", "best", "estimands", "sources", "effects", "spread") if said[name]]


def conclusions(numbers: Numbers) -> dict[str, str]:
    """Return what each of the paper's tables says, by the name of the table; empty where it was not measured."""
    made: dict[str, Callable[[Numbers], str]] = {
        "claims": _claims,
        "estimands": _counted,
        "selection": _selection,
        "road": _road,
        "leak": _leak,
        "effects": _choices,
        **{name: partial(_changes, name) for name in ("imbalance", "perturbation", "networks")},
        "costs": _costs,
        "ladder": _ladder,
        "best": _best,
        "sources": _sources,
        "spread": _spread,
        "labels": _labels,
        "scores": _scores,
        "per_class": _classes,
        "convergence": _convergence,
        "assumptions": _assumptions,
        "checklist": _checklist,
        "runs": _runs,
    }
    return {name: make(numbers) if len(numbers.get(name, ())) else "" for name, make in made.items()}


def _claims(numbers: Numbers) -> str:
    scored = numbers["claims"].preprint.notna()
    rows, words = numbers["claims"][scored], numbers["claims"][~scored]
    counts = rows.groupby("split").verdict.value_counts()
    said = [f"{split}, {number} of {rows.claim.nunique()} are {verdict}" for (split, verdict), number in counts.items()]
    judged = "".join(f"; {row.claim}: {row.verdict}" for row in words.itertuples())
    return f"Of the preprint's claims, {'; '.join(said)}{judged}."


def _costs(numbers: Numbers) -> str:
    rows = numbers["costs"].set_index("network")
    claimed = rows.loc[costs.CLAIMED]
    more = (rows.million_operations > claimed.million_operations).sum()
    return (
        f"The weights of {costs.CLAIMED} take {claimed.megabytes:.1f} MB; its operations are fewer than those of "
        f"{more} of {len(rows) - 1} other networks. "
        f"{' '.join(f'{word.capitalize()}: {verdict}.' for word, verdict in costs.verdicts(numbers['costs']).items())}"
    )


def _changes(name: str, numbers: Numbers) -> str:
    score = ENDPOINTS.get(name, "accuracy")
    rows = _of(numbers, name, score=score, quantity="difference")
    said = [f"{row.difference}: {_value(row)}, {_zero(row)}" for _, row in rows.iterrows()]
    return f"Changes of {tables.words(score)}. {'; '.join(said)}."


def _checklist(numbers: Numbers) -> str:
    counts = numbers["checklist"].answered.value_counts()
    said = [f"{count} {answer}" for answer, count in counts.items()]
    return f"Of {counts.sum()} items, answered: {', '.join(said)}."


def _ladder(numbers: Numbers) -> str:
    kept = ladder.kept(numbers["ladder"])
    rows = _of(numbers, "ladder", quantity="difference", part="development")
    gains = rows[rows.step.isin(kept) & rows.score.isin(ladder.CRITERION)]
    sure = gains[gains.low > 0].step.unique()
    return (
        f"Steps kept for their means, of {rows.step.nunique()} tried: {', '.join(kept) or 'none'}. Of these, a gain in "
        f"accuracy or macro F1 that excludes zero: {', '.join(sure) or 'none'}."
    )


def _best(numbers: Numbers) -> str:
    aimed = numbers["best"].dropna(subset="aim")
    said = []
    for of, networks in aimed.groupby("of", sort=False):
        scored = {
            network: ", ".join(f"{tables.heading(row.score)} {_value(row)}" for _, row in rows.iterrows())
            for network, rows in networks.groupby("network", sort=False)
        }
        words = "; ".join(f"{network}: {scores}" for network, scores in scored.items())
        said.append(f"{of[:1].upper()}{of[1:]}, {words}")
    met = aimed.reached.value_counts().reindex(["yes", "no"], fill_value=0)
    return (
        f"**The best honest network.** {'. '.join(said)}. Of {len(aimed)} aims set beforehand, {met['yes']} reached "
        f"and {met['no']} missed by the whole interval."
    )


def printed(rows: pd.DataFrame) -> str:
    """Name the rows of the table `road` that print the preprint's numbers by their whole interval, in one sentence."""
    rows = _crossing(rows).query("verdict == 'yes'")
    by = {says: ", ".join(map(tables.words, of.unique())) for says, of in rows.groupby("says", sort=False).score}
    named = "; ".join(f"{says} ({scores.replace('f1', 'F1')})" for says, scores in by.items())
    return f"What prints the preprint's numbers, by its whole interval: {named or 'nothing that was tried'}."


def _road(numbers: Numbers) -> str:
    rows = _crossing(numbers["road"])
    scores = dict(list(rows.groupby("score")))
    sizes, undecided = rows["size"].unique(), (scores["accuracy"].verdict == "open").sum()
    reached = {f"{tables.heading(name)} {road.CLAIMED[name]:g}": _named(scores[name]) for name in road.SCORES}
    which = "; ".join(f"{number}: {names or 'nothing'}" for number, names in reached.items())
    worth = _of(numbers, "road", score="accuracy", quantity=road.WORTH)
    alone = " Of one training, an interval is of the images alone." if (worth.seeds == 1).any() else ""
    return (
        "**The road to 92%.** What prints the preprint's numbers by its whole interval, of "
        f"{scores['accuracy'].row.nunique()} ways at up to {len(sizes)} size{'s' if len(sizes) > 1 else ''}. "
        f"{which[:1].upper()}{which[1:]}. Accuracy is undecided in {undecided}. On untouched lesions, the networks' "
        f"accuracy is {worth['mean'].min():.3f} to {worth['mean'].max():.3f}.{alone}"
    )


def _crossing(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows.quantity == road.PRINTED]
    return rows.assign(verdict=rows.apply(road.crosses, axis=1))


def _named(rows: pd.DataFrame) -> str:
    """Name the rows that cross a number, each with its value at the first size, and how many others it crosses at."""
    said = []
    for says, crossing in rows[rows.verdict == "yes"].groupby("says", sort=False):
        first, others = crossing.iloc[0], len(crossing) - 1
        more = f" (and at {others} other{'s' if others > 1 else ''})" if others else ""
        said.append(f"{says}, {_value(first)} at {first['size']}{more}")
    return " and ".join(said)


def _selection(numbers: Numbers) -> str:
    rows = numbers["selection"].set_index(["split", "epoch"])
    said = []
    for split, table in rows.groupby(level="split", sort=False):
        best, last = (table.loc[next(at for at in table.index if word in at[1])] for word in ("the study", "mean of"))
        said.append(f"{split} by {tables.number(best.validation - last.validation)}")
    return (
        "**What choosing the epoch adds.** The kept epoch's validation accuracy is above the mean of the last epochs "
        f"{' and '.join(said)}."
    )


def _labels(numbers: Numbers) -> str:
    rows = numbers["labels"].set_index("dx")
    most, whole = rows.drop("all").share.idxmax(), rows.loc["all"]
    return (
        f"**Labels.** {whole['label in doubt']:,.0f} of {whole.images:,.0f} labels ({whole.share:.1%}) are candidates "
        f"for a wrong one, most often {most} ({rows.share[most]:.0%}); {whole['told wrongly']:,.0f} images are told "
        "wrongly."
    )


def _scores(numbers: Numbers) -> str:
    rows = numbers["scores"].set_index(["study", "score"])["mean"].unstack()
    majority = numbers["scores"].groupby("study")["always the largest class"].first()
    above = int((rows.accuracy > majority.reindex(rows.index)).sum())
    low, high = rows.balanced_accuracy.idxmin(), rows.balanced_accuracy.idxmax()
    return (
        f"In {above} of {len(rows)} studies accuracy is above that of always naming the largest class; balanced "
        f"accuracy runs from {rows.balanced_accuracy[low]:.3f} ({low}) to {rows.balanced_accuracy[high]:.3f} ({high})."
    )


def _classes(numbers: Numbers) -> str:
    table = numbers["per_class"]
    split = "by lesion" if (table.split == "by lesion").any() else table.split.iloc[0]
    rows = table[(table.score == "f1") & (table.split == split)].set_index("dx")
    best, worst = rows["mean"].idxmax(), rows["mean"].idxmin()
    recall = table[(table.score == "recall") & (table.split == split) & (table.dx == "mel")].iloc[0]
    return (
        f"Split {split}, F1 is highest for {best} ({_value(rows.loc[best])}) and lowest for {worst} "
        f"({_value(rows.loc[worst])}); of the melanoma images {_value(recall)} are found."
    )


def _convergence(numbers: Numbers) -> str:
    rows = numbers["convergence"]
    rise = rows.validation_loss_last / rows.validation_loss_lowest - 1
    swing = rows.accuracy_highest - rows.accuracy_lowest
    return (
        f"The training loss falls in {(rows.train_loss_last < rows.train_loss_first).sum()} of {len(rows)} runs. The "
        f"validation loss ends up to {rise.max():.0%} above its lowest, and in the last epochs the validation accuracy "
        f"still swings by up to {swing.max():.3f}."
    )


def _assumptions(numbers: Numbers) -> str:
    rows = numbers["assumptions"]
    silent = int((rows["the preprint says"] == "nothing").sum())
    return f"Of {len(rows)} choices that had to be made, the preprint says nothing of {silent}, too little of the rest."


def _runs(numbers: Numbers) -> str:
    rows = numbers["runs"]
    own = rows[rows["same training as"].fillna("") == ""]
    return (
        f"{len(own)} trainings, {own.minutes.astype(float).sum() / 60:.1f} hours in all; {len(rows) - len(own)} of "
        f"them stand in two of the {rows.study.nunique()} studies."
    )


def _leak(numbers: Numbers) -> str:
    rows = _of(numbers, "leak", score="accuracy", lesion=SEEN_MINUS_UNSEEN)
    whole = rows[rows["tested images"] == ALL] if len(rows) else rows
    said = [f"{_change(row)} at {row['size']} ({_pairs(row.seeds)}; {_zero(row)})" for _, row in whole.iterrows()]
    if not said:
        return ""
    alone = " Of one pair, the interval is of the tested images alone." if (whole.seeds == 1).any() else ""
    return (
        "**What the leak does.** Having been trained on other photographs of a lesion changes the accuracy on it by "
        f"{' and by '.join(said)}.{alone}"
    )


def _counted(numbers: Numbers) -> str:
    rows = _of(numbers, "estimands", score="accuracy", split="by lesion").set_index("over")
    if rows.empty:
        return ""
    return (
        "**What is counted.** One and the same network: "
        + ", ".join(f"{row['mean']:.3f} over {over}" for over, row in rows.iterrows())
        + ". The first is the one in every headline."
    )


def _sources(numbers: Numbers) -> str:
    rows = _of(numbers, "sources", score="accuracy", network="unseen − seen")
    if rows.empty:
        return ""
    worst, least = rows.loc[rows["mean"].idxmin()], rows.loc[rows["mean"].idxmax()]
    return (
        f"**Another source.** On images of a source that it was not trained on, accuracy changes by {_change(worst)} "
        f"({worst.source}) to {_change(least)} ({least.source}), against networks that know the source, on the same "
        "images (one training a source)."
    )


def _choices(numbers: Numbers) -> str:
    rows = _of(numbers, "effects", score="accuracy", ablation=False)
    if rows.empty:
        return ""
    said = [f"{row.difference}: {_change(row)}, {_zero(row)}" for _, row in rows.iterrows()]
    return f"**What the open choices do** to accuracy. {'; '.join(said)}."


def _spread(numbers: Numbers) -> str:
    rows = _of(numbers, "spread", score="accuracy").set_index("due to")
    if rows.empty:
        return ""
    return (
        "**Two runs differ** in accuracy by a standard deviation of "
        f"{rows.deviation['split']:.3f} due to the split and {rows.deviation['training']:.3f} due to the training "
        f"(together with what neither explains, {(rows.deviation**2).sum() ** 0.5:.3f})."
    )


def _of(numbers: Numbers, name: str, **where: object) -> pd.DataFrame:
    table = numbers.get(name, pd.DataFrame())
    if table.empty:
        return pd.DataFrame(columns=["over", "due to"])
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def _value(row: pd.Series) -> str:
    return tables.interval(row["mean"], row.low, row.high)


def _change(row: pd.Series) -> str:
    return tables.interval(row["mean"], row.low, row.high, sign=True)


def _percent(row: pd.Series) -> str:
    return f"{row['mean']:.1%}" if pd.isna(row.low) else f"{row['mean']:.1%} ({row.low:.1%}–{row.high:.1%})"


def _zero(row: pd.Series) -> str:
    return "zero is not excluded" if row.low <= 0 <= row.high else "zero is excluded"


def _trainings(rows: pd.DataFrame) -> str:
    """Say what the intervals of each split are of: several trainings, or the test images of one alone."""
    of = rows.seeds[rows.seeds > 0].map(lambda n: f"{n} trainings" if n > 1 else "one training, the test images alone")
    said = [f"{split}, of {words}" for split, words in of.items()] if of.nunique() > 1 else [f"of {of.iloc[0]}"]
    return f"95% intervals: {'; '.join(said)}."


def _pairs(number: int) -> str:
    return f"{number} pair{'s' if number > 1 else ''} of runs"
