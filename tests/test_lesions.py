import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions
from sklearn import metrics

from skinlesion.data.dataset import DX
from skinlesion.scoring import lesions, predictions


def test_a_vote_is_the_mean_of_a_lesions_probabilities():
    table = random_predictions(60)
    by_hand = table.groupby(["lesion_group", "part"])[predictions.COLUMNS].mean()
    voted = lesions.votes(table).set_index(["lesion_group", "part"])
    pd.testing.assert_frame_equal(voted[predictions.COLUMNS].sort_index(), by_hand)
    first = table.drop_duplicates(["lesion_group", "part"]).set_index(["lesion_group", "part"])
    assert voted.dx.equals(first.dx)


def test_the_estimands_count_images_lesions_and_lesions_with_one_image_in_any_part():
    table = random_predictions(200)
    table.loc[1, "lesion_group"] = "alone"
    trained = pd.DataFrame({"image_id": ["x"], "lesion_group": [table.lesion_group[3]], "part": "train"})
    split = pd.concat([table[["image_id", "lesion_group", "part"]], trained])
    found = lesions.estimands(table, split, draws=30, seed=0)
    test = table[table.part == "test"]
    once = test[test.lesion_group.map(split.lesion_group.value_counts()) == 1]
    assert table.image_id[1] in set(once.image_id)
    assert table.image_id[3] not in set(once.image_id)
    votes = test.groupby("lesion_group")[predictions.COLUMNS].mean()
    truth = test.groupby("lesion_group").dx.first()
    expected = {
        "one vote a lesion": (truth, votes),
        "lesions with one image": (once.dx, once[predictions.COLUMNS]),
    }
    assert list(found) == list(expected)
    for name, (dx, p) in expected.items():
        right = metrics.accuracy_score(dx, np.array(DX)[p.to_numpy().argmax(1)])
        assert found[name]["headline"].value.accuracy == pytest.approx(right), name
        assert found[name]["images"] == len(dx)
