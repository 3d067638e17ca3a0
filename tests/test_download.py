import contextlib
import errno
import hashlib
import io
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests

from skinlesion import files
from skinlesion.data import download
from skinlesion.data.download import DownloadError, Need, Source


def _bytes(seed, size):
    return np.random.default_rng(seed).bytes(size)


def _zip(seed):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ISIC_0024306.jpg", _bytes(seed, 30_000))
    return buffer.getvalue()


CONTENT = {
    "part_1.zip": _bytes(1, 100_000),
    "part_2.zip": _bytes(2, 50_000),
    "metadata": _bytes(3, 7_000),
    "masks.zip": _bytes(4, 20_000),
    "input.zip": _zip(5),
    "groundtruth.zip": _zip(6),
    "groupings.csv": _bytes(7, 3_000),
}
ALWAYS = 10**6
CUT = 12_288  # bytes that come before a connection is cut


class Server(ThreadingHTTPServer):
    """Serves CONTENT below /api/, and misbehaves as often as `faults` says: {name: [fault, times left]}."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = {}
        self.asked = []  # (name, Range or None), at the API URL
        self.sent = Counter()
        self.tickets = set()

    def handle_error(self, *_):
        """Say nothing: clients that leave early are what is tested."""

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/api/{name}"

    def fault(self, name):
        fault, left = self.faults.get(name, (None, 0))
        if left <= 0:
            return None
        self.faults[name] = [fault, left - 1]
        return fault

    def requests(self, name):
        return [asked for asked, _ in self.asked].count(name)

    def ranges(self, name):
        return [asked for to, asked in self.asked if to == name]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        kind, name = self.path.partition("?")[0].strip("/").split("/")[:2]
        wanted = self.headers.get("Range")
        if kind == "ticket":
            if self.path not in self.server.tickets:
                return self._answer(403)
            self.server.tickets.remove(self.path)
            return self._serve(name, wanted, "cut" if self.path.endswith("/cut") else None)
        self.server.asked.append((name, wanted))
        if "skinlesion/" not in self.headers["User-Agent"] or self.headers["Accept-Encoding"] != "identity":
            return self._answer(403)
        return self._serve(name, wanted, self.server.fault(name))

    def _answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self, name, wanted, fault):
        content = CONTENT[name]
        if fault and fault.isdigit():
            return self._answer(int(fault))
        if fault in ("redirect", "redirect and cut"):
            ticket = f"/ticket/{name}/{len(self.server.asked)}" + "/cut" * (fault != "redirect")
            self.server.tickets.add(ticket)
            return self._answer(302, Location=ticket)
        if name == "metadata" and "format=original" not in self.path and "ticket" not in self.path:
            content = b"another table"
        if fault == "wrong bytes":
            content = bytes(len(content))
        if fault == "a page":
            return self._answer(200, b"<html>closed for maintenance</html>")
        if fault == "longer":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content + b"more")
            self.close_connection = True
            return None
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        if wanted and fault != "no ranges" and fault != "no ranges and cut":
            if start >= len(content):
                return self._answer(416, Content_Range=f"bytes */{len(content)}")
            stated = len(content) + (999 if fault == "another total" else 0)
            claimed = start + (7 if fault == "wrong range" else 0)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {claimed}-{len(content) - 1}/{stated}")
            body = content[start:]
        else:
            self.send_response(200)
            body = content
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault and fault.endswith("cut"):
            body = body[:CUT]
            self.close_connection = True
        if fault == "cut at once":
            body, self.close_connection = b"", True
        self.server.sent[name] += len(body)
        with contextlib.suppress(ConnectionError):  # the client may leave first
            self.wfile.write(body)
        return None


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def published(server, name, *, query="", sized=True):
    content = CONTENT[name]
    return Source(name, server.url(name) + query, len(content) if sized else None, hashlib.md5(content).hexdigest())


def sets(server):
    part_1 = published(server, "part_1.zip")
    part_2 = published(server, "part_2.zip", sized=False)
    table = published(server, "metadata", query="?format=original")
    isic = {name: Source(name, server.url(name)) for name in ("groundtruth.zip", "groupings.csv")}
    return {
        "ham10000": (
            Need(
                "images", (part_1, part_2), (Source("input.zip", server.url("input.zip"), len(CONTENT["input.zip"])),)
            ),
            Need("table", (table,), tuple(isic.values())),
            Need("lesion masks", (published(server, "masks.zip", sized=False),), optional=True),
        ),
        "one": (Need("images", (part_1,)),),
        "unsized": (Need("images", (part_2,)),),
    }


def fetch(server, folder, name="ham10000", **options):
    download.fetch(name, folder, sets=sets(server), **{"attempts": 3, "wait": 0} | options)


def whole(folder, *names):
    """Whether `folder` holds these files, whole, and nothing else."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} == {name: CONTENT[name] for name in names}


