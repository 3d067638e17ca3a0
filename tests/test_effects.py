import numpy as np
import pandas as pd
import pytest
from conftest import publish

from skinlesion import files
from skinlesion.data.dataset import DX
from skinlesion.paper import collection, effects, evidence
from skinlesion.reporting.figures import paper_tables as figures
from skinlesion.runs import Files
from skinlesion.scoring import predictions

DRAWS = 200


def rewrite(run, table, trained=()):
    """Replace what a published run says, and the groups it was trained on."""
    rows = pd.DataFrame({"image_id": [f"TRN_{k}" for k in range(len(trained))], "lesion_group": trained})
    rows = rows.assign(lesion_id=rows.lesion_group, part="train")
    split = pd.concat([table[["image_id", "lesion_id", "lesion_group", "part"]], rows], ignore_index=True)
    files.write_csv(run / "predictions.csv", table)
    files.write_csv(run / "split.csv", split[["image_id", "lesion_id", "lesion_group", "part"]])


def right_where(table, right):
    """The table with certain answers: the true class where `right`, another elsewhere."""
    true = table.dx.map(DX.index).to_numpy()
    answers = np.where(right, true, (true + 1) % len(DX))
    return table.assign(**dict(zip(predictions.COLUMNS, (0.94 * np.eye(len(DX)) + 0.06 / 7)[answers].T, strict=True)))


def made(folder, name):
    return collection.make(folder, draws=DRAWS, names=[name])[name]


@pytest.fixture
def crossed(tmp_path):
    """A crossover of 70 tested images: of the seen 62 are right, of the unseen 49."""
    runs = [publish(tmp_path, f"quick_crossover_{name}", 0) for name in "ab"]
    table = Files(runs[0]).read_csv("predictions.csv")
    tested = (table.part == "test").to_numpy()
    table.loc[tested, "lesion_group"] = [f"G{k}" for k in range(tested.sum())]
    place = np.cumsum(tested) - 1
    in_first = place % 2 == 0
    for run, seen in zip(runs, (in_first, ~in_first), strict=True):
        right = np.where(seen, place % 20 > 1, place % 10 > 2)
        groups = table.lesion_group[tested & seen].tolist()
        rewrite(run, right_where(table, right), trained=groups + groups[:10])
    return tmp_path


def test_the_leak_is_the_difference_of_the_same_images_seen_and_unseen(crossed):
    table = made(crossed, "leak").numbers
    accuracy = table.query("score == 'accuracy' and `tested images` == 'all'").set_index("lesion")
    assert accuracy["mean"]["seen"] == pytest.approx(62 / 70)
    assert accuracy["mean"]["unseen"] == pytest.approx(49 / 70)
    change = accuracy.loc[effects.SEEN_MINUS_UNSEEN]
    assert change["mean"] == pytest.approx(13 / 70)
    assert change.low < change["mean"] < change.high
    siblings = table.query("score == 'accuracy' and lesion == @effects.SEEN_MINUS_UNSEEN").set_index("tested images")
    assert siblings.images["with 2 siblings"] == 20  # ten groups of either run
    assert siblings.images["with 1 sibling"] == 50
    assert siblings.images[[dx for dx in DX if dx in siblings.index]].sum() == 70


def test_effects_are_of_planned_arms_and_of_pairs_that_are_here(tmp_path):
    for seed in (0, 1):
        publish(tmp_path, "quick_plain", seed, hit=0.6)
    publish(tmp_path, "quick", 0, hit=0.3)
    table = made(tmp_path, "effects")
    shown = table.shown.set_index("difference")
    assert (shown.seeds["quick_plain − quick"], shown.images["quick_plain − quick"]) == ("1", "70")
    assert shown.accuracy["quick_scratch − quick"] == "not measured"  # planned
    assert "paper_scratch − paper_lesion" not in shown.index  # possible, not planned
    assert table.numbers.query("score == 'accuracy'")["mean"].iloc[0] > 0


