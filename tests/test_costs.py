import json

import pandas as pd
import pytest

from skinlesion.bench import benchmarks, costs
from skinlesion.bench.benchmarks import Measured


def test_counted_are_the_published_sizes():
    """M. Sandler et al., "MobileNetV2" (2018): 3.4 million parameters with 1,000 classes, 300 million operations."""
    found = costs.counted("mobilenet_v2", 224)
    assert found["parameters"] == 3_504_872 - 1280 * 1000 - 1000 + 1280 * 7 + 7
    assert found["million_operations"] == pytest.approx(300, rel=0.02)
    assert found["megabytes"] == pytest.approx(4 * (found["parameters"] + 34_112) / 1e6, rel=1e-3)  # and moving means
    assert costs.counted("mobilenet_v2", 448)["million_operations"] == pytest.approx(1200, rel=0.02)


def test_every_network_gets_a_row_with_the_median_of_its_turns(tmp_path, monkeypatch):
    speeds = iter([10, 30, 20] * 2 * len(costs.NETWORKS))
    monkeypatch.setattr(benchmarks, "together", lambda function, *given: [Measured(next(speeds), 1, 5, float("nan"))])
    table = costs.measure(tmp_path, side=96)
    assert list(table.network) == list(costs.NETWORKS)
    assert set(table.training) == set(table.inference) == {20}
    assert pd.read_csv(tmp_path / "costs.csv").network.tolist() == list(costs.NETWORKS)
    assert json.loads((tmp_path / "costs.json").read_text())["environment"]["hardware"]


def test_training_and_scoring_are_measured():
    (training,) = benchmarks.together(benchmarks.train, 32, 1, {"backbone": "mobilenet_v2"})
    (scoring,) = benchmarks.together(costs._inference, 96, 1, {"backbone": "inception_v3"})
    assert training.seconds > 0
    assert scoring.images == benchmarks.BATCH
