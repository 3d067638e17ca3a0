import pandas as pd

from skinlesion import files
from skinlesion.paper.tables import TABLES, PaperTable, Reports
from skinlesion.reporting.figures import paper_tables as figures


def written(folder):
    """Costs of three networks: one needs fewer operations than that of the preprint, one more."""
    rows = [("mobilenet_v2", 2.2e6, 8.9, 56), ("mobilenet_v3_large", 4.2e6, 17, 42), ("resnet18", 11e6, 45, 333)]
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


def test_costs_stand_beside_accuracy_and_what_was_not_trained_has_a_dash(tmp_path):
    written(tmp_path)
    scores = [{"study": "quick_scratch", "score": "accuracy", "mean": 0.7, "low": 0.68, "high": 0.72}]
    made = table(tmp_path, scores=pd.DataFrame(scores))
    assert made.shown.accuracy.tolist() == ["0.700 (0.680–0.720)", "–", "–"]
    assert "an abacus" in made.caption
    assert figures.costs(made.numbers).alt == "Accuracy over operations: mobilenet_v2 0.70 at 56 million."
    assert table(tmp_path / "nowhere").numbers.empty
