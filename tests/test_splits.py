import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from skinlesion import parameters
from skinlesion.data import splits
from skinlesion.reporting import tables


def study(by, seed=0, train=0.6, aside=0.2, **more):
    """The demo with a share in training, and one that validation and calibration divide."""
    fractions = {"train_fraction": train, "validation_fraction": 0.6 * aside, "calibration_fraction": 0.4 * aside}
    chosen = {"split_by": by, "seed": seed, **fractions, "test_fraction": 1 - train - aside, **more}
    return parameters.load("demo", chosen)


@pytest.fixture(scope="module")
def metadata():
    """280 lesions with one to four images, seven classes."""
    rows = [
        (f"SYN_{lesion:07d}", f"SYN_{lesion * 4 + image:07d}", parameters_dx(lesion), SOURCES[lesion // 7 % 2])
        for lesion in range(280)
        for image in range(1 + lesion % 4)
    ]
    return pd.DataFrame(rows, columns=["lesion_id", "image_id", "dx", "dataset"])


SOURCES = ("rosendahl", "vienna_dias")


def parameters_dx(lesion):
    return splits.DX[lesion % 7]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31 - 1),
    train=st.floats(0.4, 0.7),
    aside=st.floats(0.15, 0.2),
)
def test_a_lesion_split_never_shares_a_lesion(metadata, seed, train, aside):
    split = splits.draw(metadata, study("lesion", seed, train, aside))
    assert (split.groupby("lesion_id").part.nunique() == 1).all()
    assert set(split.part) == set(splits.PARTS)
    assert list(split.image_id) == list(metadata.image_id)


def test_a_smaller_share_of_the_training_lesions_lies_in_a_larger_one_and_changes_no_other_part(metadata):
    chosen = study("lesion")
    drawn = [splits.draw(metadata, chosen.model_copy(update={"train_share": share})) for share in (1, 0.5, 0.125)]
    trained = [set(split.lesion_group[split.part == "train"]) for split in drawn]
    assert trained[0] > trained[1] > trained[2]
    per_dx = [drawn[k][drawn[k].part == "train"].groupby(metadata.dx).lesion_group.nunique() for k in range(3)]
    assert per_dx[1].equals(np.ceil(per_dx[0] / 2).astype(int))
    assert per_dx[2].equals(np.ceil(per_dx[0] / 8).astype(int))
    for split in drawn[1:]:
        others = split[~split.part.isin(("train", splits.UNUSED))]
        assert others.equals(drawn[0].loc[others.index])


@pytest.mark.parametrize("by", ["image", "lesion"])
def test_a_split_is_stratified_and_of_the_size_asked_for(metadata, by):
    split = splits.draw(metadata, study(by))
    share = split.groupby(metadata.dx).part.value_counts(normalize=True).unstack()
    assert (share.train - 0.6).abs().max() < 0.08
    assert (share.test - 0.2).abs().max() < 0.08
    assert (share.validation - 0.12).abs().max() < 0.08
    assert (share.calibration - 0.08).abs().max() < 0.08


@pytest.mark.parametrize("by", ["image", "lesion"])
def test_a_split_is_a_function_of_the_seed(metadata, by):
    first = splits.draw(metadata, study(by, 3))
    assert first.equals(splits.draw(metadata, study(by, 3)))
    assert not first.equals(splits.draw(metadata, study(by, 4)))


def test_the_split_is_drawn_with_a_seed_of_its_own_where_one_is_given(metadata):
    first = splits.draw(metadata, study("lesion", 3))
    assert first.equals(splits.draw(metadata, study("lesion", 8, split_seed=3)))
    assert not first.equals(splits.draw(metadata, study("lesion", 3, split_seed=0)))


def test_leakage_is_counted_by_hand():
    rows = [
        ("L1", "I1", "train"),
        ("L1", "I2", "test"),
        ("L2", "I3", "test"),
        ("L3", "I4", "validation"),
        ("L3", "I5", "test"),
    ]
    split = pd.DataFrame(rows, columns=["lesion_group", "image_id", "part"])
    metadata = split[["image_id"]].assign(dx=["mel", "mel", "mel", "nv", "nv"])
    table = splits.leakage(split, metadata)
    assert table.loc["mel"].tolist() == [2, 1, 0.5]
    assert table.loc["nv"].tolist() == [1, 0, 0]  # a sibling in validation is none in training
    assert table.loc["all"].tolist() == [3, 1, 1 / 3]


