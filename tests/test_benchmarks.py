import json

import pytest
import torch
from conftest import random_scores

from skinlesion import benchmarks, evaluation, reference


def test_decoding_is_measured_beside_the_loop_and_written_down(tmp_path):
    table = benchmarks.decoding(tmp_path, count=4, repeats=1)
    assert table.method.tolist() == ["plain loop", "store"]
    assert (table.images == 4).all()
    assert (table[["seconds", "images_per_second", "peak_memory_mb"]] > 0).all(axis=None)
    assert json.loads((tmp_path / "decoding.json").read_text())["environment"]["hardware"]


def test_drawn_jpegs_have_the_size_of_the_originals(tmp_path):
    assert abs(benchmarks.draw_originals(tmp_path, 2) / benchmarks.ORIGINAL_BYTES - 1) < 0.1


def test_training_is_measured_beside_the_loops_and_what_is_not_is_said(tmp_path):
    table = benchmarks.training(tmp_path, count=64, steps=1, side=32, repeats=1, compiled=False)
    assert list(table) == benchmarks.COLUMNS
    measured = table[table.note == ""]
    assert (measured.seconds > 0).all()
    assert (measured.peak_memory_mb[measured.benchmark != "start-up"] > 0).all()
    speed = table[table.benchmark == "throughput"].set_index("method")
    assert speed.times.iloc[0] == 1
    assert {"reference loop without input work", "engine", "engine, streaming"} <= set(speed.index)
    unmeasured = table[table.note != ""]
    assert unmeasured.images_per_second.isna().all()
    assert unmeasured.note.str.startswith("not measured: ").all()
    if not torch.cuda.is_available():
        assert {"5 seeds on one GPU", "25 epochs of the paper study on one GPU"} <= set(unmeasured.method)
    assert json.loads((tmp_path / "training.json").read_text())["environment"]["hardware"]


def test_scoring_is_measured_and_the_loop_scores_the_same(tmp_path):
    table = benchmarks.scoring(tmp_path, count=200, draws=20, loops=1, repeats=1)
    assert table.method.tolist() == ["loop with scikit-learn", "bootstrap"]
    assert (table.draws_per_second > 0).all()
    labels, probabilities, _ = random_scores(0, 150)
    ours = evaluation.headline(labels, probabilities).value.to_dict()
    assert reference.scores(labels, probabilities) == pytest.approx(ours, rel=1e-6)
