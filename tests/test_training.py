import numpy as np
import pytest
import torch

from skinlesion import training
from skinlesion.training import TrainingError

TRAIN, VALIDATION = np.arange(0, 56), np.arange(56, 84)


@pytest.fixture(scope="module")
def task():
    """Seven colours, easily told apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(84) % 7
    colours = rng.integers(30, 226, (7, 3))
    store = colours[labels][:, None, None, :] + rng.integers(-20, 20, (84, 32, 32, 3))
    return store.clip(0, 255).astype(np.uint8), labels


def run(task, parameters, folder, **update):
    store, labels = task
    lines = []
    trained = training.train(
        store,
        labels,
        train_rows=TRAIN,
        validation_rows=VALIDATION,
        parameters=parameters.model_copy(update={"batch_size": 8, **update}),
        checkpoint=folder,
        fingerprint="data",
        record={"process": len(list(folder.glob("*")))},
        report=lines.append,
    )
    return trained, lines


def same_weights(first, second):
    pairs = zip(first.model.state_dict().items(), second.model.state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


class CutError(Exception):
    """Stands for a process that is killed."""


def test_it_learns_and_says_one_line_an_epoch(task, tiny, tmp_path):
    trained, lines = run(task, tiny, tmp_path, epochs=6)
    assert trained.history.train_accuracy.iloc[-2:].mean() > 2 / 7  # twice what guessing gives
    assert trained.history.train_loss.iloc[-1] < trained.history.train_loss.iloc[0]
    assert len(lines) == 6
    assert all("images/s" in line and "s left" in line for line in lines)
    assert list(trained.history.epoch) == [1, 2, 3, 4, 5, 6]
    assert not trained.model.training


def test_two_runs_with_one_seed_are_one_run(task, tiny, tmp_path):
    first, _ = run(task, tiny, tmp_path / "a")
    second, _ = run(task, tiny, tmp_path / "b")
    other, _ = run(task, tiny, tmp_path / "c", seed=1)
    assert same_weights(first, second)
    assert not same_weights(first, other)


def test_a_run_that_was_cut_off_ends_as_the_one_that_was_not(task, tiny, tmp_path, monkeypatch):
    whole, _ = run(task, tiny, tmp_path / "whole", epochs=3)
    real = training._train_epoch

    def cut(*arguments):
        if arguments[6] == 1:
            raise CutError
        return real(*arguments)

    monkeypatch.setattr(training, "_train_epoch", cut)
    with pytest.raises(CutError):
        run(task, tiny, tmp_path / "cut", epochs=3)
    monkeypatch.setattr(training, "_train_epoch", real)
    resumed, lines = run(task, tiny, tmp_path / "cut", epochs=3)
    assert lines[0] == "resumed after epoch 1 of 3"
    assert len(lines) == 3
    assert same_weights(whole, resumed)
    assert [sitting["first_epoch"] for sitting in resumed.sittings] == [1, 2]


def test_a_finished_run_is_not_trained_again(task, tiny, tmp_path, monkeypatch):
    first, _ = run(task, tiny, tmp_path)
    monkeypatch.setattr(training, "_train_epoch", None)
    again, _ = run(task, tiny, tmp_path)
    assert same_weights(first, again)
    assert again.history.equals(first.history)
    assert again.sittings == first.sittings == [{"first_epoch": 1, "process": 0}]


def test_another_recipe_starts_over_and_says_why(task, tiny, tmp_path):
    run(task, tiny, tmp_path)
    _, lines = run(task, tiny, tmp_path, learning_rate=0.0005)
    assert lines[0] == "starting over: the checkpoint was made with other learning_rate"
    assert len(lines) == 3


def test_a_damaged_checkpoint_is_refused_by_name(task, tiny, tmp_path):
    (tmp_path / training.CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match=r"the checkpoint state.pt is damaged .*delete it to start over"):
        run(task, tiny, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_state_before(task, tiny, tmp_path, monkeypatch):
    real = training._train_epoch
    monkeypatch.setattr(training, "_train_epoch", lambda *given: (float("nan"), 0.1) if given[6] == 1 else real(*given))
    with pytest.raises(TrainingError, match=r"the training loss of epoch 2 is nan: .*The state after epoch 1 is kept"):
        run(task, tiny, tmp_path)
    assert (tmp_path / training.CHECKPOINT).is_file()


@pytest.mark.parametrize("selection", ["accuracy", "balanced_accuracy", "loss", "last"])
def test_the_epoch_is_selected_on_validation_as_the_study_says(task, tiny, tmp_path, selection):
    trained, _ = run(task, tiny, tmp_path, epochs=3, selection=selection)
    history = trained.history.set_index("epoch")
    wanted = {
        "accuracy": history.validation_accuracy.idxmax(),
        "balanced_accuracy": history.validation_balanced_accuracy.idxmax(),
        "loss": history.validation_loss.idxmin(),
        "last": 3,
    }
    assert trained.selected_epoch == wanted[selection]
    scores = training.logits(trained.model, training.make_fetch(trained.model, task[0]), VALIDATION, 8)
    loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(task[1][VALIDATION]))
    assert float(loss) == pytest.approx(history.validation_loss[trained.selected_epoch], rel=1e-4)


def test_parts_that_overlap_are_refused(task, tiny, tmp_path):
    with pytest.raises(TrainingError, match="share images"):
        training.train(
            *task,
            train_rows=TRAIN,
            validation_rows=TRAIN[:4],
            parameters=tiny,
            checkpoint=tmp_path,
            fingerprint="data",
        )


def test_a_last_batch_of_one_image_does_not_stop_batch_norm(task, tiny, tmp_path):
    store, labels = task
    trained = training.train(
        store,
        labels,
        train_rows=np.arange(33),
        validation_rows=VALIDATION,
        parameters=tiny.model_copy(update={"batch_size": 32, "epochs": 1}),
        checkpoint=tmp_path,
        fingerprint="data",
        report=lambda line: None,
    )
    assert len(trained.history) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused(tiny):
    with pytest.raises(TrainingError, match="this machine has no cuda device: set `device: auto`"):
        training.choose_device(tiny.model_copy(update={"device": "cuda"}))
