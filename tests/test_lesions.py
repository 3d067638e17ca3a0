import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions, random_scores
from sklearn import metrics

from skinlesion.data.dataset import DX
from skinlesion.scoring import lesions, predictions


def test_a_vote_is_the_mean_of_a_lesions_probabilities():
    labels, probabilities, groups = random_scores(0, 60)
    by_hand = pd.DataFrame(probabilities).groupby(groups).mean()
    voted, mean, ids = lesions.votes(labels, probabilities, groups)
    assert ids.tolist() == by_hand.index.tolist()
    np.testing.assert_allclose(mean, by_hand)
    assert voted.tolist() == [labels[groups == lesion][0] for lesion in ids]


def test_the_estimands_count_images_lesions_and_lesions_with_one_image_in_any_part():
    table = random_predictions(200)
    table.loc[1, "lesion_group"] = "alone"
    trained = pd.DataFrame({"image_id": ["x"], "lesion_group": [table.lesion_group[3]], "part": "train"})
    split = pd.concat([table[list(trained)], trained])
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
