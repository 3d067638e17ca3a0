import copy

import numpy as np
import pytest
import torch
import torchvision

from skinlesion.learning import augmentation, batches, engine, models
from skinlesion.learning.engine import Engine, TrainingError

CPU = torch.device("cpu")
TRAIN = np.arange(56)


def make(task, parameters, **update):
    chosen = parameters.model_copy(update={"batch_size": 8, **update})
    return Engine(*task, train_rows=TRAIN, parameters=chosen, device=CPU)


def train_epoch(made, epoch=0):
    drawn, parts = made.draw(epoch)
    return torch.stack(list(made.run(drawn, parts, epoch=epoch)))


def test_one_step_is_the_step_of_a_plain_loop(task, tiny):
    """The reference is torch alone: its layers, its loss, its optimiser. Its channels come first, since its batch norm
    for channels last is ten times less exact (both compared with float64)."""
    made = make(task, tiny, precision="float32")
    drawn, parts = made.draw(0)
    plain = torchvision.models.mobilenet_v2(num_classes=7)
    plain.load_state_dict(made.model.state_dict())
    plain.train()
    optimiser = torch.optim.Adam(plain.parameters(), lr=tiny.learning_rate)
    part, steps = parts[0], made.run(drawn, parts, epoch=0)
    outcome = next(steps)
    pixels = torch.from_numpy(task[0][drawn.rows[part].numpy()])
    views = augmentation.augment(augmentation.to_float(pixels), drawn.uniform[part], tiny)
    torch.manual_seed(engine._seed(tiny.seed, 0, 0))
    loss = torch.nn.functional.cross_entropy(
        plain(augmentation.normalise(views).contiguous()), torch.from_numpy(task[1])[drawn.rows[part]]
    )
    loss.backward()
    optimiser.step()
    assert float(outcome[0]) == pytest.approx(loss.item(), rel=1e-5)
    # The weights themselves would say less: Adam's first step has the size of the rate whatever the gradient.
    moments = [
        torch.cat(
            [torch.cat([state["exp_avg"].flatten(), state["exp_avg_sq"].flatten()]) for state in each.state.values()]
        )
        for each in (made.optimiser, optimiser)
    ]
    assert (moments[0] - moments[1]).norm() < 1e-3 * moments[1].norm()
    moved = [next(each.parameters()).detach() for each in (made.model, plain)]
    assert torch.allclose(*moved, atol=2 * tiny.learning_rate)
    for buffer, other in zip(made.model.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(buffer.float(), other.float(), rtol=1e-3, atol=1e-4)


def test_what_is_taught_is_the_mean_of_what_the_teachers_say_of_the_same_views(task, tiny):
    teachers = [models.build("mobilenet_v2", weights="none", classes=7, seed=seed).eval() for seed in (1, 2)]
    chosen = tiny.model_copy(update={"batch_size": 8, "precision": "float32", "teachers": "demo", "taught": 0.25})
    taught = Engine(*task, train_rows=TRAIN, parameters=chosen, device=CPU, teachers=teachers)
    before = copy.deepcopy(taught.model).train()
    drawn, parts = taught.draw(0)
    outcome = next(taught.run(drawn, parts, epoch=0))
    part = parts[0]
    pixels = torch.from_numpy(task[0][drawn.rows[part].numpy()])
    views = augmentation.normalise(augmentation.augment(augmentation.to_float(pixels), drawn.uniform[part], chosen))
    with torch.no_grad():
        said = sum(torch.softmax(teacher(views), dim=1) for teacher in teachers) / 2
        torch.manual_seed(engine._seed(tiny.seed, 0, 0))
        logits = before(views)
    own = torch.nn.functional.cross_entropy(logits, torch.from_numpy(task[1])[drawn.rows[part]])
    theirs = -(said * torch.log_softmax(logits, dim=1)).sum(1).mean()
    assert float(outcome[0]) == pytest.approx(float(0.75 * own + 0.25 * theirs), rel=1e-4)


@pytest.mark.parametrize(
    ("backbone", "times"),
    [("mobilenet_v3_large", 1), ("efficientnet_b0", 1), ("resnet18", 1), ("inception_v3", 3), ("inception_v3", 10)],
)
def test_other_backbones_train(task, tiny, backbone, times):
    store, labels = task
    store = store.repeat(times, axis=1).repeat(times, axis=2)
    made = make((store, labels), tiny, backbone=backbone, image_size=32 * times)
    if backbone == "inception_v3":  # its second head needs 299 pixels
        assert (made.model.AuxLogits is None) == (times == 3)
    drawn, parts = made.draw(0)
    outcome = torch.stack(list(made.run(drawn, parts[:2], epoch=0)))
    assert torch.isfinite(outcome).all()
    assert engine.logits(made.model, made.source, np.arange(4)).shape == (4, 7)


def test_averaged_weights_are_the_exponential_average(task, tiny):
    made = make(task, tiny, ema_decay=0.75)
    wanted = made.model.classifier[1].weight.detach().clone()
    drawn, parts = made.draw(0)
    for _ in made.run(drawn, parts, epoch=0):
        wanted = 0.75 * wanted + 0.25 * made.model.classifier[1].weight.detach()
    assert torch.allclose(made.scored.classifier[1].weight, wanted, atol=1e-6)
    assert made.scored is not made.model
    assert torch.equal(made.scored.features[0][1].running_var, made.model.features[0][1].running_var)


def test_each_imbalance_option_reaches_the_loss(task, tiny):
    first = {name: float(train_epoch(make(task, tiny, **update))[0, 0]) for name, update in OPTIONS.items()}
    assert first["focal"] < first["plain"]
    assert len(set(first.values())) == len(OPTIONS)


OPTIONS = {
    "plain": {},
    "focal": {"focal_gamma": 2.0},
    "smoothing": {"label_smoothing": 0.2},
    "sampling": {"weighted_sampling": True},
}


def test_class_weights_are_of_the_training_part(task, tiny):
    store, labels = task
    rare = np.flatnonzero(labels != 3)[:48]  # class 3 is in no training image
    chosen = tiny.model_copy(update={"class_weighted_loss": True, "batch_size": 8})
    made = Engine(store, labels, train_rows=rare, parameters=chosen, device=CPU)
    assert made.weights[3] == 0
    assert made.weights[torch.from_numpy(labels[rare])].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("update", "wanted"),
    [
        ({}, [1, 1, 1, 1]),
        ({"warmup_epochs": 1.0}, [0.1, 1, 1, 1]),
        ({"schedule": "cosine"}, [1, 0.5, 0.5 * (1 + np.cos(np.pi * 0.975)), 0]),
        ({"schedule": "cosine", "warmup_epochs": 2.0}, [0.05, 1, 0.5 * (1 + np.cos(np.pi * 19 / 20)), 0]),
    ],
)
def test_the_learning_rate_follows_the_schedule(tiny, update, wanted):
    chosen = tiny.model_copy(update={"epochs": 4, "learning_rate": 0.001, **update})
    rates = [engine.learning_rate(chosen, step=step, steps_per_epoch=10) for step in (0, 20, 39, 40)]
    assert rates == pytest.approx([0.001 * factor for factor in wanted], abs=1e-9)


