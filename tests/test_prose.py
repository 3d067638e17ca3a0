import numpy as np
import pandas as pd
from test_tables import scored_cases

from skinlesion.reporting import prose
from skinlesion.scoring import evaluation


def named_groups(**more):
    rows = [
        ("sex", "male", 30, 0.7, 0.6, 0.8),
        ("sex", "<script>", 40, 0.9, 0.8, 1.0),
        ("sex", "unknown", 3, *[np.nan] * 3),
    ]
    columns = ["column", "group", "counted", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(score="accuracy", **more)


def test_the_extremes_of_the_subgroups_are_named_as_text_or_said_to_be_none():
    sentence = prose.extremes(named_groups(), "accuracy")
    assert "lowest for sex **male** (0.700 (0.600–0.800), 30 images)" in sentence
    assert "highest for sex **&lt;script&gt;**" in sentence
    for groups, score in ((named_groups().iloc[2:], "accuracy"), (named_groups(), "loss")):
        assert prose.extremes(groups, score) == "No group has enough images to be scored."


def test_findings_are_three_to_six_sentences_with_numbers_from_what_was_given():
    table, probabilities, groups = scored_cases()
    wrong = evaluation.mistakes(table, probabilities)
    doubtful = pd.DataFrame({"images": [150, 150], "candidates": [7, 3], "fraction": [0.047, 0.02]})
    given = {
        "cases": table,
        "wrong": wrong,
        "groups": groups,
        "consistency": {"lesions": 40, "images": 90, "inconsistent": 13, "torn": 11},
        "doubtful": doubtful.set_axis(["histo", "follow_up"]),
        "on_lesion": pd.DataFrame({"value": [0.5, np.nan], "area": [0.25, 0.1], "images": [3, 4]}),
        "without": None,
        "corrupted": None,
    }
    few = prose.findings(**given)
    kinds = ["untouched", "lesion removed", "background removed"]
    without = pd.DataFrame({"balanced_accuracy": [0.8, 0.3, 0.7]}, index=kinds)
    corrupted = {"corruption": ["blur", "blur", "hair", "hair"], "severity": [0, 4, 0, 4]}
    corrupted = pd.DataFrame(corrupted | {"balanced_accuracy": [0.8, 0.2, 0.8, 0.6]})
    gaps = named_groups(p_holm=[0.01, 0.5, np.nan], gap=-0.2, gap_low=-0.3, gap_high=-0.1)
    many = prose.findings(**{**given, "without": without, "corrupted": corrupted, "groups": gaps})
    assert 3 <= len(few) < len(many) <= 6
    missed = wrong[wrong.dx == "mel"]
    assert f"{len(missed)} of {(table.dx == 'mel').sum()} melanoma images are missed" in few[0]
    assert "0 are below the others in accuracy beyond chance" in few[2]  # one sex only: there is nothing to compare
    assert "Furthest below" not in few[2]
    assert "Furthest below is sex **male** (0.700 (0.600–0.800), 30 images): −0.200 (−0.300 to −0.100)." in many[1]
    assert "10 labels are candidates for a wrong one, most often with dx_type histo (4.7% of 150); 13 of 40" in few[3]
    assert "0.80; 0.30 with the lesion painted over, 0.70 with the background painted over. 50% of Grad-CAM" in many[3]
    assert "falls to 0.20 under the severest blur and is highest under hair (0.60)" in many[4]


def test_a_loss_in_points_is_told_as_what_is_lost():
    row = {"mean": -0.046, "low": -0.082, "high": -0.010}
    assert prose.points(row, flip=True) == "4.6 points (1.0–8.2)"
    assert prose.points(row) == "−4.6 points (−8.2 to −1.0)"
    assert prose.percent({"mean": 0.8, "low": 0.75, "high": 0.85}) == "80.0% (75.0–85.0)"
