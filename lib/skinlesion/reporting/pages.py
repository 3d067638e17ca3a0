"""Pages: a notebook run headlessly, and rendered to one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
from bs4 import BeautifulSoup
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from pygments.formatters import HtmlFormatter
from traitlets import default
from traitlets.config import Config

from skinlesion import files, runs
from skinlesion.data.mistakes import MISTAKES
from skinlesion.errors import StudyError
from skinlesion.parameters import Parameters
from skinlesion.reporting import markup, watch

TITLES = {
    "01_eda": "Data",
    "02_preprocessing": "Preprocessing and split",
    "03_training": "Training",
    "04_evaluation": "Evaluation",
    "05_error_analysis": "Error analysis",
}
"""The notebooks in their order, and what the pages call them."""

SOURCES = {
    "01_eda": "eda.json",
    "02_preprocessing": "preprocessing.json",
    "03_training": "history.csv",
    "04_evaluation": "metrics.json",
    "05_error_analysis": "errors.json",
}
"""The file behind the tables and figures of each, where they name no other."""

PAPER, ROAD = "06_paper_tables", "07_road"
"""The notebooks across all runs; their pages lie in ``reports/tables/``."""

TEMPLATE = Path(__file__).with_name("template")

PATIENCE = 3600
"""Seconds after which a kernel that has not answered hangs; :mod:`skinlesion.reporting.watch` sees it sooner."""


class Kernels(AsyncKernelManager):
    """Starts the kernel of the Python that runs this, whatever else a user's Jupyter knows as ``python3``."""

    @default("kernel_spec_manager")
    def _this_python_alone(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


KERNEL: Mapping[str, Any] = {"kernel_name": "python3", "kernel_manager_class": Kernels, "iopub_timeout": PATIENCE}
"""How a notebook is run, by papermill or nbclient."""


class ReportError(StudyError):
    """A notebook did not run to its end; the message says where and why."""


class Header:
    """What every report opens with: which run, on what data, made by which code, on which machine.

    Parameters
    ----------
    run
        The run.
    record
        The manifest, or what of it is known: data (title, synthetic, fingerprint) and, where a network is at hand,
        weights.
    """

    mistake: str | None = None

    def __init__(self, run: runs.Run, record: Mapping[str, Any]) -> None:
        chosen, data = run.parameters, record["data"]
        self.synthetic, self.mistake = bool(data["synthetic"]), MISTAKES.get(chosen.mistake or "")
        self.rows = {
            "study": f"<b>{html.escape(chosen.study)}</b>, seed {chosen.seed}",
            "data": html.escape(data["title"]) + f", fingerprint <code>{data['fingerprint'][:12]}</code>",
            "split": f"{chosen.split}: {chosen.parts}",
        }
        if "weights" in record:
            size = f"{chosen.image_size}×{chosen.image_size}"
            model = f"{chosen.backbone} at {size}, from {record['weights']}"
            self.rows["model"] = html.escape(model)
        self.rows |= {"commit": commit(), "hardware": html.escape(runs.hardware()), "time": runs.now()}

    def _repr_html_(self) -> str:
        body = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in self.rows.items())
        # The page has its own banner; this one is for the notebook as opened in JupyterLab.
        banner = (
            '<p class="synthetic" style="background:#ffd54a;color:#1f1700;padding:.4em;font-weight:600">'
            "SYNTHETIC DATA: drawn by a program, says nothing about skin</p>"
        )
        mistake = (
            '<p class="mistake" role="alert" style="background:#a4001f;color:#fff;padding:.4em;font-weight:600">'
            f"A MISTAKE IS MADE ON PURPOSE: {self.mistake}. What is printed here is not what the network is worth.</p>"
        )
        banners = (banner if self.synthetic else "") + (mistake if self.mistake else "")
        return f'{banners}<table class="facts">{body}</table>'


