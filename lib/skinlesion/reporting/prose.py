"""Sentences of a report: each says what its numbers say, and no more."""

from __future__ import annotations

import html
from collections.abc import Mapping

import numpy as np
import pandas as pd

from skinlesion.data.dataset import BENIGN
from skinlesion.reporting.tables import interval, words


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
    return f"{words(score).capitalize()} is lowest for {ends[0]} and highest for {ends[1]}."


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
        said[-1] += f" Furthest below is {_group(row)}: {interval(row.gap, row.gap_low, row.gap_high)}."
    doubt = doubtful[doubtful.images >= min(20, doubtful.images.max())].sort_values("fraction").iloc[-1]
    said.append(
        f"**Labels and consistency.** {int(doubtful.candidates.sum())} labels are candidates for a wrong "
        f"one, most often with dx_type {doubt.name} ({doubt.fraction:.1%} of {doubt.images:,.0f}); "
        f"{consistency['inconsistent']} of {consistency['lesions']} lesions with several images get more "
        "than one diagnosis."
    )
    if without is not None:
        said.append(leans(without, on_lesion))
    if corrupted is not None:
        said.append(in_another_light(corrupted))
    return said


def leans(without: pd.DataFrame, on_lesion: pd.DataFrame | None) -> str:
    """Say what is left of the score without the lesion and without the rest, and where Grad-CAM looks."""
    score = without.balanced_accuracy
    looked = ""
    if on_lesion is not None and on_lesion.value.notna().any():
        known = on_lesion.dropna(subset="value")
        share, area = (np.average(known[name], weights=known.images) for name in ("value", "area"))
        looked = f" {share:.0%} of Grad-CAM lies on the lesion, which covers {area:.0%} of the frame."
    return (
        f"**What it leans on.** Balanced accuracy on a sample of all classes is {score['untouched']:.2f}; "
        f"{score['lesion removed']:.2f} with the lesion painted over, {score['background removed']:.2f} with the "
        f"background painted over.{looked}"
    )


def in_another_light(corrupted: pd.DataFrame) -> str:
    """Say under which corruption the score is lowest and under which highest."""
    ends = corrupted[corrupted.severity == corrupted.severity.max()].set_index("corruption").balanced_accuracy
    start = corrupted.balanced_accuracy[corrupted.severity == 0].iloc[0]
    return (
        f"**In another light.** From {start:.2f}, balanced accuracy falls to {ends.min():.2f} under the severest "
        f"{ends.idxmin()} and is highest under {ends.idxmax()} ({ends.max():.2f})."
    )


def _group(row: pd.Series) -> str:
    name, value = html.escape(str(row.group)), interval(row.value, row.low, row.high)
    return f"{words(row.column)} **{name}** ({value}, {row.counted:,.0f} images)"
