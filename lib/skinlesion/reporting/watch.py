"""Whether a kernel still gets anywhere: told by what it computes, not by how long it takes."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import psutil

SHARE = 0.002
"""Share of the time that a kernel which gets anywhere computes at least, also on a machine that does other things."""

GRACE = 30.0  # seconds that a kernel has to end a cell when it is interrupted


@contextlib.contextmanager
def stalled(mark: str, *, limit: float) -> Iterator[threading.Event]:
    """Stop the kernel that runs meanwhile once it computes next to nothing for too long.

    Parameters
    ----------
    mark
        Part of the kernel's command line, to know it by among the children of this process.
    limit
        Seconds in which the kernel and its children must use :data:`SHARE` of a processor.

    Yields
    ------
    threading.Event
        Set once the kernel was interrupted.
    """
    interrupted, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=_watch, args=(mark, limit, interrupted, done), daemon=True)
    thread.start()
    try:
        yield interrupted
    finally:
        done.set()
        thread.join()


def _watch(mark: str, limit: float, interrupted: threading.Event, done: threading.Event) -> None:
    seen, since = 0.0, time.monotonic()
    while not done.wait(min(5.0, limit / 10)):
        kernels = _kernels(mark)
        used, now = sum(map(_seconds, kernels)), time.monotonic()
        if abs(used - seen) >= SHARE * limit or not kernels:  # less than before: a child has ended
            seen, since = used, now
        elif now - since > limit:
            interrupted.set()
            _signal(kernels, signal.SIGINT)
            if not done.wait(GRACE):
                _signal(kernels, signal.SIGKILL)
            return


def _kernels(mark: str) -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(mark in part for part in child.cmdline()):
                found.append(child)
    return found


def _seconds(kernel: psutil.Process) -> float:
    used = 0.0
    with contextlib.suppress(psutil.Error):
        for process in (kernel, *kernel.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system
    return used


def _signal(kernels: list[psutil.Process], number: signal.Signals) -> None:
    for kernel in kernels:
        with contextlib.suppress(psutil.Error):
            kernel.send_signal(number)
