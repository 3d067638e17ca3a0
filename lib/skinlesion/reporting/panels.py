"""The controls of notebook 00: each function returns a panel to show; :mod:`.explorer` has what is behind them."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd

from skinlesion import runs
from skinlesion.data.dataset import DX, DX_NAMES
from skinlesion.errors import StudyError
from skinlesion.reporting import explorer, tables
from skinlesion.reporting.explorer import Explorer
from skinlesion.reporting.figures import base, error_analysis
from skinlesion.scoring import decisions
from skinlesion.scoring.predictions import COLUMNS

Look = Callable[[Path, np.ndarray], tuple[np.ndarray, np.ndarray, str]]
"""Returns a picture as the network sees it, a map of where it looks, and for what (probing.saliency.look)."""

FILTERS = {"dx": "diagnosis", "predicted": "called", "age_band": "age", "localization": "place", "dataset": "source"}
FILTERS |= {"dx_type": "proof"}

ALL = "all"
LISTED, PICTURES, COLUMNS_OF_ONE = 200, 12, 3


def head(found: Explorer) -> widgets.HTML:
    """Say which runs and what data are at hand, and where the data was drawn by a program."""
    drawn = any(run.synthetic for run in found.runs.values())
    banner = "<p><b>SYNTHETIC DATA: drawn by a program, says nothing about skin</b></p>" if drawn else ""
    data = (
        html.escape(found.data.title)
        if found.data is not None
        else "the data is not at hand: no pictures, and no filter by sex, age, place, source and kind of proof"
    )
    trainings = len(set(runs.originals(found.runs).values()))
    return widgets.HTML(f"{banner}<p>{trainings} trainings, {len(found.images):,} images; {data}.</p>")


def look_up(found: Explorer, *, run: str, look: Look | None = None) -> widgets.VBox:
    """Show an image by its id: label, part, probabilities, siblings, what each run says, and where the network looks.

    Parameters
    ----------
    run
        The run that is shown first.
    look
        What makes Grad-CAM where pictures are at hand; absent, there is none.
    """
    image = widgets.Combobox(
        value=explorer.first_choice(found, run), options=list(found.images.index), description="image"
    )
    which, shown = _runs(found, run), widgets.HTML()
    where = widgets.Checkbox(description="Grad-CAM", value=False, disabled=look is None, indent=False)

    def show() -> str:
        image_id = image.value.strip()
        facts = "; ".join(f"{tables.heading(key)}: {value}" for key, value in found.facts(image_id).items())
        said = found.said(image_id).set_index("run")
        here = said.loc[which.value] if which.value in said.index else None
        parts = [f"<p><b>{html.escape(image_id)}</b>. {html.escape(facts) or 'No run says its diagnosis.'}</p>"]
        if here is None:
            parts.append(f"<p>{html.escape(which.value)} does not have it.</p>")
        else:
            parts.append(f"<p>{html.escape(which.value)}: <b>{html.escape(here.part)}</b> part.</p>{_bars(here)}")
        parts.append(_picture(found, image_id, which.value, look if where.value else None))
        siblings = found.siblings(image_id, which.value)
        caption = f"Its siblings, other images of the lesion, and what {which.value} says of them."
        parts.append(_table(siblings, caption) if len(siblings) else "<p>It has no sibling in this run.</p>")
        shown = said.rename(columns=dict(zip(COLUMNS, DX, strict=True))).reset_index()
        parts.append(_table(shown, "What each run says of it; a run that was trained on it says nothing."))
        return "".join(parts)

    return _panel(shown, show, image, which, where)


def threshold(found: Explorer, *, run: str) -> widgets.VBox:
    """Show sensitivity, specificity and predictive values at a threshold that is moved by hand."""
    which = _runs(found, run)
    question = widgets.Dropdown(options=list(decisions.QUESTIONS), description="question")
    frequency = widgets.Dropdown(
        options=[("as here", 0.0), *((f"{share:.0%}", share) for share in decisions.PREVALENCES)],
        description="frequency",
    )
    slider = widgets.FloatSlider(
        min=0, max=1, step=0.001, description="threshold", readout_format=".3f", layout=widgets.Layout(width="32em")
    )
    shown = widgets.HTML()

    def show() -> str:
        decision = found.decision(which.value, question.value)
        counts, table = decision.counts(slider.value), decision.at(slider.value, prevalence=frequency.value or None)
        state = tables.frame({"at this threshold (95% interval)": tables.with_interval(table, digits=3)})
        caption = f"{which.value}: test part, {counts['images']:,} images, {counts['yes']:,} of them {question.value}."
        said = f"{counts['called']:,} are called {question.value}; {counts['missed']:,} of the true ones are missed."
        if decision.suggested is not None:
            said += f" The threshold of {decisions.RULE} is {decision.suggested:.3f}."
        return f"{_table(state, caption, index=True)}<p>{html.escape(said)}</p>"

    slider.value = found.decision(run, question.value).suggested or 0.5
    return _panel(shown, show, which, question, frequency, slider)


def subgroup(found: Explorer, *, run: str) -> widgets.VBox:
    """Show the tested images that have some values, their scores, and their pictures where they are at hand."""
    which, shown = _runs(found, run), widgets.HTML()
    values = explorer.options(found.tested(run), found.columns())
    filters = {
        name: widgets.Dropdown(options=[ALL, *known], description=FILTERS.get(name, name))
        for name, known in values.items()
    }

    def show() -> str:
        tested = found.tested(which.value)
        given = {name: each.value for name, each in filters.items() if each.value != ALL}
        rows = explorer.chosen(tested, given)
        scores = found.scored(which.value, rows)
        columns = {"these": scores[["value", "low", "high"]], "less the others": scores[["gap", "gap_low", "gap_high"]]}
        stated = tables.frame({name: tables.with_interval(each) for name, each in columns.items()})
        listed = rows[["image_id", "lesion_id", *values, "confidence"]].head(LISTED)
        images = f"{len(rows):,} of {len(tested):,} images, of {rows.lesion_group.nunique():,} lesions"
        caption = f"{which.value}: test part, {images}. A dash: too few."
        order = f"The most confident mistakes first{f'; {LISTED} of {len(rows):,}' if len(rows) > LISTED else ''}."
        return _table(stated, caption, index=True) + _gallery(found, rows) + _scrolled(_table(listed, order))

    return _panel(shown, show, which, *filters.values())


def pair(found: Explorer, *, first: str, second: str) -> widgets.VBox:
    """Show two runs side by side on the test images that both have, and the images on which they differ."""
    one, other, shown = _runs(found, first, "first"), _runs(found, second, "second"), widgets.HTML()
    outcome = widgets.Dropdown(options=explorer.OUTCOMES, description="images")

    def show() -> str:
        scores, told = explorer.side_by_side(found.predictions[one.value], found.predictions[other.value])
        table = scores[["first", "second"]].assign(
            difference=tables.with_interval(scores[["difference", "low", "high"]])
        )
        caption = f"{len(told):,} test images that both have; difference, second minus first, with its 95% interval."
        counts = told.outcome.value_counts().reindex(explorer.OUTCOMES, fill_value=0)
        said = "; ".join(f"{name}: {number:,}" for name, number in counts.items())
        rows = told[told.outcome == outcome.value].drop(columns="outcome")
        listed = _table(rows.head(LISTED), f"{len(rows):,} images: {outcome.value}.")
        return f"{_table(table, caption, index=True)}<p>{said}.</p>{_gallery(found, rows)}{_scrolled(listed)}"

    return _panel(shown, show, one, other, outcome)


def _panel(shown: widgets.HTML, show: Callable[[], str], *controls: widgets.Widget) -> widgets.VBox:
    """Put controls above what they show; a fault that is the user's is said in its place."""

    def update(change: object = None) -> None:
        try:
            shown.value = f'<div class="jp-RenderedHTMLCommon">{show()}</div>'  # JupyterLab's own look of tables
        except StudyError as error:
            shown.value = f"<p>{html.escape(str(error))}</p>"

    for control in controls:
        control.observe(update, names="value")
    update()
    return widgets.VBox([widgets.HBox(controls, layout=widgets.Layout(flex_flow="row wrap")), shown])


