import json
import shutil

import pandas as pd
import pytest
from conftest import publish

from skinlesion import files, parameters
from skinlesion.paper import reproduction
from skinlesion.paper.reproduction import ReproductionError
from skinlesion.scoring import predictions


@pytest.fixture
def pair(tmp_path):
    one = publish(tmp_path, "paper", 0, hit=0.3)
    return one, shutil.copytree(one, tmp_path / "again")


def test_the_same_predictions_are_bit_identical(pair):
    found = reproduction.compare(*pair)
    assert (found.verdict, found.differs) == (reproduction.IDENTICAL, [])
    assert found.scores.within.all()


def test_one_last_digit_is_within_the_interval_and_no_longer_identical(pair):
    one, again = pair
    table = pd.read_csv(again / "predictions.csv")
    table.loc[0, "p_nv"] += 1e-8
    files.write_csv(again / "predictions.csv", table)
    assert reproduction.compare(one, again).verdict == reproduction.WITHIN


def test_other_scores_or_another_split_are_different(pair):
    one, again = pair
    table, split = (pd.read_csv(again / f"{name}.csv") for name in ("predictions", "split"))
    mirrored = table.assign(
        **dict(zip(predictions.COLUMNS, table[predictions.COLUMNS[::-1]].to_numpy().T, strict=True))
    )
    files.write_csv(again / "predictions.csv", mirrored)
    found = reproduction.compare(one, again)
    assert found.verdict == reproduction.DIFFERENT
    assert not found.scores.within.all()
    files.write_csv(again / "predictions.csv", table.assign(p_nv=table.p_nv + 1e-8))
    files.write_csv(again / "split.csv", split.assign(part=["train", *split.part[1:]]))
    found = reproduction.compare(one, again)
    assert (found.verdict, found.differs) == (reproduction.DIFFERENT, ["split: other images in some part"])


def test_what_differed_is_named(pair):
    one, again = pair
    manifest = json.loads((again / "manifest.json").read_text())
    manifest["parameters"]["epochs"] = 3
    manifest["sittings"][0]["environment"]["hardware"] = "two abaci"
    files.write_json(again / "manifest.json", manifest)
    assert reproduction.compare(one, again).differs == ["epochs: 25 → 3", "hardware: an abacus → two abaci"]


@pytest.mark.parametrize(("threads", "taken"), [("auto", [2, 1]), (1, 1)])
def test_the_threads_of_each_epoch_are_those_of_the_published_run_unless_given_by_hand(
    pair, monkeypatch, threads, taken
):
    one, again = pair
    for run, counts in ((one, [2, 1]), (again, [2, 2])):
        files.write_csv(run / "history.csv", pd.read_csv(run / "history.csv")[:2].assign(threads=counts))
    made = []
    monkeypatch.setattr(reproduction, "PUBLISHED", one.parents[1])
    monkeypatch.setattr(reproduction.pages, "make", lambda notebook, chosen, output: made.append(chosen.threads))
    monkeypatch.setattr(reproduction, "FOLDER", str(one.parents[1]))
    found = reproduction.reproduce(parameters.load("paper", {"threads": threads}))
    assert made == [taken, taken]
    assert found.verdict == reproduction.IDENTICAL
    assert reproduction.compare(one, again).differs == ["threads: [2, 1] → 2"]


def test_what_was_not_published_cannot_be_reproduced():
    chosen = parameters.load("paper", {"seed": 2**30})
    with pytest.raises(ReproductionError, match=r"no predictions.csv .*no published run to compare with"):
        reproduction.reproduce(chosen)
