"""What comes of a check, and what differs between stated and computed values: for everything that is verified."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CLOSE = 1e-9
"""Largest difference at which two numbers are the same: what the order of a sum may do."""

INSIDE = " › "
"""Stands in a path between a key and a key inside of it: ``test › headline › loss › value``."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    what
        The file, or the numbers.
    faults
        What is wrong with it, a line each; empty where all is well.
    passed
        What to say then.
    """

    what: str
    faults: list[str]
    passed: str = ""

    def __str__(self) -> str:
        return f"{'FAILED' if self.faults else 'ok':<7} {self.what}: {'; '.join(self.faults[:3]) or self.passed}"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value inside of JSON that holds no other, with its path."""
    if isinstance(value, dict | list) and value:
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, f"{path}{INSIDE}{key}" if path else str(key))
    else:
        yield path, value


def is_number(value: Any) -> bool:
    """Return whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def differences(stated: Any, found: Any, *, close: float = CLOSE) -> Iterator[str]:
    """Say where two values of JSON differ: in structure and words at all, in numbers by more than `close`.

    Numbers above one may differ by :data:`CLOSE` of themselves, where that is more.

    Yields
    ------
    str
        The path of the difference, and both sides.
    """
    one, other = dict(leaves(stated)), dict(leaves(found))
    for name in one | other:
        if name not in other:
            yield f"{name} is stated, and does not follow"
        elif name not in one:
            yield f"{name} is not stated"
        elif is_number(one[name]) and is_number(other[name]):
            if not math.isclose(one[name], other[name], rel_tol=CLOSE, abs_tol=close):
                yield f"{name}: {one[name]} is stated, {other[name]} follows"
        elif type(one[name]) is not type(other[name]) or one[name] != other[name]:
            yield f"{name}: {one[name]} is stated, {other[name]} follows"