DATAVERSE = ("part_1.zip", "part_2.zip", "metadata", "masks.zip")
AS_EXPECTED, FALLBACK = "whole file", "fallback"

FAULTS = [
    # fault, times, outcome, requests for the first archive
    (None, 0, AS_EXPECTED, 1),
    ("cut", 1, AS_EXPECTED, 2),
    ("cut", 8, AS_EXPECTED, 9),  # more often than there are attempts: every one brought bytes
    ("cut at once", 2, AS_EXPECTED, 3),
    ("cut at once", ALWAYS, FALLBACK, 3),
    ("403", 2, AS_EXPECTED, 3),
    ("403", ALWAYS, FALLBACK, 3),
    ("202", 1, AS_EXPECTED, 2),
    ("202", ALWAYS, FALLBACK, 3),
    ("429", 1, AS_EXPECTED, 2),
    ("500", 1, AS_EXPECTED, 2),
    ("500", ALWAYS, FALLBACK, 3),
    ("404", 1, FALLBACK, 1),
    ("410", 1, FALLBACK, 1),
    ("200", 1, AS_EXPECTED, 2),  # an empty answer
    ("redirect", ALWAYS, AS_EXPECTED, 1),
    ("redirect and cut", 3, AS_EXPECTED, 4),
    ("wrong bytes", 1, AS_EXPECTED, 2),
    ("wrong bytes", ALWAYS, FALLBACK, 2),
    ("no ranges", ALWAYS, AS_EXPECTED, 1),
    ("no ranges and cut", ALWAYS, FALLBACK, 4),  # one attempt that brought bytes, three that brought the same
    ("a page", 1, FALLBACK, 1),
    ("longer", 1, FALLBACK, 1),
]


@pytest.mark.parametrize(("fault", "times", "outcome", "requests"), FAULTS)
def test_a_misbehaving_server_costs_at_most_the_fallback(server, tmp_path, capsys, fault, times, outcome, requests):
    server.faults["part_1.zip"] = [fault, times]
    fetch(server, tmp_path)
    said = capsys.readouterr().out
    if outcome == AS_EXPECTED:
        assert whole(tmp_path, *DATAVERSE)
        assert not said
        assert server.requests("part_1.zip") + server.requests("input.zip") == requests
    else:
        assert whole(tmp_path, "input.zip", "metadata", "masks.zip")
        assert "taking the images from the ISIC archive instead: input.zip" in said
        assert "input.zip: no hash is known for it; accepted because its size is the stated one and every" in said
        assert (server.requests("part_1.zip"), server.requests("part_2.zip")) == (requests, 0)
        assert len(said.splitlines()) == 2


RESUMED = [
    # fault of the second request, outcome, the ranges asked for at the API URL
    (None, AS_EXPECTED, [None, f"bytes={CUT}-"]),
    ("redirect", AS_EXPECTED, [None, f"bytes={CUT}-"]),
    ("no ranges", AS_EXPECTED, [None, f"bytes={CUT}-"]),
    ("wrong range", AS_EXPECTED, [None, f"bytes={CUT}-", None]),
    ("416", AS_EXPECTED, [None, f"bytes={CUT}-", None]),
    ("wrong bytes", AS_EXPECTED, [None, f"bytes={CUT}-", None]),
    ("404", "HTTP 404 (12,288 bytes are kept)", [None, f"bytes={CUT}-"]),
    ("another total", "the server states 100,999 bytes where 100,000 are published", [None, f"bytes={CUT}-"]),
    ("a page", "the server states 35 bytes where 100,000 are published (12,288 bytes", [None, f"bytes={CUT}-"]),
    ("longer", "bytes or more came where 100,000 were expected (0 bytes", [None, f"bytes={CUT}-"]),
]


@pytest.mark.parametrize(("fault", "outcome", "ranges"), RESUMED)
def test_a_cut_download_is_resumed_by_a_later_call(server, tmp_path, fault, outcome, ranges):
    server.faults["part_1.zip"] = ["cut", 1]
    _leave_part(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".part_1.zip.part"]
    server.faults["part_1.zip"] = [fault, 1]
    if outcome == AS_EXPECTED:
        fetch(server, tmp_path, "one")
        assert whole(tmp_path, "part_1.zip")
    else:
        with pytest.raises(DownloadError, match=re.escape(outcome)):
            fetch(server, tmp_path, "one")
        assert not (tmp_path / "part_1.zip").exists()
    assert server.ranges("part_1.zip") == ranges
    if fault is None:
        assert server.sent["part_1.zip"] == len(CONTENT["part_1.zip"])  # no byte came twice


