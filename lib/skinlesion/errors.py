"""The one root of what is refused: everything else that fails is a fault of the program, and shows its traceback."""

from __future__ import annotations

import functools
import sys


class StudyError(ValueError):
    """Something that its user can mend; the message names the thing and the way out."""


@functools.cache
def say_once(sentence: str) -> None:
    """Print what is not refused and yet should be known, on stderr: once a process."""
    print(sentence, file=sys.stderr)
