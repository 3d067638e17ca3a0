import itertools
import os
import platform
import subprocess
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest

from skinlesion import errors, files, processors


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("RUNS_AT_ONCE", raising=False)
    monkeypatch.setenv(processors.CHOSEN, "")
    monkeypatch.setattr(processors, "LOOK", 0)
    errors.say_once.cache_clear()


def test_a_number_is_taken_as_it_is_and_of_several_that_of_the_epoch_or_the_last(alone, monkeypatch):
    monkeypatch.setattr(processors, "usable", lambda: 8)
    assert processors.choose(7) == 7
    assert [processors.choose([3, 1, 2], epoch=epoch) for epoch in range(5)] == [3, 1, 2, 2, 2]


@pytest.mark.parametrize("way", ["threads", "OMP_NUM_THREADS"])
def test_no_more_threads_compute_than_cores_are_usable_and_one_sentence_says_so(alone, monkeypatch, capsys, way):
    monkeypatch.setattr(processors, "usable", lambda: 2)
    if way == "OMP_NUM_THREADS":
        monkeypatch.setenv(way, "64")
    threads = 64 if way == "threads" else "auto"
    assert processors.choose(threads) == processors.choose(threads) == processors.share(threads) == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert capsys.readouterr().err == f"{way} asks for 64 threads: 2 compute, one on each core that may be used\n"


@pytest.mark.parametrize("by_hand", [True, False])
def test_what_a_command_tells_its_kernel_is_no_number_set_by_hand(alone, monkeypatch, by_hand):
    monkeypatch.setattr(processors, "usable", lambda: 4)
    monkeypatch.setattr(processors.Neighbours, "cores", lambda self: 1.0)
    if by_hand:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert processors.share("auto") == 3
    monkeypatch.setattr(processors.Neighbours, "cores", lambda self: 3.0)
    assert processors.choose() == (3 if by_hand else 1)


@pytest.mark.parametrize(("runs", "threads"), [(1, 4), (2, 2), (3, 1), (5, 1)])
def test_runs_side_by_side_share_the_cores(alone, monkeypatch, runs, threads):
    """Each is busy, so that how busy the others are says nothing."""
    monkeypatch.setattr(processors, "usable", lambda: 4)
    monkeypatch.setattr(processors.Neighbours, "cores", lambda self: 0.0 if runs == 1 else 9.0)
    monkeypatch.setenv("RUNS_AT_ONCE", str(runs))
    assert processors.choose() == threads


def test_openmps_own_variable_is_listened_to(alone, monkeypatch):
    monkeypatch.setattr(processors, "usable", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert processors.choose() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    monkeypatch.setattr(processors.Neighbours, "cores", lambda self: 0.1)
    assert processors.choose() == processors.usable()


@pytest.mark.parametrize(("busy", "threads"), [(0.0, 4), (0.3, 4), (1.0, 3), (2.4, 2), (4.0, 1), (9.0, 1)])
def test_cores_that_others_use_are_left_to_them(alone, monkeypatch, busy, threads):
    monkeypatch.setattr(processors, "usable", lambda: 4)
    monkeypatch.setattr(processors.Neighbours, "cores", lambda self: busy)
    assert processors.choose() == threads


def test_what_others_compute_is_counted_and_what_this_process_does_is_not(monkeypatch):
    Times = namedtuple("Times", "user nice system idle iowait steal guest", defaults=[0] * 7)
    everyone = iter([Times(), Times(user=20, idle=15, iowait=3, steal=2)])
    own = iter([Times(), Times(user=7, system=3)])
    monkeypatch.setattr(processors.psutil, "cpu_times", lambda: next(everyone))
    monkeypatch.setattr(processors.psutil, "Process", lambda: SimpleNamespace(cpu_times=lambda: next(own)))
    monkeypatch.setattr(processors, "time", SimpleNamespace(monotonic=itertools.count(step=10).__next__))
    assert processors.Neighbours().cores() == 1.0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be withheld here")
def test_cores_that_were_withheld_do_not_count():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors.usable() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_that_was_freed_is_not_cleared_again_by_the_system():
    code = """
import resource, threading, torch
from skinlesion import processors
assert processors.keep_memory()
def use():
    blocks = [torch.empty(64 << 20, dtype=torch.uint8).fill_(1) for _ in range(40)]  # more than 2 GiB at once
def in_a_thread():
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
use(), use()  # the first times, some pages are new
for again in (use, in_a_thread):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    again()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    environment = {**os.environ, "PYTHONPATH": str(files.ROOT / "lib")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    pages = 40 * (64 << 20) // 4096
    assert all(int(faults) < pages / 20 for faults in done.stdout.split())
