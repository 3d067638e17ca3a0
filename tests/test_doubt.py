import numpy as np
import pandas as pd
from conftest import random_predictions

from skinlesion.data.dataset import DX
from skinlesion.scoring import doubt, predictions


def sure(images=210):
    table = random_predictions(images)
    labels = table.dx.map(DX.index).to_numpy()
    table[predictions.COLUMNS] = np.eye(7)[labels] * 0.9 + 0.1 / 7
    return table


def test_a_swapped_label_is_found_with_what_it_should_be():
    table = sure()
    row = table.index[table.dx == "nv"][0]
    table.loc[row, "dx"] = "mel"
    found = doubt.candidates(table)
    assert found.image_id.tolist() == [table.image_id[row]]
    assert found.suggested.tolist() == ["nv"]
    assert 0 <= found.quality[0] < 0.1


def test_no_doubt_is_an_empty_table_and_an_absent_class_no_error():
    table = sure()
    assert doubt.candidates(table).empty
    few = table[table.dx.isin(["nv", "mel"])].copy()
    few.loc[few.index[few.dx == "nv"][0], "dx"] = "mel"
    assert doubt.candidates(few).suggested.tolist() == ["nv"]
    assert doubt.candidates(table[table.dx == "nv"]).empty


def test_candidates_are_counted_by_group():
    cases = pd.DataFrame({"image_id": list("abcd"), "dx_type": ["histo", "histo", "follow_up", "follow_up"]})
    table = doubt.by(pd.DataFrame({"image_id": ["a"]}), cases, "dx_type")
    assert table.loc["histo"].to_dict() == {"images": 2, "candidates": 1, "fraction": 0.5}
    assert table.fraction["follow_up"] == 0


def test_exchanged_labels_are_found_as_often_as_counted_by_hand():
    table = random_predictions(300)
    labels = table.dx.map(list(DX).index).to_numpy()
    sure = 0.94 * np.eye(7)[labels] + 0.06 / 7
    certain = doubt.null(
        table.assign(**dict(zip(predictions.COLUMNS, sure.T, strict=True))), share=0.1, repeats=3, seed=0
    )
    assert certain.flipped.tolist() == [30, 30, 30]
    assert (certain.recall > 0.9).all()  # a network that knows every label doubts an exchanged one
    assert (certain.others < 0.02).all()
    guessing = doubt.null(table, share=0.1, repeats=5, seed=0)
    assert abs(guessing.recall.mean() - guessing.others.mean()) < 0.15  # one that knows nothing cannot tell
