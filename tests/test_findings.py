import pandas as pd
import pytest
from conftest import publish

from skinlesion.paper import collection, findings
from skinlesion.reporting import tables


def claims(verdict, *, seeds=3):
    facts = {"verdict": verdict, "seeds": seeds, "low": 0.78, "high": 0.83}
    rows = [
        {"claim": claim, "preprint": claimed, "split": split, "mean": mean, **facts}
        for claim, claimed in (("accuracy", 0.92), ("macro F1", 0.88))
        for split, mean in (("by image", 0.82), ("by lesion", 0.80))
    ]
    return {"claims": pd.DataFrame(rows)}


@pytest.mark.parametrize(
    ("verdict", "first"),
    [("not reached", "**No.**"), ("reproduced", "**Yes.**"), ("inconclusive", "**It cannot be told.**")],
)
def test_the_answer_follows_the_verdict(verdict, first):
    said = findings.answer(claims(verdict))
    assert said.startswith(first)
    assert "**0.800 (0.780–0.830)**, where 0.92 is claimed" in said
    assert said.endswith(" 95% intervals: of 3 trainings.")
    assert findings.answer(claims(verdict, seeds=1)).endswith("intervals: of one training, the test images alone.")


def test_the_answer_says_what_the_intervals_of_each_split_are_of():
    numbers = claims("not reached")
    numbers["claims"].loc[numbers["claims"].split == "by lesion", "seeds"] = 1
    said = findings.answer(numbers)
    assert said.endswith("intervals: by image, of 3 trainings; by lesion, of one training, the test images alone.")


def test_what_was_not_measured_is_not_spoken_of():
    assert findings.answer({}) == "Not measured yet."
    assert findings.answer(claims("not measured")) == "Not measured yet."
    assert findings.findings({}) == []
    assert findings.headline({}) == findings.headline(claims("not measured")) == "Not measured yet."
    assert set(findings.conclusions({}).values()) == {""}


def test_the_headline_is_one_sentence_in_per_cent():
    said = (
        "80.0% (78.0%–83.0%), not 92%, on lesions that it has not seen; 82.0% (78.0%–83.0%) where the split is by image"
    )
    assert findings.headline(claims("not reached")) == f"No: {said}."
    assert findings.headline(claims("reproduced")).startswith("Yes: 80.0% (78.0%–83.0%), where 92% is claimed, on")


def test_every_table_with_numbers_has_a_conclusion(tmp_path):
    for seed in (0, 1):
        for study, hit in (("paper", 0.6), ("paper_lesion", 0.3), ("quick", 0.3), ("quick_plain", 0.6)):
            publish(tmp_path, study, seed, hit=hit)
    numbers = {name: table.numbers for name, table in collection.make(tmp_path, draws=20).items()}
    said = findings.conclusions(numbers)
    assert {name for name, sentence in said.items() if sentence} == {
        name for name, table in numbers.items() if len(table)
    }
    assert "4 trainings, 0.1 hours in all; 4 of them stand in two of the 4 studies" in said["runs"]
    assert "above the mean of the last epochs by image by" in said["selection"]
    table = numbers["effects"].query("score == 'accuracy'").iloc[0]
    assert f"{tables.number(table['mean'], sign=True)} (" in said["effects"]


@pytest.mark.parametrize(("low", "words"), [(0.01, "zero is excluded"), (-0.01, "zero is not excluded")])
def test_a_finding_says_no_more_than_its_interval(low, words):
    row = {
        "score": "accuracy",
        "tested images": "all",
        "lesion": "seen − unseen",
        "mean": 0.03,
        "low": low,
        "high": 0.05,
    }
    said = findings.findings({"leak": pd.DataFrame([row | {"high": 0.05, "size": "96×96", "seeds": 3}])})
    assert len(said) == 1
    assert f"(3 pairs of runs; {words})" in said[0]


def test_numbers_are_read_from_the_files_of_the_tables(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "leak.csv").write_text("score,mean\naccuracy,0.1\n")
    (tmp_path / "tables" / "effects.csv").write_text("\n")  # of no rows
    assert list(findings.read(tmp_path)) == ["leak"]
