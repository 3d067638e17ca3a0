"""Pages: a notebook run headlessly, rendered to one self-contained HTML file, and the index of them all."""

from __future__ import annotations

import html
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import papermill
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from skinlesion import files, runs
from skinlesion.data import images
from skinlesion.data.dataset import Dataset
from skinlesion.parameters import Parameters
from skinlesion.reporting.tables import heading, interval

if TYPE_CHECKING:  # it brings torch, which takes seconds to import
    from skinlesion.paper.evidence import Evidence

TITLES = {
    "01_eda": "Data",
    "02_preprocessing": "Preprocessing and split",
    "03_training": "Training",
    "04_evaluation": "Evaluation",
    "05_error_analysis": "Error analysis",
}
"""The notebooks in their order, and what the pages call them."""

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "loss")
"""What the index shows of each run."""

PAPER = "06_paper_tables"
"""The notebook across all runs; its page lies in ``reports/tables/``."""

TEMPLATE = Path(__file__).with_name("template")

START_TIMEOUT = 120  # seconds until a kernel must have answered


class ReportError(RuntimeError):
    """A notebook did not run to its end; the message says where and why."""


def describe(run: runs.Run, data: Dataset) -> dict[str, Any]:
    """Say what data and starting weights a run has, for its reports and its manifest."""
    from skinlesion.learning import models  # torch takes seconds to import, and who only renders has no use for it

    chosen = run.parameters
    return {
        "data": images.describe(data, cache=run.cache),
        "weights": models.describe_weights(chosen.backbone, chosen.weights),
    }


class Header:
    """What every report opens with: which run, on what data, made by which code, on which machine.

    Parameters
    ----------
    run
        The run.
    record
        :func:`describe`, or the manifest, which holds the same.
    """

    def __init__(self, run: runs.Run, record: Mapping[str, Any]) -> None:
        chosen, data = run.parameters, record["data"]
        self.synthetic = bool(data["synthetic"])
        self.rows = {
            "study": f"<b>{html.escape(chosen.study)}</b>, seed {chosen.seed}",
            "data": html.escape(data["title"]) + f", fingerprint <code>{data['fingerprint'][:12]}</code>",
            "split": f"{chosen.split}: {chosen.parts}",
            "model": f"{html.escape(chosen.backbone)} at {chosen.image_size}×{chosen.image_size}, from "
            + html.escape(record["weights"]),
            "commit": _commit(runs.source()),
            "hardware": html.escape(runs.hardware()),
            "time": runs.now(),
        }

    def _repr_html_(self) -> str:
        body = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in self.rows.items())
        # The page has its own banner; this one is for the notebook as opened in JupyterLab.
        banner = (
            '<p class="synthetic" style="background:#ffd54a;color:#1f1700;padding:.4em;font-weight:600">'
            "SYNTHETIC DATA: drawn by a program, says nothing about skin</p>"
        )
        return f'{banner if self.synthetic else ""}<table class="facts">{body}</table>'


