"""HAM10000 and the ISIC 2018 test set, fetched so that a slow or broken download loses nothing."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import re
import time
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
from tqdm.auto import tqdm

from skinlesion import files
from skinlesion.data import archives
from skinlesion.errors import StudyError

DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile"
ISIC = "https://isic-archive.s3.amazonaws.com/challenges/2018"
DOI = "doi:10.7910/DVN/DBW86T"

# Dataverse has refused the default agents of Python's HTTP libraries.
USER_AGENT = f"skinlesion/{importlib.metadata.version('skinlesion')} (research; reproducible study of HAM10000)"

BLOCK = 1 << 12  # small, since a cut connection loses the block it was in
PASSING = {202, 403, 408, 429}  # refusals that have been seen to pass, as all from 500 on
LONGEST_WAIT = 60.0


class DownloadError(StudyError):
    """A file could not be fetched; the message names it, the URL, the reason and the way out."""


class _PassingError(Exception):
    """A fault after which the same request may succeed."""


@dataclass(frozen=True)
class Source:
    """One published file; its size or MD5 is None where it is not known."""

    name: str
    url: str
    size: int | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Need:
    """What a data set is made of: the files of `sources`, or all those of `fallback`."""

    title: str
    sources: tuple[Source, ...]
    fallback: tuple[Source, ...] = ()
    optional: bool = False


def _dataverse(name: str, number: str, size: int | None, md5: str) -> Source:
    return Source(name, f"{DATAVERSE}/{number}", size, md5)


def _isic(name: str, size: int | None = None) -> Source:
    return Source(name, f"{ISIC}/{name}", size)


# Without `?format=original` Dataverse sends its own rendering of a table, with other bytes.
# fmt: off
SETS: dict[str, tuple[Need, ...]] = {
    "ham10000": (
        Need("images", (
            _dataverse("HAM10000_images_part_1.zip", "3172585", 1_366_522_108, "4639bfa73ab251610530a97c898e6e46"),
            _dataverse("HAM10000_images_part_2.zip", "3172584", 1_403_566_547, "da43d6cc50f6613013be07e8986b384b"),
        ), (_isic("ISIC2018_Task3_Training_Input.zip", 2_771_732_744),)),
        Need("table", (
            _dataverse("HAM10000_metadata", "4338392?format=original", 690_218, "8f85fb1aa29d80a2797247e434deb79d"),
        ), (
            _isic("ISIC2018_Task3_Training_GroundTruth.zip"),
            _isic("ISIC2018_Task3_Training_LesionGroupings.csv"),
        )),
        Need("lesion masks", (
            _dataverse("HAM10000_segmentations_lesion_tschandl.zip", "3838943", None,
                       "6e8d252e09cfdb0189199f15985a5b84"),
        ), optional=True),
    ),
    "isic2018_test": (
        Need("images", (
            _dataverse("ISIC2018_Task3_Test_Images.zip", "3855824", None, "0488b6f65849e310857d9207daa55a21"),
        ), (_isic("ISIC2018_Task3_Test_Input.zip"),)),
        Need("table", (
            _dataverse("ISIC2018_Task3_Test_GroundTruth.csv", "6924466?format=original", None,
                       "2b5663aacc9644740f27e355cf7f369a"),
        ), (_isic("ISIC2018_Task3_Test_GroundTruth.zip"),)),
    ),
}
# fmt: on
"""What each data set needs, and where it is published."""

EXPECTED: dict[str, Source] = {
    source.name: source for needs in SETS.values() for need in needs for source in (*need.sources, *need.fallback)
}
"""Every published file by its name."""


class Resume:
    """A downloader for pooch that goes on where the last one stopped, in this process or an earlier one.

    Every attempt asks the URL it was given, since what Dataverse redirects to expires within a minute.

    Parameters
    ----------
    part
        Where the bytes are kept until the file is whole.
    size
        Published size in bytes, if known.
    user_agent
        How the requests introduce themselves.
    attempts
        How many attempts in a row may bring no new byte.
    wait
        Seconds before the second attempt; they double, up to a minute.
    timeout
        Seconds without a byte after which a connection counts as cut.
    """

    def __init__(
        self,
        *,
        part: Path,
        size: int | None = None,
        user_agent: str = USER_AGENT,
        attempts: int = 6,
        wait: float = 2.0,
        timeout: float = 60.0,
    ) -> None:
        self.part, self.size, self.attempts, self.wait, self.timeout = part, size, attempts, wait, timeout
        # A compressed answer would have neither the length nor the ranges of the file.
        self.headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}

    @property
    def kept(self) -> int:
        """How many bytes are there so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def __call__(self, url: str, output_file: str | Path, pooch_instance: Any = None) -> None:
        """Fetch `url`; the bytes then lie at `output_file` and, until they are verified, at `part`.

        Raises
        ------
        DownloadError
            Naming the URL, the last reason and how many bytes are kept.
        DiskFullError
            If the rest does not fit.
        """
        if self.size is not None and self.kept > self.size:
            self.part.unlink()
        failures, furthest = 0, self.kept
        while True:
            try:
                self._attempt(url)
                break
            except (_PassingError, requests.RequestException) as error:
                reason = _reason(error)
            except OSError as error:
                if error.errno != errno.ENOSPC or isinstance(error, files.DiskFullError):
                    raise
                raise files.DiskFullError(
                    errno.ENOSPC, f"the disk is full: free some space and run again ({self.kept:,} bytes are kept)"
                ) from error
            # Measured against the furthest: a server that refuses ranges brings the same bytes again and again.
            failures = 0 if self.kept > furthest else failures + 1
            furthest = max(furthest, self.kept)
            if failures >= self.attempts:
                raise self._error(url, f"{reason}, {failures} times in a row")
            time.sleep(min(self.wait * 2 ** max(failures - 1, 0), LONGEST_WAIT))
        Path(output_file).unlink(missing_ok=True)
        try:
            os.link(self.part, output_file)  # Ctrl-C while pooch computes the hash then costs nothing
        except OSError:  # a file system without hard links
            self.part.replace(output_file)

    def _attempt(self, url: str) -> None:
        start = self.kept
        if start and start == self.size:
            return  # whole, but not yet verified when an earlier process ended
        headers = self.headers | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{start}":
                return  # as above, of a file whose size is not published
            start, total = self._bounds(url, response, start)
            files.require_space(self.part.parent, (total or 0) - self.kept)
            with (
                self.part.open("ab" if start else "wb") as file,
                tqdm(total=total, initial=start, desc=self.part.name[1:-5], unit="B", unit_scale=True, delay=1) as bar,
            ):
                for block in response.iter_content(BLOCK):
                    start += file.write(block)
                    bar.update(len(block))
                    if total is not None and start > total:
                        break
        if total is not None and start > total:
            self.part.unlink()  # these are not the bytes of the file
            raise self._error(url, f"{start:,} bytes or more came where {total:,} were expected")
        if start < (total or 1):
            raise _PassingError(f"the answer ended at {start:,} bytes")

    def _bounds(self, url: str, response: requests.Response, start: int) -> tuple[int, int | None]:
        """Return at which byte of the file the answer starts, and how many the file has, or refuse the answer."""
        status, headers = response.status_code, response.headers
        total: int | None = None
        if status == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            if not found or int(found[1]) != start:
                self.part.unlink(missing_ok=True)
                raise _PassingError(f"another range came than from byte {start:,} on")
            total = None if found[2] == "*" else int(found[2])
        elif status == 200:
            start = 0
            if "Content-Length" in headers and headers.get("Content-Encoding", "identity") == "identity":
                total = int(headers["Content-Length"])
        elif status == 416:
            self.part.unlink(missing_ok=True)
        if status in PASSING or status == 416 or status >= 500 or total == 0:
            raise _PassingError(f"HTTP {status}" + " without content" * (total == 0))
        if status not in (200, 206):
            raise self._error(url, f"HTTP {status}")
        if total is not None and self.size is not None and total != self.size:
            raise self._error(url, f"the server states {total:,} bytes where {self.size:,} are published")
        return start, total if self.size is None else self.size

    def _error(self, url: str, reason: str) -> DownloadError:
        return DownloadError(f"{self.part.name[1:-5]} from {url}: {reason} ({self.kept:,} bytes are kept)")