def test_determinism_is_switched_on_and_back(tiny):
    with engine.determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused(tiny):
    with pytest.raises(TrainingError, match="this machine has no cuda device: set `device: auto`"):
        engine.choose_device(tiny.model_copy(update={"device": "cuda"}))


@pytest.mark.parametrize("steps", [2, 3, 5, 8])
def test_epochs_of_so_many_steps_follow_each_other_as_passes_do(task, tiny, steps):
    def batches_of(made, number):
        drawn, parts = made.draw(number)
        return [(drawn.rows[part], drawn.uniform[part]) for part in parts]

    passes, epochs = make(task, tiny, batch_size=8), make(task, tiny, batch_size=8, epoch_steps=steps)
    each = len(batches_of(passes, 0))
    expected = [batch for number in range(4 * steps // each + 1) for batch in batches_of(passes, number)]
    found = [batch for number in range(4) for batch in batches_of(epochs, number)]
    assert len(found) == 4 * steps
    for one, other in zip(found, expected, strict=False):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_small_epochs_train_on_smaller_images_and_the_others_on_whole_ones(task, tiny, monkeypatch):
    seen = []
    whole = augmentation.augment

    def watch(batch, uniform, strengths):
        seen.append(tuple(batch.shape[2:]))
        return whole(batch, uniform, strengths)

    monkeypatch.setattr(augmentation, "augment", watch)
    store = task[0].repeat(2, axis=1).repeat(2, axis=2)
    made = make((store, task[1]), tiny, image_size=64, small_size=32, small_epochs=1, epochs=2)
    train_epoch(made, 0)
    assert set(seen) == {(32, 32)}
    seen.clear()
    train_epoch(made, 1)
    assert set(seen) == {(64, 64)}


def test_weight_decay_shrinks_matrices_and_spares_what_is_none(task, tiny):
    plain, decayed = make(task, tiny), make(task, tiny, weight_decay=0.5)
    train_epoch(plain), train_epoch(decayed)
    groups = decayed.optimiser.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0]
    assert {each.ndim for each in groups[1]["params"]} == {1}
    assert decayed.model.features[0][0].weight.norm() < plain.model.features[0][0].weight.norm()


def test_mixed_images_are_shares_of_two_and_so_are_their_losses(task, tiny, monkeypatch):
    made = make(task, tiny, mixup=0.4, precision="float32")
    pixels, target = torch.from_numpy(task[0][:8]), torch.from_numpy(task[1][:8])
    uniform = augmentation.draw(0, 0, 8)[0]
    share = made.mixing[(uniform[:, augmentation.NAMES.index("mix")] * len(made.mixing)).long()]
    assert 0 < share.min() < 0.5 < share.max() < 1
    plain = augmentation.normalise(augmentation.augment(augmentation.to_float(pixels), uniform, made.parameters))
    expected = plain * share.view(-1, 1, 1, 1) + plain.roll(1, 0) * (1 - share.view(-1, 1, 1, 1))
    given = []
    made.network = lambda views: given.append(views) or made.model(views)
    loss, _ = made.step(pixels, uniform, target, 8, 0)
    assert torch.allclose(given[0], expected, atol=1e-5)
    fresh = make(task, tiny, mixup=0.4, precision="float32")
    torch.manual_seed(engine._seed(tiny.seed, 0, 0))
    with torch.no_grad():
        losses = torch.nn.functional.log_softmax(fresh.model(expected), dim=1)
    wanted = -(share * losses[range(8), target] + (1 - share) * losses[range(8), target.roll(1)]).mean()
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-3)


