import errno
import json
import multiprocessing
import os
import platform
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skinlesion import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("table.csv", "old")]


def test_a_full_disk_is_named_with_the_way_out(tmp_path):
    def fill(temporary):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(files.DiskFullError, match=r"the disk is full: .*x\.csv was not written\. Free some space"),
        files.atomic(tmp_path / "x.csv") as temporary,
    ):
        fill(temporary)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_named_by_the_name_it_would_have(tmp_path):
    def forbid(temporary):
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))

    said = r"Permission denied, so it was not written: '.*/x\.npy'$"
    with pytest.raises(OSError, match=said) as error, files.atomic(tmp_path / "x.npy") as temporary:
        forbid(temporary)
    assert ".tmp" not in str(error.value)


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "x.txt", []

    def flush(descriptor):
        seen.append((os.fstat(descriptor).st_ino, path.exists()))

    monkeypatch.setattr(files.os, "fsync", flush)
    files.write_text(path, "content")
    assert seen == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


NO_FILES = {
    "is a pipe": os.mkfifo,
    "is a folder": Path.mkdir,
    "is a socket": make_socket,
    "is a device": lambda path: path.symlink_to("/dev/null"),
    "is a link to nothing": lambda path: path.symlink_to("nothing"),
    "cannot be read (": lambda path: path.symlink_to(path.name),  # a link to itself
    "does not exist": lambda path: None,
}


@pytest.mark.parametrize("reason", NO_FILES)
def test_what_is_no_file_is_called_what_it_is_and_not_opened(tmp_path, monkeypatch, reason):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    NO_FILES[reason](Path("x"))
    assert files.not_a_file(Path("x")).startswith(reason)
    Path("file").write_text("content")
    Path("link").symlink_to("file")
    assert files.not_a_file(Path("link")) == ""


def test_folders_behind_links_are_walked_each_once_and_in_order(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    (elsewhere / "deep" / "deeper").mkdir(parents=True)
    folder.mkdir()
    for path in (folder / "z", elsewhere / "a", elsewhere / "deep" / "b", elsewhere / "deep" / "deeper" / "c"):
        path.write_text("content")
    (folder / "part").symlink_to(elsewhere)
    (elsewhere / "deep" / "back").symlink_to(folder)  # a circle
    seen = [str(path.relative_to(folder)) for path in files.walk(folder) if path.is_file()]
    assert seen == ["z", "part/a", "part/deep/b", "part/deep/deeper/c"]
    assert [path.name for path in files.walk(folder, depth=1)] == ["part", "z", "a", "deep"]


def zero(path, start, stop):
    content = path.read_bytes()
    path.write_bytes(content[:start] + bytes(stop - start) + content[stop:])


DAMAGES = {
    "its first block is zero": lambda path: zero(path, 0, 10),
    "its last block is zero": lambda path: zero(path, 90, 95),
    "one bit is another": lambda path: path.write_bytes(path.read_bytes().replace(b"7", b"6", 1)),
    "it is cut": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "it lacks its last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "its sums are zero": lambda path: zero(path, 95, 100),
    "it is empty": lambda path: path.write_bytes(b""),
    "it is all zero": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "it has no seal": lambda path: path.write_bytes(b"7" * 95),
    "it is a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "it is a link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
}


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """A kept file of ten blocks, the last of them not full; returns how often it was made, and what it holds."""
    monkeypatch.setattr(files, "_BLOCK", 10)
    made = []

    def make(path):
        made.append(path)
        path.write_bytes(b"7" * 95)

    def run():
        content = files.kept(tmp_path / "x", make=make, load=lambda path, length: path.read_bytes()[:length])
        return len(made), content

    return run


def test_a_kept_file_is_made_once(keep, capsys):
    assert keep() == keep() == (1, b"7" * 95)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_kept_file_that_is_damaged_is_set_aside_and_made_again(keep, tmp_path, capsys, damage):
    keep()
    DAMAGES[damage](tmp_path / "x")
    assert keep() == (2, b"7" * 95)
    assert capsys.readouterr().err == "x is damaged: it is set aside as x.damaged, and made again\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.damaged"]
    assert keep() == (2, b"7" * 95)


