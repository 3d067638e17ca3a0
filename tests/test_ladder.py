import pandas as pd
import pytest
from conftest import publish

from skinlesion import parameters, runs, studies
from skinlesion.paper import best, collection, evidence, ladder
from skinlesion.reporting import tables
from skinlesion.reporting.figures import paper_tables as figures
from skinlesion.reporting.figures.base import PART_COLOURS
from skinlesion.scoring import evaluation, predictions

HITS = {"ladder": 0.2, "ladder_schedule": 0.5, "ladder_average": 0.3}


@pytest.fixture
def climbed(tmp_path):
    """A step up and a step down, two runs each."""
    for study, hit in HITS.items():
        for seed in (0, 1):
            publish(tmp_path, study, seed, hit=hit)
    return tmp_path


def made(folder):
    return collection.make(folder, draws=100, names=["ladder"])["ladder"]


def test_a_step_is_judged_over_the_study_it_changes_on_the_development_images_alone(climbed):
    table = made(climbed)
    rows = table.numbers.query("quantity == 'difference' and score == 'accuracy'").set_index("step")
    assert set(table.numbers.part) == {"development"}
    accuracy = {}
    for study in HITS:
        found = evidence.find(climbed, study).predictions.values()
        chosen = [each[each.part.isin(ladder.PARTS["development"])].assign(part="test") for each in found]
        values = [evaluation.measured(*predictions.part(each, "test")[:2])["accuracy"] for each in chosen]
        accuracy[study] = sum(values) / 2
    assert rows["mean"]["ladder_schedule"] == pytest.approx(accuracy["ladder_schedule"] - accuracy["ladder"])
    assert rows["mean"]["ladder_average"] == pytest.approx(accuracy["ladder_average"] - accuracy["ladder_schedule"])
    assert ladder.kept(table.numbers) == ["ladder_schedule"]
    shown = table.shown.set_index("step")
    assert shown.kept["ladder_schedule"].startswith("yes, +")
    assert shown.kept["ladder_average"].startswith("no, −")
    assert shown.kept["ladder_mixup"] == "not measured"


def test_the_test_part_is_shown_once_the_final_study_is_there(climbed, monkeypatch):
    monkeypatch.setattr(ladder, "FINAL", "quick")
    assert set(made(climbed).numbers.part) == {"development"}
    publish(climbed, "quick", 0)
    table = made(climbed)
    assert set(table.numbers.part) == {"development", "test"}
    assert "test accuracy" in table.shown


def test_the_figure_has_a_row_for_each_step_and_in_it_a_mark_for_each_part(climbed, monkeypatch):
    monkeypatch.setattr(ladder, "FINAL", "quick")
    publish(climbed, "quick", 0)
    steps = made(climbed).numbers.assign(difference=lambda rows: rows.step)
    picture = figures.effects(steps, source="ladder.csv", names=ladder.SCORES)
    assert "ladder_schedule, ladder_average" in picture.alt
    assert "on development and test images" in picture.alt
    axes = picture.figure.axes
    assert [axis.get_xlabel() for axis in axes] == [tables.heading(name) for name in ladder.SCORES]
    assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == ["development", "test"]
    changes = steps[(steps.quantity == "difference") & (steps.score == ladder.SCORES[0])]
    marks = {(*line.get_xdata(), line.get_color()) for line in axes[0].lines if line.get_marker() == "o"}
    for part, colour in (("development", PART_COLOURS["validation"]), ("test", PART_COLOURS["test"])):
        assert {(value, colour) for value in changes["mean"][changes.part == part]} <= marks


def test_the_best_network_is_the_recipe_with_all_that_is_kept_and_nothing_else():
    kept = ladder.kept(pd.read_csv(runs.PUBLISHED / "tables" / "ladder.csv"))
    planned = studies.everything()
    recipe = parameters.load("paper").model_dump()
    changes = {name: value for step in kept for name, value in planned[step].changes.items()}
    is_taught = changes.pop("teachers", None) and changes.pop("taught")
    changes |= {"split_by": "lesion", "split_seed": 0, "views": 8}
    changes |= {"epochs": recipe["epochs"] * (2 if "ladder_longer" in kept else 1)}
    own = {"study": "not compared"}
    improved = parameters.load(ladder.FINAL).model_dump()
    assert improved | own == recipe | changes | own
    assert (best.PUPIL in planned) == bool(is_taught)
    assert parameters.load(best.PUPIL).model_dump() | own == improved | {"teachers": ladder.FINAL, "taught": 0.5} | own
