"""All runs at a glance: the index of their pages, and the head of a page across runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape
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

QUESTION = "Does MobileNetV2 reach 92% on HAM10000?"

ELSEWHERE = {
    f"{FOLDER}/{pages.PAPER}.html": ("The paper's tables", "each claim of the preprint, and its verdict"),
    f"{FOLDER}/{pages.ROAD}.html": ("The road to 92%", "which mistakes print it, and what the networks are worth"),
    lookup.NAME: ("Look an image up", "its label, and what each run says of it"),
    "../index.html": ("The published reports", "what is here is of your own runs"),
}
"""Other pages that an index leads to where they are there."""


class Overview(pages.Header):
    """What a report across runs opens with: which runs, made by which code, on which machine.

    Parameters
    ----------
    found
        The runs of each study; of those without any it is said.
    """

    def __init__(self, found: Sequence[Evidence]) -> None:
        self.synthetic, self.rows = any(each.synthetic for each in found), {}
        for each in found:
            said = f"seeds {', '.join(map(str, each.seeds))}; {each.said('data', 'title')}; from {each.said('weights')}"
            said += f"; trained on {each.hardware}"
            self.rows[escape(each.study)] = escape(said) if each.seeds else "no run is here"
        self.rows |= {"commit": pages.commit(), "tables made on": escape(runs.hardware()), "time": runs.now()}


def write(folder: Path) -> Path:
    """Write ``index.html``: what was found, then every report of every study and seed in `folder`, the demo last.

    Returns
    -------
    pathlib.Path
        The page.
    """
    lookup.write(folder)
    here = runs.find(folder).values()
    real, drawn = (
        "".join(_entry(run, folder) for run in here if run.synthetic is synthetic and _links(run, folder))
        for synthetic in (False, True)
    )
    shown = real + _rest([run for run in here if not _links(run, folder)]) + drawn
    body = f"""{_answer(folder)}
{_elsewhere(folder)}<p>Every run that lies here. Scores are of the
test part; in brackets, 95% intervals from a bootstrap over lesions.</p>
{shown or "<p>There is none yet: <code>make report</code> makes one.</p>"}"""
    files.write_text(folder / "index.html", pages.shell("Reports", body))
    return folder / "index.html"


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


def _elsewhere(folder: Path) -> str:
    there = {name: words for name, words in ELSEWHERE.items() if files.resolve(folder / name).is_file()}
    return "".join(f'<p><a href="{name}">{title}</a>: {what}.</p>\n' for name, (title, what) in there.items())


def _entry(run: runs.Files, folder: Path) -> str:
    """Return the section of a run that has reports."""
    source = f' data-source="{escape(run.folder.relative_to(folder).as_posix())}/metrics.json"'
    return f"""<section>
<h2>{_name(run)}</h2>
<p>{escape(_facts(run))}</p>
{_table(["part", *map(heading, SCORES)], [["test", *_scores(run)]], source)}
<p>{" · ".join(_links(run, folder))}</p>
</section>
"""


def _rest(left: list[runs.Files]) -> str:
    """Return one table of the runs that left files and have no report."""
    rows = [[_name(run), *_scores(run), escape(_facts(run))] for run in left]
    said = f"""<section>
<h2>Runs without a report here</h2>
<p>Their files are, and what compares runs is made from them; <code>make report</code> makes the pages.</p>
{_table(["run", *map(heading, SCORES), "what it is"], rows)}
</section>
"""
    return said if left else ""


def _table(head: list[str], rows: list[list[str]], source: str = "") -> str:
    heads = "".join(f"<th>{each}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table{source}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _name(run: runs.Files) -> str:
    tag = ' <span class="tag">SYNTHETIC DATA</span>' if run.synthetic else ""
    return escape(run.name.replace("/seed-", ", seed ")) + tag


def _links(run: runs.Files, folder: Path) -> list[str]:
    at = escape(run.folder.relative_to(folder).as_posix())
    titles = {stem: title for stem, title in pages.TITLES.items() if run.find(f"{stem}.html")}
    return [f'<a href="{at}/{stem}.html">{title}</a>' for stem, title in titles.items()]


def _facts(run: runs.Files) -> str:
    """Say in a line what data a run is of, at what size, and how it was split."""
    facts = [run.manifest.get("data", {}).get("title", "not trained yet")]
    if chosen := run.manifest.get("parameters"):
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