def test_logit_adjustment_in_training_lowers_what_is_frequent(task, tiny):
    store, labels = task
    rare = np.where(labels == 0, 0, 1)
    made = Engine(
        store, rare, train_rows=TRAIN, parameters=tiny.model_copy(update={"logit_adjustment": 1.0}), device=CPU
    )
    few, many = np.bincount(rare[TRAIN])
    assert float(made.priors[1] - made.priors[0]) == pytest.approx(np.log(many / few), rel=1e-5)
    logits = torch.zeros(2, 7)
    loss = made._mixed_loss(logits, torch.tensor([0, 1]), None)
    assert loss[0] > loss[1]  # at equal logits the prior is the answer, so the rare class costs more


def test_eight_views_are_the_mean_over_the_symmetries_of_a_square(task, tiny):
    made = make(task, tiny)
    rows = np.arange(5)
    found = torch.softmax(engine.logits(made.model, made.source, rows, views=8), 1)
    turned = [np.rot90(task[0], k, (1, 2)) for k in range(4)]
    every = [np.ascontiguousarray(image) for each in turned for image in (each, each[:, :, ::-1])]
    sources = [batches.Source(images, CPU) for images in every]
    wanted = torch.stack([torch.softmax(engine.logits(made.model, each, rows), 1) for each in sources]).mean(0)
    assert torch.allclose(found, wanted, atol=1e-5)