class Overview(Header):
    """What a report across runs opens with: which runs, made by which code, on which machine.

    Parameters
    ----------
    found
        The runs of each study; of those without any it is said.
    """

    def __init__(self, found: Sequence[Evidence]) -> None:
        source = runs.source()
        self.synthetic = any(each.synthetic for each in found)
        self.rows = {
            html.escape(
                each.study
            ): f"seeds {', '.join(map(str, each.seeds))}; {html.escape(each.said('data', 'title'))}; "
            f"from {html.escape(each.said('weights'))}; trained on {html.escape(each.hardware)}"
            if each.seeds
            else "no run is here"
            for each in found
        }
        self.rows |= {"commit": _commit(source), "tables made on": html.escape(runs.hardware()), "time": runs.now()}


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
        with tempfile.TemporaryDirectory() as sockets:
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
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
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
    report = {
        "name": name,
        "title": title if of_all_runs else f"{title} · {parameters.get('study', '')} seed {parameters.get('seed', 0)}",
        "home": "../index.html" if of_all_runs else "../../index.html",
        "css": (TEMPLATE / "report.css").read_text(encoding="utf-8")
        + HtmlFormatter(style="friendly").get_style_defs(".highlight"),
        "synthetic": soup.select_one("p.synthetic") is not None,
        "siblings": [] if of_all_runs else [(f"{stem}.html", text) for stem, text in TITLES.items()],
        "contents": [(tag["id"], _text(tag)) for tag in soup.find_all("h2") if tag.get("id")],
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


def index(folder: Path) -> Path:
    """Write ``index.html``: every report of every study and seed in `folder`, with its key numbers.

    Returns
    -------
    pathlib.Path
        The page.
    """
    runs_here = sorted(folder.glob("*/seed-*"))
    shown = [run for run in runs_here if _links(run, folder)]
    entries = "".join(_index_entry(run, folder) for run in shown)
    rest = _index_rest([run for run in runs_here if run not in shown])
    css = (TEMPLATE / "report.css").read_text(encoding="utf-8")
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Reports</title>
<style>{css}</style></head>
<body><main class="index"><h1>Reports</h1>
{_paper_entry(folder)}<p>Every run that lies here. Scores are of the test part; in brackets, 95% intervals from a
bootstrap over lesions.</p>
{entries + rest or "<p>There is none yet: <code>make report</code> makes one.</p>"}</main></body></html>
"""
    path = folder / "index.html"
    files.write_text(path, page)
    return path


def _paper_entry(folder: Path) -> str:
    page = folder / "tables" / f"{PAPER}.html"
    if not page.is_file():
        return ""
    return (
        f'<p><a href="tables/{page.name}">The paper\'s tables</a>: each claim of the preprint, and its verdict.</p>\n'
    )


def _index_entry(run: Path, folder: Path) -> str:
    """Return the section of a run that has reports."""
    return f"""<section>
<h2>{_name(run)}</h2>
<p>{html.escape(_facts(run))}</p>
{_html_table([heading(score) for score in SCORES], [_scores(run)])}
<p>{" · ".join(_links(run, folder))}</p>
</section>
"""


def _index_rest(runs: list[Path]) -> str:
    """Return one table of the runs that left files and have no report."""
    if not runs:
        return ""
    rows = [[_name(run), *_scores(run), html.escape(_facts(run))] for run in runs]
    return f"""<section>
<h2>Runs without a report here</h2>
<p>Their files are, and what compares runs is made from them; <code>make report</code> makes the pages.</p>
{_html_table(["run", *(heading(score) for score in SCORES), "what it is"], rows)}
</section>
"""


def _html_table(head: list[str], rows: list[list[str]]) -> str:
    heads = "".join(f"<th>{each}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="output_html"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _name(run: Path) -> str:
    synthetic = _json(run / "manifest.json").get("data", {}).get("synthetic")
    tag = ' <span class="tag">SYNTHETIC DATA</span>' if synthetic else ""
    return f"{run.parent.name}, {run.name.replace('-', ' ')}{tag}"


def _links(run: Path, folder: Path) -> list[str]:
    return [
        f'<a href="{run.relative_to(folder).as_posix()}/{stem}.html">{title}</a>'
        for stem, title in TITLES.items()
        if (run / f"{stem}.html").is_file()
    ]


def _facts(run: Path) -> str:
    """Say in a line what data a run is of, at what size, and how it was split."""
    manifest = _json(run / "manifest.json")
    chosen = manifest.get("parameters")
    facts = [manifest.get("data", {}).get("title", "not trained yet")]
    if chosen:
        facts.append(f"{chosen['image_size']}×{chosen['image_size']}, split by {chosen['split_by']}")
        left_out = _json(run / "preprocessing.json").get("left_out")
        facts += [f"{left_out} left out of training and tested"] if left_out else []
    return "; ".join(facts)


def _scores(run: Path) -> list[str]:
    test = _json(run / "metrics.json").get("test", {}).get("headline", {})
    return [interval(**test[score]) if score in test else "not measured" for score in SCORES]


def _commit(source: Mapping[str, Any]) -> str:
    commit = f"<code>{source['commit'][:12]}</code>" if source["commit"] else "not under version control"
    return f"{commit}, with changes that are not committed" if source["clean"] is False else commit


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


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
