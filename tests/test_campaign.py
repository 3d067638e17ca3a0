import json
import os
import signal
import time

import pytest

from skinlesion import runs
from skinlesion.bench import campaign
from skinlesion.data import splits
from skinlesion.learning import engine, training


def split(chosen, opened):
    run = runs.Run(chosen)
    run.write_csv("split.csv", splits.draw(opened.metadata, chosen))


def test_every_step_is_done_once(tiny, opened, tmp_path, monkeypatch):
    """On a CPU at tiny size: the two runs, and the network beside."""
    split(tiny, opened)
    monkeypatch.setattr(campaign, "COMPARATORS", ("resnet18",))
    monkeypatch.setattr(campaign.benchmarks, "measure", lambda output, **given: (output / "speed.csv").touch())
    changed = tiny.model_dump(exclude_defaults=True, exclude={"study", "seed"})
    output = tmp_path / "hour"
    output.mkdir()
    steps = campaign.steps(output, studies=["demo"], seeds=[0], overrides={**changed, "epochs": 1}, sides=(32,))
    assert [name for name, _, _ in steps] == ["speed", "exactness", "demo, seed 0", "demo_resnet18, seed 0"]
    assert campaign.go(600, steps)
    assert all(left.is_file() for _, left, _ in steps)
    run = output / "reports" / "demo_resnet18" / "seed-0"
    assert {"history.csv", "manifest.json", "model.safetensors", "predictions.csv", "split.csv"} <= {
        path.name for path in run.iterdir()
    }
    assert json.loads((run / "manifest.json").read_text())["parameters"]["backbone"] == "resnet18"
    assert campaign.go(600, [(name, left, pytest.fail) for name, left, _ in steps])


def test_training_that_the_time_runs_out_on_is_gone_on_with(tiny, opened, tmp_path, monkeypatch, capsys):
    split(tiny, opened)
    changed = tiny.model_dump(exclude_defaults=True, exclude={"study", "seed"})
    steps = campaign.steps(tmp_path / "hour", studies=["demo"], seeds=[0], overrides=changed)[2:3]
    real, taken = engine.Engine.take_step, []

    def step(self, *batch):
        taken.append(1)
        if len(taken) == 2:
            os.kill(os.getpid(), signal.SIGTERM)  # as the alarm does
        return real(self, *batch)

    monkeypatch.setattr(engine.Engine, "take_step", step)
    assert not campaign.go(600, steps)
    assert "time is over in demo, seed 0: interrupted in epoch 1 after step 2" in capsys.readouterr().out
    assert not campaign.go(0, steps)  # nothing is begun when the time is over
    assert campaign.go(600, steps)
    assert "resumed after epoch 0 of 2, step 2" in capsys.readouterr().out


def test_what_cannot_be_saved_is_stopped_all_the_same(tmp_path, capsys):
    assert not campaign.go(0.03, [("slow", tmp_path / "slow", lambda: time.sleep(86_400))])
    assert "time is over in slow: nothing of it is kept" in capsys.readouterr().out


def test_a_step_that_fails_does_not_stop_the_others(tmp_path, capsys):
    left = tmp_path / "second"

    def fail():
        raise training.TrainingError("no such device")

    with pytest.raises(training.TrainingError):
        campaign.go(600, [("first", tmp_path / "first", fail), ("second", left, left.touch)])
    assert left.exists()
    assert "failed: first: TrainingError: no such device" in capsys.readouterr().out


def test_exactness_finds_what_is_exact_and_what_is_not(tiny, monkeypatch):
    small = tiny.model_copy(update={"batch_size": 8})
    found = campaign.exactness(small, images=44)
    assert found["same bits"] == {
        "again": True,
        "cut off and gone on with": True,
        "kernel by kernel": True,
        "another seed": False,
    }
    assert found["largest difference of a weight, kernel by kernel"] == 0
    monkeypatch.setattr(campaign.engine, "_seed", lambda *numbers: numbers[1] + id(object()) % 10_000)
    assert not campaign.exactness(small, images=44)["same bits"]["again"]
