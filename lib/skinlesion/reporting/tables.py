"""Tables as a reader sees them: a caption that says what they are of, intervals beside values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from skinlesion import files
from skinlesion.data.dataset import BENIGN
from skinlesion.scoring import evaluation


def frame(columns: Mapping[str, Any], *, index: Sequence[str] | None = None) -> pd.DataFrame:
    """Return columns as a table; they bring an index of their own, or share the one given."""
    if index is None:
        columns = {name: pd.Series(values) for name, values in columns.items()}
    return pd.DataFrame(columns, index=index)


def show(frame: pd.DataFrame, *, caption: str, digits: int = 3, index: bool = True) -> Styler:
    """Return a table for a notebook to show.

    Parameters
    ----------
    frame
        What it holds; floats are shown with `digits` digits, whole numbers with thousands separated, and
        what is missing as a dash.
    caption
        What data, which part, how many images and lesions, and what the interval is.
    """
    flat = frame.copy()
    if isinstance(flat.columns, pd.MultiIndex):
        flat.columns = [": ".join(str(part) for part in column) for column in flat.columns]
    flat.columns = [heading(str(column)) for column in flat.columns]
    flat.index = pd.Index([heading(str(name)) for name in flat.index])
    styler = flat.style.set_caption(caption).format(lambda value: _word(value, digits))
    return styler if index else styler.hide(axis="index")


def with_interval(table: pd.DataFrame, *, digits: int | None = None) -> pd.Series:
    """Return ``value (low–high)`` as text for each row of a table whose first columns are these three.

    Parameters
    ----------
    digits
        After the point; absent, those of the score that the index, or its last level, names, or else three.
    """
    named = [evaluation.BY_NAME.get(str(name)) for name in table.index.get_level_values(-1)]
    shown = [digits or (score.digits if score else 3) for score in named]
    rows = zip(table.itertuples(index=False), shown, strict=True)
    return pd.Series([interval(*row[:3], digits=each) for row, each in rows], index=table.index, dtype=object)


def interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """Return ``value (low–high)``, the value alone where there is no interval, a dash without a value.

    A negative end is set off by a word, since a dash before a minus cannot be read.
    """
    if pd.isna(value):
        return "–"
    if pd.isna(low):
        return f"{value:.{digits}f}"
    between = " to " if low < 0 else "–"
    return f"{value:.{digits}f} ({low:.{digits}f}{between}{high:.{digits}f})"


def stated(headline: Mapping[str, Any], name: str) -> str:
    """Return a score of a part of metrics.json as text; an old file may lack it."""
    return interval(**headline[name]) if name in headline else "not measured"


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown; its index is left out."""
    rows = [list(table), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(" | ".join(map(str, row)) for row in rows)


def latex(table: pd.DataFrame, *, caption: str, label: str) -> str:
    """Return a table as LaTeX (package booktabs), in ASCII, so that any engine and encoding takes it."""
    signs = {"–": "--", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "…": r"\dots{}", "’": "'"}
    plain = {sign: f"@@{ord(sign)}@@" for sign in signs}
    held = table.astype(str).rename(columns=str)
    text = held.rename(columns=lambda name: _replaced(name, plain)).map(lambda cell: _replaced(cell, plain))
    styler = text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    body = styler.to_latex(
        hrules=True, caption=_replaced(caption, plain).replace("%", r"\%").replace("_", r"\_"), label=label
    )
    return _replaced(body, {mark: signs[sign] for sign, mark in plain.items()})


def _replaced(text: str, marks: Mapping[str, str]) -> str:
    for old, new in marks.items():
        text = text.replace(old, new)
    return text


def extremes(groups: pd.DataFrame, score: str) -> str:
    """Say in a sentence which subgroup has the lowest and which the highest score.

    Parameters
    ----------
    groups
        From :func:`skinlesion.scoring.subgroups.scores`.
    """
    scored = groups[(groups.score == score) & groups.value.notna()]
    if scored.empty:
        return "No group has enough images to be scored."
    ends = [_group(scored.loc[place]) for place in (scored.value.idxmin(), scored.value.idxmax())]
    return f"{_words(score).capitalize()} is lowest for {ends[0]} and highest for {ends[1]}."


def subgroups(groups: pd.DataFrame, scores: Sequence[str]) -> pd.DataFrame:
    """Return some scores of the subgroups with one row a group and one column a score, as text."""
    text = groups.assign(shown=with_interval(groups[["value", "low", "high"]], digits=2))
    facts = ["column", "group", "images", "lesions"]
    wide = text.pivot(index=facts, columns="score", values="shown")[list(scores)]
    order = pd.MultiIndex.from_frame(groups[facts].drop_duplicates())
    return wide.loc[order].reset_index()


def decisions(chosen: pd.DataFrame, *, digits: int = 2) -> pd.DataFrame:
    """Return what thresholds give on the test part, as text.

    Parameters
    ----------
    chosen
        ``chosen`` or ``prevalences`` of :func:`skinlesion.scoring.decisions.answer`.
    """
    names = [name for name in chosen if f"{name}_low" in chosen]
    short = {"positive_predictive_value": "PPV", "negative_predictive_value": "NPV"}
    shown = {
        short.get(name, name): with_interval(chosen[[name, f"{name}_low", f"{name}_high"]], digits=digits)
        for name in names
    }
    return chosen[[name for name in chosen if name == "threshold"]].assign(**shown)


def estimands(scored: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the scores over images and over lesions with one row a way to count, as text.

    Parameters
    ----------
    scored
        From :func:`skinlesion.scoring.lesions.scored` or :func:`skinlesion.scoring.lesions.estimands`.
    """
    names = evaluation.names("summary")
    return pd.DataFrame(
        {
            name: {"rows": found["images"], "lesions": found["lesions"], **with_interval(found["headline"].loc[names])}
            for name, found in scored.items()
        }
    ).T


def transfer(folder: Path, *, fingerprint: str | None = None) -> pd.DataFrame:
    """Return the scores of every run of the study ``transfer`` in `folder`, one row a source left out.

    Parameters
    ----------
    fingerprint
        Of the data: runs on other data are passed over. Without it, runs on synthetic data are.

    Returns
    -------
    pandas.DataFrame
        source, images, accuracy and balanced accuracy on it, the same on validation (the other sources), as text.
    """
    rows = []
    for run in sorted(folder.glob("transfer/seed-*")):
        if not (run / "metrics.json").is_file():
            continue
        names = ("metrics.json", "preprocessing.json", "manifest.json")
        metrics, split, manifest = (json.loads((run / name).read_text(encoding="utf-8")) for name in names)
        data = manifest["data"]
        if data["fingerprint"] != fingerprint if fingerprint else data["synthetic"]:
            continue
        row = {"left out": split["left_out"], "images": metrics["test"]["images"]}
        for part, where in (("test", "on it"), ("validation", "on the others")):
            for score in evaluation.names("sources"):
                row[f"{_words(score)} {where}"] = stated(metrics[part]["headline"], score)
        rows.append(row)
    return pd.DataFrame(rows)


def findings(
    *,
    cases: pd.DataFrame,
    wrong: pd.DataFrame,
    groups: pd.DataFrame,
    consistency: Mapping[str, float],
    doubtful: pd.DataFrame,
    on_lesion: pd.DataFrame | None,
    without: pd.DataFrame | None,
    corrupted: pd.DataFrame | None,
) -> list[str]:
    """Return what the error analysis found, in three to six sentences, each with its numbers.

    Parameters
    ----------
    cases, wrong
        The test images, and those of them that are classified wrongly.
    groups, consistency
        From :mod:`skinlesion.scoring.subgroups`.
    doubtful
        From :func:`skinlesion.scoring.doubt.by`, by dx_type.
    on_lesion, without, corrupted
        From :mod:`skinlesion.probing.saliency` and :mod:`skinlesion.probing.robustness`, or None where not computed.
    """
    missed, all_mel = wrong[wrong.dx == "mel"], int((cases.dx == "mel").sum())
    benign = int(missed.predicted.isin(BENIGN).sum())
    said = [
        f"**Melanoma.** {len(missed)} of {all_mel} melanoma images are missed, {benign} of them called benign; the "
        f"most frequent name for them is {missed.predicted.mode().iloc[0] if len(missed) else 'none'}."
    ]
    kinds = groups[(groups.column == "dx_type") & (groups.score == "accuracy") & groups.value.notna()]
    if len(kinds) > 1:
        low, high = (_group(kinds.loc[place]) for place in (kinds.value.idxmin(), kinds.value.idxmax()))
        said.append(f"**How the diagnosis was made.** Accuracy runs from {low} to {high}.")
    people = groups[groups.column.isin(["sex", "age_band", "localization", "dataset", "lesion_size"])]
    tested = people[(people.score == "accuracy") & people.p_holm.notna()]
    worse, better = (tested[(tested.p_holm < 0.05) & side] for side in (tested.gap < 0, tested.gap > 0))
    said.append(
        f"**Whom it fails.** Of {len(tested)} groups of people, places and clinics that were tested, {len(worse)} are "
        f"below the others in accuracy beyond chance after Holm's correction, {len(better)} above."
    )
    if len(worse):
        row = worse.loc[worse.gap.idxmin()]
        said[-1] += f" Furthest below is {_group(row)}, by {-row.gap:.3f} ({-row.gap_high:.3f}–{-row.gap_low:.3f})."
    doubt = doubtful[doubtful.images >= min(20, doubtful.images.max())].sort_values("fraction").iloc[-1]
    said.append(
        f"**Labels and consistency.** {int(doubtful.candidates.sum())} labels are in doubt, most often with dx_type "
        f"{doubt.name} ({doubt.fraction:.1%} of {doubt.images:,.0f}); {consistency['inconsistent']} of "
        f"{consistency['lesions']} lesions with several images get more than one diagnosis."
    )
    if without is not None:
        score = without.balanced_accuracy
        looked = ""
        if on_lesion is not None and on_lesion.value.notna().any():
            known = on_lesion.dropna(subset="value")
            share, area = (np.average(known[name], weights=known.images) for name in ("value", "area"))
            looked = f" {share:.0%} of Grad-CAM lies on the lesion, which covers {area:.0%} of the frame."
        said.append(
            f"**What it leans on.** Balanced accuracy on a sample of all classes is {score['untouched']:.2f}; "
            f"{score['lesion removed']:.2f} with the lesion painted over, {score['background removed']:.2f} with the "
            f"background painted over.{looked}"
        )
    if corrupted is not None:
        ends = corrupted[corrupted.severity == corrupted.severity.max()].set_index("corruption").balanced_accuracy
        start = corrupted.balanced_accuracy[corrupted.severity == 0].iloc[0]
        said.append(
            f"**In another light.** From {start:.2f}, balanced accuracy falls to {ends.min():.2f} under the severest "
            f"{ends.idxmin()} and least under {ends.idxmax()} ({ends.max():.2f})."
        )
    return said


def _group(row: pd.Series) -> str:
    return f"{_words(row.column)} **{row.group}** ({interval(row.value, row.low, row.high)}, {row.counted:,.0f} images)"


def heading(name: str) -> str:
    """Return how a table names a score or a column."""
    score = evaluation.BY_NAME.get(name)
    return score.heading if score and score.heading else _words(name)


def _words(name: str) -> str:
    return name.replace("_", " ")


def results(folder: Path) -> str:
    """Return the test scores of every run on real data in `folder` whose reports are there, as a Markdown table.

    Parameters
    ----------
    folder
        ``reports/``; a run counts if it has a manifest, metrics and the page that shows them.
    """
    rows = []
    summary = evaluation.names("summary")
    for run in sorted(folder.glob("*/seed-*")):
        if not all((run / name).is_file() for name in ("manifest.json", "metrics.json", "04_evaluation.html")):
            continue
        manifest, metrics = (json.loads((run / name).read_text()) for name in ("manifest.json", "metrics.json"))
        if manifest["data"]["synthetic"] or manifest["parameters"]["split_by"] == "source":
            continue
        test, chosen = metrics["test"], manifest["parameters"]
        scores = [stated(test["headline"], score) for score in summary]
        what = (
            f"{chosen['image_size']}×{chosen['image_size']}, {chosen['epochs']} epochs, split by {chosen['split_by']}"
        )
        majority = f"{metrics['test_majority_accuracy']:.3f}"
        link = f"[{run.parent.name}, seed {chosen['seed']}](reports/{run.parent.name}/{run.name}/metrics.json)"
        size = f"{test['images']:,} images of {test['lesions']:,} lesions"
        where = " and ".join(dict.fromkeys(sitting["environment"]["hardware"] for sitting in manifest["sittings"]))
        trained = f"{manifest['training_seconds'] / 60:.1f} min on {where}"
        rows.append(" | ".join([link, what, size, *scores, majority, trained]))
        leak = json.loads((run / "preprocessing.json").read_text())["leakage"]["image"]
    columns = ["run", "setting", "test part", *map(heading, summary)]
    columns += ["accuracy of always naming the largest class", "training"]
    head = " | ".join(columns) + "\n" + " | ".join(["---"] * len(columns)) + "\n"
    if not rows:
        return "No run on real data is here yet."
    leaked = (
        f"\n\nSplit by image, as is usual, {leak['all']['fraction']:.1%} of the test images and "
        f"{leak['mel']['fraction']:.1%} of the melanomas among them would have an image of the same lesion in training."
    )
    return head + "\n".join(rows) + leaked


def speeds(folder: Path) -> str:
    """Return the speeds of ``benchmarks/speed.csv`` in `folder` as a Markdown table; on a CPU beside memory's own."""
    path = folder / "benchmarks" / "speed.csv"
    if not path.is_file():
        return "Not measured yet."
    table = pd.read_csv(path)
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    rows = []
    for row in table.itertuples():
        cells = [f"{row.benchmark}, {row.side}×{row.side}", row.method]
        if pd.isna(row.images_per_second):
            cells += [row.note, "", "", ""]
        else:
            floor = "–" if pd.isna(row.times_the_floor) else f"{row.times_the_floor:.1f}"
            cells += [f"{row.images_per_second:.0f}", f"{row.times_the_loop:.2f}", floor]
            cells += [f"{row.peak_memory_mb / 1000:.1f} GB"]
        rows.append(" | ".join(cells))
    head = (
        "benchmark | method | images per second | times the first | time over memory's floor | peak memory\n"
        "--- | --- | --- | --- | --- | ---\n"
    )
    where = f"\n\n{facts['environment']['hardware']}; medians of {facts['repeats']} turns."
    return head + "\n".join(rows) + where


def sources(folder: Path) -> str:
    """Return the scores of the study ``transfer`` in `folder` as a Markdown table."""
    table = transfer(folder)
    if table.empty:
        return "Not measured yet."
    return markdown(table)


def paper_table(folder: Path, *, name: str, only: str = "", without: Sequence[str] = ()) -> str:
    """Return a table of the paper in `folder`, as ``make paper`` left it, or the part of it that a README has room for.

    Parameters
    ----------
    only
        Keep the rows with this in a cell.
    without
        Columns to leave out.
    """
    path = folder / "tables" / f"{name}.md"
    if not path.is_file():
        return "Not measured yet."
    table, _, caption = path.read_text(encoding="utf-8").strip().partition("\n\n")
    head, rule, *rows = [line.split(" | ") for line in table.split("\n")]
    kept = [head, rule, *(row for row in rows if only in row or not only)]
    places = [place for place, column in enumerate(head) if column not in without]
    return "\n".join(" | ".join(row[place] for place in places) for row in kept) + f"\n\n{caption}"


BLOCKS: dict[str, Callable[[Path], str]] = {
    "claims": partial(paper_table, name="claims"),
    "results": results,
    "leak": partial(
        paper_table, name="leak", only="injected − clean", without=("arm", "macro F1", "melanoma sensitivity")
    ),
    "effects": partial(paper_table, name="effects", without=("images", "macro AUC", "melanoma sensitivity")),
    "sources": sources,
    "speeds": speeds,
}
"""What README.md shows of the reports, and what makes each."""


def markers(block: str) -> tuple[str, str]:
    """Return the lines of README.md between which a block stands."""
    return f"<!-- {block}: made by `make readme` -->", f"<!-- end of {block} -->"


def write_blocks(readme: Path, folder: Path) -> None:
    """Put every one of :data:`BLOCKS` into a README, between its two marker lines."""
    text = readme.read_text(encoding="utf-8")
    for block, make in BLOCKS.items():
        start, end = markers(block)
        before, found, rest = text.partition(start)
        if found:
            text = f"{before}{start}\n\n{make(folder)}\n\n{end}{rest.partition(end)[2]}"
    files.write_text(readme, text)


def mean(values: np.ndarray, *, digits: int = 2) -> str:
    """Return the mean of the `values` that are numbers as text, a dash where there are none."""
    known = values[~np.isnan(values)]
    return f"{known.mean():.{digits}f}" if len(known) else "–"


def median(values: np.ndarray, *, digits: int = 2) -> str:
    """Return the median of `values` as text, a dash where there are none."""
    return f"{np.median(values):.{digits}f}" if len(values) else "–"


def _word(value: object, digits: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if value != value else f"{value:,.{digits}f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value is None or value is pd.NA else str(value)
