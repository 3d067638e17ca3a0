import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions

from skinlesion.data import dataset
from skinlesion.learning import inference, models
from skinlesion.scoring import predictions
from skinlesion.scoring.predictions import PredictionsError


def test_every_validation_and_test_image_gets_seven_probabilities(opened, tmp_path):
    store = np.random.default_rng(0).integers(0, 256, (len(opened.metadata), 32, 32, 3), dtype=np.uint8)
    split = opened.metadata[["image_id", "lesion_id"]].copy()
    split["lesion_group"] = split.lesion_id
    split["part"] = np.array(["train", "validation", "test"])[np.arange(len(split)) % 3]
    model = models.build("mobilenet_v2", weights="none", classes=7, seed=0).eval()
    table = inference.predict_parts(model, store, metadata=opened.metadata, split=split)
    expected = split[split.part != "train"].reset_index(drop=True)
    assert table[["image_id", "lesion_id", "lesion_group", "part"]].equals(expected)
    assert list(table.dx) == list(opened.metadata.dx[split.part != "train"])
    assert predictions.check(table) is table
    alone = inference.predict_parts(model, store, metadata=opened.metadata, split=split, parts=("test",))
    test = table[table.part == "test"]
    assert np.allclose(test[predictions.COLUMNS], alone[predictions.COLUMNS], atol=1e-5)


def test_a_part_keeps_its_rows_together():
    table = random_predictions()
    table["lesion_group"] = table.lesion_id.str.replace("SYN_000001", "SYN_000000")
    labels, probabilities, groups = predictions.part(table, "test")
    rows = table[table.part == "test"]
    assert [dataset.DX[k] for k in labels] == list(rows.dx)
    assert (probabilities == rows[predictions.COLUMNS].to_numpy()).all()
    assert list(groups) == list(rows.lesion_group)


def set_probability(table, value):
    table.loc[3, "p_mel"] = value


def drop_columns(table):
    del table["p_nv"], table["lesion_group"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.__setitem__("image_id", "SYN_0000000"), "line 3: image SYN_0000000 occurs twice"),
        (lambda t: t.__setitem__("dx", "x"), "line 2: image SYN_0000000 has an unknown diagnosis"),
        (lambda t: set_probability(t, 1.5), "line 5: image SYN_0000003 has a probability that is not between"),
        (lambda t: set_probability(t, np.nan), "line 5: image SYN_0000003 has a probability that is not between"),
        (lambda t: set_probability(t, 0.999), "line 5: image SYN_0000003 has probabilities that do not sum to one"),
        (drop_columns, r"lack the column\(s\) lesion_group, p_nv"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_with_its_line(damage, message):
    table = random_predictions()
    damage(table)
    with pytest.raises(PredictionsError, match=message):
        predictions.check(table)


def test_a_part_without_an_image_is_refused():
    table = pd.DataFrame(random_predictions().query("part == 'test'"))
    with pytest.raises(PredictionsError, match="have no validation image"):
        predictions.part(table, "validation")


@pytest.mark.parametrize("damage", ["cut", "other images", "no such array", "not an archive"])
def test_what_was_said_after_the_epochs_is_whole_or_refused_by_name(tmp_path, damage):
    path = tmp_path / "epochs.npz"
    said = np.random.default_rng(0).dirichlet(np.ones(7), (3, 50)).astype(np.float16)
    np.savez_compressed(path, **{"other" if damage == "no such array" else "probabilities": said})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-700])
    if damage == "not an archive":
        path.write_bytes(b"nothing")
    with pytest.raises(PredictionsError, match=r"epochs\.npz cannot be used \(.+\): delete it"):
        predictions.after_epochs(path, images=49 if damage == "other images" else 50)


def test_what_was_said_after_the_epochs_is_read(tmp_path):
    said = np.random.default_rng(0).dirichlet(np.ones(7), (3, 50)).astype(np.float16)
    np.savez_compressed(tmp_path / "epochs.npz", probabilities=said)
    np.testing.assert_array_equal(predictions.after_epochs(tmp_path / "epochs.npz", images=50), said)
