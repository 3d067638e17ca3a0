import re

from conftest import publish

from skinlesion import runs
from skinlesion.data.dataset import DX
from skinlesion.paper import lookup
from skinlesion.scoring import predictions


def unpacked(packed):
    """What the page's script makes of it: of each image its label, its lesion, and the per cents of each run."""
    images, lesions, said = (packed[name].split("|") for name in ("images", "lesions", "said"))
    found = {}
    for image, lesion, label, answers in zip(images, lesions, packed["labels"], said, strict=True):
        of_runs = {}
        for answer in answers.split(" "):
            run = packed["runs"][
                lookup.LETTERS.index(answer[0]) * len(lookup.LETTERS) + lookup.LETTERS.index(answer[1])
            ]
            shares = re.findall(r"([a-z])(\d+)", answer[2:])
            of_runs[run] = {DX[lookup.CLASSES.index(letter)]: int(share) for letter, share in shares}
        name, group = (prefix + rest for prefix, rest in zip(packed["prefix"], (image, lesion), strict=True))
        found[name] = DX[lookup.CLASSES.index(label)], group, of_runs
    return found


def test_everything_said_of_test_images_is_in_the_page_to_a_per_cent(tmp_path):
    for study, seed in (("paper", 0), ("paper", 1), ("paper_lesion", 0)):
        publish(tmp_path, study, seed, hit=0.4)
    found = unpacked(lookup.pack(list(runs.find(tmp_path).values())))
    seen = set()
    for (study, seed), run in runs.find(tmp_path).items():
        tested = run.read_csv("predictions.csv").query("part == 'test'")
        seen |= set(tested.image_id)
        for row, given in zip(tested.itertuples(), tested[predictions.COLUMNS].to_numpy(), strict=True):
            said = found[row.image_id][2][f"{study}, seed {seed}"]
            assert {
                dx: round(float(value) * 100) for dx, value in zip(DX, given, strict=True) if value >= 0.005
            } == said
            assert next(iter(said)) == DX[given.argmax()] or max(said.values()) == said[DX[given.argmax()]]
    assert set(found) == seen


def test_there_is_no_page_without_a_run(tmp_path):
    assert lookup.write(tmp_path) is None
    assert not list(tmp_path.iterdir())
