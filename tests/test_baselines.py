import numpy as np
import pandas as pd
import pytest

from skinlesion import files, runs
from skinlesion.data import dataset, splits
from skinlesion.data.dataset import DX
from skinlesion.probing import baselines, features
from skinlesion.scoring.predictions import COLUMNS

LARGEST, METADATA, FROZEN = baselines.FITS


@pytest.fixture
def run(tiny):
    return runs.Run(tiny)


@pytest.fixture
def split(run):
    return splits.draw(dataset.open_metadata(run.parameters), run.parameters)


def test_every_baseline_answers_for_every_test_image_and_the_constant_one_with_the_shares_of_training(run, split):
    told, absent = baselines.tell(run, split)
    assert absent == []
    test = split.image_id[split.part == "test"]
    for _, rows in told.groupby("baseline"):
        assert rows.image_id.tolist() == test.tolist()
        assert np.allclose(rows[COLUMNS].sum(axis=1), 1, atol=1e-4)
    assert list(told.baseline.unique()) == list(baselines.FITS)
    dx = dataset.open_metadata(run.parameters).dx
    shares = dx[splits.rows(split, dataset.open_metadata(run.parameters), "train")].value_counts(normalize=True)
    constant = told[told.baseline == LARGEST][COLUMNS].drop_duplicates()
    assert np.allclose(constant.to_numpy(), shares.reindex(list(DX), fill_value=0).to_numpy(), atol=1e-5)
    assert baselines.tell(run, split)[0].equals(told)


def test_the_test_parts_diagnoses_change_no_answer(run, split, monkeypatch):
    told, _ = baselines.tell(run, split)
    read = dataset.open_metadata

    def other(chosen):
        metadata = read(chosen)
        at = (split.part == "test").to_numpy()
        return metadata.assign(dx=metadata.dx.where(~at, metadata.dx[at].sample(frac=1, random_state=0).to_numpy()[0]))

    monkeypatch.setattr(dataset, "open_metadata", other)
    assert baselines.tell(run, split)[0].equals(told)


def test_metadata_that_tell_the_diagnosis_are_learnt_and_what_is_not_known_is_no_fault(run, split, monkeypatch):
    read = dataset.open_metadata
    monkeypatch.setattr(
        dataset, "open_metadata", lambda chosen: (table := read(chosen)).assign(localization=table.dx, age=np.nan)
    )
    test = read(run.parameters).dx[split.part == "test"]
    found = baselines.FITS[METADATA](run, split)
    assert (np.array(DX)[found.argmax(1)] == test).mean() > 0.9


def test_features_are_computed_once_and_another_network_has_its_own(run, monkeypatch):
    first = features.of_starting_weights(run)
    assert first.shape == (len(dataset.open_metadata(run.parameters)), 1280)
    monkeypatch.setattr(features, "penultimate", lambda *given: pytest.fail("computed twice"))
    assert np.array_equal(features.of_starting_weights(run), first)
    with pytest.raises(pytest.fail.Exception, match="computed twice"):
        features.of_starting_weights(runs.Run(run.parameters.model_copy(update={"seed": 1})))


def test_where_data_is_not_at_hand_what_the_run_has_is_shown(run, split, tmp_path):
    told, _ = baselines.tell(run, split)
    gone = runs.Run(run.parameters.model_copy(update={"data": str(tmp_path / "gone"), "synthetic_lesions": None}))
    nothing, absent = baselines.tell(gone, split)
    assert nothing is None
    assert len(absent) == len(baselines.FITS)
    files.write_csv(run.folder / "baselines.csv", told)
    kept, absent = baselines.tell(gone, split)
    pd.testing.assert_frame_equal(kept, told)
    assert all("Not fitted here" in sentence for sentence in absent)
