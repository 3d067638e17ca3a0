import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import torch

from skinlesion import processors
from skinlesion.learning import batches, checkpoints, engine, kernels, training
from skinlesion.learning.training import TrainingError, TrainingInterrupted

TRAIN, VALIDATION = np.arange(0, 56), np.arange(56, 84)


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


def run_alone(task, parameters, folder, update):
    """As a process of its own, to be killed."""
    run(task, parameters, folder, **update)


def same_weights(first, second):
    pairs = zip(first.model.state_dict().items(), second.model.state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


def cut_after(monkeypatch, steps, act):
    """Call `act` before the step that comes after so many."""
    real, taken = engine.Engine.step, []

    def step(self, *batch):
        if len(taken) == steps:
            act()
        taken.append(1)
        return real(self, *batch)

    monkeypatch.setattr(engine.Engine, "step", step)


class CutError(Exception):
    """Stands for whatever ends a process."""


def cut():
    raise CutError


def test_it_learns_and_says_one_line_an_epoch(task, tiny, tmp_path):
    trained, lines = run(task, tiny, tmp_path, epochs=6)
    assert trained.history.train_accuracy.iloc[-2:].mean() > 2 / 7  # twice what guessing gives
    assert trained.history.train_loss.iloc[-1] < trained.history.train_loss.iloc[0]
    assert len(lines) == 6
    assert all("images/s" in line and "s left" in line for line in lines)
    assert list(trained.history.epoch) == [1, 2, 3, 4, 5, 6]
    assert trained.history.learning_rate.tolist() == [tiny.learning_rate] * 6
    assert not trained.model.training
    assert trained.engine["deterministic"] is True


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_runs_with_one_seed_are_one_run(task, tiny, tmp_path, precision):
    first, _ = run(task, tiny, tmp_path / "a", precision=precision)
    second, _ = run(task, tiny, tmp_path / "b", precision=precision)
    other, _ = run(task, tiny, tmp_path / "c", precision=precision, seed=1)
    assert same_weights(first, second)
    assert not same_weights(first, other)


UPDATES = {
    "the preprint's recipe": {"precision": "bfloat16"},
    "every option": {
        "ema_decay": 0.8,
        "schedule": "cosine",
        "warmup_epochs": 0.5,
        "weighted_sampling": True,
        "class_weighted_loss": True,
    },
}


@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES.keys())
@pytest.mark.parametrize("steps", [3, 7, 11])  # in the first epoch, between two, in the second
def test_a_run_that_was_cut_off_ends_as_the_one_that_was_not(task, tiny, tmp_path, monkeypatch, update, steps):
    update = {**update, "epochs": 2, "checkpoint_seconds": 0.0}
    whole, _ = run(task, tiny, tmp_path / "whole", **update)
    with monkeypatch.context() as patch, pytest.raises(CutError):
        cut_after(patch, steps, cut)
        run(task, tiny, tmp_path / "cut", **update)
    resumed, lines = run(task, tiny, tmp_path / "cut", **update)
    wanted = {3: "after epoch 0 of 2, step 3", 7: "after epoch 1 of 2", 11: "after epoch 1 of 2, step 4"}
    assert lines[0] == f"resumed {wanted[steps]}"
    assert same_weights(whole, resumed)
    timings = ["seconds", "images_per_second"]
    assert whole.history.drop(columns=timings).equals(resumed.history.drop(columns=timings))
    begun = [(sitting["first_epoch"], sitting["first_step"]) for sitting in resumed.sittings]
    assert begun == [(1, 1), {3: (1, 4), 7: (2, 1), 11: (2, 5)}[steps]]


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_a_process_killed_ten_times_at_random_ends_as_the_one_that_was_not(task, tiny, tmp_path):
    update = {"epochs": 6, "checkpoint_seconds": 0.0}
    whole, _ = run(task, tiny, tmp_path / "whole", **update)
    folder = tmp_path / "killed"
    state = folder / checkpoints.NAME
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skinlesion.learning.training"])
    dice = random.Random(0)
    within = 0
    for _ in range(10):
        before = state.stat().st_mtime_ns if state.exists() else None
        process = context.Process(target=run_alone, args=(task, tiny, folder, update))
        process.start()
        for _ in range(dice.randint(1, 3)):
            while process.is_alive() and (now := state.stat().st_mtime_ns if state.exists() else None) == before:
                time.sleep(0.001)
            before = now
        time.sleep(dice.uniform(0, 0.05))  # in a step, in validation, or while the state is written
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL  # it had not ended by itself
        within += bool(torch.load(state, weights_only=True)["partial"])
    assert within > 0
    resumed, _ = run(task, tiny, folder, **update)
    assert same_weights(whole, resumed)
    assert len(resumed.sittings) == 11
    assert not list(folder.glob(".*"))  # and no half-written file is left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_waits_for_the_step_saves_and_says_so(task, tiny, tmp_path, monkeypatch, number):
    whole, _ = run(task, tiny, tmp_path / "whole")
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        cut_after(patch, 9, lambda: os.kill(os.getpid(), number))
        with pytest.raises(TrainingInterrupted, match="interrupted in epoch 2 after step 3 of 7: the state is saved"):
            run(task, tiny, tmp_path / "cut")
    assert signal.getsignal(number) == handler
    resumed, lines = run(task, tiny, tmp_path / "cut")
    assert lines[0] == "resumed after epoch 1 of 2, step 3"
    assert same_weights(whole, resumed)


