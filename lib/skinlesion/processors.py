"""Cores and memory: how many threads to compute with, and memory that is kept.

Threads that compute one layer together wait for the slowest of them. Beside one busy process on two cores, two threads
are a third as fast as they were, and half as fast as one.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from typing import Literal

import psutil

from skinlesion.errors import say_once


def usable() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


Threads = int | Literal["auto"] | Sequence[int]
"""A number, one for each epoch, or whatever :func:`choose` finds right."""


def choose(threads: Threads = "auto", *, epoch: int = 0) -> int:
    """Return the number of threads to compute with: no more than there are usable cores, and a sentence where it is so.

    Parameters
    ----------
    threads
        A number is taken as it is; of several that of the epoch, counted from zero, or the last. ``auto`` is
        ``OMP_NUM_THREADS`` where somebody has set that; else an equal share of the usable cores where ``make -j`` has
        several runs side by side (``RUNS_AT_ONCE``); else those of them that are idle now. There is always one.
    """
    if isinstance(threads, int):
        return _at_most_usable("threads", threads)
    if threads != "auto":
        return choose(threads[min(epoch, len(threads) - 1)])
    if told := told_by_openmp():
        return told
    runs = os.environ.get("RUNS_AT_ONCE", "")
    if runs.isdecimal() and int(runs) > 1:
        return max(1, usable() // int(runs))
    neighbours = Neighbours()
    time.sleep(LOOK)
    return max(1, usable() - round(neighbours.cores()))


def share(threads: Threads) -> int:
    """Choose a number of threads for this process and those it starts: before the libraries are loaded that ask."""
    chosen = choose(threads)
    if not told_by_openmp():
        os.environ[CHOSEN] = str(chosen)
    os.environ["OMP_NUM_THREADS"] = str(chosen)
    return chosen


def told_by_openmp() -> int:
    """Return ``OMP_NUM_THREADS``, at most the usable cores; zero where nobody, or :func:`share`, has set it."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    by_hand = told.isdecimal() and told != os.environ.get(CHOSEN)
    return _at_most_usable("OMP_NUM_THREADS", int(told)) if by_hand else 0


def _at_most_usable(name: str, number: int) -> int:
    if number > usable():
        say_once(f"{name} asks for {number} threads: {usable()} compute, one on each core that may be used")
    return min(number, usable())


CHOSEN = "THREADS_CHOSEN"
"""Variable of the environment with the number that :func:`share` has set for the processes that this one starts."""

LOOK = 0.3
"""Seconds for which ``auto`` looks at how busy the cores are."""


class Neighbours:
    """The other processes on the machine, from now on."""

    def __init__(self) -> None:
        self._begun = time.monotonic(), self._busy()

    def cores(self) -> float:
        """Return how many cores they have kept busy since, on average."""
        seconds = time.monotonic() - self._begun[0]
        return max(0.0, (self._busy() - self._begun[1]) / seconds) if seconds else 0.0

    @staticmethod
    def _busy() -> float:
        """Return the seconds that all processes but this one have computed on all cores."""
        everyone, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle = everyone.idle + getattr(everyone, "iowait", 0.0) + getattr(everyone, "steal", 0.0)
        guests = getattr(everyone, "guest", 0.0) + getattr(everyone, "guest_nice", 0.0)  # in user time already
        return sum(everyone) - idle - guests - own.user - own.system


def keep_memory() -> bool:
    """Let this process keep the memory it frees; say whether it could be arranged.

    glibc hands large blocks, and free memory at the end of its heap, back to the system, which clears them page by page
    when they are asked for again. Elsewhere nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    mmap_max, trim_threshold, arena_max = -4, -1, -8  # names of glibc's malloc.h
    # Never trim; and one heap for all threads: those that each thread has beside it are handed back all the same.
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, -1) and mallopt(arena_max, 1))
