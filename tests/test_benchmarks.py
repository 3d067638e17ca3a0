import itertools
import json
import threading
import time

import pytest
import torch

from skinlesion.bench import benchmarks


def in_this_process(function, *given, count=1):
    """As `together`, without the ten seconds that an interpreter takes to import torch."""
    benchmarks._prepare(threading.Barrier(1))
    threads = torch.get_num_threads()
    try:
        return [benchmarks._measure(function, given) for _ in range(count)]
    finally:
        torch.set_num_threads(threads)


def come_and_go(*_):
    came = time.time()
    benchmarks.wait()
    return came, time.time()


def test_processes_are_measured_at_the_same_time():
    first, second = benchmarks.together(come_and_go, count=2)
    assert max(first.images, second.images) <= min(first.seconds, second.seconds)  # none goes before both have come
    assert min(first.peak_memory_mb, second.peak_memory_mb) > 50


def test_speeds_are_measured_beside_the_loops_and_what_is_not_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "together", in_this_process)
    monkeypatch.setenv("CC", "cc")  # is changed, and put back
    table = benchmarks.measure(tmp_path, count=40, steps=1, sides=(96,), repeats=1)
    assert list(table) == benchmarks.COLUMNS
    measured = table[table.note == ""]
    assert (measured[["images_per_second", "peak_memory_mb"]] > 0).all(axis=None)
    assert (measured.groupby("benchmark").times_the_loop.first() == 1).all()
    assert {"practitioner's loop without input work", "engine", "predict"} <= set(measured.method)
    unmeasured = table[table.note != ""]
    assert unmeasured.images_per_second.isna().all()
    assert unmeasured.note.str.startswith("not measured: ").all()
    if not torch.cuda.is_available():
        assert unmeasured.method.tolist() == ["25 epochs on one GPU"]
        assert (measured.times_the_floor[measured.benchmark == "training"] > 0).all()
    assert json.loads((tmp_path / "speed.json").read_text())["environment"]["hardware"]


def test_drawn_jpegs_have_the_size_of_the_originals(tmp_path):
    assert abs(benchmarks.draw_originals(tmp_path, 2) / benchmarks.ORIGINAL_BYTES - 1) < 0.1


def test_memorys_floor_goes_with_the_pixels(monkeypatch):
    """Twice the side is four times the memory that every layer moves, but for rounding at the edges."""
    monkeypatch.setattr(benchmarks.time, "perf_counter", itertools.count().__next__)  # every copy takes as long
    assert benchmarks.floor(64, 1) / benchmarks.floor(128, 1) == pytest.approx(4, rel=0.1)
