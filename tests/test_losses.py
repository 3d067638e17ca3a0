import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from skinlesion.learning import losses


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(50, 7, generator=generator), torch.arange(50) % 7


def test_the_default_is_cross_entropy(scores):
    assert torch.allclose(losses.per_image(*scores).mean(), functional.cross_entropy(*scores))


def test_label_smoothing_is_torchs(scores):
    wanted = functional.cross_entropy(*scores, label_smoothing=0.1)
    assert torch.allclose(losses.per_image(*scores, label_smoothing=0.1).mean(), wanted)


def test_class_weights_are_scikit_learns_and_leave_the_scale():
    labels = np.repeat(np.arange(7), [3, 5, 11, 1, 11, 669, 14])
    weights = losses.class_weights(labels, 7)
    wanted = compute_class_weight("balanced", classes=np.arange(7), y=labels)
    assert torch.allclose(weights.double(), torch.from_numpy(wanted), rtol=1e-5)
    assert weights[torch.from_numpy(labels)].mean() == pytest.approx(1, abs=1e-5)
    assert losses.class_weights(np.array([0, 0, 2]), 3).tolist() == [0.75, 0.0, 1.5]


def test_each_image_is_weighted_by_its_class(scores):
    weights = torch.arange(7.0)
    assert torch.allclose(
        losses.per_image(*scores, weights=weights), losses.per_image(*scores) * weights[scores[1]], atol=1e-6
    )


def test_focal_loss_agrees_with_torchvisions_where_there_are_two_classes():
    generator = torch.Generator().manual_seed(0)
    margin = 2 * torch.randn(40, generator=generator)
    labels = torch.arange(40) % 2
    wanted = sigmoid_focal_loss(margin, labels.float(), alpha=-1, gamma=2.0)
    given = losses.per_image(torch.stack([torch.zeros(40), margin], dim=1), labels, focal_gamma=2.0)
    assert torch.allclose(given, wanted, atol=1e-6)


def test_a_sure_and_right_image_has_no_focal_loss_and_a_finite_gradient():
    logits = torch.tensor([[60.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = losses.per_image(logits, torch.zeros(2, dtype=torch.int64), focal_gamma=2.0)
    loss.sum().backward()
    assert loss[0] == 0
    assert torch.isfinite(logits.grad).all()
