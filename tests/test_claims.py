import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import publish

from skinlesion import files, studies
from skinlesion.data.dataset import DX
from skinlesion.paper import claims, collection
from skinlesion.runs import Files
from skinlesion.scoring import predictions, summary

DRAWS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for seed in (0, 1):
        publish(folder, "paper", seed, hit=0.6)
        publish(folder, "paper_lesion", seed, hit=0.3)
    publish(folder, "quick", 0, hit=0.3)
    for seed in (0, 1):
        publish(folder, "quick_plain", seed, hit=0.6)
    return folder


@pytest.fixture(scope="module")
def made(folder):
    return collection.make(folder, draws=DRAWS)


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "verdict"),
    [
        (-0.02, 0.01, False, "reproduced"),
        (-0.10, -0.03, False, "not reached"),
        (-0.10, -0.02, False, "inconclusive"),  # it may be within the margin
        (-0.10, 0.10, False, "inconclusive"),  # a wide interval does not reproduce
        (-0.01, 0.03, False, "inconclusive"),
        (0.021, 0.05, False, "exceeded"),
        (0.03, 0.20, True, "not reached"),
        (-0.20, -0.03, True, "exceeded"),
        (np.nan, np.nan, True, "not measured"),
    ],
)
def test_a_verdict_follows_the_rule_of_the_protocol(low, high, lower_is_better, verdict):
    assert claims.verdict(low, high, margin=0.02, lower_is_better=lower_is_better) == verdict


def test_the_margins_are_those_of_the_protocol():
    text = " ".join((studies.FOLDER / "PROTOCOL.md").read_text().split())
    assert "a margin: 0.02 for accuracy and validation accuracy, 0.03 for macro F1, 0.03 nats for loss" in text
    assert [claim.margin for claim in claims.CLAIMS] == [0.02, 0.02, 0.03, 0.03]


def test_every_claim_has_one_row_with_both_splits_seeds_interval_and_verdict(made):
    shown, numbers = made["claims"].shown, made["claims"].numbers
    assert shown.claim.tolist() == [claim.name for claim in claims.CLAIMS]
    assert len(numbers) == 2 * len(claims.CLAIMS)
    assert (numbers.seeds == 2).all()
    assert (numbers[["low", "minimum"]].max(axis=1) <= numbers["mean"]).all()
    assert (numbers.half_width == (numbers.high - numbers.low) / 2).all()
    assert (numbers.own_low <= numbers["mean"]).all() and (numbers["mean"] <= numbers.own_high).all()
    assert (numbers.gap == numbers["mean"] - numbers.preprint).all()
    by_image = numbers.query("claim == 'accuracy' and split == 'by image'").iloc[0]
    assert shown["by image"][0].startswith(f"{by_image['mean']:.3f} (")
    assert shown["by image, verdict"][0] == f"{by_image.verdict}, {by_image.gap:+.3f}"


def test_what_was_not_run_is_said_to_be_not_measured(tmp_path):
    publish(tmp_path, "paper_lesion", 0)
    made = collection.make(tmp_path, draws=DRAWS, names=["claims", "effects", "leak"])
    shown = made["claims"].shown
    assert (shown["by image, verdict"] == "not measured").all()
    assert (shown["by lesion, verdict"].head(len(claims.CLAIMS)) != "not measured").all()
    for name in ("effects", "leak"):
        assert made[name].numbers.empty
        assert (made[name].shown.accuracy == "not measured").all()
    empty = collection.make(tmp_path / "nowhere", draws=DRAWS)
    assert (empty["claims"].numbers.verdict == "not measured").all()


def test_a_lesion_votes_with_the_mean_of_its_images_and_lesions_of_one_image_are_scored_by_themselves(made, folder):
    table = made["estimands"].numbers.query("score == 'accuracy' and split == 'by lesion'").set_index("over")
    votes, alone = [], []
    for seed in (0, 1):
        run = Files(folder / "paper_lesion" / f"seed-{seed}")
        tested, split = run.read_csv("predictions.csv").query("part == 'test'"), run.read_csv("split.csv")
        groups = tested.groupby("lesion_group")
        right = groups[predictions.COLUMNS].mean().idxmax(axis=1) == "p_" + groups.dx.first()
        votes.append(right.mean())
        alone.append(right[split.lesion_group.value_counts()[right.index] == 1].mean())
    assert table["mean"]["one vote a lesion"] == pytest.approx(np.mean(votes))
    assert table["mean"]["lesions with a single image"] == pytest.approx(np.mean(alone))
    first = made["claims"].numbers.query("claim == 'accuracy' and split == 'by lesion'")["mean"].iloc[0]
    assert table["mean"]["images (primary)"] == pytest.approx(first)


