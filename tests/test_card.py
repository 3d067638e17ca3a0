import json

import pandas as pd
import pytest
from conftest import publish
from test_verification import metadata_of

from skinlesion import files
from skinlesion.paper import card
from skinlesion.reporting import tables
from skinlesion.scoring import summary


@pytest.fixture
def run(tmp_path):
    run = publish(tmp_path, "paper_lesion", 0, hit=0.4)
    table = pd.read_csv(run / "predictions.csv")
    errors = summary.errors(table, metadata_of(table), draws=20, seed=0)
    files.write_json(run / "errors.json", errors | {"findings": ["**Melanoma.** Some are missed."]})
    return run


def test_a_card_says_what_for_what_licence_how_good_and_on_whom_it_fails(run):
    text = card.write(run).read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    for words in ("license: cc-by-nc-4.0", "never for a diagnosis", "drawn at random", "an abacus", "Some are missed."):
        assert words in text
    assert tables.interval(**metrics["test"]["headline"]["accuracy"]) in text
    assert "sex: " in text
    assert "nan" not in text.lower().replace("nance", "")


def test_its_numbers_are_those_of_the_files(run):
    metrics = json.loads((run / "metrics.json").read_text())
    before = card.text(run)
    metrics["test_per_class"]["mel"]["recall"]["value"] = 0.123
    files.write_json(run / "metrics.json", metrics)
    assert "0.12 (" in card.text(run)
    assert card.text(run) != before
