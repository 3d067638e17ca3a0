import re

from conftest import publish

from skinlesion import runs
from skinlesion.data.dataset import DX
from skinlesion.paper import lookup
from skinlesion.scoring import predictions


def test_everything_said_of_test_images_is_in_the_page_to_a_per_cent(tmp_path):
    for study, seed in (("paper", 0), ("paper_lesion", 0), ("quick", 0)):
        publish(tmp_path, study, seed, hit=0.4)
    there = list(runs.find(tmp_path).values())
    packed = lookup.pack(there)
    images, lesions, said = (packed[name].split("|") for name in ("images", "lesions", "said"))
    found = {
        packed["prefix"][0] + image: (packed["prefix"][1] + lesion, DX[lookup.CLASSES.index(label)], answers.split(" "))
        for image, lesion, label, answers in zip(images, lesions, packed["labels"], said, strict=True)
    }
    assert packed["runs"] == ["paper, seed 0", "paper_lesion, seed 0", "quick, seed 0"]
    tested = {}
    for mark, run in zip(lookup.MARKS, there, strict=False):
        for row in run.read_csv("predictions.csv").query("part == 'test'").to_dict("records"):
            lesion, label, answers = found[row["image_id"]]
            assert (lesion, label) == (row["lesion_id"], row["dx"])
            (answer,) = (each[2:] for each in answers if each[:2] == mark)
            shares = {
                DX[lookup.CLASSES.index(letter)]: int(each) for letter, each in re.findall(r"([a-z])(\d+)", answer)
            }
            given = {dx: row[name] for dx, name in zip(DX, predictions.COLUMNS, strict=True) if row[name] >= 0.005}
            assert shares == {dx: round(value * 100) for dx, value in given.items()}
            assert list(shares) == sorted(given, key=given.get, reverse=True)
            tested.setdefault(row["image_id"], []).append(mark)
    assert {image: [each[:2] for each in answers] for image, (*_, answers) in found.items()} == tested


def test_there_is_no_page_without_a_run(tmp_path):
    assert lookup.write(tmp_path) is None
    assert not list(tmp_path.iterdir())