def test_a_finished_run_is_not_trained_again(task, tiny, tmp_path, monkeypatch):
    first, _ = run(task, tiny, tmp_path)
    monkeypatch.setattr(engine.Engine, "step", None)
    again, _ = run(task, tiny, tmp_path)
    assert same_weights(first, again)
    assert again.history.equals(first.history)
    assert again.sittings == first.sittings == [{"first_epoch": 1, "first_step": 1, "process": 0}]


@pytest.fixture
def machine(monkeypatch):
    """One of two cores, of which others keep so many busy, look by look; and with how many threads each step is taken.

    Torch is told of none but one: two threads are slow on a busy machine.
    """
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(processors, "usable", lambda: 2)
    monkeypatch.setattr(processors, "LOOK", 0)
    for dtype in (torch.float32, torch.bfloat16):
        kernels.library(dtype)  # asks torch itself, once a process
    busy, told, taken, real = [], [], [], engine.Engine.step
    monkeypatch.setattr(processors.Neighbours, "cores", lambda self: busy.pop(0))
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(engine.Engine, "step", lambda self, *batch: taken.append(told[-1]) or real(self, *batch))
    return busy, taken


def test_each_epoch_takes_the_threads_that_are_right_then_and_a_list_of_numbers_is_replayed(
    task, tiny, tmp_path, machine
):
    busy, taken = machine
    busy += [0.1, 1.0, 0.0]
    trained, lines = run(task, tiny, tmp_path / "first", threads="auto", epochs=3)
    assert taken == [2] * 7 + [1] * 7 + [2] * 7
    assert trained.history.threads.tolist() == [2, 1, 2]
    assert "threads in epoch 2: 1 instead of 2, for as many cores are idle" in lines
    again, _ = run(task, tiny, tmp_path / "again", threads=trained.history.threads.tolist(), epochs=3)
    assert again.history.threads.tolist() == [2, 1, 2]


@pytest.mark.parametrize("threads", ["auto", 1])
def test_an_epoch_that_was_cut_goes_on_with_the_threads_it_began_with(
    task, tiny, tmp_path, monkeypatch, machine, threads
):
    busy, taken = machine
    update = {"checkpoint_seconds": 0.0, "epochs": 3}
    busy += [0.0, 0.0, 1.0, 1.0]
    with monkeypatch.context() as patch, pytest.raises(CutError):
        cut_after(patch, 9, cut)
        run(task, tiny, tmp_path, threads="auto", **update)
    trained, _ = run(task, tiny, tmp_path, threads=threads, **update)
    assert taken[9:] == [2] * 5 + [1] * 7
    assert trained.history.threads.tolist() == [2, 2, 1]


@pytest.mark.parametrize("way", ["threads", "OMP_NUM_THREADS"])
def test_a_number_of_threads_set_by_hand_is_kept_whatever_else_runs(task, tiny, tmp_path, monkeypatch, machine, way):
    if way == "OMP_NUM_THREADS":
        monkeypatch.setenv(way, "2")
    trained, _ = run(task, tiny, tmp_path, threads=2 if way == "threads" else "auto")
    assert trained.history.threads.tolist() == [2, 2]


def test_a_state_of_another_precision_is_not_gone_on_with(task, tiny, tmp_path, monkeypatch):
    """As where a cluster gives the rest of a run to another kind of machine."""
    monkeypatch.setattr(engine, "choose_precision", lambda *given: torch.bfloat16)
    run(task, tiny, tmp_path)
    monkeypatch.setattr(engine, "choose_precision", lambda *given: torch.float32)
    _, lines = run(task, tiny, tmp_path)
    assert lines[0].startswith("starting over: the checkpoint was made with other precision (bfloat16, now float32)")


