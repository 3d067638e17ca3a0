import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import publish

from skinlesion import files, parameters
from skinlesion.data import mistakes
from skinlesion.data.dataset import DX
from skinlesion.paper import collection, road
from skinlesion.reporting.figures import base
from skinlesion.reporting.figures import road as figures
from skinlesion.runs import Files
from skinlesion.scoring import predictions, readings

SEEDS = (0, 1, 2)
RIGHT = {"test": {"clean": 0.6, "by_image": 0.75, "oversampled": 0.9}, "vault": 0.6}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Three studies of three runs: the mistakes print more, and every network is right on the same 60% of the vault."""
    folder = tmp_path_factory.mktemp("road")
    for seed in SEEDS:
        for name, right in RIGHT["test"].items():
            run = publish(folder, f"quick_road_{name}", seed)
            table = Files(run).read_csv("predictions.csv")
            vault = table[table.part == "test"].assign(part="vault")
            vault[["image_id", "lesion_id", "lesion_group"]] = "V" + vault[["image_id", "lesion_id", "lesion_group"]]
            table = pd.concat([answered(table, right), answered(vault, RIGHT["vault"])])
            files.write_csv(run / "predictions.csv", table)
            if name == "clean":
                train = answered(table[table.part == "test"], 1).assign(part="train", reading="train")
                train[["image_id", "lesion_group"]] = "T" + train[["image_id", "lesion_group"]]
                chosen = table[table.part.isin(("test", "vault"))].assign(reading="test_selected")
                files.write_csv(run / "readings.csv", pd.concat([train, chosen]))
                whole = pd.concat([table, train.assign(lesion_id="T" + train.lesion_id)])
                files.write_csv(run / "split.csv", whole[["image_id", "lesion_id", "lesion_group", "part"]])
    return folder


@pytest.fixture(scope="module")
def numbers(published):
    return collection.make_road(published, draws=200).numbers


@pytest.fixture
def copied(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copied")


def answered(table, right):
    """The table with certain answers, right in a share of the rows of each class."""
    place = table.groupby("dx").cumcount() / table.groupby("dx").dx.transform("size")
    true = table.dx.map(DX.index).to_numpy()
    answers = np.where(place < right, true, (true + 1) % 7)
    return table.assign(**dict(zip(predictions.COLUMNS, (0.94 * np.eye(7) + 0.06 / 7)[answers].T, strict=True)))


def test_every_row_says_what_is_printed_and_what_the_same_network_is_worth(numbers):
    rows = numbers.query("score == 'accuracy'").set_index(["row", "quantity"])["mean"]
    for row in ("clean", "by image", "oversampled"):
        assert rows[row, road.WORTH] == pytest.approx(rows["clean", road.WORTH])
        assert rows[row, road.OPTIMISM] == pytest.approx(rows[row, road.PRINTED] - rows[row, road.WORTH])
        assert rows[row, road.GAIN] == pytest.approx(0)
    assert rows["clean", road.PRINTED] < rows["by image", road.PRINTED] < rows["oversampled", road.PRINTED]
    assert rows["training images", road.PRINTED] == 1
    trained = {"clean", "by image", "oversampled", "oversampled, natural mix"}
    assert set(numbers.row) == {*trained, *readings.REREAD}


def test_the_same_training_has_one_row_and_is_named(copied):
    shutil.copytree(copied / "quick_road_by_image", copied / "quick_road_all")
    made = collection.make_road(copied, draws=20)
    assert "all together" not in set(made.numbers.row)
    assert "quick_road_all is the training of quick_road_by_image, and has no row of its own" in made.caption


def test_another_recipe_has_rows_of_its_own_beside_the_clean_one(copied):
    shutil.copytree(copied / "quick_road_clean", copied / "quick_road_plain")
    path = copied / "quick_road_plain" / "seed-0" / "predictions.csv"
    files.write_csv(path, pd.read_csv(path).sample(frac=1, random_state=0))  # another training
    shutil.copytree(copied / "quick_road_clean", copied / "improved_by_image")
    path = copied / "improved_by_image" / "seed-0" / "predictions.csv"
    files.write_csv(path, pd.read_csv(path).iloc[::-1])
    numbers = collection.make_road(copied, draws=20).numbers
    rows = numbers[numbers.study == "quick_road_plain"]
    assert {name.removesuffix(", without augmentation") for name in rows.row} == {"clean", *readings.REREAD}
    assert road.GAIN in set(rows.quantity)
    alone = numbers[numbers.study == "improved_by_image"]
    assert "by image, improved recipe" in set(alone.row)
    assert road.GAIN not in set(alone.quantity)  # no clean network of its size


def test_replaced_scores_are_those_that_are_printed(numbers):
    rows = numbers[numbers.quantity == road.PRINTED].set_index(["row", "score"])["mean"]
    assert rows["each output alone", "accuracy"] > rows["clean", "accuracy"] + 0.2
    assert rows["each output alone", "macro_f1"] == rows["clean", "macro_f1"]
    assert rows["weighted F1", "accuracy"] == rows["clean", "accuracy"]
    assert rows["weighted F1", "macro_f1"] != rows["clean", "macro_f1"]


def test_the_same_vault_makes_the_gain_exact_and_the_other_images_of_a_test_part_do_not(numbers):
    numbers = numbers.query("score == 'accuracy'")
    width = numbers.assign(width=numbers.high - numbers.low).set_index(["row", "quantity"]).width
    assert width["by image", road.GAIN] == pytest.approx(0)
    assert width["by image", road.OPTIMISM] > 0.05


@pytest.mark.parametrize(
    ("score", "low", "high", "said"),
    [
        ("accuracy", 0.93, 0.95, "yes"),
        ("accuracy", 0.91, 0.93, "open"),
        ("accuracy", 0.85, 0.91, "no"),
        ("loss", 0.1, 0.2, "yes"),
        ("loss", 0.2, 0.3, "open"),
        ("loss", 0.3, 0.4, "no"),
    ],
)
def test_a_row_crosses_a_number_by_its_whole_interval(score, low, high, said):
    assert road.crosses(pd.Series({"low": low, "high": high}), score) == said


def test_runs_with_a_vault_are_in_no_other_table_but_the_list_of_runs(published):
    made = collection.make(published, draws=20)
    assert {"quick_road_clean", "quick_road_by_image"} <= set(made.pop("runs").numbers.study)
    for table in made.values():
        assert "_road_" not in table.numbers.to_csv() + table.shown.to_csv() + table.caption


def test_every_mistake_has_a_row_and_a_study():
    assert set(readings.TRAINED) == {None, *mistakes.MISTAKES}
    assert {parameters.load(f"quick_road_{name}").mistake for name in mistakes.MISTAKES} == set(mistakes.MISTAKES)


def test_the_figure_joins_what_is_printed_to_what_it_is_worth(numbers):
    longer = numbers.assign(size="96×96, 47 epochs")
    longer = longer[longer.row != "by image"]
    picture = figures.road(pd.concat([numbers, longer]), "accuracy", claimed=0.92)
    assert len(picture.figure.axes) == 2
    assert [axis.yaxis.get_tick_params()["labelleft"] for axis in picture.figure.axes] == [True, False]
    for axis in base.stacked(picture.figure).axes:
        assert "all parts drawn image by\nimage" in {name.get_text() for name in axis.get_yticklabels()}
    said = numbers[numbers.score == "accuracy"]
    printed = said[said.quantity == "printed"].set_index("says")["mean"]
    vault = said[said.quantity == "vault"].set_index("says")["mean"]
    row = printed.idxmax()
    assert "Highest, at 96×96, 10 epochs: " in picture.alt
    assert picture.alt.count(f"{row}, {printed[row]:.2f} ({vault[row]:.2f})") == 2
