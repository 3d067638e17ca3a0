import json

import pandas as pd
import pytest
import torch

from skinlesion.bench import benchmarks, plain_loop
from skinlesion.bench.benchmarks import Measured
from skinlesion.data.dataset import DX


@pytest.fixture
def in_this_process(monkeypatch):
    """Without the ten seconds that an interpreter takes to import torch, for networks and loops that are told apart."""
    called = []

    def median(repeats, function, *given):
        called.append(given)
        return {"images_per_second": float(len(called)), "first_step_seconds": 1.0, "peak_memory_mb": 5.0}

    monkeypatch.setattr(benchmarks, "_median", median)
    return called


def test_the_engine_is_compared_with_the_best_of_the_loops_and_torch_compile_is_one_of_them(tmp_path, in_this_process):
    table = benchmarks.speed(tmp_path, sides=(96,)).set_index("method")
    loops = table[table.index.str.startswith("plain loop")]
    assert "plain loop, torch.compile" in loops.index
    best = loops.images_per_second.max()
    assert table.times_the_best_loop["engine"] == pytest.approx(table.images_per_second["engine"] / best)
    assert json.loads((tmp_path / "speed.json").read_text())["environment"]["hardware"]


def test_every_network_has_its_costs(tmp_path, in_this_process):
    table = benchmarks.costs(tmp_path, side=96)
    assert list(table.network) == list(benchmarks.NETWORKS)
    assert (table.training < table.inference).all()  # measured one after the other
    assert pd.read_csv(tmp_path / "costs.csv").network.tolist() == list(benchmarks.NETWORKS)


def test_counted_are_the_published_sizes():
    """M. Sandler et al., "MobileNetV2" (2018): 3.4 million parameters with 1,000 classes, 300 million operations."""
    found = benchmarks.counted("mobilenet_v2", 224)
    assert found["parameters"] == 3_504_872 - 1280 * 1000 - 1000 + 1280 * 7 + 7
    assert found["million_operations"] == pytest.approx(300, rel=0.02)
    assert found["megabytes"] == pytest.approx(4 * (found["parameters"] + 34_112) / 1e6, rel=1e-3)  # and moving means


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (benchmarks._loop, {"channels_last": True}),
        (benchmarks._loop, {"workers": 0}),
        (benchmarks._engine, {}),
        (benchmarks._inference, {"backbone": "mobilenet_v2"}),
    ],
)
def test_what_is_measured_takes_steps(function, options):
    threads = torch.get_num_threads()
    found = benchmarks._steps(function, 1, {"side": 32, **options})
    torch.set_num_threads(threads)
    assert isinstance(found, Measured)
    assert min(vars(found).values()) > 0


def test_the_plain_loop_learns_to_tell_colours_apart_and_keeps_its_best_epoch(monkeypatch):
    monkeypatch.setattr(plain_loop, "EPOCHS", 3)
    labels = torch.arange(84) % 7
    colours = torch.linspace(0, 255, 7).byte()[labels]
    pixels = torch.stack([colours, 255 - colours, colours.flip(0)], 1)[:, :, None, None].repeat(1, 1, 32, 32)
    parts = ["train"] * 63 + ["validation"] * 21
    table = pd.DataFrame({"dx": [DX[k] for k in labels], "part": parts})
    model = plain_loop.train(table, pixels, weights=None, seed=0)
    said = plain_loop.probabilities(model, pixels)
    assert said.shape == (84, 7)
    assert said.sum(1).allclose(torch.ones(84))
    assert tuple(plain_loop.CLASSES) == tuple(DX)
