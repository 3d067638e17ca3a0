import numpy as np
import pandas as pd
import pytest
from conftest import publish

from skinlesion import parameters
from skinlesion.paper import claims

DRAWS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for seed in (0, 1):
        publish(folder, "paper", seed, hit=0.6)
        publish(folder, "paper_lesion", seed, hit=0.3)
    for seed in (0, 1):  # the second has no partner
        publish(folder, "quick_clean", seed, hit=0.3)
    publish(folder, "quick_injected", 0, hit=0.6)
    publish(folder, "quick", 0, hit=0.3)
    for seed in (0, 1):
        publish(folder, "quick_plain", seed, hit=0.6)
    return folder


@pytest.fixture(scope="module")
def made(folder):
    return claims.make(folder, draws=DRAWS)


@pytest.mark.parametrize(
    ("claimed", "low", "high", "lower_is_better", "verdict"),
    [
        (0.92, 0.90, 0.93, False, "reproduced"),
        (0.92, 0.92, 0.93, False, "reproduced"),
        (0.92, 0.80, 0.91, False, "not reached"),
        (0.92, 0.93, 0.95, False, "exceeded"),
        (0.26, 0.30, 0.40, True, "not reached"),
        (0.26, 0.10, 0.20, True, "exceeded"),
        (0.26, np.nan, np.nan, True, "not measured"),
    ],
)
def test_a_verdict_follows_the_stated_rule(claimed, low, high, lower_is_better, verdict):
    assert claims.verdict(claimed, low, high, lower_is_better=lower_is_better) == verdict


def test_every_claim_has_one_row_with_both_splits_seeds_interval_range_and_verdict(made):
    table = made["claims"]
    assert table.shown.claim.tolist() == [claim.name for claim in claims.CLAIMS]
    assert len(table.numbers) == 2 * len(claims.CLAIMS)
    assert (table.numbers.seeds == 2).all()
    assert (table.numbers.low <= table.numbers["mean"]).all()
    assert (table.numbers.minimum <= table.numbers["mean"]).all()
    assert (table.numbers.gap == table.numbers["mean"] - table.numbers.preprint).all()
    by_image = table.numbers.query("claim == 'accuracy' and split == 'by image'").iloc[0]
    assert table.shown["by image"][0].startswith(f"{by_image['mean']:.3f} (")
    assert table.shown["by image, range"][0] == f"{by_image.minimum:.3f}–{by_image.maximum:.3f}"
    for word in ("2 seeds (0, 1)", "an abacus", "drawn at random", "no weights", "lesions", claims.RULE):
        assert word in table.caption


def test_what_was_not_run_is_said_to_be_not_measured(tmp_path):
    publish(tmp_path, "paper_lesion", 0)
    made = claims.make(tmp_path, draws=DRAWS)
    shown = made["claims"].shown
    assert (shown["by image, verdict"] == "not measured").all()
    assert (shown["by lesion, verdict"] != "not measured").all()
    assert made["effects"].numbers.empty
    assert (made["effects"].shown.accuracy == "not measured").all()
    assert made["siblings"].shown.empty
    assert made["leak"].numbers.empty
    assert (made["leak"].shown.accuracy == "not measured").all()
    empty = claims.make(tmp_path / "nowhere", draws=DRAWS)
    assert (empty["claims"].numbers.verdict == "not measured").all()
    assert "No run is here yet." in empty["claims"].caption


def test_images_with_and_without_a_sibling_make_up_the_test_part(made, folder):
    table = made["siblings"].numbers.query("score == 'accuracy'").set_index("test images")
    both = table.loc[["with an image of the lesion in training", "without"]]
    assert both.images.sum() == 70
    total = made["scores"].numbers.query("study == 'paper' and score == 'accuracy'").iloc[0]["mean"]
    shares = both["mean"] * both.images / both.images.sum()
    assert shares.sum() == pytest.approx(total, abs=0.02)  # a mean over seeds of unequal shares
    difference = table.loc["difference"]
    assert difference["mean"] == pytest.approx(both["mean"].iloc[0] - both["mean"].iloc[1])


