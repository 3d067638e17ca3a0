import numpy as np
import pandas as pd
import pytest

from skinlesion import files, studies
from skinlesion.paper import costs as paper
from skinlesion.paper.tables import TABLES, PaperTable, Reports
from skinlesion.reporting.figures import paper_tables as figures


def written(folder, *, megabytes=8.9):
    """Costs of three networks: one needs fewer operations than that of the preprint, one more."""
    rows = [("mobilenet_v2", 2.2e6, megabytes, 56), ("mobilenet_v3_large", 4.2e6, 17, 42), ("resnet18", 11e6, 45, 333)]
    table = pd.DataFrame(rows, columns=["network", "parameters", "megabytes", "million_operations"])
    table = table.assign(side=96, training=10.0, inference=20.0, training_memory_mb=900.0, inference_memory_mb=800.0)
    files.write_csv(folder / "benchmarks" / "costs.csv", table)
    files.write_json(folder / "benchmarks" / "costs.json", {"environment": {"hardware": "an abacus"}})


def table(folder, **others):
    """The table of costs, from the numbers of others; those are empty otherwise."""
    reports = Reports(folder, draws=1)
    known = {name: PaperTable(name, numbers, numbers, "") for name, numbers in others.items()}
    reports.table = lambda name: known.get(name, PaperTable(name, pd.DataFrame(), pd.DataFrame(), ""))
    return TABLES["costs"](reports)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.05, -0.01, "reproduced"),
        (0.01, 0.05, "not reached"),
        (-0.02, 0.02, "inconclusive"),
        (np.nan, np.nan, "not measured"),
    ],
)
def test_two_words_are_judged_by_their_rules(tmp_path, low, high, verdict):
    written(tmp_path)
    ends = {"score": "accuracy", "low": low, "high": high}
    names = {"mobilenet_v3_large": 0.0, "resnet18": 0.03}  # a better network that needs more operations decides nothing
    networks = [ends | {"difference": f"quick_{name} − quick_scratch", "mean": mean} for name, mean in names.items()]
    networks[1] |= {"low": 0.02, "high": 0.04}
    scores = [{"study": "quick_scratch", "score": "accuracy", "mean": 0.7, "low": 0.68, "high": 0.72}]
    made = table(tmp_path, scores=pd.DataFrame(scores), networks=pd.DataFrame(networks).dropna())
    assert paper.verdicts(made.numbers) == {"small": "reproduced", "efficient": verdict}
    assert made.shown.accuracy.tolist() == ["0.700 (0.680–0.720)", "–", "–"]
    assert "an abacus" in made.caption
    assert figures.costs(made.numbers).alt == "Accuracy over operations: mobilenet_v2 0.70 at 56 million."


def test_costs_that_were_not_measured_judge_nothing(tmp_path):
    assert set(paper.verdicts(table(tmp_path).numbers).values()) == {"not measured"}
    written(tmp_path, megabytes=12)
    made = table(tmp_path)
    assert paper.verdicts(made.numbers) == {"small": "not reached", "efficient": "not measured"}
    assert figures.costs(made.numbers.assign(mean=0.5, low=0.4, high=0.6)).source == "costs.csv"


def test_the_rules_are_those_of_the_protocol():
    text = (studies.FOLDER / "PROTOCOL.md").read_text()
    assert f"less than {paper.SMALL:g} MB" in text
