import numpy as np
import pandas as pd
from test_tables import scored_cases

from skinlesion.reporting import prose
from skinlesion.scoring import evaluation


def test_the_extremes_of_the_subgroups_are_named_or_said_to_be_none():
    rows = [
        ("sex", "male", 30, 0.7, 0.6, 0.8),
        ("sex", "female", 40, 0.9, 0.8, 1.0),
        ("sex", "unknown", 3, *[np.nan] * 3),
    ]
    groups = pd.DataFrame(rows, columns=["column", "group", "counted", "value", "low", "high"]).assign(score="accuracy")
    sentence = prose.extremes(groups, "accuracy")
    assert "lowest for sex **male** (0.700 (0.600–0.800), 30 images)" in sentence
    assert "highest for sex **female**" in sentence
    assert prose.extremes(groups.iloc[2:], "accuracy") == "No group has enough images to be scored."
    assert prose.extremes(groups, "loss") == "No group has enough images to be scored."


def test_findings_are_three_to_six_sentences_with_numbers_from_what_was_given():
    table, probabilities, groups = scored_cases()
    wrong = evaluation.mistakes(table, probabilities)
    given = {
        "cases": table,
        "wrong": wrong,
        "groups": groups,
        "consistency": {"lesions": 40, "images": 90, "inconsistent": 13, "torn": 11},
        "doubtful": pd.DataFrame(
            {"images": [150, 150], "candidates": [7, 3], "fraction": [0.047, 0.02]}, index=["histo", "follow_up"]
        ),
        "on_lesion": None,
        "without": None,
        "corrupted": None,
    }
    few = prose.findings(**given)
    without = pd.DataFrame(
        {"balanced_accuracy": [0.8, 0.3, 0.7]}, index=["untouched", "lesion removed", "background removed"]
    )
    corrupted = pd.DataFrame(
        {
            "corruption": ["blur", "blur", "hair", "hair"],
            "severity": [0, 4, 0, 4],
            "balanced_accuracy": [0.8, 0.2, 0.8, 0.6],
        }
    )
    many = prose.findings(**{**given, "without": without, "corrupted": corrupted})
    assert 3 <= len(few) < len(many) <= 6
    missed = wrong[wrong.dx == "mel"]
    assert f"{len(missed)} of {(table.dx == 'mel').sum()} melanoma images are missed" in few[0]
    assert "0 are below the others in accuracy beyond chance" in few[2]  # one sex only: there is nothing to compare
    assert "Furthest below" not in few[2]
    assert "10 labels are candidates for a wrong one, most often with dx_type histo (4.7% of 150); 13 of 40" in few[3]
    assert "0.80; 0.30 with the lesion painted over, 0.70 with the background painted over" in many[4]
    assert "falls to 0.20 under the severest blur and is highest under hair (0.60)" in many[5]


def test_a_groups_name_is_text_and_not_markup():
    rows = [("localization", "<script>alert(1)</script>", 30, 0.7, 0.6, 0.8)]
    groups = pd.DataFrame(rows, columns=["column", "group", "counted", "value", "low", "high"]).assign(score="accuracy")
    assert "<script" not in prose.extremes(groups, "accuracy")