def test_another_recipe_starts_over_says_why_and_keeps_the_state_it_found(task, tiny, tmp_path):
    run(task, tiny, tmp_path)
    _, lines = run(task, tiny, tmp_path, learning_rate=0.0005)
    assert lines[0] == (
        "starting over: the checkpoint was made with other learning_rate (0.001, now 0.0005). "
        "It is kept as state.other.pt"
    )
    assert len(lines) == 3
    (tmp_path / "state.other.pt").replace(tmp_path / checkpoints.NAME)
    _, lines = run(task, tiny, tmp_path)
    assert lines == ["resumed after epoch 2 of 2"]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_state_before(task, tiny, tmp_path, monkeypatch):
    real, taken = engine.Engine.step, []

    def step(self, *batch):
        taken.append(1)
        return real(self, *batch) * (float("nan") if len(taken) == 10 else 1)

    monkeypatch.setattr(engine.Engine, "step", step)
    with pytest.raises(TrainingError, match=r"the training loss is nan in epoch 2, step 3: .* state before it is kept"):
        run(task, tiny, tmp_path, checkpoint_seconds=0.0)
    assert len(torch.load(tmp_path / checkpoints.NAME, weights_only=True)["partial"]["steps"]) == 2


def test_a_loss_that_diverges_stops_the_run(task, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WINDOW", 5)
    with pytest.raises(TrainingError, match=r"the training loss has stayed above 9\.7 for 5 steps in epoch \d, step"):
        run(task, tiny, tmp_path, learning_rate=1.0, epochs=3)


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
    source = batches.Source(task[0], torch.device("cpu"))
    scores = engine.logits(trained.model, source, VALIDATION)
    loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(task[1][VALIDATION]))
    assert float(loss) == pytest.approx(history.validation_loss[trained.selected_epoch], rel=1e-4)


def test_averaged_weights_are_the_ones_that_are_scored_and_returned(task, tiny, tmp_path):
    plain, _ = run(task, tiny, tmp_path / "plain")
    averaged, _ = run(task, tiny, tmp_path / "averaged", ema_decay=0.9)
    assert averaged.history.train_loss.tolist() == plain.history.train_loss.tolist()
    assert not same_weights(plain, averaged)


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


WATCHED = np.arange(60, 84)


def watch(task, parameters, folder, **more):
    store, labels = task
    chosen = {"train_rows": TRAIN, "validation_rows": VALIDATION[:12], "watched_rows": WATCHED, **more}
    return training.train(
        store,
        labels,
        parameters=parameters.model_copy(update={"batch_size": 8}),
        checkpoint=folder,
        fingerprint="data",
        report=lambda line: None,
        **chosen,
    )


def test_what_is_said_of_the_watched_rows_after_each_epoch_is_kept(task, tiny, tmp_path):
    trained = watch(task, tiny, tmp_path)
    assert trained.watched.shape == (tiny.epochs, len(WATCHED), 7)
    source = batches.Source(task[0], torch.device("cpu"))
    said = torch.softmax(engine.logits(trained.model, source, WATCHED).double(), dim=1)
    assert np.abs(trained.watched[trained.selected_epoch - 1] - said.numpy()).max() < 1e-3
    assert not np.array_equal(trained.watched[0], trained.watched[1])


def test_nothing_of_training_depends_on_images_that_are_only_watched(task, tiny, tmp_path):
    store, labels = task
    black, wrong = store.copy(), labels.copy()
    black[72:], wrong[72:] = 0, 0  # neither trained on nor validated with
    longer = tiny.model_copy(update={"epochs": 6, "learning_rate": 0.01})  # until it tells images apart
    first = watch(task, longer, tmp_path / "a")
    second = watch((black, wrong), longer, tmp_path / "b")
    assert same_weights(first, second)
    same = ["train_loss", "validation_loss", "validation_accuracy"]
    assert first.history[same].equals(second.history[same])
    assert np.array_equal(first.watched[:, :12], second.watched[:, :12])
    assert not np.array_equal(first.watched[:, 12:], second.watched[:, 12:])


def test_a_run_that_was_cut_off_has_watched_every_epoch_once(task, tiny, tmp_path, monkeypatch):
    whole = watch(task, tiny, tmp_path / "whole")
    with monkeypatch.context() as patched:
        cut_after(patched, 10, cut)
        with pytest.raises(CutError):
            watch(task, tiny, tmp_path / "cut")
    checkpoints.save_watched(tmp_path / "cut", 1, np.zeros((len(WATCHED), 7), np.float16))  # written, but not the state
    assert np.array_equal(watch(task, tiny, tmp_path / "cut").watched, whole.watched)
    (tmp_path / "cut" / "epoch-0001.npy").write_bytes(b"")
    with pytest.raises(checkpoints.CheckpointError, match=r"epoch-0001.npy cannot be used .*delete its folder"):
        watch(task, tiny, tmp_path / "cut")