def test_the_kept_epoch_is_held_against_the_last_ones_and_against_peeking(folder, tmp_path):
    for seed in (0, 1):
        run = shutil.copytree(folder / "paper" / f"seed-{seed}", tmp_path / "paper" / f"seed-{seed}")
        history = pd.read_csv(run / "history.csv").head(6)
        history["validation_accuracy"] = [0.5, 0.6, 0.9, 0.7, 0.6, 0.8]
        history.to_csv(run / "history.csv", index=False)
        table = pd.read_csv(run / "predictions.csv")
        tested = (table.part == "test").to_numpy()
        labels = table.dx.map(DX.index).to_numpy()
        said = np.repeat(np.eye(len(DX))[None, (labels + 1) % len(DX)], 6, axis=0)
        for epoch, right in enumerate([10, 20, 30, 40, 25, 35]):
            rows = np.flatnonzero(tested)[:right]
            said[epoch, rows] = np.eye(len(DX))[labels[rows]]
        files.write_csv(run / "epochs.csv", summary.epochs(table, said.astype(np.float16)))
    table = collection.make(tmp_path, draws=DRAWS, names=["selection"])["selection"].numbers.set_index("epoch")
    assert table.validation.tolist() == pytest.approx([0.9, 0.8, (0.6 + 0.9 + 0.7 + 0.6 + 0.8) / 5, 0.7])
    assert table.test.tolist() == pytest.approx([30 / 70, 35 / 70, (20 + 30 + 40 + 25 + 35) / 5 / 70, 40 / 70])


def test_every_open_choice_of_the_study_is_listed_with_its_reason(made):
    table = made["assumptions"].numbers.set_index("parameter")
    text = (studies.FOLDER / "paper.yaml").read_text()
    assert len(table) == sum("# open" in line for line in text.splitlines())
    assert table.assumed["weights"] == "IMAGENET1K_V1"
    assert table["the preprint says"]["flip"] == '"augmented"'
    assert (table.reason.str.len() > 0).all()


def test_convergence_and_runs_have_a_row_a_run(made):
    assert len(made["convergence"].numbers) == 4
    assert made["convergence"].shown["train loss last"][0] == "0.040"
    runs = made["runs"].numbers
    assert (runs["tested images"] == 70).all()
    assert runs.study.value_counts().to_dict() == {"paper": 2, "paper_lesion": 2, "quick": 1, "quick_plain": 2}


def test_every_table_is_written_three_times_and_latex_is_ascii(made, tmp_path):
    for table in made.values():
        table.write(tmp_path)
        assert (tmp_path / f"{table.name}.tex").read_text().isascii()
        markdown = (tmp_path / f"{table.name}.md").read_text()
        assert markdown.count("\n") == (1 if table.shown.empty else len(table.shown) + 4)
    numbers = pd.read_csv(tmp_path / "claims.csv")
    np.testing.assert_allclose(numbers["mean"], made["claims"].numbers["mean"], atol=1e-6)


def test_labels_in_doubt_are_counted_over_all_images_beside_wrong_answers(tmp_path):
    for seed in range(5):
        publish(tmp_path, "quick_folds", seed, hit=0.5)
    table = collection.make(tmp_path, draws=DRAWS, names=["labels"])["labels"]
    rows = table.numbers.set_index("dx")
    assert rows.images["all"] == 5 * 70 == rows.images.drop("all").sum()
    tested = [Files(tmp_path / "quick_folds" / f"seed-{seed}").read_csv("predictions.csv") for seed in range(5)]
    tested = pd.concat(tested).query("part == 'test'")
    wrong = tested[predictions.COLUMNS].to_numpy().argmax(1) != tested.dx.map(DX.index)
    assert rows["told wrongly"]["all"] == wrong.sum()
    assert "exchanged at random (10 times)" in table.caption
