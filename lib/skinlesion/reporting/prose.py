"""Sentences that people read: written in templates, each in a block of its own, with numbers bound into it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from skinlesion.data.dataset import BENIGN
from skinlesion.reporting.tables import interval, number, words


class Words:
    """The sentences of a template."""

    def __init__(self, path: Path) -> None:
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 (Markdown)
        environment.globals |= {"percent": percent, "points": points, "interval": interval, "words": words}
        template = environment.from_string(path.read_text(encoding="utf-8"))
        self.blocks, self.context = template.blocks, template.new_context

    def say(self, block: str, /, **values: Any) -> str:
        """Return what a block says of some values, in one line of Markdown."""
        return " ".join("".join(self.blocks[block](self.context(values))).split())


def points(value: Any, *, unit: str = " points", flip: bool = False, sign: bool = False) -> str:
    """Return a difference, or a row with mean, low and high, in hundredths; with `flip`, a loss as what is lost."""
    if not isinstance(value, Mapping):
        return number(100 * value, 1) + unit
    ends = [100 * value[name] for name in ("mean", "low", "high")]
    mean, low, high = (-ends[0], -ends[2], -ends[1]) if flip else ends
    return interval(mean, low, high, digits=1, sign=sign).replace(" (", f"{unit} (", 1)


def percent(value: Any, *, digits: int = 1) -> str:
    """Return a share, or a row with mean, low and high, in per cent."""
    return points(value, unit="%") if isinstance(value, Mapping) else f"{value:.{digits}%}"


_SAY = Words(Path(__file__).with_name("errors.md")).say


def extremes(groups: pd.DataFrame, score: str) -> str:
    """Say in a sentence which subgroup has the lowest and which the highest score.

    Parameters
    ----------
    groups
        From :func:`skinlesion.scoring.subgroups.scores`.
    """
    scored = groups[(groups.score == score) & groups.value.notna()]
    return _SAY("extremes", score=score, ends=_ends(scored))


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
    missed = wrong[wrong.dx == "mel"]
    accuracy = groups[(groups.score == "accuracy") & groups.value.notna()]
    people = accuracy[accuracy.column.isin(["sex", "age_band", "localization", "dataset", "lesion_size"])]
    tested = people[people.p_holm.notna()]
    sure = tested[tested.p_holm < 0.05].sort_values("gap")
    doubt = doubtful[doubtful.images >= min(20, doubtful.images.max())].sort_values("fraction").iloc[-1]
    said = [
        _SAY(
            "melanoma", missed=missed, melanomas=(cases.dx == "mel").sum(), benign=missed.predicted.isin(BENIGN).sum()
        ),
        _SAY("proof", ends=_ends(accuracy[accuracy.column == "dx_type"])),
        _SAY("whom", tested=tested, sure=sure, furthest=_group(sure.iloc[0]) if len(sure) else ""),
        _SAY("labels", candidates=int(doubtful.candidates.sum()), doubt=doubt, consistency=consistency),
        "" if without is None else leans(without, on_lesion),
        "" if corrupted is None else in_another_light(corrupted),
    ]
    return [sentence for sentence in said if sentence]


def leans(without: pd.DataFrame, on_lesion: pd.DataFrame | None) -> str:
    """Say what is left of the score without the lesion and without the rest, and where Grad-CAM looks."""
    known = pd.DataFrame(columns=["value"]) if on_lesion is None else on_lesion.dropna(subset="value")
    looked = {name: np.average(known[name], weights=known.images) for name in ("value", "area") if len(known)}
    return _SAY("leans", score=without.balanced_accuracy, looked=looked)


def in_another_light(corrupted: pd.DataFrame) -> str:
    """Say under which corruption the score is lowest and under which highest."""
    ends = corrupted[corrupted.severity == corrupted.severity.max()].set_index("corruption").balanced_accuracy
    return _SAY("light", start=corrupted.balanced_accuracy[corrupted.severity == 0].iloc[0], ends=ends)


def _ends(scored: pd.DataFrame) -> list[str]:
    """Return the groups with the lowest and the highest score, in words; nothing where there is none."""
    return (
        [_group(scored.loc[place]) for place in (scored.value.idxmin(), scored.value.idxmax())] if len(scored) else []
    )


def _group(row: pd.Series) -> str:
    name, value = html.escape(str(row.group)), interval(row.value, row.low, row.high)
    return f"{words(row.column)} **{name}** ({value}, {row.counted:,.0f} images)"
