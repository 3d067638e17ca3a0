"""All runs at a glance: the index of their pages, and the head of a page across runs."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path

from skinlesion import files, runs
from skinlesion.paper import findings, lookup
from skinlesion.paper.evidence import Evidence
from skinlesion.paper.tables import FOLDER
from skinlesion.reporting import markup, pages
from skinlesion.reporting.figures import paper_tables
from skinlesion.reporting.tables import heading, number, stated
from skinlesion.scoring import evaluation, predictions

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


QUESTION = "Does MobileNetV2 reach 92% on HAM10000?"


def write(folder: Path) -> Path:
    """Write ``index.html``: what was found, then every report of every study and seed in `folder`, the demo last.

    Returns
    -------
    pathlib.Path
        The page.
    """
    here = runs.find(folder).values()
    shown = [run for run in here if _links(run, folder)]
    real, drawn = ([run for run in shown if run.synthetic is synthetic] for synthetic in (False, True))
    entries = "".join(_index_entry(run, folder) for run in real)
    rest = _index_rest([run for run in here if run not in shown])
    demo = "".join(_index_entry(run, folder) for run in drawn)
    body = f"""{_answer(folder)}
{_elsewhere(folder, lookup.write(folder))}<p>Every run that lies here. Scores are of the
test part; in brackets, 95% intervals from a bootstrap over lesions.</p>
{entries + rest + demo or "<p>There is none yet: <code>make report</code> makes one.</p>"}"""
    path = folder / "index.html"
    files.write_text(path, pages.shell("Reports", body))
    return path


def _answer(folder: Path) -> str:
    """Return the answer to the study's question, its figure and what else was found, where the tables are here."""
    numbers = findings.read(folder)
    if "claims" not in numbers:
        return "<h1>Reports</h1>"
    figure = dataclasses.replace(paper_tables.claims(numbers["claims"]), source=f"{FOLDER}/claims.csv")
    said = "".join(f"<li>{markup.inline(each)}</li>" for each in findings.findings(numbers))
    return f"""<h1>{QUESTION}</h1>
<p class="lead"><b>{findings.headline(numbers)}</b></p>
{figure.html()}
<section class="findings"><h2>Findings</h2><ul>{said}</ul></section>
<h2>Reports</h2>"""


def _elsewhere(folder: Path, looked_up: Path | None) -> str:
    page, above = folder / FOLDER / f"{pages.PAPER}.html", folder.parent / "index.html"
    road = folder / FOLDER / f"{pages.ROAD}.html"
    said = [
        f'<a href="{FOLDER}/{page.name}">The paper\'s tables</a>: each claim of the preprint, and its verdict.'
        if page.is_file()
        else "",
        f'<a href="{FOLDER}/{road.name}">The road to 92%</a>: which mistakes print it, and what the networks are worth.'
        if road.is_file()
        else "",
        f'<a href="{looked_up.name}">Look an image up</a>: its label, and what each run says of it.'
        if looked_up
        else "",
        '<a href="../index.html">The published reports</a>: what is here is of your own runs.'
        if above.is_file()
        else "",
    ]
    return "".join(f"<p>{each}</p>\n" for each in said if each)


def _index_entry(run: runs.Files, folder: Path) -> str:
    """Return the section of a run that has reports."""
    head, at = ["part", *(heading(score) for score in SCORES)], run.folder.relative_to(folder)
    return f"""<section>
<h2>{_name(run)}</h2>
<p>{html.escape(_facts(run))}</p>
{_html_table(head, [["test", *_scores(run)]], at)}
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


def _html_table(head: list[str], rows: list[list[str]], at: Path | None = None) -> str:
    heads = "".join(f"<th>{each}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    source = f' data-source="{html.escape(at.as_posix())}/metrics.json"' if at else ""
    return f"<table{source}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


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
    """Return the scores of metrics.json, or where there is none of the predictions, then without intervals."""
    if run.find("metrics.json"):
        return [stated(run.read_json("metrics.json").get("test", {}).get("headline", {}), score) for score in SCORES]
    if not run.find("predictions.csv"):
        return ["not measured"] * len(SCORES)
    scored = evaluation.measured(*predictions.part(run.read_csv("predictions.csv"), "test")[:2], where="summary")
    return [number(float(scored[score])) for score in SCORES]
