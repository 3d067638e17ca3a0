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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from skinlesion import files, runs
from skinlesion.errors import StudyError
from skinlesion.parameters import Parameters

TITLES = {
    "01_eda": "Data",
    "02_preprocessing": "Preprocessing and split",
    "03_training": "Training",
    "04_evaluation": "Evaluation",
    "05_error_analysis": "Error analysis",
}
"""The notebooks in their order, and what the pages call them."""

PAPER = "06_paper_tables"
"""The notebook across all runs; its page lies in ``reports/tables/``."""

TEMPLATE = Path(__file__).with_name("template")

START_TIMEOUT = 120  # seconds until a kernel must have answered


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

    def __init__(self, run: runs.Run, record: Mapping[str, Any]) -> None:
        chosen, data = run.parameters, record["data"]
        self.synthetic = bool(data["synthetic"])
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
        return f'{banner if self.synthetic else ""}<table class="facts">{body}</table>'


def make(notebook: Path, parameters: Parameters, output: Path) -> None:
    """Run a notebook with papermill and render it; `output` appears only when every cell has run.

    Parameters
    ----------
    notebook
        One of ``notebooks/``.
    output
        The HTML file. While the notebook runs, ``<output>.partial.ipynb`` lies beside it; after a failure it
        stays there, with everything up to the failing cell.

    Raises
    ------
    ReportError
        Naming the notebook, the cell, the error and the partial notebook.
    """
    partial = output.with_suffix(".partial.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    # Papermill warns of every key that is not in the parameters cell; load() has checked them all.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # Bars redraw themselves, which a page cannot; the notebooks print lines where a page should show them.
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with files.alone(output), tempfile.TemporaryDirectory(dir=_short()) as sockets:
            papermill.execute_notebook(
                str(notebook),
                str(partial),
                parameters=parameters.model_dump(),
                kernel_name="python3",
                cwd=str(notebook.parent),
                start_timeout=START_TIMEOUT,
                execution_timeout=parameters.cell_timeout_minutes * 60,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                progress_bar=sys.stderr.isatty(),
                # A kernel that is ended in the middle of a cell has nothing to say that its reader could use.
                extra_arguments=["--log-level=CRITICAL"],
                # Sockets in a folder of their own: kernels started side by side cannot take each other's ports.
                config=Config(KernelManager={"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}),
            )
    except PapermillExecutionError as error:
        raise ReportError(
            f"{notebook.name} failed in cell {error.cell_index} (In [{error.exec_count}]): "
            f"{error.ename}: {error.evalue}\n"
            f"  The notebook up to there: {partial}"
        ) from error
    except Exception as error:
        raise ReportError(
            f"{notebook.name} did not finish: {type(error).__name__}: {error}\n  The notebook up to there: {partial}"
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
        if "parameters" in _tags(cell):
            cell.source = _as_run(cell.source, given)
    exporter = HTMLExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body = HTMLExporter(template_name="basic").from_notebook_node(notebook)[0]
    soup = BeautifulSoup(body, "html.parser")
    heading = soup.find("h1")
    title = _text(heading) if heading else Path(name).stem
    kept = notebook.metadata.get("papermill", {})
    seconds = kept.get("duration")
    parameters = kept.get("parameters", {})
    of_all_runs = Path(name).stem == PAPER
    script = (TEMPLATE / "report.js").read_text(encoding="utf-8")
    report = {
        "name": name,
        "title": title if of_all_runs else f"{title} · {parameters.get('study', '')} seed {parameters.get('seed', 0)}",
        "home": "../index.html" if of_all_runs else "../../index.html",
        "css": (TEMPLATE / "report.css").read_text(encoding="utf-8")
        + HtmlFormatter(style="friendly").get_style_defs(".highlight"),
        "synthetic": soup.select_one("p.synthetic") is not None,
        "siblings": [] if of_all_runs else [(f"{stem}.html", text) for stem, text in TITLES.items()],
        "contents": [(tag["id"], _text(tag)) for tag in soup.find_all("h2") if tag.get("id")],
        "script": script,
        "script_hash": f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        "photographs": "none" if of_all_runs or not parameters.get("galleries", True) else "shown",
        "footer": f"Run by papermill in {seconds:.0f} s." if seconds else "",
    }
    page, _ = exporter.from_notebook_node(notebook, resources={"report": report})
    if report["synthetic"]:
        # Once at the top of the page is enough.
        parsed = BeautifulSoup(page, "html.parser")
        for banner in parsed.select("main p.synthetic"):
            banner.decompose()
        page = str(parsed)
    return page


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


def _text(tag: Any) -> str:
    return str(tag.get_text()).removesuffix("¶").strip()


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