def make(notebook: Path, parameters: Parameters, output: Path) -> None:
    """Run a notebook with papermill and render it; `output` appears only when every cell has run.

    Parameters
    ----------
    notebook
        One of ``notebooks/``.
    output
        The HTML file; tables of the paper are written beside it. While the notebook runs,
        ``<output>.partial.ipynb`` lies there; after a failure it stays, with everything up to the failing cell.

    Raises
    ------
    ReportError
        Naming the notebook, the cell, the error and the partial notebook; or saying that it got nowhere for
        ``cell_timeout_minutes``.
    """
    limit, stalled, given = parameters.cell_timeout_minutes, threading.Event(), parameters.model_dump()
    if notebook.stem in (PAPER, ROAD):
        given["tables_folder"] = str(output.parent.absolute())
    partial = output.with_suffix(".partial.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    # Papermill warns of every key that is not in the parameters cell; load() has checked them all.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # Bars redraw themselves, which a page cannot; the notebooks print lines where a page should show them.
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["MATPLOTLIBRC"] = os.devnull  # what matplotlib has to say of a user's settings belongs on no page
    try:
        with (
            files.alone(output.parent, output.name, wait=print),
            tempfile.TemporaryDirectory(dir=_short()) as sockets,
            watch.stalled(sockets, limit=limit * 60) as stalled,
        ):
            papermill.execute_notebook(
                str(notebook),
                str(partial),
                parameters=given,
                cwd=str(notebook.parent),
                start_timeout=PATIENCE,
                execution_timeout=None,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                progress_bar=sys.stderr.isatty(),
                # A kernel that is ended in the middle of a cell has nothing to say that its reader could use.
                extra_arguments=["--log-level=CRITICAL"],
                # Sockets in a folder of their own: kernels started side by side cannot take each other's ports.
                config=Config(KernelManager={"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}),
                **KERNEL,
            )
    except Exception as error:
        if stalled.is_set():
            raise ReportError(
                f"{notebook.name} was stopped: for {limit:g} minutes (parameter `cell_timeout_minutes`) it computed "
                f"next to nothing. Run the same command again: it goes on where it stopped.\n"
                f"  The notebook up to there: {partial}"
            ) from error
        if not isinstance(error, PapermillExecutionError):
            raise ReportError(
                f"{notebook.name} did not finish: {type(error).__name__}: {error}\n"
                f"  The notebook up to there: {partial}"
            ) from error
        raise ReportError(
            f"{notebook.name} failed in cell {error.cell_index} (In [{error.exec_count}]): "
            f"{error.ename}: {error.evalue}\n"
            f"  The notebook up to there: {partial}"
        ) from error
    files.write_text(output, render(nbformat.read(partial, as_version=4), name=output.name))
    partial.unlink()


def _short() -> str | None:
    """Return a folder for sockets where the usual one's path is too long: the system allows about 100 characters."""
    short = "/tmp"  # noqa: S108 (a folder of its own is made in it)
    return short if len(tempfile.gettempdir()) > 60 and Path(short).is_dir() else None


def render(notebook: nbformat.NotebookNode, *, name: str) -> str:
    """Return an executed notebook as one HTML page that needs no other file.

    Parameters
    ----------
    notebook
        As papermill leaves it.
    name
        Of the HTML file, to mark it among its siblings.
    """
    # Papermill's copy of the parameters holds paths of the machine it ran on; the manifest has the rest.
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in _tags(cell)]
    given = notebook.metadata.get("papermill", {}).get("parameters", {})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
            if "progress" in _tags(cell):  # was for who waited
                cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
        if "parameters" in _tags(cell):
            cell.source = _as_run(cell.source, given)
    exporter = HTMLExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    kept = notebook.metadata.get("papermill", {})
    seconds = kept.get("duration")
    parameters = kept.get("parameters", {})
    stem, of = Path(name).stem, f"{parameters.get('study', '')} seed {parameters.get('seed', 0)}"
    heading = next(
        (line for cell in notebook.cells for line in cell.source.splitlines() if line.startswith("# ")), stem
    )
    title = heading.removeprefix("# ").strip()
    report = {
        "name": name,
        "title": title if stem in (PAPER, ROAD) else f"{title} · {of}",
        "home": "../index.html" if stem in (PAPER, ROAD) else "../../index.html",
        "head": head(style=HtmlFormatter(style="default").get_style_defs(".highlight")),
        "script": script(),
        "siblings": [] if stem in (PAPER, ROAD) else [(f"{each}.html", text) for each, text in TITLES.items()],
        "photographs": "none" if stem in (PAPER, ROAD) or not parameters.get("galleries", True) else "shown",
        "footer": f"Run by papermill in {seconds:.0f} s." if seconds else "",
    }
    page, _ = exporter.from_notebook_node(notebook, resources={"report": report})
    soup = BeautifulSoup(page, "html.parser")
    banners = soup.select("main p.synthetic")
    for banner in banners:  # once at the top of the page is enough
        banner.decompose()
    markup.finish(soup, source=SOURCES.get(stem, ""))
    if banners and soup.body:
        soup.body.insert(0, BeautifulSoup(SYNTHETIC, "html.parser"))
    return str(soup)


SYNTHETIC = (
    '<p class="synthetic" role="region" aria-label="Synthetic data">SYNTHETIC DATA: every image and every number on '
    "this page was drawn by a program. It says nothing about skin.</p>"
)
"""What a page of synthetic data opens with; printed, it stands on every sheet."""


def script(name: str = "report.js") -> str:
    """Return a script of the template."""
    return (TEMPLATE / name).read_text(encoding="utf-8")


def head(*scripts: str, style: str = "") -> str:
    """Return what the head of every page holds: a policy that lets only its own scripts run, and the style.

    Parameters
    ----------
    scripts
        What the page runs; without any, ``report.js``.
    style
        Appended to ``report.css``.
    """
    digests = (hashlib.sha256(each.encode()).digest() for each in scripts or (script(),))
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    css = (TEMPLATE / "report.css").read_text(encoding="utf-8")
    return (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'; script-src {allowed}\">\n<style>\n{css}{style}\n</style>"
    )


def shell(title: str, body: str, *, synthetic: bool = False, more: str = "") -> str:
    """Return a page that comes from no notebook.

    Parameters
    ----------
    body
        The content of its ``main``.
    more
        The name of a script of the template that it runs beside ``report.js``.
    """
    scripts = [script(), *([script(more)] if more else [])]
    run = "".join(f"<script>{each}</script>" for each in scripts)
    page = f"""<!DOCTYPE html>
<html lang="en"><head>
{head(*scripts)}
<title>{html.escape(title)}</title></head>
<body>{SYNTHETIC if synthetic else ""}
<a class="skip" href="#main">Skip to the content</a>
<main class="index" id="main">{body}</main>
{run}</body></html>
"""
    soup = BeautifulSoup(page, "html.parser")
    if soup.main:
        markup.dress(soup, soup.main, source="")
    return str(soup)


def commit() -> str:
    """Name the commit the code is of, and say where it differs from it."""
    source = runs.source()
    commit = f"<code>{source['commit'][:12]}</code>" if source["commit"] else "not under version control"
    return f"{commit}, with changes that are not committed" if source["clean"] is False else commit


def _as_run(source: str, given: Mapping[str, Any]) -> str:
    """Return a parameters cell with the values that the notebook was run with, as far as they are no paths."""

    def line(match: re.Match[str]) -> str:
        value = given.get(match["name"])
        return match[0] if value is None or "/" in str(value) else f"{match['name']} = {json.dumps(value)}"

    return re.sub(r'^(?P<name>\w+) = ("[^"]*"|\S+)', line, source, flags=re.MULTILINE)


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join what was printed piece by piece, and leave out what shows nothing, as a bar that removed itself."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        stream = output.output_type == "stream"
        if stream and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        elif not stream or output.text.strip():
            joined.append(output)
    return joined
