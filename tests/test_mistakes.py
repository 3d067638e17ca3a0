import numpy as np
import pandas as pd
import pytest

from skinlesion import parameters
from skinlesion.data import mistakes, splits
from skinlesion.parameters import ParametersError


@pytest.fixture(scope="module")
def metadata():
    """700 lesions of one to three images; seven diagnoses, of which the rarest has a tenth of the largest."""
    rng = np.random.default_rng(0)
    shares = np.array([6, 6, 10, 4, 10, 40, 4]) / 80
    rows = [
        (f"HAM_{lesion:07d}", f"ISIC_{3 * lesion + image:07d}", splits.DX[kind])
        for lesion, kind in enumerate(rng.choice(7, 700, p=shares))
        for image in range(1 + lesion % 3)
    ]
    return pd.DataFrame(rows, columns=["lesion_id", "image_id", "dx"])


def study(mistake=None, seed=0, **more):
    chosen = {"split_by": "lesion", "vault_fraction": 0.15, "mistake": mistake, "seed": seed, **more}
    return parameters.load("quick", chosen)


def shared(split, column, one, other):
    """The share of the images of `one` whose lesion group, or original, is in `other`."""
    values = mistakes.original(split.image_id) if column == "original" else split[column]
    return values[split.part == one].isin(values[split.part == other]).mean()


@pytest.mark.parametrize("mistake", [None, *mistakes.MISTAKES])
def test_the_vault_is_the_same_lesions_whatever_seed_and_mistake(metadata, mistake):
    clean = splits.draw(metadata, study())
    vault = clean[clean.part == splits.VAULT]
    assert 0.12 < len(vault) / len(metadata) < 0.18
    for seed in (0, 1):
        split = splits.draw(metadata, study(mistake, seed))
        assert set(split.image_id[split.part == splits.VAULT]) == set(vault.image_id)
        assert not set(split.lesion_group[split.part != splits.VAULT]) & set(vault.lesion_group)
        assert set(split.part) == {*splits.PARTS, splits.VAULT}
        assert not split.image_id.duplicated().any()
        assert not splits.draw(metadata, study(mistake, seed)).compare(split).size


def test_without_a_mistake_no_lesion_is_in_two_parts(metadata):
    assert (splits.draw(metadata, study()).groupby("lesion_group").part.nunique() == 1).all()


def test_a_test_part_drawn_by_image_leaks_into_the_test_and_not_into_the_validation(metadata):
    split = splits.draw(metadata, study("test_by_image"))
    assert shared(split, "lesion_group", "test", "train") > 0.4
    for part in ("validation", "calibration"):
        assert shared(split, "lesion_group", part, "train") == 0


def test_parts_drawn_by_image_all_leak(metadata):
    split = splits.draw(metadata, study("by_image"))
    for part in ("validation", "calibration", "test"):
        assert shared(split, "lesion_group", part, "train") > 0.4
        assert shared(split, "original", part, "train") == 0


@pytest.mark.parametrize("mistake", mistakes.COPIED)
def test_copies_make_every_diagnosis_as_frequent_and_lie_on_both_sides(metadata, mistake):
    split = splits.draw(metadata, study(mistake))
    counts = splits.counts(split, metadata)["images"].drop(columns=splits.VAULT).drop("all")
    assert counts.sum(axis=1).nunique() == 1
    assert (counts.test - counts.test.mean()).abs().max() <= 1
    rare = splits.draw(metadata, study(mistake)).query("part == 'test'")
    rare = rare[mistakes.original(rare.image_id).isin(metadata.image_id[metadata.dx == "df"])]
    trained = mistakes.original(split.image_id[split.part == "train"])
    assert mistakes.original(rare.image_id).isin(trained).mean() > 0.95
    # Images that are no copies have their natural frequencies.
    plain = split[(split.part == "test") & split.image_id.isin(metadata.image_id)].merge(metadata[["image_id", "dx"]])
    share = plain.dx.value_counts(normalize=True) - metadata.dx.value_counts(normalize=True)
    assert share.abs().max() < 0.08


def test_a_copy_is_found_by_its_original(metadata):
    split = splits.draw(metadata, study("oversampled"))
    rows = mistakes.rows(split, metadata)
    assert (rows[: len(metadata)] == np.arange(len(metadata))).all()
    assert (metadata.lesion_id.to_numpy()[rows] == split.lesion_id).all()
    assert mistakes.rows(split.assign(image_id="ISIC_9999999+1").head(1), metadata) == [-1]


def test_only_all_together_selects_on_the_test_part():
    chosen = {mistake: mistakes.selecting(study(mistake).mistake) for mistake in (None, *mistakes.MISTAKES)}
    assert [mistake for mistake, part in chosen.items() if part == "test"] == ["all"]


@pytest.mark.parametrize(
    "values",
    [{"vault_fraction": 0.0}, {"split_by": "image"}, {"folds": 5}, {"crossover": "a"}, {"split_by": "source"}],
)
def test_a_mistake_without_a_vault_drawn_by_lesion_is_refused(values):
    with pytest.raises(ParametersError, match="vault_fraction"):
        study("by_image", **values)


def test_no_study_but_those_of_the_road_makes_a_mistake():
    tables = {study.table for name, study in parameters.studies.everything().items() if parameters.load(name).mistake}
    assert tables == {"road"}
