import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_scores

from skinlesion.learning import models
from skinlesion.probing import saliency


@pytest.fixture(scope="module")
def model():
    return models.build("mobilenet_v2", weights="none", classes=7, seed=0).eval()


def test_maps_have_the_images_shape_and_a_scale_of_their_own(model):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found = saliency.maps(model, pixels, np.array([0, 4, 6]))
    assert found.shape == (3, 64, 64)
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_network_that_sees_one_corner_is_said_to_look_there():
    class Corner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 7, 1)
            torch.nn.init.ones_(self.conv.weight)
            torch.nn.init.zeros_(self.conv.bias)

        def forward(self, images):
            return torch.relu(self.conv(images)).mean((2, 3))

    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    pixels[:, :8, :8] = 255
    found = saliency.maps(Corner(), pixels, np.array([2]))
    mask = np.zeros((1, 32, 32), bool)
    mask[:, :8, :8] = True
    assert saliency.inside(found, mask)[0] > 0.95
    assert saliency.inside(found, ~mask)[0] < 0.05


def test_a_map_of_nothing_has_no_share():
    assert np.isnan(saliency.inside(np.zeros((1, 4, 4)), np.ones((1, 4, 4), bool))[0])


def test_hits_and_misses_of_each_class_are_chosen():
    labels, probabilities, _ = random_scores(0, 300)
    rows = saliency.choose(labels, probabilities, most=3, seed=0)
    hit = probabilities.argmax(1) == labels
    for k in range(7):
        for outcome in (True, False):
            available = ((labels == k) & (hit == outcome)).sum()
            assert ((labels[rows] == k) & (hit[rows] == outcome)).sum() == min(3, available)


def test_the_share_on_the_lesion_has_a_row_for_every_class_and_outcome():
    cases = pd.DataFrame({"dx": ["mel", "mel", "nv"], "lesion_group": list("aab")})
    maps = np.ones((3, 4, 4), np.float32)
    masks = np.zeros((3, 4, 4), bool)
    masks[:, :2] = True
    table = saliency.on_lesion(cases, np.array([True, True, False]), maps, masks, draws=20, seed=0)
    rows = table.set_index(["dx", "outcome"])
    assert len(table) == 14
    assert rows.value["mel", "hit"] == rows["area"]["mel", "hit"] == 0.5
    assert rows.images["nv", "miss"] == 1
    assert np.isnan(rows.value["df", "hit"])


def test_similarity_is_a_rank_correlation():
    maps = np.random.default_rng(0).random((2, 5, 5))
    assert saliency.similarity(maps, maps**3) == pytest.approx(1)
    assert saliency.similarity(maps, -maps) == pytest.approx(-1)
    assert np.isnan(saliency.similarity(np.zeros((1, 3, 3)), np.zeros((1, 3, 3))))