def test_a_split_by_image_leaks_and_one_by_lesion_does_not(metadata):
    leaks = {
        by: splits.leakage(splits.draw(metadata, study(by)), metadata).fraction["all"] for by in ("image", "lesion")
    }
    assert leaks["image"] > 0.5
    assert leaks["lesion"] == 0


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_in_a_crossover_every_tested_image_is_its_own_control(metadata, seed):
    a, b = (splits.draw(metadata, study("lesion", seed, crossover=run)) for run in "ab")
    several = metadata.groupby("lesion_id").image_id.transform("size") > 1
    tested = a[a.part == "test"]
    assert sorted(tested.lesion_id) == sorted(metadata.lesion_id[several].unique())
    for part in ("test", "validation", "calibration"):
        assert (a.part == part).equals(b.part == part)
    seen = [splits.has_sibling(split) for split in (a, b)]
    assert (seen[0] ^ seen[1]).all()  # each is seen in one of the two runs, with all of its siblings
    siblings = a[several & (a.part != "test")]
    assert set(siblings.part) == {"train", splits.UNUSED}
    assert (siblings.groupby("lesion_id").part.nunique() == 1).all()
    singles = a[~several & (a.part == "train")]
    assert set(singles.image_id) <= set(b.image_id[b.part == "train"])
    kinds = metadata.set_index("image_id").loc[tested.image_id].groupby(["dx", "dataset"])
    halves = kinds.apply(lambda images: seen[0][images.index].mean())
    assert (abs(halves - 0.5) * kinds.size() <= 0.5 + 1e-9).all()  # half of each kind, but for an odd one


@pytest.mark.parametrize("by", ["image", "lesion"])
def test_every_image_is_tested_in_one_fold_of_a_partition(metadata, by):
    chosen = study(by).model_copy(update={"folds": 4})
    parts = [splits.draw(metadata, chosen.model_copy(update={"seed": seed})) for seed in range(8)]
    for partition in (parts[:4], parts[4:]):
        assert (sum((split.part == "test").astype(int) for split in partition) == 1).all()
    assert not (parts[0].part == "test").equals(parts[4].part == "test")
    for split in parts:
        share = (split.part == "test").groupby(metadata.dx).mean()
        assert (share - 0.25).abs().max() < 0.06
        assert (split.part == "validation").mean() == pytest.approx(0.12, abs=0.03)
        if by == "lesion":
            assert (split.groupby("lesion_id").part.nunique() == 1).all()


def test_a_rare_class_cannot_be_cut_into_more_folds_than_it_has_lesions(metadata):
    with pytest.raises(splits.SplitError, match=r"20 folds need as many of every diagnosis: \w+ has 10"):
        few = metadata[metadata.lesion_id < "SYN_0000070"].reset_index(drop=True)
        splits.draw(few, study("lesion").model_copy(update={"folds": 20}))


def test_merged_groups_stay_together_and_count_as_siblings(metadata):
    groups = metadata.lesion_id.where(metadata.lesion_id >= "SYN_0000100", "SYN_0000000")
    split = splits.draw(metadata.assign(dx="nv"), study("lesion"), groups=groups)
    assert split.part[groups == "SYN_0000000"].nunique() == 1
    assert not splits.has_sibling(split).any()
    assert (split.lesion_id == metadata.lesion_id).all()


@pytest.mark.parametrize("test_fraction", [0.2, 0.5])
def test_usual_leakage_is_what_chance_says(metadata, test_fraction):
    """Of a class with n images, s outside training: P(no sibling of m - 1 is in training) is hypergeometric."""
    usual = splits.usual_leakage(metadata, test_fraction=test_fraction, seeds=60)
    for dx, images in metadata.groupby("dx"):
        n, s = len(images), round(test_fraction * len(images))
        siblings = images.groupby("lesion_id").image_id.transform("size") - 1
        expected = 1 - hypergeom.sf(siblings - 1, n - 1, s - 1, siblings).mean()
        assert usual["mean"][dx] == pytest.approx(expected, abs=0.04)
    assert ((usual.lowest <= usual["mean"]) & (usual["mean"] <= usual.highest)).all()