def _runs(found: Explorer, run: str, name: str = "run") -> widgets.Dropdown:
    return widgets.Dropdown(options=list(found.runs), value=run, description=name)


def _table(frame: pd.DataFrame, caption: str, *, index: bool = False) -> str:
    return tables.show(frame, caption=caption, index=index).to_html()


def _scrolled(content: str) -> str:
    return f'<div style="max-height:24em;overflow:auto">{content}</div>'


def _bars(said: pd.Series) -> str:
    """Draw the seven probabilities, one bar a diagnosis."""
    if said[COLUMNS].isna().all():
        return "<p>It says nothing of an image that it was trained on or did not use.</p>"
    rows = "".join(
        f"<tr><td>{dx}</td><td style='min-width:20em'>"
        f"<div style='height:1em;width:{p:.1%};background:{base.COLOURS[dx]}'></div></td>"
        f"<td>{p:.3f}</td><td style='text-align:left'>{html.escape(DX_NAMES[dx])}</td></tr>"
        for dx, p in zip(DX, said[COLUMNS].astype(float), strict=True)
    )
    return f"<table><caption>Probabilities; it says <b>{said.predicted}</b>.</caption>{rows}</table>"


def _picture(found: Explorer, image_id: str, run: str, look: Look | None) -> str:
    """Show an image, and where a run's network looks, as far as they are at hand."""
    picture = found.pictures([image_id]).get(image_id)
    if picture is None:
        return ""
    shown = _image(base.gallery([picture], [image_id], columns=COLUMNS_OF_ONE, alt=f"Image {image_id}."))
    if look is None:
        return shown
    try:
        seen, focus, dx = look(found.runs[run].folder / "model.safetensors", picture)
    except StudyError as error:
        return f"{shown}<p>No Grad-CAM: {html.escape(str(error))}.</p>"
    titles, no_mask = [f"Grad-CAM for {dx}"], np.zeros((1, *focus.shape), bool)
    alt = f"Where {run} looks in {image_id} to say {dx}: Grad-CAM."
    return shown + _image(
        error_analysis.overlays(seen[None], focus[None], no_mask, titles, alt=alt, columns=COLUMNS_OF_ONE)
    )


def _gallery(found: Explorer, rows: pd.DataFrame) -> str:
    pictures = found.pictures(list(rows.image_id.head(PICTURES)))
    alt = f"The first {len(pictures)} of these images."
    return _image(base.gallery(list(pictures.values()), list(pictures), columns=6, alt=alt)) if pictures else ""


def _image(picture: base.Picture) -> str:
    data, said = picture._repr_mimebundle_()
    alt, width = html.escape(picture.alt), said["image/png"]["width"]
    return f'<img alt="{alt}" width="{width}" src="data:image/png;base64,{data["image/png"]}">'
