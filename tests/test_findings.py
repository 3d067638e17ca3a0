import pandas as pd
import pytest
from conftest import publish

from skinlesion import files
from skinlesion.paper import collection, findings
from skinlesion.paper.tables import TABLES, WORDS


def claims(verdict):
    facts = {"verdict": verdict, "seeds": 3, "low": 0.78, "high": 0.83}
    rows = [
        {"claim": claim, "preprint": claimed, "split": split, "mean": mean, **facts}
        for claim, claimed in (("accuracy", 0.92), ("macro F1", 0.88))
        for split, mean in (("by image", 0.82), ("by lesion", 0.80))
    ]
    return {"claims": pd.DataFrame(rows)}


@pytest.mark.parametrize(("verdict", "said"), [("not reached", "No"), ("inconclusive", "On lesions it has never seen")])
def test_the_answer_is_no_only_while_the_verdict_is(verdict, said):
    numbers = claims(verdict)
    for sentence in (findings.answer(numbers), findings.headline(numbers)):
        assert sentence.strip("*").startswith(said)
        assert "80.0% (78.0–83.0)" in sentence
    assert ("answer" in findings.outdated(numbers)) is (verdict != "not reached")


def test_what_was_not_measured_is_not_spoken_of():
    nothing = claims("not measured")
    nothing["claims"][["mean", "low", "high"]] = float("nan")
    for numbers in ({}, nothing):
        assert findings.answer(numbers) == findings.headline(numbers) == "Not measured yet."
        assert findings.findings(numbers) == findings.outdated(numbers) == []
        assert set(findings.conclusions(numbers).values()) <= {"", "Not measured yet."}


def test_every_sentence_holds_for_what_is_published_and_every_table_has_one():
    numbers = findings.read(files.ROOT / "reports")
    findings.check(numbers)
    said = findings.conclusions(numbers)
    assert [name for name in numbers if not said[name]] == []
    assert len(findings.findings(numbers)) == len(findings.FINDINGS)


def test_a_sentence_whose_number_changed_is_not_said_and_is_refused_by_name():
    numbers = findings.read(files.ROOT / "reports")
    numbers["leak"] = numbers["leak"].assign(low=-0.1)
    assert findings.conclusions(numbers)["leak"] == ""
    with pytest.raises(findings.FindingsError, match="leak"):
        findings.check(numbers)


def test_runs_of_anybody_make_tables_whose_sentences_may_be_outdated_and_no_error(tmp_path):
    for study, hit in (("paper", 0.6), ("paper_lesion", 0.3), ("quick", 0.3), ("quick_plain", 0.6)):
        publish(tmp_path, study, 0, hit=hit)
    made = collection.make(tmp_path, draws=20)
    said = findings.conclusions({name: table.numbers for name, table in made.items()})
    assert "the other 2 rows are trainings that stand in a second study" in said["runs"]


def test_every_table_has_a_caption_and_a_sentence():
    for name in TABLES:
        assert {name, f"{name}_caption"} <= set(WORDS.blocks)


def test_numbers_are_read_from_the_files_of_the_tables(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "leak.csv").write_text("score,mean\naccuracy,0.1\n")
    (tmp_path / "tables" / "effects.csv").write_text("\n")  # of no rows
    assert list(findings.read(tmp_path)) == ["leak"]
