"""Files that are either whole or absent: written to a temporary name, renamed on success."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder. Relative paths in parameter files start here, wherever a notebook runs."""


class DiskFullError(OSError):
    """There is no room for a file; what had been finished before is untouched."""


def resolve(path: str | Path) -> Path:
    """Return `path` as an absolute path; a relative one starts at the project's folder."""
    return (ROOT / Path(path).expanduser()).resolve()


def shown(path: Path) -> str:
    """Return `path` as a reader should see it: relative to the project, or its last part only.

    Reports are published, and a folder of somebody's machine tells their readers nothing.
    """
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def require_space(folder: Path, needed: int) -> None:
    """Refuse to start a file that cannot fit.

    Parameters
    ----------
    folder
        Where the file will be written; it must exist.
    needed
        Size of the file in bytes.

    Raises
    ------
    DiskFullError
        Naming the folder, what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(
            errno.ENOSPC,
            f"{folder} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed: "
            "free some space and run again (finished files are kept)",
        )


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    Raises
    ------
    DiskFullError
        Where the disk is full; `path` then still holds what it held before, if anything.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC and not isinstance(error, DiskFullError):
            raise DiskFullError(
                errno.ENOSPC,
                f"the disk is full: {path} was not written. Free some space and run again (finished files are kept)",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content`, as :func:`plain` has it, to `path` as indented JSON, atomically."""
    write_text(path, json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


CSV: Any = {"index": False, "float_format": "%.9g", "lineterminator": "\n"}
"""How pandas writes every table."""


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` to `path` without its index, atomically; floats keep nine digits (exact for float32)."""
    with atomic(path) as temporary:
        table.to_csv(temporary, **CSV)


def sha256(*paths: Path) -> str:
    """Return the SHA-256 of the content of `paths`, one after the other, as 64 hex digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """Return `value` as JSON has it: NumPy and pandas scalars as Python's own, NaN and infinity as None.

    A table becomes a list of its rows, or where its index has names, a dict of them by these; by both, one in the
    other, where it has two levels.
    """
    if isinstance(value, pd.DataFrame) and value.index.nlevels > 1:
        return {str(key): plain(value.loc[key]) for key in value.index.unique(0)}
    if isinstance(value, pd.DataFrame):
        return plain(value.to_dict("records" if isinstance(value.index, pd.RangeIndex) else "index"))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value
