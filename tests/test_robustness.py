import numpy as np
import pytest
import torch

from skinlesion.probing import robustness


class Brightness(torch.nn.Module):
    """Calls an image akiec if it is dark and bcc if it is bright."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, images):
        level = images.mean((1, 2, 3)) * self.scale
        return torch.stack([-level, level, *[torch.full_like(level, -100.0)] * 5], dim=1)


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", robustness.CORRUPTIONS)
def test_each_corruption_grows_with_its_severity_and_keeps_the_kind(images, name):
    smooth = images // 4 + 96
    smooth[:, :, 16:48, 16:48] = 40
    changes = []
    for severity in robustness.SEVERITIES:
        done = robustness.CORRUPTIONS[name](smooth, severity)
        assert done.shape == smooth.shape
        assert done.dtype == torch.uint8
        assert torch.equal(done, robustness.CORRUPTIONS[name](smooth, severity))
        changes.append(float((done.float() - smooth.float()).abs().mean()))
    assert changes[0] > 0
    assert changes == sorted(changes) or name == "rotation"  # a square is itself again after a quarter turn


def test_curves_begin_with_the_untouched_images():
    pixels = np.full((4, 16, 16, 3), 200, np.uint8)
    pixels[:2] = 90
    labels = np.array([0, 0, 1, 1])
    table = robustness.curves(Brightness(), pixels, labels)
    assert len(table) == len(robustness.CORRUPTIONS) * 5
    assert (table[table.severity == 0].accuracy == 1).all()
    darker = table[table.corruption == "darkness"].set_index("severity").accuracy
    assert darker[4] == 0.5  # all are called dark


def test_removed_parts_get_the_colour_of_the_skin():
    pixels = np.full((2, 50, 50, 3), 220, np.uint8)  # bright skin
    pixels[:, 10:40, 10:40] = 0  # a lesion so dark that it decides
    masks = np.zeros((2, 50, 50), bool)
    masks[:, 10:40, 10:40] = True
    table = robustness.without_parts(Brightness(), pixels, np.array([1, 1]), masks)
    assert list(table.index) == ["untouched", "lesion removed", "background removed"]
    assert table.accuracy["lesion removed"] == 1
    assert table.loss["lesion removed"] < table.loss["untouched"]


def test_a_lesion_that_fills_the_frame_is_no_error():
    pixels = np.full((1, 20, 20, 3), 10, np.uint8)
    table = robustness.without_parts(Brightness(), pixels, np.array([0]), np.ones((1, 20, 20), bool))
    assert (table.accuracy == 1).all()
