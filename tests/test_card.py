import json
import shutil

import pytest

from skinlesion import files
from skinlesion.paper import card
from skinlesion.reporting import tables

RUN = files.ROOT / "reports" / "quick" / "seed-0"


@pytest.fixture
def run(tmp_path):
    for name in ("manifest", "metrics", "errors"):
        shutil.copy(RUN / f"{name}.json", tmp_path)
    return tmp_path


def test_a_card_says_what_for_what_licence_how_good_and_on_whom_it_fails(run):
    text = card.write(run).read_text()
    metrics, errors = (json.loads((run / f"{name}.json").read_text()) for name in ("metrics", "errors"))
    for words in ("license: cc-by-nc-4.0", "never for a diagnosis", "resized to 224×224", "stand-in weights"):
        assert words in text
    assert tables.interval(**metrics["test"]["headline"]["accuracy"]) in text
    assert all(sentence in text for sentence in errors["findings"])
    assert text.count("sex: ") >= 2
    assert "nan" not in text.lower().replace("nance", "")


def test_its_numbers_are_those_of_the_files(run):
    metrics = json.loads((run / "metrics.json").read_text())
    before = card.text(run)
    metrics["test_per_class"]["mel"]["recall"]["value"] = 0.123
    files.write_json(run / "metrics.json", metrics)
    assert "0.12 (" in card.text(run)
    assert card.text(run) != before
