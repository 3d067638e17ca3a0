"""The card of a released model: what it is, made from what, how good, on whom it fails, and what it is not for.

Its words are those of ``card.md``, beside this file, a template of Jinja; here its tables are made. Source of the
headings: M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from skinlesion import files
from skinlesion.data.dataset import DX_NAMES
from skinlesion.reporting import tables
from skinlesion.runs import Files
from skinlesion.scoring import evaluation

NAME = "MODEL_CARD.md"

GROUPS = {"sex": "sex", "age_band": "age in years", "localization": "place", "dataset": "source", "dx_type": "proof"}

TEMPLATE = Path(__file__).with_suffix(".md")


def text(folder: Path) -> str:
    """Return the card of a run's model, as Markdown, from the files of the run.

    Parameters
    ----------
    folder
        The run's, with manifest.json, metrics.json and errors.json; and with official.json and portable.csv where its
        official test was taken and its exports were compared.
    """
    run = Files(folder)
    metrics, errors = run.read_json("metrics.json"), run.read_json("errors.json")
    given = {
        "run": run,
        "folder": files.shown(folder),
        "manifest": run.manifest,
        "chosen": {"views": 1, "weight_decay": 0, "teachers": None} | run.manifest["parameters"],
        "metrics": metrics,
        "errors": errors,
        "official": None,
        "portable": run.read_csv("portable.csv").to_dict("records") if run.find("portable.csv") else None,
        "headline": _headline(metrics["test"]["headline"], "test part"),
        "classes": _classes(metrics["test_per_class"]),
        "groups": _groups(errors["subgroups"]),
    }
    if run.find("official.json"):
        official = run.read_json("official.json")
        given |= {"official": official, "official_headline": _headline(official["headline"], "official test")}
        ends = (official["squashed"]["balanced_accuracy"][end] for end in ("difference", "low", "high"))
        given["undistorted"] = tables.interval(*ends, sign=True)
    template = TEMPLATE.read_text(encoding="utf-8")
    return jinja2.Template(template, undefined=jinja2.StrictUndefined, keep_trailing_newline=True).render(given)


def write(folder: Path) -> Path:
    """Write the card beside the model."""
    files.write_text(folder / NAME, text(folder))
    return folder / NAME


def _headline(stated: dict[str, Any], column: str) -> str:
    rows = [{"score": tables.heading(name), column: tables.stated(stated, name)} for name in evaluation.names("paper")]
    return tables.markdown(pd.DataFrame(rows))


def _classes(stated: dict[str, Any]) -> str:
    rows = [
        {"diagnosis": f"{dx}, {name}", "images": stated[dx]["recall"]["support"]}
        | {tables.heading(score): _interval(stated[dx][score]) for score in evaluation.names("paper class")}
        for dx, name in DX_NAMES.items()
    ]
    return tables.markdown(pd.DataFrame(rows))


def _interval(score: Any) -> str:
    return tables.interval(*(score[key] for key in ("value", "low", "high")), digits=2)


def _groups(subgroups: list[dict[str, Any]]) -> str:
    found = pd.DataFrame([row for row in subgroups if row["column"] in GROUPS])
    shown = tables.subgroups(found, evaluation.names("card")).fillna("–").rename(columns=tables.heading)
    shown.insert(0, "what", shown.column.map(GROUPS) + ": " + shown.group)
    return tables.markdown(shown.drop(columns=["column", "group", "lesions"]).rename(columns={"what": "group"}))
