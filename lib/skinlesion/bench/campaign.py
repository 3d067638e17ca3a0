"""What is to be done where a fast machine is lent for an hour: step by step, each only once, each to be cut off.

A step that is finished leaves a file and is not done again. Training that the time runs out on is saved, and the next
call goes on with it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skinlesion import files, parameters, runs
from skinlesion.bench import benchmarks
from skinlesion.data import dataset
from skinlesion.learning import engine, trainer, training

COMPARATORS = ("resnet18", "mobilenet_v3_large", "efficientnet_b0")
"""Networks beside the first study's, from random weights."""

Step = tuple[str, Path, Callable[[], None]]
"""Its name, the file it leaves, and what does it."""


def steps(
    output: Path,
    *,
    studies: Sequence[str],
    seeds: Sequence[int],
    overrides: dict[str, Any],
    sides: Sequence[int] = benchmarks.SIDES,
) -> list[Step]:
    """Return the benchmark, the check of exactness, the runs of all studies and seeds, and the comparators.

    Parameters
    ----------
    output
        Folder for all results; runs go to ``<output>/reports``.
    studies, seeds
        Each run needs its split in ``reports/``; the comparators take the first one's.
    overrides
        Parameters that win over those of every study, such as data and weights.
    sides
        Of the images of the benchmark, in pixels.
    """
    wanted = [parameters.load(study, {**overrides, "seed": seed}) for seed in seeds for study in studies]
    first, weights = wanted[0], overrides.get("weights", "none")
    data = Path(overrides["data"]) if "data" in overrides else None

    def speed() -> None:
        benchmarks.measure(output, data=data, weights=weights, sides=tuple(sides))

    def exact() -> None:
        files.write_json(output / "exactness.json", exactness(first))

    done: list[Step] = [("speed", output / "speed.csv", speed), ("exactness", output / "exactness.json", exact)]
    for chosen in wanted:
        done.append(_run(chosen, chosen.study, output))
    for backbone in COMPARATORS:
        other = first.model_copy(update={"backbone": backbone, "weights": "none"})
        done.append(_run(other, f"{first.study}_{backbone}", output))
    return done


def go(minutes: float, given: Sequence[Step]) -> bool:
    """Do what is missing until the time is over; say whether everything is done.

    Raises
    ------
    Exception
        The first error of a step, when all the others have been tried.
    """
    end = time.monotonic() + 60 * minutes
    failed: Exception | None = None
    for name, left, act in given:
        if left.is_file():
            continue
        start = time.monotonic()
        if start >= end:
            print(f"time is over before {name}", flush=True)
            return False
        before = signal.signal(signal.SIGTERM, _stop)  # training has a handler of its own
        alarm = threading.Timer(end - start, os.kill, (os.getpid(), signal.SIGTERM))
        alarm.daemon = True
        alarm.start()
        try:
            act()
            print(f"done: {name}, {time.monotonic() - start:.0f} s", flush=True)
        except training.TrainingInterrupted as stop:
            print(f"time is over in {name}: {stop}", flush=True)
            return False
        except Exception as error:  # a step that fails must not cost the others their time
            print(f"failed: {name}: {type(error).__name__}: {error}", flush=True)
            failed = failed or error
        finally:
            alarm.cancel()
            signal.signal(signal.SIGTERM, before)
    if failed:
        raise failed
    return True


def _stop(number: int, frame: Any) -> None:
    raise training.TrainingInterrupted("nothing of it is kept")


def exactness(chosen: parameters.Parameters, *, images: int = 262) -> dict[str, Any]:
    """Train two epochs on drawn images in several ways, and say which ended with the same bits.

    Returns
    -------
    dict
        device, environment, and whether the weights are those of the first time: trained again; saved in the middle of
        an epoch and gone on with by another engine; trained kernel by kernel, where the device otherwise replays whole
        steps (and by how much the weights then differ at most); with another seed, which must not be.
    """
    rng, side = np.random.default_rng(0), chosen.image_size
    store = rng.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    labels = np.arange(images) % len(dataset.DX)
    device = engine.choose_device(chosen)

    def make(seed: int) -> engine.Engine:
        seeded = chosen.model_copy(update={"seed": seed})
        return engine.Engine(store, labels, train_rows=np.arange(images), parameters=seeded, device=device)

    def train(*, seed: int = 0, graphs: bool = True, cut: int | None = None) -> list[torch.Tensor]:
        made = make(seed)
        for epoch in range(2):
            made.graphs = made.graphs and graphs
            drawn, parts = made.draw(epoch)
            for number, _ in enumerate(made.run(drawn, parts, epoch=epoch)):
                if epoch == 1 and number == cut:
                    break
            else:
                continue
            kept = {name: tensor.cpu().clone() for name, tensor in made.model.state_dict().items()}
            state = {**made.state(), "model": kept}
            made = make(seed)
            made.load_state(state)
            list(made.run(drawn, parts, epoch=epoch, first=number + 1))
        return [tensor.cpu() for tensor in made.model.state_dict().values()]

    with engine.determinism(True):
        first, eager = train(), train(graphs=False)
        others = {"again": train(), "cut off and gone on with": train(cut=images // chosen.batch_size // 2)}
        others |= {"kernel by kernel": eager, "another seed": train(seed=1)}
    same = {name: all(map(torch.equal, first, other)) for name, other in others.items()}
    apart = max(float((a - b).abs().max()) for a, b in zip(first, eager, strict=True) if a.is_floating_point())
    return {
        "device": str(device),
        "environment": runs.environment(),
        "same bits": same,
        "largest difference of a weight, kernel by kernel": apart,
    }


def _run(chosen: parameters.Parameters, study: str, output: Path) -> Step:
    run = runs.Run(chosen.model_copy(update={"study": study, "output": str(output / "reports")}))

    def act() -> None:
        run.write_csv("split.csv", runs.Run(chosen).read_csv("split.csv"))
        inputs = trainer.open_inputs(run)
        trainer.leave(run, inputs, trainer.train(run, inputs))

    return f"{study}, seed {chosen.seed}", run.folder / "predictions.csv", act