def test_counts_add_up(metadata):
    split = splits.draw(metadata, study("lesion"))
    counts = splits.counts(split, metadata)
    assert counts.loc["all", "images"].sum() == len(metadata)
    assert counts.loc["all", "lesions"].sum() == metadata.lesion_id.nunique()


def test_the_way_into_the_parts_loses_no_image_and_counts_what_is_left_out(metadata):
    drawn = splits.draw(metadata, study("image"))
    flow = splits.flow(drawn, pairs=3)
    assert (flow["images"], flow["pairs"]) == (len(metadata), 3)
    assert flow["lesion_ids"] == flow["lesion_groups"] == 280
    assert sum(part["images"] for part in flow["parts"].values()) == len(metadata)
    assert flow["parts"]["test"]["with_sibling"] == splits.leakage(drawn, metadata).with_sibling["all"] > 0
    assert splits.UNUSED not in flow["parts"]
    crossed = splits.flow(splits.draw(metadata, study("lesion", crossover="a")), pairs=0)
    assert crossed["parts"][splits.UNUSED]["images"] > 0
    assert sum(part["images"] for part in crossed["parts"].values()) == len(metadata)


def test_characteristics_of_a_part_are_of_its_images(metadata):
    known = metadata.assign(sex=np.resize(["male", "female", "unknown"], len(metadata)), dx_type="histo")
    known = known.assign(localization="back", age=np.resize([20.0, 40.0, 60.0, np.nan], len(metadata)))
    drawn = splits.draw(known, study("lesion"))
    found = splits.characteristics(drawn, known)
    assert list(found) == [*splits.PARTS, "all"]
    test = known[(drawn.part == "test").to_numpy()]
    assert found.loc[("all", "images"), "test"] == len(test)
    assert found.loc[("age", "median"), "test"] == test.age.median()
    assert found.loc[("age", "unknown"), "test"] == test.age.isna().sum()
    for column in ("sex", "localization", "dx_type", "dataset", "dx"):
        assert found.loc[column]["test"].sum() == len(test), column
        assert (found.loc[column][list(splits.PARTS)].sum(axis=1) == found.loc[column]["all"]).all()
    males = (test.sex == "male").sum()
    assert tables.characteristics(found).loc["sex: male", "test"] == f"{males:,} ({males / len(test):.1%})"


def test_too_few_of_a_class_is_named(metadata):
    few = metadata[(metadata.dx != "df") | (metadata.lesion_id == metadata.lesion_id[metadata.dx == "df"].iloc[0])]
    with pytest.raises(splits.SplitError, match=r"no test part can be drawn by lesion.*fewest: df, 1"):
        splits.draw(few, study("lesion"))


def test_a_split_of_other_data_is_refused(metadata):
    split = splits.draw(metadata, study("lesion"))
    with pytest.raises(splits.SplitError, match="drawn for other data"):
        splits.rows(split, metadata.iloc[1:].reset_index(drop=True), "train")


def test_a_split_by_source_tests_one_source_and_no_lesion_of_it_is_trained_on(metadata):
    sources = ["rosendahl", "vidir_modern", "vienna_dias"]
    table = metadata.assign(dataset=[sources[int(name[-3:]) % 3] for name in metadata.lesion_id])
    several = table.groupby("lesion_id").image_id.transform("size") > 1
    crossing = table.index[several & (table.dataset == sources[1])][:3]
    table.loc[crossing, "dataset"] = sources[0]  # lesions photographed in two places
    for seed in range(4):
        split = splits.draw(table, study("source", seed))
        left = sources[seed % 3]
        assert splits.left_out(table, seed) == left
        assert set(table.dataset[split.part == "test"]) == {left}
        assert (split.part[table.dataset == left] == "test").all()
        assert not splits.has_sibling(split).any()
        assert not set(split.lesion_group[split.part == "train"]) & set(split.lesion_group[split.part == "validation"])
        assert (split.part == splits.UNUSED).any() == (left in sources[:2])


def test_a_source_cannot_be_left_out_of_one(metadata):
    with pytest.raises(splits.SplitError, match="fewer than two"):
        splits.draw(metadata.assign(dataset="unknown"), study("source"))
