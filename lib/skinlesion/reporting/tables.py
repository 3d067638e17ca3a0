"""Tables as a reader sees them: a caption that says what they are of, intervals beside values."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from skinlesion.scoring import evaluation


def frame(columns: Mapping[str, Any], *, index: Sequence[str] | None = None) -> pd.DataFrame:
    """Return columns as a table; they bring an index of their own, or share the one given."""
    if index is None:
        columns = {name: pd.Series(values) for name, values in columns.items()}
    return pd.DataFrame(columns, index=index)


def show(
    frame: pd.DataFrame, *, caption: str, digits: int = 3, index: bool = True, source: str = "", words: bool = False
) -> Styler:
    """Return a table for a notebook to show.

    Parameters
    ----------
    frame
        What it holds; floats are shown with `digits` digits, whole numbers with thousands separated, and
        what is missing as a dash.
    caption
        What data, which part, how many images and lesions, and what the interval is.
    source
        The files behind it, separated by spaces, where they are not the page's own: its page links them.
    words
        Whether its cells are sentences, which wrap.
    """
    flat = frame.copy()
    if isinstance(flat.columns, pd.MultiIndex):
        flat.columns = [": ".join(str(part) for part in column) for column in flat.columns]
    flat.columns = [_escaped(heading(str(column))) for column in flat.columns]
    flat.index = pd.Index([_escaped(heading(str(name))) for name in flat.index])
    styler = flat.style.set_caption(_escaped(caption)).format(lambda value: _escaped(_word(value, digits)))
    styler = styler.set_table_attributes(f'data-source="{source}" class="{"words" if words else "numbers"}"')
    return styler if index else styler.hide(axis="index")


@dataclass(frozen=True)
class Absent:
    """What a notebook shows in the place of what is not there; a page leaves the section out and says why at its end.

    Attributes
    ----------
    reason
        In a sentence.
    """

    reason: str

    def _repr_html_(self) -> str:
        return f'<p class="absent">{_escaped(self.reason)}</p>'


NO_PHOTOGRAPHS = Absent("Photographs are left out of this report (galleries: false).")


def _escaped(text: str) -> str:
    """Return text as HTML shows it: what comes from data is never markup."""
    return html.escape(text, quote=False)


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


def interval(value: float, low: float, high: float, *, digits: int = 3, sign: bool = False) -> str:
    """Return ``value (low–high)``, the value alone where there is no interval, a dash without a value.

    A negative end is set off by a word, since a dash before a minus cannot be read. Of what is the same in every draw,
    as a class whose few images are all right, no interval is stated: its draws would pretend to certainty.
    """
    if pd.isna(value):
        return "–"
    if pd.isna(low):
        return number(value, digits, sign=sign)
    if low == value == high:
        return f"{number(value, digits, sign=sign)} (same in all draws)"
    between = " to " if low < 0 else "–"
    return f"{number(value, digits, sign=sign)} ({number(low, digits)}{between}{number(high, digits)})"


def number(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """Return a number as text: with a true minus, thousands separated, and no sign before a zero."""
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("+-")


def stated(headline: Mapping[str, Any], name: str) -> str:
    """Return a score of a part of metrics.json as text; an old file may lack it."""
    return interval(**headline[name]) if name in headline else "not measured"


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown; its index is left out."""
    rows = [list(table), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(" | ".join(str(cell).replace("|", "\\|").replace("<", "&lt;") for cell in row) for row in rows)


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


def baselines(found: Mapping[str, pd.DataFrame], network: pd.DataFrame) -> pd.DataFrame:
    """Return scores of baselines, of the network, and what it has more than each, as text, one column a score.

    Parameters
    ----------
    found
        From :func:`skinlesion.scoring.comparison.against`.
    network
        Its headline scores.
    """
    rows = {name: with_interval(table) for name, table in found.items()}
    first = next(iter(found.values()))
    rows["network"] = with_interval(network.loc[first.index])
    for name, table in found.items():
        rows[f"network − {name}"] = with_interval(table[["difference", "difference_low", "difference_high"]])
    return pd.DataFrame(rows).T


def characteristics(found: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`skinlesion.data.splits.characteristics` as text: images of a value with their share of the part."""
    images = found.loc[("all", "images")]

    def said(column: str, value: str, part: str) -> str:
        number = found.loc[(column, value), part]
        if column == "all":
            return f"{number:,}"
        if column == "age" and value != "unknown":
            return "–" if pd.isna(number) else f"{number:.0f}"
        return f"{number:,} ({number / images[part]:.1%})"

    rows = {
        value if column == "all" else f"{words(column)}: {value}": [said(column, value, part) for part in found]
        for column, value in found.index
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(found))


def heading(name: str) -> str:
    """Return how a table names a score or a column."""
    score = evaluation.BY_NAME.get(name)
    return score.heading if score and score.heading else words(name)


def words(name: str) -> str:
    """Return a name of code as words."""
    return name.replace("_", " ")


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
        return "–" if value != value else number(value, digits)
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value is None or value is pd.NA else str(value)
