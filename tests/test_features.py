import numpy as np
import pandas as pd
import pytest
import torch

from skinlesion.learning import models
from skinlesion.probing import features


def test_the_head_on_the_features_gives_the_logits():
    model = models.build("mobilenet_v2", weights="none", classes=7, seed=0).eval()
    store = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    rows = np.array([5, 39, 0])
    found = features.penultimate(model, store, rows)
    assert found.shape == (3, 1280)
    again = features.penultimate(model, store, np.arange(40))
    assert np.allclose(again[rows], found, atol=1e-5)
    assert not model.classifier[1]._forward_hooks
    with torch.no_grad():
        assert torch.isfinite(model.classifier[1](torch.from_numpy(found))).all()


def test_a_plane_keeps_two_groups_apart_and_is_a_function_of_the_seed():
    rng = np.random.default_rng(0)
    table = np.concatenate([rng.normal(0, 1, (30, 8)), rng.normal(20, 1, (30, 8))]).astype(np.float32)
    points = features.on_a_plane(table, seed=0)
    assert points.shape == (60, 2)
    centres = points[:30].mean(0), points[30:].mean(0)
    assert np.linalg.norm(centres[0] - centres[1]) > points[:30].std() + points[30:].std()
    assert np.array_equal(points, features.on_a_plane(table, seed=0))
    assert features.on_a_plane(table[:4], seed=0).shape == (4, 2)


def test_images_are_alike_where_their_nearest_has_the_same_value():
    seen = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    assert features.alike(seen, pd.Series(list("aabbc"))) == pytest.approx(0.8)
    assert features.alike(seen, pd.Series(list("ababb"))) == pytest.approx(0.2)  # the last one's nearest is the fourth
