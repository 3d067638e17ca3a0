import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from skinlesion import parameters
from skinlesion.learning import perturbation
from skinlesion.learning.engine import Engine
from skinlesion.parameters import Perturbation

NAMES = list(Perturbation.model_fields)


def weights_of(seed=0):
    torch.manual_seed(seed)
    weights = [torch.randn(40, 30, requires_grad=True), torch.randn(40, requires_grad=True)]
    (weights[0].sum(1) * weights[1]).sum().backward()
    return weights


def test_climbing_goes_uphill_by_the_radius_and_comes_back_exactly():
    weights = weights_of()
    start = [weight.detach().clone() for weight in weights]
    before = perturbation.climb(weights, 0.25)
    moved = [weight.detach() - kept for weight, kept in zip(weights, start, strict=True)]
    assert torch.cat([each.flatten() for each in moved]).norm() == pytest.approx(0.25, rel=1e-4)
    for change, weight in zip(moved, weights, strict=True):
        assert functional.cosine_similarity(change.flatten(), weight.grad.flatten(), dim=0) == pytest.approx(
            1, abs=1e-4
        )
    perturbation.restore(weights, before)
    assert all(torch.equal(weight, kept) for weight, kept in zip(weights, start, strict=True))


def test_disturbed_weights_have_noise_of_a_share_of_their_deviation_and_come_back_exactly():
    weights = weights_of()
    start = [weight.detach().clone() for weight in weights]
    before = perturbation.disturb(weights, 0.1)
    change = (weights[0].detach() - start[0]).std() / start[0].std()
    assert change == pytest.approx(0.1, rel=0.1)
    perturbation.restore(weights, before)
    assert all(torch.equal(weight, kept) for weight, kept in zip(weights, start, strict=True))


@pytest.mark.parametrize(("name", "relative"), [("gradient_noise", False), ("adaptive_gradient_noise", True)])
def test_noise_on_gradients_is_of_the_size_that_is_asked_for(name, relative):
    weights = weights_of()
    before = weights[0].grad.clone()
    perturbation.roughen(weights, Perturbation(**{name: 0.5}))
    size = 0.5 * before.std() if relative else 0.5
    assert (weights[0].grad - before).std() == pytest.approx(float(size), rel=0.1)


def test_shrinking_goes_a_share_of_the_way():
    weights, fresh = weights_of(0), weights_of(1)
    start = [weight.detach().clone() for weight in weights]
    perturbation.shrink(weights, fresh, 0.25)
    for weight, kept, other in zip(weights, start, fresh, strict=True):
        assert torch.allclose(weight, 0.75 * kept + 0.25 * other)


@pytest.mark.parametrize("name", NAMES)
def test_perturbed_training_is_a_function_of_the_seed_and_goes_on_as_it_would_have(task, tiny, name):
    """Two epochs at once, and two with the state carried over between them, and another result than without noise."""
    chosen = tiny.model_copy(update={"batch_size": 8, name: 0.1})
    assert perturbation.on(chosen)
    assert not perturbation.on(tiny)

    def make(parameters):
        return Engine(*task, train_rows=np.arange(32), parameters=parameters, device=torch.device("cpu"))

    def train(made, epoch):
        drawn, parts = made.draw(epoch)
        return torch.stack(list(made.run(drawn, parts, epoch=epoch)))

    whole, first, plain = make(chosen), make(chosen), make(tiny.model_copy(update={"batch_size": 8}))
    for epoch in range(2):
        train(whole, epoch), train(plain, epoch)
    train(first, 0)
    second = make(chosen)
    second.load_state(copy.deepcopy(first.state()))
    train(second, 1)
    pairs = zip(whole.model.state_dict().items(), second.model.state_dict().values(), strict=True)
    assert all(torch.equal(value, other) for (_, value), other in pairs)
    assert not torch.equal(whole.model.classifier[1].weight, plain.model.classifier[1].weight)


def test_nothing_of_it_is_in_the_preprints_recipe():
    assert not perturbation.on(parameters.load("paper"))
