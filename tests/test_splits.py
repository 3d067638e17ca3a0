import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinlesion import parameters, splits


def study(by, seed=0, train=0.6, validation=0.2):
    fractions = {"train_fraction": train, "validation_fraction": validation, "test_fraction": 1 - train - validation}
    return parameters.load("demo", {"split_by": by, "seed": seed, **fractions})


@pytest.fixture(scope="module")
def metadata():
    """280 lesions with one to four images, seven classes."""
    rows = [
        (f"SYN_{lesion:07d}", f"SYN_{lesion * 4 + image:07d}", parameters_dx(lesion))
        for lesion in range(280)
        for image in range(1 + lesion % 4)
    ]
    return pd.DataFrame(rows, columns=["lesion_id", "image_id", "dx"])


def parameters_dx(lesion):
    return splits.DX[lesion % 7]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    train=st.floats(0.4, 0.7),
    validation=st.floats(0.1, 0.2),
)
def test_a_lesion_split_never_shares_a_lesion(metadata, seed, train, validation):
    split = splits.draw(metadata, study("lesion", seed, train, validation))
    assert (split.groupby("lesion_id").part.nunique() == 1).all()
    assert set(split.part) == set(splits.PARTS)
    assert list(split.image_id) == list(metadata.image_id)


@pytest.mark.parametrize("by", ["image", "lesion"])
def test_a_split_is_stratified_and_of_the_size_asked_for(metadata, by):
    split = splits.draw(metadata, study(by))
    share = split.groupby(metadata.dx).part.value_counts(normalize=True).unstack()
    assert (share.train - 0.6).abs().max() < 0.08
    assert (share.test - 0.2).abs().max() < 0.08


@pytest.mark.parametrize("by", ["image", "lesion"])
def test_a_split_is_a_function_of_the_seed(metadata, by):
    first = splits.draw(metadata, study(by, 3))
    assert first.equals(splits.draw(metadata, study(by, 3)))
    assert not first.equals(splits.draw(metadata, study(by, 4)))


def test_leakage_is_counted_by_hand():
    rows = [
        ("L1", "I1", "train"),
        ("L1", "I2", "test"),
        ("L2", "I3", "test"),
        ("L3", "I4", "validation"),
        ("L3", "I5", "test"),
    ]
    split = pd.DataFrame(rows, columns=["lesion_id", "image_id", "part"])
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


def test_counts_add_up(metadata):
    split = splits.draw(metadata, study("lesion"))
    counts = splits.counts(split, metadata)
    assert counts.loc["all", "images"].sum() == len(metadata)
    assert counts.loc["all", "lesions"].sum() == metadata.lesion_id.nunique()


def test_too_few_of_a_class_is_named(metadata):
    few = metadata[(metadata.dx != "df") | (metadata.lesion_id == metadata.lesion_id[metadata.dx == "df"].iloc[0])]
    with pytest.raises(splits.SplitError, match=r"no test part can be drawn by lesion.*fewest: df, 1"):
        splits.draw(few, study("lesion"))


def test_a_split_of_other_data_is_refused(metadata):
    split = splits.draw(metadata, study("lesion"))
    with pytest.raises(splits.SplitError, match="drawn for other data"):
        splits.rows(split, metadata.iloc[1:].reset_index(drop=True), "train")