def test_a_kept_table_has_the_types_it_is_said_to_have_whatever_it_holds(tmp_path):
    """Digits are no number, `nan` and an empty field are text, and so is a column without a row."""
    types = {"text": "str", "number": "float64"}
    table = pd.DataFrame({"text": ["12", "1e5", "nan", ""], "number": [1, 2, 3, 4]})
    for name, rows in (("full", table), ("constant", table[:1]), ("none", table[:0])):
        for _ in ("made", "read"):
            kept = files.kept_csv(tmp_path / name, lambda rows=rows: rows, types=types)
            assert kept.dtypes.astype(str).to_dict() == types
            assert kept.text.tolist() == rows.text.tolist()


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_files_name_is_no_formula(name):
    assert files.cell(name) == f"'{name}"
    assert files.cell(f"a{name}") == f"a{name}"


def test_a_files_name_that_is_no_utf8_can_be_written():
    assert files.cell(os.fsdecode(b"caf\xe9.jpg")) == r"caf\udce9.jpg"


def test_what_cannot_fit_is_refused_before_it_is_started(tmp_path):
    with pytest.raises(files.DiskFullError, match="are needed: free some space"):
        files.require_space(tmp_path, shutil.disk_usage(tmp_path).free + 10**9)


def test_json_holds_numpy_numbers_and_says_null_for_what_is_not_a_number(tmp_path):
    files.write_json(tmp_path / "x.json", {"a": np.float64(0.5), "b": np.nan, "c": np.arange(2), 3: np.inf})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 0.5, "b": None, "c": [0, 1], "3": None}


def test_json_holds_tables_by_the_names_of_their_rows_or_as_a_list():
    table = pd.DataFrame({"value": [0.5, np.nan], "images": [1, 2]})
    rows = [{"value": 0.5, "images": 1}, {"value": None, "images": 2}]
    assert files.plain(table) == rows
    assert files.plain({"t": table.set_axis(["a", "b"])}) == {"t": dict(zip("ab", rows, strict=True))}
    assert files.plain(pd.concat({"x": table.set_axis(["a", "b"])})) == {"x": dict(zip("ab", rows, strict=True))}


def test_csv_keeps_float32_exactly(tmp_path):
    values = np.random.default_rng(0).random(100).astype(np.float32)
    files.write_csv(tmp_path / "x.csv", pd.DataFrame({"p": values}))
    assert (pd.read_csv(tmp_path / "x.csv").p.to_numpy(np.float32) == values).all()


def test_a_path_outside_the_project_is_shown_by_its_last_part(tmp_path):
    assert files.shown(tmp_path / "x.csv") == "x.csv"
    assert files.shown(files.ROOT / "reports" / "x.csv") == "reports/x.csv"


def hold(folder, held):
    with files.alone(folder, "page"):
        held.set()
        time.sleep(86_400)


def test_a_second_process_says_that_it_waits_and_goes_on_when_the_first_is_killed(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    first = context.Process(target=hold, args=(tmp_path, held))
    first.start()
    held.wait()
    lines = []
    busy = f"process {first.pid} on {platform.node()} is at work on page"
    with pytest.raises(files.BusyError, match=f"^{busy}: wait for it to end"), files.alone(tmp_path, "page"):
        pass

    def kill(line):
        lines.append(line)
        first.kill()

    with files.alone(tmp_path, "page", wait=kill):
        first.join()
    assert lines == [f"{busy}: waiting for it to end"]
    with files.alone(tmp_path, "page", wait=kill), files.alone(tmp_path):
        assert len(lines) == 1
    assert list(tmp_path.iterdir()) == []


def test_who_has_waited_for_a_hold_is_alone_after_it_as_well(tmp_path):
    """Though the first deletes the file that both have opened, and a third one makes another."""
    got, end = threading.Event(), threading.Event()

    def second():
        with files.alone(tmp_path, wait=lambda line: waits.set()):
            got.set()
            end.wait()

    waits, thread = threading.Event(), threading.Thread(target=second, daemon=True)
    with files.alone(tmp_path):
        thread.start()
        waits.wait()
    got.wait()
    with pytest.raises(files.BusyError), files.alone(tmp_path):
        pass
    end.set()
    thread.join()


def test_a_file_system_without_locks_and_a_full_disk_keep_nobody_from_work(tmp_path, monkeypatch):
    def fail(*given):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(files.fcntl, "flock", fail)
    monkeypatch.setattr(files.os, "write", fail)
    with files.alone(tmp_path):
        pass
