"""Files that are either whole or absent: written to a temporary name, renamed on success."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import math
import os
import platform
import shutil
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from skinlesion.errors import StudyError

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder. Relative paths in parameter files start here, wherever a notebook runs."""


class BusyError(StudyError):
    """Another process is at work there; the message says which, and what to do."""


class DiskFullError(OSError):
    """There is no room for a file; what had been finished before is untouched."""


def resolve(path: str | Path) -> Path:
    """Return `path` as an absolute path; a relative one starts at the project's folder. Links keep their names."""
    return Path(os.path.normpath(ROOT / Path(path).expanduser()))


def shown(path: Path) -> str:
    """Return `path` as a reader should see it: relative to the project, or its last part only.

    Reports are published, and a folder of somebody's machine tells their readers nothing.
    """
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def not_a_file(path: Path) -> str:
    """Say why `path` cannot be read as a file, in words that go on from its name; nothing where it can.

    To be asked before a file of somebody else's is opened: to open a pipe is to wait for ever.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link to nothing" if path.is_symlink() else "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    kinds = {stat.S_IFREG: "", stat.S_IFDIR: "is a folder", stat.S_IFIFO: "is a pipe", stat.S_IFSOCK: "is a socket"}
    return kinds.get(stat.S_IFMT(mode), "is a device")


def walk(folder: Path, *, depth: float = math.inf) -> Iterator[Path]:
    """Yield what lies in `folder` and up to `depth` subfolders below it, in a fixed order, folders too.

    Links are followed, and each folder is entered once.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    entered = set()
    for name, subfolders, names in os.walk(folder, onerror=fail, followlinks=True):
        here = Path(name)
        state = here.stat()
        if (state.st_dev, state.st_ino) in entered:
            subfolders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        yield from (here / name for name in sorted([*subfolders, *names]))
        if len(here.relative_to(folder).parts) >= depth:
            subfolders.clear()
        subfolders.sort()


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

    Its content is on the disk before it has its name, so that a power loss leaves one or the other.

    Raises
    ------
    DiskFullError
        Where the disk is full; `path` then still holds what it held before, if anything.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        with suppress(OSError):  # some file systems cannot do that to a folder
            _flush(path.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC and not isinstance(error, DiskFullError):
            raise DiskFullError(
                errno.ENOSPC,
                f"the disk is full: {path} was not written. Free some space and run again (finished files are kept)",
            ) from error
        if error.filename == str(temporary):  # nobody knows that name
            raise OSError(error.errno, f"{error.strerror}, so it was not written", str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path, name: str = "", *, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Be the only process at work on a folder, or on one file in it; the system ends a hold even of a killed process.

    Parameters
    ----------
    wait
        Is told, once, of another process that is waited for; without it, none is.

    Raises
    ------
    BusyError
        If there is another process, naming it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f"{name and '.' + name}.lock"
    with lock.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.seek(0)
            busy = f"{held.read() or 'another process'} is at work on {shown(folder / name)}"
            if wait is None:
                raise BusyError(f"{busy}: wait for it to end, or end it; another `output` is another folder") from None
            wait(f"{busy}: waiting for it to end")
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        if not os.fstat(held.fileno()).st_nlink:  # its owner has ended since it was opened, and deleted it
            with alone(folder, name, wait=wait):
                yield
            return
        with suppress(OSError):  # a full disk
            os.truncate(held.fileno(), 0)
            os.write(held.fileno(), f"process {os.getpid()} on {platform.node()}".encode())
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_Kept = TypeVar("_Kept")

_BLOCK = 1 << 23
_SEAL = struct.Struct("<Q8s")
_MARK = b"CRC32/8M"


def kept(path: Path, *, make: Callable[[Path], None], load: Callable[[Path, int], _Kept], again: str = "made") -> _Kept:
    """Return what a file holds that this program writes for itself, and write it first where it is not there.

    Behind its content the file has the CRC-32 of every 8 MiB of it, compared each time it is opened: after a power
    loss, a file of the right name and size can hold zeros. One that is damaged is set aside and written again, and one
    sentence on stderr says so.

    Parameters
    ----------
    make
        Writes the content to the path it is given.
    load
        Reads it, given the path and the length of the content in bytes; a ValueError says that it is damaged.
    again
        What is done to a damaged file, as a participle.

    Raises
    ------
    DiskFullError
        As :func:`atomic`.
    """
    if os.path.lexists(path):
        try:
            return load(path, sound_length(path))
        except (ValueError, EOFError):
            aside = path.with_name(f"{path.name}.damaged")
            with suppress(FileNotFoundError):  # another process was faster
                path.replace(aside)
            print(f"{shown(path)} is damaged: it is set aside as {aside.name}, and {again} again", file=sys.stderr)
    with atomic(path) as temporary:
        make(temporary)
        length = seal(temporary)
    return load(path, length)


def seal(path: Path) -> int:
    """Write checksums behind the content of a file, as :func:`kept` has them; return the length of the content."""
    length = path.stat().st_size
    sums = _sums(path, length)
    with path.open("ab") as file:
        file.write(sums + _SEAL.pack(length, _MARK))
    return length


def kept_csv(path: Path, make: Callable[[], pd.DataFrame], *, types: Mapping[str, str]) -> pd.DataFrame:
    """Return a table as :func:`kept`; `types` are those of its columns, which its content must not decide."""

    def load(path: Path, length: int) -> pd.DataFrame:
        content = io.BytesIO(path.read_bytes()[:length])
        return pd.read_csv(content, keep_default_na=False, dtype=dict(types))

    return kept(path, make=lambda temporary: make().to_csv(temporary, **CSV), load=load)


def sound_length(path: Path) -> int:
    """Return the length of a sealed file's content, or raise ValueError where it is not what was written."""
    if reason := not_a_file(path):
        raise ValueError(reason)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _SEAL.size))
        seal = file.read()
        length, mark = _SEAL.unpack(seal) if len(seal) == _SEAL.size else (0, b"")
        if mark != _MARK or size != length + 4 * math.ceil(length / _BLOCK) + _SEAL.size:
            raise ValueError("no seal")
        file.seek(length)
        if file.read(size - length - _SEAL.size) != _sums(path, length):
            raise ValueError("other content")
    return length


def _sums(path: Path, length: int) -> bytes:
    """Return the CRC-32 of each block, computed on all cores: zlib releases the interpreter's lock."""
    with path.open("rb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:

        def crc(start: int) -> bytes:
            return struct.pack("<I", zlib.crc32(os.pread(file.fileno(), min(_BLOCK, length - start), start)))

        return b"".join(pool.map(crc, range(0, length, _BLOCK)))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as :func:`as_json`, atomically."""
    write_text(path, as_json(content))


def as_json(content: Any) -> str:
    """Return `content`, as :func:`plain` has it, as indented JSON."""
    return json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


CSV: Any = {"index": False, "float_format": "%.9g", "lineterminator": "\n"}
"""How pandas writes every table."""


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` to `path` without its index, atomically; floats keep nine digits (exact for float32)."""
    with atomic(path) as temporary:
        table.to_csv(temporary, **CSV)


def cell(text: str) -> str:
    """Return the name of somebody's file as a table may hold it: UTF-8, and nothing that a spreadsheet would run."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


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
