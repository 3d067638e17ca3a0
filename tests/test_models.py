import pytest
import torch
import torchvision

from skinlesion.learning import models
from skinlesion.learning.models import WeightsError


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet18", "mobilenet_v3_small"])
def test_a_backbone_from_a_file_keeps_its_features_and_gets_a_new_head(backbone, tmp_path):
    original = torchvision.models.get_model(backbone, weights=None)
    path = tmp_path / "weights.pth"
    torch.save(original.state_dict(), path)
    model = models.build(backbone, weights=str(path), classes=7, seed=0)
    first = next(iter(original.state_dict()))
    assert torch.equal(model.state_dict()[first], original.state_dict()[first])
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("backbone", ["inception_v3", "googlenet"])
def test_every_head_is_replaced_and_a_file_is_read_as_torchvisions_own_weights_are(backbone, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.get_model(backbone, weights=None, init_weights=False).state_dict(), path)
    model = models.build(backbone, weights=str(path), classes=7, seed=0)
    assert model.transform_input
    outputs = [head.out_features for head in model.modules() if isinstance(head, torch.nn.Linear)]
    assert {7} <= set(outputs) <= {7, 1024}
    assert outputs.count(7) == {"inception_v3": 2, "googlenet": 3}[backbone]


def test_the_seed_alone_decides_what_is_random():
    torch.manual_seed(1)
    first = models.build("mobilenet_v2", weights="none", classes=7, seed=5)
    torch.manual_seed(2)
    drawn = torch.rand(1)
    torch.manual_seed(2)
    second = models.build("mobilenet_v2", weights="none", classes=7, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(torch.rand(1), drawn)  # and the caller's generator is left alone


@pytest.mark.parametrize(
    ("backbone", "weights", "message"),
    [
        ("mobilenet_v9", "none", "torchvision has no classifier called 'mobilenet_v9'"),
        ("mobilenet_v2", "IMAGENET", "has no weights 'IMAGENET' for mobilenet_v2; it has IMAGENET1K_V1"),
        ("mobilenet_v2", "nowhere/weights.pth", r"does not exist\. Give the path of a state_dict"),
    ],
)
def test_what_cannot_be_had_is_named(backbone, weights, message):
    with pytest.raises(WeightsError, match=message):
        models.build(backbone, weights=weights, classes=7, seed=0)


def test_weights_of_another_network_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with pytest.raises(WeightsError, match="is no state_dict of torchvision's mobilenet_v2"):
        models.build("mobilenet_v2", weights=str(path), classes=7, seed=0)
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="is no state_dict"):
        models.build("mobilenet_v2", weights=str(path), classes=7, seed=0)


def test_a_file_that_is_not_torchvisions_is_called_a_stand_in(tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"something")
    assert models.describe_weights("mobilenet_v2", str(path)).startswith("stand-in weights from mine.pth")
    assert models.describe_weights("mobilenet_v2", "none") == "random weights (trained from scratch)"
    assert "IMAGENET1K_V1" in models.describe_weights("mobilenet_v2", "IMAGENET1K_V1")
