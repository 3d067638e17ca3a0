import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_scores

from skinlesion.data import archives, images
from skinlesion.data.dataset import DX
from skinlesion.learning import augmentation, inference, models
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


@pytest.mark.parametrize("resize", ["squash", "center_crop"])
def test_a_look_is_at_what_the_network_was_trained_on_and_for_what_it_names(tiny, model, opened, tmp_path, resize):
    path = tmp_path / "model.safetensors"
    inference.save(model, path, tiny.model_copy(update={"resize": resize}))
    [picture] = images.read(opened, np.array([3]))
    seen, focus, named = saliency.look(path, picture)
    member = opened.members[opened.metadata.image_id[3]]
    with archives.open_container(member.container) as read:
        expected = images.decode(read(member.name), size=tiny.image_size, resize=resize)
    assert np.abs(seen.astype(int) - expected).mean() < 2  # libjpeg's own scaling is another
    with torch.inference_mode():
        scores = model(augmentation.normalise(augmentation.to_float(torch.from_numpy(seen[None]))))
    assert named == DX[scores.argmax()]
    np.testing.assert_allclose(focus, saliency.maps(model, seen[None], np.array([DX.index(named)]))[0])


def test_a_look_without_the_network_says_so(tmp_path):
    with pytest.raises(inference.InferenceError, match="is not here"):
        saliency.look(tmp_path / "model.safetensors", np.zeros((4, 4, 3), np.uint8))
