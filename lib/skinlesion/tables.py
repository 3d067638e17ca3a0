"""Tables as a reader sees them: a caption that says what they are of, intervals beside values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from skinlesion import files


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
    flat.columns = [str(column).replace("_", " ") for column in flat.columns]
    flat.index = pd.Index([str(name).replace("_", " ") for name in flat.index])
    styler = flat.style.set_caption(caption).format(lambda value: _word(value, digits))
    return styler if index else styler.hide(axis="index")


def with_interval(table: pd.DataFrame, *, digits: int = 3) -> pd.Series:
    """Return ``value (low–high)`` as text for each row of a table whose first columns are these three."""
    return pd.Series(
        [interval(*row[:3], digits=digits) for row in table.itertuples(index=False)],
        index=table.index,
        dtype=object,
    )


def interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """Return ``value (low–high)``, the value alone where there is no interval, a dash without a value."""
    if pd.isna(value):
        return "–"
    if pd.isna(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def extremes(groups: pd.DataFrame, score: str) -> str:
    """Say in a sentence which subgroup has the lowest and which the highest score.

    Parameters
    ----------
    groups
        From :func:`skinlesion.evaluation.subgroups`.
    """
    scored = groups.dropna(subset=[score])
    if scored.empty:
        return "No group has enough images to be scored."
    ends = [
        f"{row.column.replace('_', ' ')} **{row.group}** "
        f"({interval(row[score], row[f'{score}_low'], row[f'{score}_high'])}, {row.images:,} images)"
        for row in (scored.loc[scored[score].idxmin()], scored.loc[scored[score].idxmax()])
    ]
    return f"{score.replace('_', ' ').capitalize()} is lowest for {ends[0]} and highest for {ends[1]}."


def results(folder: Path) -> str:
    """Return the test scores of every run on real data in `folder` as a Markdown table.

    Parameters
    ----------
    folder
        ``reports/``; a run counts if it has a manifest and metrics.
    """
    rows = []
    for run in sorted(folder.glob("*/seed-*")):
        if not ((run / "manifest.json").is_file() and (run / "metrics.json").is_file()):
            continue
        manifest, metrics = (json.loads((run / name).read_text()) for name in ("manifest.json", "metrics.json"))
        if manifest["data"]["synthetic"]:
            continue
        test, chosen = metrics["test"], manifest["parameters"]
        scores = [
            interval(**test["headline"][score]) for score in ("accuracy", "balanced_accuracy", "macro_f1", "loss")
        ]
        what = (
            f"{chosen['image_size']}×{chosen['image_size']}, {chosen['epochs']} epochs, split by {chosen['split_by']}"
        )
        majority = f"{metrics['test_majority_accuracy']:.3f}"
        melanoma = metrics["test_per_class"]["mel"]["recall"]
        scores.append(interval(melanoma["value"], melanoma["low"], melanoma["high"]))
        link = f"[{run.parent.name}, seed {chosen['seed']}](reports/{run.parent.name}/{run.name}/metrics.json)"
        size = f"{test['images']:,} images of {test['lesions']:,} lesions"
        where = " and ".join(dict.fromkeys(sitting["environment"]["hardware"] for sitting in manifest["sittings"]))
        trained = f"{manifest['training_seconds'] / 60:.1f} min on {where}"
        rows.append(" | ".join([link, what, size, *scores, majority, trained]))
        leak = json.loads((run / "preprocessing.json").read_text())["leakage"]["image"]
    head = (
        "run | setting | test part | accuracy | balanced accuracy | macro F1 | loss | melanoma recall "
        "| accuracy of always naming the largest class | training\n"
        "--- | --- | --- | --- | --- | --- | --- | --- | --- | ---\n"
    )
    if not rows:
        return "No run on real data is here yet."
    leaked = (
        f"\n\nSplit by image, as is usual, {leak['all']['fraction']:.1%} of the test images and "
        f"{leak['mel']['fraction']:.1%} of the melanomas among them would have an image of the same lesion in training."
    )
    return head + "\n".join(rows) + leaked


def speeds(folder: Path) -> str:
    """Return the training speeds of ``benchmarks/training.csv`` in `folder` as a Markdown table."""
    path = folder / "benchmarks" / "training.csv"
    if not path.is_file():
        return "Not measured yet."
    table = pd.read_csv(path).query("benchmark == 'throughput'")
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    rows = [
        f"{row.method} | {row.note}"
        if pd.isna(row.images_per_second)
        else f"{row.method} | {row.images_per_second:.0f} | {row.times:.2f} | {row.peak_memory_mb / 1000:.1f} GB"
        for row in table.itertuples()
    ]
    head = "method | images per second | times the first | peak memory\n--- | --- | --- | ---\n"
    where = f"\n\n{facts['environment']['hardware']}; medians of {facts['repeats']} turns."
    return head + "\n".join(rows) + where


BLOCKS = {"results": results, "speeds": speeds}
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