def fetch(
    name: str,
    folder: Path,
    *,
    sets: Mapping[str, tuple[Need, ...]] = SETS,
    attempts: int = 6,
    wait: float = 2.0,
    timeout: float = 60.0,
) -> None:
    """Download what `folder` lacks of a data set; a file has its final name only once it is verified.

    Parameters
    ----------
    name
        A key of `sets`: ``ham10000`` or ``isic2018_test``.
    folder
        Where the files go; it is made if needed.
    sets
        What the data sets need, and where it is.
    attempts, wait, timeout
        As for :class:`Resume`.

    Raises
    ------
    DownloadError
        If a file cannot be had, or one of that name is there with another content.
    DiskFullError
        If the files do not fit; in a download, what came so far is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # the progress bar says the same
    options = {"attempts": attempts, "wait": wait, "timeout": timeout}
    plan = {need: _lacking(need.sources, folder) for need in sets[name]}
    plan = {
        need: lacking
        for need, lacking in plan.items()
        if lacking and not (need.fallback and not _lacking(need.fallback, folder))
    }
    _require_space((source for lacking in plan.values() for source in lacking), folder)
    for need, lacking in plan.items():
        try:
            _download(lacking, folder, options)
        except DownloadError as error:
            if need.optional:
                print(f"going on without the {need.title}, which are optional: {error}")
            elif need.fallback:
                _fall_back(need, folder, options, error)
            else:
                raise DownloadError(_explain(need, folder, error)) from error


def _fall_back(need: Need, folder: Path, options: Mapping[str, Any], error: DownloadError) -> None:
    names = ", ".join(source.name for source in need.fallback)
    print(f"{error}; taking the {need.title} from the ISIC archive instead: {names}")
    lacking = _lacking(need.fallback, folder)
    _require_space(lacking, folder)
    try:
        _download(lacking, folder, options)
    except DownloadError as second:
        raise DownloadError(_explain(need, folder, error, second)) from second
    for source in need.sources:
        path = folder / source.name
        if path.exists():  # one of two image archives would be read as half a data set
            path.replace(_part(source, folder))
            print(f"{source.name} is whole, but not needed beside {names}: set aside as {_part(source, folder).name}")
        else:
            _part(source, folder).unlink(missing_ok=True)


def _download(sources: Iterable[Source], folder: Path, options: Mapping[str, Any]) -> None:
    """Fetch `sources`; one with a wrong content is fetched once more, from scratch."""
    for source in sources:
        resume = Resume(part=_part(source, folder), size=source.size, **options)

        def checked(url: str, output: str, instance: Any, source: Source = source, resume: Resume = resume) -> None:
            resume(url, output, instance)
            if source.md5 is None and (fault := _fault(source, Path(output))):  # else pooch compares the hash
                raise ValueError(fault)

        for last in (False, True):
            try:
                pooch.retrieve(source.url, source.md5 and f"md5:{source.md5}", source.name, folder, downloader=checked)
            except StudyError:
                raise
            except ValueError as error:
                resume.part.unlink(missing_ok=True)
                if last:
                    raise DownloadError(f"{source.name} from {source.url}: {error} (twice; nothing is kept)") from error
            else:
                resume.part.unlink(missing_ok=True)
                break
        if source.md5 is None:
            read = " and every member of the zip reads back" if source.name.endswith(".zip") else ""
            print(f"{source.name}: no hash is known for it; accepted because its size is the stated one{read}")


def _lacking(sources: Iterable[Source], folder: Path) -> list[Source]:
    """Return those of `sources` that are not in `folder`; refuse a file of such a name with another content."""
    lacking = []
    for source in sources:
        path = next(iter(archives.find(folder, source.name)), None)
        if path is None:
            lacking.append(source)
        elif fault := _fault(source, path):
            raise DownloadError(
                f"{path} is there with another content than {source.url} ({fault}), and is left as it is: "
                "move it away or choose another folder"
            )
    return lacking


def _fault(source: Source, path: Path) -> str | None:
    """Return what is wrong with a file that should be `source`, as far as is known about it."""
    if not path.is_file():
        return "not a file"
    if source.size is not None and (size := path.stat().st_size) != source.size:
        return f"{size:,} bytes instead of {source.size:,}"
    if source.md5:
        md5 = pooch.file_hash(str(path), alg="md5")
        return None if md5 == source.md5 else f"MD5 {md5} instead of {source.md5}"
    if source.name.endswith(".zip"):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            return f"not a whole zip: {error}"
        return damaged and f"{damaged} in it is damaged"
    return None


def _require_space(sources: Iterable[Source], folder: Path) -> None:
    parts = [(source.size or 0, _part(source, folder)) for source in sources]
    files.require_space(folder, sum(size - part.stat().st_size if part.exists() else size for size, part in parts))


def _part(source: Source, folder: Path) -> Path:
    return folder / f".{source.name}.part"


def _reason(error: Exception) -> str:
    """Return a fault in a few words; those of requests name objects in memory."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return str(error) if isinstance(error, _PassingError) else f"the connection failed ({type(error).__name__})"


def _explain(need: Need, folder: Path, *errors: DownloadError) -> str:
    names = ", ".join(source.name for source in need.sources)
    reasons = "\n".join(f"  {error}" for error in errors)
    return (
        f"the {need.title} could not be downloaded:\n{reasons}\n"
        f"Run the same command again: it resumes. Or download {names} by hand from {DOI} into {folder}"
    )