def _leave_part(server, folder, name="one"):
    """Fetch until the server has cut the connection once, as a process that was killed then."""
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(download.time, "sleep", _interrupt)
        fetch(server, folder, name)


def _interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_killed_process_is_resumed_by_another(server, tmp_path):
    server.faults["part_1.zip"] = ["cut", 1]
    source = published(server, "part_1.zip")
    program = f"""
        import os, time
        from pathlib import Path
        from skinlesion.data.download import Need, Source, fetch
        time.sleep = lambda _: os._exit(9)
        fetch("one", Path({str(tmp_path)!r}), sets={{"one": (Need("images", ({source!r},)),)}})
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False).returncode == 9
    assert not (tmp_path / "part_1.zip").exists()
    fetch(server, tmp_path, "one")
    assert (tmp_path / "part_1.zip").read_bytes() == CONTENT["part_1.zip"]
    assert server.ranges("part_1.zip") == [None, f"bytes={CUT}-"]
    assert server.sent["part_1.zip"] == len(CONTENT["part_1.zip"])


def test_ctrl_c_in_the_stream_keeps_the_part(server, tmp_path, monkeypatch):
    original = requests.Response.iter_content

    def interrupted(self, size):
        yield next(original(self, size))
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.Response, "iter_content", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, "one")
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [(".part_1.zip.part", download.BLOCK)]
    monkeypatch.undo()
    fetch(server, tmp_path, "one")
    assert whole(tmp_path, "part_1.zip")
    assert server.ranges("part_1.zip") == [None, f"bytes={download.BLOCK}-"]


@pytest.mark.parametrize(
    ("name", "file", "ranges"),
    [
        ("one", "part_1.zip", [None]),
        ("unsized", "part_2.zip", [None, "bytes=50000-"]),
    ],
)
def test_ctrl_c_in_the_verification_keeps_the_part(server, tmp_path, monkeypatch, name, file, ranges):
    monkeypatch.setattr("pooch.core.hash_matches", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, name)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [f".{file}.part"]
    fetch(server, tmp_path, name)
    assert whole(tmp_path, file)
    assert (server.ranges(file), server.sent[file]) == (ranges, len(CONTENT[file]))


def test_without_hard_links_a_file_arrives_all_the_same(server, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(download.os, "link", refuse)
    fetch(server, tmp_path)
    assert whole(tmp_path, *DATAVERSE)


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / "part_2.zip").unlink()
    server.asked.clear()
    fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert server.asked == [("part_2.zip", None)]


def test_a_file_whose_name_differs_in_case_alone_is_there(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / "part_2.zip").rename(tmp_path / "Part_2.ZIP")
    server.asked.clear()
    fetch(server, tmp_path)
    assert not server.asked


def test_the_fallback_once_taken_is_enough(server, tmp_path, capsys):
    server.faults = {"part_2.zip": ["404", 1], "metadata": ["404", 1]}
    fetch(server, tmp_path)
    said = capsys.readouterr().out
    assert "part_1.zip is whole, but not needed beside input.zip: set aside as .part_1.zip.part" in said
    assert "groupings.csv: no hash is known for it; accepted because its size is the stated one\n" in said
    assert whole(tmp_path, "input.zip", "groundtruth.zip", "groupings.csv", "masks.zip") is False
    (tmp_path / ".part_1.zip.part").unlink()
    assert whole(tmp_path, "input.zip", "groundtruth.zip", "groupings.csv", "masks.zip")
    server.asked.clear()
    fetch(server, tmp_path)
    assert not server.asked


def test_a_damaged_fallback_is_not_accepted(server, tmp_path):
    server.faults = {"part_1.zip": ["404", 1], "input.zip": ["wrong bytes", ALWAYS]}
    with pytest.raises(DownloadError, match=r"(?s)part_1\.zip .*HTTP 404.*input\.zip .*not a whole zip"):
        fetch(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_error_names_the_file_the_reason_what_is_kept_and_the_way_out(server, tmp_path):
    server.faults["part_1.zip"] = ["cut", 1]
    _leave_part(server, tmp_path)
    server.faults = {"part_1.zip": ["500", ALWAYS], "input.zip": ["403", ALWAYS]}
    with pytest.raises(DownloadError) as caught:
        fetch(server, tmp_path)
    assert str(caught.value).splitlines() == [
        "the images could not be downloaded:",
        f"  part_1.zip from {server.url('part_1.zip')}: HTTP 500, 3 times in a row (12,288 bytes are kept)",
        f"  input.zip from {server.url('input.zip')}: HTTP 403, 3 times in a row (0 bytes are kept)",
        "Run the same command again: it resumes. Or download part_1.zip, part_2.zip by hand from "
        f"doi:10.7910/DVN/DBW86T into {tmp_path}",
    ]


def test_the_masks_are_optional(server, tmp_path, capsys):
    server.faults["masks.zip"] = ["404", ALWAYS]
    fetch(server, tmp_path)
    assert whole(tmp_path, *DATAVERSE[:-1])
    assert "going on without the lesion masks, which are optional: masks.zip from" in capsys.readouterr().out


def test_a_server_that_is_not_there_is_said_plainly(server, tmp_path):
    server.faults["part_1.zip"] = ["cut at once", ALWAYS]
    with pytest.raises(DownloadError, match=r"the connection failed \(\w+\), 3 times in a row \(0 bytes are kept\)"):
        fetch(server, tmp_path, "one")


def test_a_connection_without_bytes_is_given_up_and_resumed(server, tmp_path, monkeypatch):
    get, given_up, limits = requests.get, requests.ConnectionError("Read timed out."), []

    def stalling(url, **given):
        answer, first = get(url, **given), not limits
        limits.append(given["timeout"])
        if first:
            answer.iter_content = lambda size: stalled(answer.raw)
        return answer

    def stalled(raw):
        yield raw.read(CUT)
        raise given_up

    monkeypatch.setattr(requests, "get", stalling)
    fetch(server, tmp_path, "one", timeout=77)
    assert limits == [77, 77]
    assert whole(tmp_path, "part_1.zip")
    assert server.ranges("part_1.zip") == [None, f"bytes={CUT}-"]


def test_the_default_agent_of_requests_is_not_used(server, tmp_path):
    assert requests.get(server.url("part_1.zip")).status_code == 403
    default = download.Resume(part=tmp_path / "x", user_agent=requests.utils.default_user_agent(), attempts=1)
    with pytest.raises(DownloadError, match="HTTP 403"):
        default(server.url("part_1.zip"), tmp_path / "y")


def test_waits_double_until_bytes_come(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    server.faults["part_1.zip"] = ["500", 6]
    fetch(server, tmp_path, "one", attempts=7, wait=4)
    assert waits == [4, 8, 16, 32, 60, 60]


def test_a_disk_that_fills_up_keeps_the_part(server, tmp_path, monkeypatch):
    original = requests.Response.iter_content

    def filled(self, size):
        yield next(original(self, size))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(requests.Response, "iter_content", filled)
    with pytest.raises(files.DiskFullError, match=r"the disk is full: .* \(4,096 bytes are kept\)"):
        fetch(server, tmp_path, "one")
    assert [path.name for path in tmp_path.iterdir()] == [".part_1.zip.part"]


def test_the_table_is_asked_for_as_it_was_published(server, tmp_path):
    source = published(server, "metadata")
    with pytest.raises(DownloadError, match="the server states 13 bytes where 7,000 are published"):
        download.fetch("table", tmp_path, sets={"table": (Need("table", (source,)),)}, wait=0)
    for name in ("HAM10000_metadata", "ISIC2018_Task3_Test_GroundTruth.csv"):
        assert download.EXPECTED[name].url.endswith("?format=original")


@pytest.mark.parametrize("name", ["part_1.zip", "part_2.zip", "masks.zip", "input.zip"])
def test_a_file_of_somebody_elses_is_left_as_it_is(server, tmp_path, name):
    (tmp_path / name).write_bytes(b"resized")
    with pytest.raises(DownloadError, match=rf"{name} is there with another content .* choose another folder"):
        fetch(server, tmp_path)
    assert (tmp_path / name).read_bytes() == b"resized"
    assert not server.asked


def test_a_part_larger_than_the_file_is_begun_anew(server, tmp_path):
    (tmp_path / ".part_1.zip.part").write_bytes(bytes(100_001))
    fetch(server, tmp_path, "one")
    assert whole(tmp_path, "part_1.zip")


def test_what_cannot_fit_is_refused_before_a_byte_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 60_000))
    with pytest.raises(files.DiskFullError, match="are needed: free some space"):
        fetch(server, tmp_path)
    assert not server.asked
    (tmp_path / ".part_1.zip.part").write_bytes(CONTENT["part_1.zip"][:90_000])
    fetch(server, tmp_path, "one")  # what is there already needs no space


def test_a_size_told_by_the_server_alone_is_checked_too(server, tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 40_000))
    with pytest.raises(files.DiskFullError, match="are needed: free some space"):
        fetch(server, tmp_path, "unsized")
    assert not list(tmp_path.iterdir())


def test_the_published_files_are_known_by_name():
    assert set(download.SETS) == {"ham10000", "isic2018_test"}
    assert len(download.EXPECTED) == 11
    for name, source in download.EXPECTED.items():
        assert re.fullmatch(r"[\w.]+", name)
        assert source.url.startswith((f"{download.DATAVERSE}/", f"{download.ISIC}/{name}"))
        assert source.md5 is None or re.fullmatch("[0-9a-f]{32}", source.md5)
