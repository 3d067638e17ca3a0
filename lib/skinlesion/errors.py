"""The one root of what is refused: everything else that fails is a fault of the program, and shows its traceback."""

from __future__ import annotations


class StudyError(ValueError):
    """Something that its user can mend; the message names the thing and the way out."""