def test_the_leak_is_what_it_does_where_it_can_help_beyond_what_it_does_elsewhere(made, folder):
    table = made["leak"].numbers.query("score == 'loss'").set_index(["test images", "arm"])
    for group in (claims.LEAKED, claims.SPARED, "all"):
        change = table["mean"][group, "injected"] - table["mean"][group, "clean"]
        assert table["mean"][group, claims.CHANGE] == pytest.approx(change)
    change = table["mean"][claims.LEAKED, claims.CHANGE] - table["mean"][claims.SPARED, claims.CHANGE]
    last = table.loc[f"{claims.LEAKED} − {claims.SPARED}", claims.CHANGE]
    assert last["mean"] == pytest.approx(change)
    assert last.low <= last["mean"] <= last.high
    images = table.images.xs("clean", level="arm")
    assert images["all"] == images[claims.LEAKED] + images[claims.SPARED] == 70
    split = pd.read_csv(folder / "quick_injected/seed-0/split.csv")
    trained = set(split.lesion_group[split.part == "train"])
    assert images[claims.LEAKED] == split.lesion_group[split.part == "test"].isin(trained).sum()
    shown = made["leak"].shown.set_index(["test images", "arm"])
    assert shown["loss (nats)"]["all", "clean"].startswith(f"{table['mean']['all', 'clean']:.3f} (")
    assert "quick_clean: 1 seed (0)" in made["leak"].caption


def test_effects_are_of_every_study_that_names_another_and_of_pairs_that_are_here(made):
    named = {study for study in parameters.studies() if parameters.load(study).compare_with}
    shown = made["effects"].shown
    leaks = set(made["leak"].shown.arms)
    assert leaks == {"paper_injected", "quick_injected"}
    assert {text.split(" − ")[0] for text in shown.difference} == named - leaks
    here = shown.set_index("difference").loc["quick_plain − quick"]
    assert (here.seeds, here.images) == (1, "70")
    assert made["effects"].numbers.query("score == 'accuracy'")["mean"].iloc[0] > 0
    assert made["effects"].numbers.difference.unique().tolist() == ["quick_plain − quick"]
    assert "quick_plain: 1 seed (0)" in made["effects"].caption


def test_every_open_choice_of_the_study_is_listed_with_its_reason(made):
    table = made["assumptions"].numbers.set_index("parameter")
    text = (parameters.STUDIES / "paper.yaml").read_text()
    assert len(table) == sum("# open" in line for line in text.splitlines())
    assert table.assumed["weights"] == "IMAGENET1K_V1"
    assert table["the preprint says"]["flip"] == '"augmented"'
    assert (table.reason.str.len() > 0).all()


def test_convergence_and_runs_have_a_row_a_run(made):
    assert len(made["convergence"].numbers) == 4
    assert made["convergence"].shown["training loss, first to last"][0] == "1.000 to 0.167"
    studies = made["runs"].numbers.study
    assert studies.value_counts().to_dict() == {
        "paper": 2,
        "paper_lesion": 2,
        "quick": 1,
        "quick_clean": 2,
        "quick_injected": 1,
        "quick_plain": 2,
    }


def test_every_table_is_written_three_times_and_latex_is_ascii(made, tmp_path):
    for table in made.values():
        table.write(tmp_path)
        assert (tmp_path / f"{table.name}.tex").read_text().isascii()
        markdown = (tmp_path / f"{table.name}.md").read_text()
        assert markdown.count("\n") == len(table.shown) + 4 - (table.shown.empty)
    numbers = pd.read_csv(tmp_path / "claims.csv")
    np.testing.assert_allclose(numbers["mean"], made["claims"].numbers["mean"], atol=1e-6)


def test_only_the_runs_asked_for_are_counted(folder):
    made = claims.make(folder, draws=DRAWS, only=[folder / "paper" / "seed-1"])
    assert made["claims"].numbers.seeds.tolist() == [1, 0] * len(claims.CLAIMS)
