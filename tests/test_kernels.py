"""The compiled layers against torch's own in float64."""

import copy

import pytest
import torch
from torch import nn

from skinlesion.learning import distributed, kernels, models

ACTIVATIONS = [nn.Identity, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU]
FILTERS = [(3, 1), (3, 2), (5, 1), (5, 2)]
SHAPES = [(3, 7, 5, 5), (4, 24, 13, 11), (2, 33, 1, 9), (32, 16, 24, 24)]  # odd ones, a narrow one, and many rows
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}

needs_compiler = pytest.mark.skipif(kernels.library(torch.float32) is None, reason="no C compiler with OpenMP")


def batch_norm(channels):
    norm = nn.BatchNorm2d(channels, momentum=0.3, eps=1e-4)
    nn.init.uniform_(norm.weight, -2, 2)
    nn.init.normal_(norm.bias)
    return norm


def depthwise(channels, side, stride):
    return nn.Conv2d(channels, channels, side, stride, side // 2, groups=channels, bias=False)


def train_step(model, images, gradient=None):
    images = images.clone().requires_grad_()
    output = model.train()(images)
    gradient = torch.ones_like(output) if gradient is None else gradient.to(output.dtype)
    output.backward(gradient)
    return [output.detach(), images.grad, *(each.grad for each in model.parameters()), *model.buffers()]


def assert_same(model, images):
    """The suited model and torch's in float64: output, gradients, running statistics."""
    exact = copy.deepcopy(model).double()
    suited = kernels.suit(copy.deepcopy(model))
    assert suited.state_dict().keys() == exact.state_dict().keys()
    gradient = torch.randn(exact(images.double()).shape).to(images.dtype)
    exact.load_state_dict(suited.state_dict())  # running statistics as they were
    for ours, theirs in zip(
        train_step(suited, images, gradient), train_step(exact, images.double(), gradient), strict=True
    ):
        assert torch.allclose(
            ours.double(), theirs.double(), rtol=0, atol=TOLERANCE[images.dtype] * theirs.abs().max() + 1e-12
        )


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_and_activation_are_torchs(shape, activation, dtype):
    torch.manual_seed(0)
    assert_same(nn.Sequential(batch_norm(shape[1]), activation()), (3 * torch.randn(shape) + 20).to(dtype))


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("side", "stride"), FILTERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_depthwise_convolutions_are_torchs(shape, side, stride, dtype):
    torch.manual_seed(0)
    assert_same(nn.Sequential(depthwise(shape[1], side, stride)), torch.randn(shape).to(dtype))


@needs_compiler
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("side", "stride"), FILTERS)
def test_a_batch_norm_that_is_deferred_to_a_convolution_is_torchs(side, stride, activation):
    torch.manual_seed(0)
    first = nn.Sequential(batch_norm(24), activation())
    model = nn.Sequential(first, nn.Sequential(depthwise(24, side, stride), batch_norm(24), activation()))
    suited = kernels.suit(copy.deepcopy(model))
    assert suited[1][0].norm is suited[0][0]
    assert copy.deepcopy(suited)[1][0].norm is not suited[0][0]  # a copy is a network of its own
    assert_same(model, 2 * torch.randn(4, 24, 11, 9) + 1)


@needs_compiler
def test_no_gradient_passes_where_relu6_is_flat():
    """At 0 and at 6 exactly, as torch has it, and at what is no number."""
    model = kernels.suit(nn.Sequential(nn.BatchNorm2d(1, eps=0), nn.ReLU6()))
    images = torch.tensor([-2.0, -1, 1, 2, *[0] * 6]).view(10, 1, 1, 1)  # mean 0, deviation 1
    with torch.no_grad():
        model[0].weight.fill_(3)
    output, _, weight, bias, *_ = train_step(model, images)
    assert output.flatten().tolist() == [0, 0, 3, 6, *[0] * 6]
    assert (weight.item(), bias.item()) == (1, 1)  # of the third image alone
    assert train_step(model, images.where(images < 2, torch.tensor(float("nan"))))[0].isnan().all()


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(dtype):
    torch.manual_seed(0)
    first = nn.Sequential(batch_norm(40), nn.SiLU())
    model = kernels.suit(nn.Sequential(first, nn.Sequential(depthwise(40, 3, 2), batch_norm(40), nn.ReLU6())))
    images, before, outcomes = torch.randn(5, 40, 31, 30).to(dtype), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            outcomes.append(train_step(copy.deepcopy(model), images))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in outcomes[1:] for a, b in zip(outcomes[0], other, strict=True))


@needs_compiler
def test_a_mean_far_from_zero_costs_no_digits():
    images = 1000 + torch.randn(8, 32, 20, 20)
    norm = kernels.suit(nn.Sequential(nn.BatchNorm2d(32, momentum=1.0)))
    norm.train()(images)
    assert torch.allclose(norm[0].running_var.double(), images.double().var(dim=(0, 2, 3)), rtol=1e-4)


def test_a_single_pixel_is_refused_as_torch_refuses_it():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        kernels.suit(nn.Sequential(nn.BatchNorm2d(4))).train()(torch.rand(1, 4, 1, 1))


def test_without_a_compiler_the_layers_are_torchs_and_the_manifest_says_so(monkeypatch):
    monkeypatch.setattr(kernels, "library", lambda dtype: None)
    assert kernels.describe(torch.float32) == "torch"
    torch.manual_seed(0)
    first = nn.Sequential(batch_norm(8), nn.ReLU6())
    model = nn.Sequential(first, nn.Sequential(depthwise(8, 3, 2)))
    assert_same(model, torch.randn(3, 8, 6, 6))
    plain, suited = (each.to(memory_format=torch.channels_last) for each in (copy.deepcopy(model), kernels.suit(model)))
    images = torch.rand(2, 8, 10, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # a strided one is computed in float32 there
        wanted, found = plain(images), suited(images)
    assert found.dtype == wanted.dtype == torch.bfloat16
    assert torch.allclose(found.float(), wanted.float(), atol=0.02)


@pytest.mark.parametrize("command", ["false", "no-such-compiler", "gcc '"])
def test_a_compiler_that_fails_or_is_no_command_is_none(monkeypatch, command):
    monkeypatch.setenv("CC", command)
    kernels.library.cache_clear()
    try:
        assert kernels.library(torch.float32) is None
    finally:
        kernels.library.cache_clear()


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "resnet18"])
def test_a_whole_network_is_suited_and_folded(backbone):
    plain = models.build(backbone, weights="none", classes=7, seed=0)
    suited = kernels.suit(copy.deepcopy(plain))
    kinds = {type(module) for module in suited.modules()}
    assert nn.BatchNorm2d not in kinds
    assert (kernels.DepthwiseConv2d in kinds) == (backbone != "resnet18")
    torch.manual_seed(0)
    images = torch.rand(4, 3, 64, 64)
    suited.train()(images)
    plain.load_state_dict(suited.state_dict())
    with torch.no_grad():
        wanted = plain.eval()(images)
        assert torch.allclose(suited.eval()(images), wanted, atol=1e-5)
        assert torch.allclose(kernels.fold(suited)(images), wanted, atol=1e-4 * wanted.abs().max())
    batch_norms = sum(isinstance(module, nn.BatchNorm2d) for module in kernels.fold(suited).modules())
    assert batch_norms == (0 if backbone != "resnet18" else 17)  # resnet's blocks are no sequences, but its shortcuts


def test_batch_norm_over_several_processes_is_left_alone():
    model = kernels.suit(distributed.share_statistics(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())))
    assert isinstance(model[0], distributed.SharedBatchNorm2d)