def test_only_what_others_are_compared_with_is_scored_beside_them(tmp_path):
    """The base of the table of networks has a base of its own, which is not of this table."""
    for study in ("quick", "quick_scratch", "quick_resnet18"):
        publish(tmp_path, study, 0)
    table = made(tmp_path, "networks")
    assert set(table.numbers[table.numbers.quantity == "score"].difference) == {"quick_scratch"}


def test_the_remedies_of_imbalance_stand_beside_none_and_beside_one_that_needs_no_training(tmp_path):
    counts = {dx: k + 1 for k, dx in enumerate(DX)}
    for study, hit in (("quick", 0.3), ("quick_focal", 0.2)):
        run = publish(tmp_path, study, 0, hit=hit)
        files.write_json(run / "preprocessing.json", {"counts": {"images train": counts}})
    table = made(tmp_path, "imbalance")
    assert table.shown.difference[0] == "quick"
    rows = table.numbers[table.numbers.score == "balanced_accuracy"].set_index("difference")
    assert rows.quantity.to_dict()["quick"] == "score"
    tested = Files(tmp_path / "quick" / "seed-0").read_csv("predictions.csv").query("part == 'test'")
    labels = tested.dx.map(DX.index)
    answers = [(tested[predictions.COLUMNS].to_numpy() / weight).argmax(1) for weight in (1, list(counts.values()))]
    plain, without = (pd.Series(each == labels).groupby(labels).mean().mean() for each in answers)
    assert rows["mean"]["quick"] == pytest.approx(plain)
    afterwards = f"quick, {evidence.AFTERWARDS}, − quick"
    assert rows["mean"][afterwards] == pytest.approx(without - plain)
    assert "quick, " in figures.effects(table.numbers, source="imbalance.csv").alt


def test_a_source_is_told_by_networks_that_know_it_and_by_one_that_does_not_on_the_same_images(tmp_path):
    folds = [publish(tmp_path, "quick_folds", seed) for seed in range(5)]
    whole = Files(folds[0]).read_csv("predictions.csv").assign(part="test")
    whole.image_id = [f"SYN_{k}" for k in range(len(whole))]
    for k, run in enumerate(folds):
        rewrite(run, right_where(whole, np.arange(len(whole)) % 10 > 0).iloc[k::5])  # 9 of 10 are right
    left_out = publish(tmp_path, "quick_sources", 0)
    rewrite(left_out, right_where(whole, np.arange(len(whole)) % 2 > 0).iloc[:40], trained=["x"])  # half are
    files.write_json(left_out / "preprocessing.json", {"left_out": "rosendahl"})
    table = made(tmp_path, "sources").numbers.query("score == 'accuracy'").set_index("network")
    assert table["mean"].to_dict() == pytest.approx({"source seen": 0.9, "unseen": 0.5, "unseen − seen": -0.4})
    assert table.source.unique().tolist() == ["rosendahl"]
    assert (table.images == 40).all()
    assert len(evidence.find(tmp_path, "quick_folds").out_of_fold) == len(whole)


def test_the_spread_between_runs_is_that_of_splits_crossed_with_trainings(tmp_path):
    for split in range(3):
        for seed in range(3):
            run = publish(tmp_path, f"quick_split_{split}", seed)
            table = Files(run).read_csv("predictions.csv")
            rewrite(run, right_where(table, np.arange(len(table)) >= 20 * split + 2 * seed), trained=["x"])
    publish(tmp_path, "paper_split_0", 0)  # another base's arm, which must not take rows away
    table = made(tmp_path, "spread")
    rows = table.numbers.query("score == 'accuracy'").set_index("due to")
    assert rows.deviation["split"] == pytest.approx(10 / 70, rel=1e-6)  # ten tested images more, each split
    assert rows.deviation["training"] == pytest.approx(1 / 70, rel=1e-6)
    assert rows.share.sum() == pytest.approx(1)
    assert made(tmp_path / "nowhere", "spread").numbers.empty
