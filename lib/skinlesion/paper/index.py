"""All runs at a glance: the index of their pages, and the head of a page across runs."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skinlesion import files, runs
from skinlesion.paper.evidence import Evidence
from skinlesion.reporting import pages
from skinlesion.reporting.tables import heading, stated
from skinlesion.scoring import evaluation

SCORES = evaluation.names("summary")


class Overview(pages.Header):
    """What a report across runs opens with: which runs, made by which code, on which machine.

    Parameters
    ----------
    found
        The runs of each study; of those without any it is said.
    """

    def __init__(self, found: Sequence[Evidence]) -> None:
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
        self.rows |= {"commit": pages.commit(), "tables made on": html.escape(runs.hardware()), "time": runs.now()}


def write(folder: Path) -> Path:
    """Write ``index.html``: every report of every study and seed in `folder`, with its key numbers.

    Returns
    -------
    pathlib.Path
        The page.
    """
    here = runs.find(folder).values()
    shown = [run for run in here if _links(run, folder)]
    entries = "".join(_index_entry(run, folder) for run in sorted(shown, key=lambda run: run.synthetic))
    rest = _index_rest([run for run in here if run not in shown])
    css = (pages.TEMPLATE / "report.css").read_text(encoding="utf-8")
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
    page = folder / "tables" / f"{pages.PAPER}.html"
    if not page.is_file():
        return ""
    return (
        f'<p><a href="tables/{page.name}">The paper\'s tables</a>: each claim of the preprint, and its verdict.</p>\n'
    )


def _index_entry(run: runs.Files, folder: Path) -> str:
    """Return the section of a run that has reports."""
    return f"""<section>
<h2>{_name(run)}</h2>
<p>{html.escape(_facts(run))}</p>
{_html_table([heading(score) for score in SCORES], [_scores(run)])}
<p>{" · ".join(_links(run, folder))}</p>
</section>
"""


def _index_rest(left: list[runs.Files]) -> str:
    """Return one table of the runs that left files and have no report."""
    if not left:
        return ""
    rows = [[_name(run), *_scores(run), html.escape(_facts(run))] for run in left]
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


def _name(run: runs.Files) -> str:
    tag = ' <span class="tag">SYNTHETIC DATA</span>' if run.synthetic else ""
    return f"{html.escape(run.folder.parent.name)}, {html.escape(run.folder.name.replace('-', ' '))}{tag}"


def _links(run: runs.Files, folder: Path) -> list[str]:
    return [
        f'<a href="{html.escape(run.folder.relative_to(folder).as_posix())}/{stem}.html">{title}</a>'
        for stem, title in pages.TITLES.items()
        if run.find(f"{stem}.html")
    ]


def _facts(run: runs.Files) -> str:
    """Say in a line what data a run is of, at what size, and how it was split."""
    chosen = run.manifest.get("parameters")
    facts = [run.manifest.get("data", {}).get("title", "not trained yet")]
    if chosen:
        facts.append(f"{chosen['image_size']}×{chosen['image_size']}, split by {chosen['split_by']}")
        facts += [f"{run.left_out} left out of training and tested"] if run.left_out else []
    return "; ".join(facts)


def _scores(run: runs.Files) -> list[str]:
    test = _json(run, "metrics.json").get("test", {}).get("headline", {})
    return [stated(test, score) for score in SCORES]


def _json(run: runs.Files, name: str) -> dict[str, Any]:
    return run.read_json(name) if run.find(name) else {}
