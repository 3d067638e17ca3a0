"""What the official scorer printed is kept in tests/fixtures/isic; it was made with

uvx --from isic-challenge-scoring==5.6.0 --with 'pandas<3' isic-challenge-scoring \\
    -o json classification TRUTH SUBMISSION

for a drawn submission, and for the test part of reports/paper_lesion/seed-0/predictions.csv.
"""

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import random_predictions

from skinlesion import files
from skinlesion.runs import Files
from skinlesion.scoring import isic, predictions

FIXTURES = Path(__file__).with_name("fixtures") / "isic"


def in_our_names(official: dict) -> dict:
    per_category = official["per_category"]
    areas = {f"{name}_{category}": value for name in ("auc", "ap") for category, value in per_category[name].items()}
    return {"balanced_accuracy": official["aggregate"]["balanced_accuracy"], **areas}


def test_a_submission_scores_the_same_with_the_official_scorer():
    truth, submission = (pd.read_csv(FIXTURES / f"{name}.csv") for name in ("truth", "submission"))
    assert "ISIC_0035068" in set(truth.image)
    official = in_our_names(json.loads((FIXTURES / "official.json").read_text()))
    assert isic.scores(truth, submission) == pytest.approx(official, abs=1e-12)


def test_the_image_without_weight_changes_no_score():
    truth, submission = (pd.read_csv(FIXTURES / f"{name}.csv") for name in ("truth", "submission"))
    before = isic.scores(truth, submission)
    at = submission.image == "ISIC_0035068"
    submission.loc[at, list(isic.CATEGORIES)] = submission.loc[at, list(isic.CATEGORIES)].to_numpy()[:, ::-1]
    assert isic.scores(truth, submission) == before
    submission.loc[0, list(isic.CATEGORIES)] = submission.loc[0, list(isic.CATEGORIES)].to_numpy()[::-1]
    assert isic.scores(truth, submission) != before


def test_the_format_keeps_every_probability_in_the_column_of_its_diagnosis():
    table = random_predictions()
    submission = isic.submission(table)
    assert list(submission) == ["image", *isic.CATEGORIES]
    back = submission.rename(columns={category: f"p_{category.lower()}" for category in isic.CATEGORIES})
    assert back[predictions.COLUMNS].equals(table[predictions.COLUMNS])
    truth = isic.truth(table)
    assert (truth.set_index("image").idxmax(axis=1).str.lower().to_numpy() == table.dx.to_numpy()).all()
    assert (truth[list(isic.CATEGORIES)].sum(axis=1) == 1).all()


def test_a_submission_that_names_an_image_twice_is_refused():
    table = random_predictions()
    with pytest.raises(isic.IsicError, match="image SYN_0000000 occurs twice"):
        isic.submission(pd.concat([table, table[:1]]))


def test_a_submission_of_other_images_is_refused():
    table = random_predictions()
    with pytest.raises(isic.IsicError, match="every image of the truth"):
        isic.scores(isic.truth(table), isic.submission(table[1:]))


def test_a_published_run_states_what_its_submission_scores():
    run = Files(files.ROOT / "reports" / "paper_lesion" / "seed-0")
    test = run.read_csv("predictions.csv").query("part == 'test'")
    scored = isic.scores(isic.truth(test), isic.submission(test))
    stated = run.read_json("metrics.json")["test"]["headline"]["balanced_accuracy"]["value"]
    assert stated == pytest.approx(scored["balanced_accuracy"], abs=1e-12)
