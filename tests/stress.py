"""What is wrong is said: `make stress` damages, forges and kills, and prints what held.

It takes minutes; tests/test_stress.py is the small part of it that is a test.

Nothing may end in a silently wrong result, a traceback, a hang, or a file where none belongs.
"""

from __future__ import annotations

import os

os.environ["TQDM_DISABLE"] = "1"

import argparse
import contextlib
import io
import itertools
import json
import lzma
import multiprocessing
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import conftest
import numpy as np
import pandas as pd
import torch
from test_checkpoints import STRUCTURES
from test_inference import BAD_FACTS, rewrite
from test_models import BAD_WEIGHTS, WRAPPED, Evil
from test_training import run as train
from test_training import run_alone, same_weights

from skinlesion import files, parameters, runs
from skinlesion.data import archives, dataset, images, published, sample
from skinlesion.errors import StudyError
from skinlesion.learning import checkpoints, inference, models

PATIENCE = 3600
"""Seconds after which what was tried counts as hanging."""

Case = tuple[str, Callable[[], str]]
"""What is tried, and a function that tries it; it returns in a word how it held, or raises."""


class SilentError(AssertionError):
    """A wrong result came without a word."""


class HangError(BaseException):
    """Nothing came at all."""


def refused(action: Callable[[], Any], *, good: Callable[[Any], bool] | None = None) -> str:
    """Do it; return "refused" where it says why not, "harmless" where the result is as good as ever."""
    try:
        result = action()
    except (StudyError, OSError) as error:
        if not str(error).strip() or "weights_only" in str(error) or " object at 0x" in str(error):
            raise SilentError(f"an unclear message: {error}") from error
        return "refused"
    if good is None or not good(result):
        raise SilentError("a wrong result, silently")
    return "harmless"


def judge(case: Callable[[], str]) -> str:
    """Return "" where a case held, else what came of it instead."""

    def stop(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            case()
    except HangError:
        return "hang"
    except SilentError as error:
        return str(error)
    except (Exception, KeyboardInterrupt) as error:
        return f"traceback: {type(error).__name__}: {str(error)[:150]}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ""


# --- kills and signals --------------------------------------------------------------------------------------------


def task() -> tuple[np.ndarray, np.ndarray]:
    return conftest.task.__wrapped__() if hasattr(conftest.task, "__wrapped__") else conftest.task()


def tiny(folder: Path, data: Path) -> parameters.Parameters:
    return parameters.load("demo", conftest.tiny_overrides(data, folder))


def kills(folder: Path, data: Path) -> Iterator[Case]:
    """One run is killed at random moments until it is done: it ends as the run that never was."""
    chosen, given = tiny(folder, data), task()
    update = {"epochs": 3, "checkpoint_seconds": 0.1}
    whole, _ = train(given, chosen, folder / "whole", **update)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skinlesion.learning.training", "test_training"])
    dice = random.Random(0)

    def kill(number: int, name: str) -> str:
        place = folder / f"killed-{name}"
        for _ in range(3):
            process = context.Process(target=_alone, args=(given, chosen, place, update))
            process.start()
            state = place / checkpoints.NAME
            before = state.stat().st_mtime_ns if state.exists() else 0
            while process.is_alive():
                if state.exists() and state.stat().st_mtime_ns != before:
                    break
                time.sleep(0.002)
            time.sleep(dice.uniform(0, 0.2))
            if process.is_alive():
                os.kill(process.pid, number)
            process.join()
        resumed, _ = train(given, chosen, place, **update)
        shutil.rmtree(place)
        if not same_weights(whole, resumed):
            raise SilentError("other weights than those of the run that was never killed")
        return "same bits"

    for count in range(6):
        yield f"kill -9, three times ({count + 1})", lambda count=count: kill(signal.SIGKILL, f"kill{count}")
    for name in ("SIGTERM", "SIGINT"):
        for count in range(2):
            yield f"{name} ({count + 1})", lambda n=name, c=count: kill(getattr(signal, n), f"{n}{c}")

    def write(name: str) -> str:
        """Kill a process that writes results again and again: what lies there is whole."""
        place = folder / f"results-{name}"
        process = context.Process(target=_write, args=(place,))
        process.start()
        while not (place / "predictions.csv").exists():
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.3))
        process.kill()
        process.join()
        left = runs.Files(place)
        if len(left.read_csv("predictions.csv")) != 400 or left.read_json("metrics.json")["a"] != [1] * 9000:
            raise SilentError("half a file")
        return "whole"

    for count in range(6):
        yield f"kill -9 while results are written ({count + 1})", lambda count=count: write(str(count))
    yield "Ctrl-C twice while a page is made", lambda: _two_ctrl_c(folder)


def _alone(*given: Any) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        run_alone(*given)


def _write(place: Path) -> None:
    table = conftest.random_predictions(400)
    for _ in range(10_000):
        files.write_json(place / "metrics.json", {"a": [1] * 9000})
        files.write_csv(place / "predictions.csv", table)


def _two_ctrl_c(folder: Path) -> str:
    from test_pages import test_ctrl_c_pressed_twice_ends_in_one_sentence

    place = folder / "ctrl-c"
    place.mkdir()
    test_ctrl_c_pressed_twice_ends_in_one_sentence(place)
    return "one sentence"


# --- decoded stores, and checkpoints --------------------------------------------------------------------------------


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[min(len(content) - 1, int(at * len(content)))] ^= 4
    path.write_bytes(content)


def blank(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    start = int(at * len(content)) // 4096 * 4096
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    path.write_bytes(content)


FILE_DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a bit at the start": lambda path: flip(path, 0.001),
    "a bit in the middle": lambda path: flip(path, 0.5),
    "a bit at the end": lambda path: flip(path, 0.9999),
    "a page of zeros": lambda path: blank(path, 0.5),
    "all zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a page of HTML": lambda path: path.write_text("<html>"),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
}


def stores(folder: Path, data: Path) -> Iterator[Case]:
    opened = dataset.open_dataset(tiny(folder, data))
    pixels = np.array(images.open_store(opened, size=32, cache=folder))
    print_ = images.fingerprint(opened, cache=folder)

    def damaged(pattern: str, damage: Callable[[Path], Any]) -> str:
        for path in folder.glob(pattern):
            damage(path)
        good = lambda found: np.array_equal(found[0], pixels) and found[1] == print_  # noqa: E731
        try:
            return refused(
                lambda: (
                    images.open_store(opened, size=32, cache=folder),
                    images.fingerprint(opened, cache=folder),
                ),
                good=good,
            )
        finally:
            for path in folder.glob("*.damaged"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    for what, pattern in (("store", "*-32-*.npy"), ("table of the archives", "*survey*.csv")):
        for name, damage in FILE_DAMAGES.items():
            yield f"{what}: {name}", lambda p=pattern, d=damage: damaged(p, d)


def states(folder: Path, data: Path) -> Iterator[Case]:
    chosen, given = tiny(folder, data), task()
    whole, _ = train(given, chosen, folder / "whole", checkpoint_seconds=0.0)
    state = folder / "whole" / checkpoints.NAME
    sound = torch.load(io.BytesIO(state.read_bytes()), weights_only=True)

    def damaged(damage: Callable[[Path], Any]) -> str:
        place = folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / "whole", place)
        damage(place / checkpoints.NAME)
        return refused(
            lambda: train(given, chosen, place, checkpoint_seconds=0.0)[0], good=lambda got: same_weights(got, whole)
        )

    def forged(content: Any) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            torch.save(content, path)
            files.seal(path)

        return write

    for name, damage in FILE_DAMAGES.items():
        yield f"state: {name}", lambda d=damage: damaged(d)
    ran = folder / "ran"
    changes: dict[str, Any] = dict(STRUCTURES)
    changes |= {f"without {key}": {k: v for k, v in sound.items() if k != key} for key in sound}
    changes |= {f"{key} a list": {**sound, key: [1, 2]} for key in sound}
    changes |= {f"{key} empty": {**sound, key: {}} for key in ("model", "optimiser", "best", "partial")}
    changes["tensors of another network"] = {**sound, "model": {"a": torch.zeros(3)}}
    changes["best of another network"] = {**sound, "best": {**sound["best"], "weights": {"a": torch.zeros(3)}}}
    changes["NaN in the weights kept"] = {
        **sound,
        "best": {
            **sound["best"],
            "weights": {name: tensor * float("nan") for name, tensor in sound["best"]["weights"].items()},
        },
    }
    changes["code"] = {**sound, "x": Evil(ran)}
    for name, content in changes.items():
        yield f"state, sealed: {name}", lambda c=content: damaged(forged(c))
    yield "no code ran", lambda: _nothing(ran)


def _nothing(path: Path) -> str:
    if path.exists():
        raise SilentError("code ran")
    return "nothing"


# --- folders of data ------------------------------------------------------------------------------------------------

FIRST = "HAM10000_images_part_1.zip"


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # its name must be short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], Any]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a socket": _socket,
    "empty": Path.touch,
    "HTML": lambda path: path.write_text("<html>"),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 40),
}

PICTURES: dict[str, bytes] = {
    "nothing": b"",
    "HTML": b"<html>",
    "a PNG": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "zeros": bytes(4000),
    "65,500² pixels": conftest.claiming(65_500, 65_500),
    "no pixels": conftest.claiming(0, 0),
    "too many bytes": bytes(archives.MOST_BYTES + 1),
    "half a picture": conftest.claiming(40, 30)[:300],
}


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def _pack(path: Path, members: dict[str, bytes], **how: Any) -> None:
    with zipfile.ZipFile(path, "w", **how) as opened:
        for name, content in members.items():
            opened.writestr(name, content)


def _extract(folder: Path) -> Path:
    for path in folder.glob("HAM10000_images_part_*.zip"):
        with zipfile.ZipFile(path) as opened:
            opened.extractall(folder / "part")
        path.unlink()
    return folder / "part" / "SYN_0000000.jpg"


def _replace(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


def _lie(path: Path, *, bigger: int) -> None:
    """State another size of the first member than it has, in both places where a zip states it."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        size = opened.infolist()[0].file_size
    old, new = size.to_bytes(4, "little"), (size + bigger).to_bytes(4, "little")
    path.write_bytes(bytes(content).replace(old, new))


def folders(folder: Path, data: Path) -> Iterator[Case]:
    chosen = tiny(folder, data).model_copy(update={"synthetic_lesions": None})
    clean = dataset.open_dataset(chosen)
    wanted = images.fingerprint(clean, cache=folder / "cache")

    def hostile(change: Callable[[Path], Any]) -> str:
        place = folder / "hostile"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(data, place)
        (place / "SYNTHETIC.json").unlink(missing_ok=True)
        change(place)

        def open_all() -> str:
            cache = Path(tempfile.mkdtemp(dir=folder))
            published.verify(place, cache=cache)
            opened = dataset.open_dataset(chosen.model_copy(update={"data": str(place)}))
            _ = opened.title
            images.open_store(opened, size=32, cache=cache)
            return images.fingerprint(opened, cache=cache)

        try:
            return refused(open_all, good=lambda found: found == wanted)
        finally:
            _nothing(folder / "SYN_0000000.jpg")

    for kind, make in KINDS.items():
        for name in (FIRST, "HAM10000_metadata", "HAM10000_segmentations_lesion_tschandl.zip"):
            yield f"{name} is {kind}", lambda n=name, m=make: hostile(lambda place: _replace(place / n, m))
        yield f"an image is {kind}", lambda m=make: hostile(lambda place: _replace(_extract(place), m))
        yield f"beside the images lies {kind}", lambda m=make: hostile(lambda place: m(place / "more.jpg"))
    for what, content in PICTURES.items():
        yield (
            f"the first image in a zip is {what}",
            lambda c=content: hostile(
                lambda place: _pack(place / FIRST, _members(place / FIRST) | {"SYN_0000000.jpg": c})
            ),
        )
        yield f"the first image is {what}", lambda c=content: hostile(lambda place: _extract(place).write_bytes(c))
    zips: dict[str, Callable[[Path], Any]] = {
        "states a size that is false": lambda path: _lie(path, bigger=7),
        "states a size beyond memory": lambda path: _lie(path, bigger=2**31),
        "is packed with LZMA": lambda path: _pack(path, _members(path), compression=zipfile.ZIP_LZMA),
        "is packed with bzip2": lambda path: _pack(path, _members(path), compression=zipfile.ZIP_BZIP2),
        "has names that climb": lambda path: _pack(path, {f"../{n}": c for n, c in _members(path).items()}),
        "has names from the root": lambda path: _pack(path, {f"/{n}": c for n, c in _members(path).items()}),
        "has backslashes in its names": lambda path: _pack(path, {f"a\\{n}": c for n, c in _members(path).items()}),
        "has an image more": lambda path: _pack(path, _members(path) | {"SYN_0999999.jpg": b"x"}),
        "has an image less": lambda path: _pack(path, dict(list(_members(path).items())[1:])),
        "is cut": lambda path: os.truncate(path, path.stat().st_size // 2),
        "lacks its last byte": lambda path: os.truncate(path, path.stat().st_size - 1),
        "has a bit flipped": lambda path: flip(path, 0.3),
        "has a bit flipped in its list": lambda path: flip(path, 0.999),
        "is in lower case": lambda path: path.rename(path.with_name(path.name.lower())),
        "is named as another's": lambda path: path.rename(path.with_name("images (1).zip")),
    }
    for what, change in zips.items():
        yield f"an archive {what}", lambda c=change: hostile(lambda place: c(place / FIRST))
    tables: dict[str, Callable[[str], str]] = {
        "has a diagnosis of its own": lambda text: text.replace(",nv,", ",naevus,", 1),
        "has an image twice": lambda text: text + text.splitlines()[1] + "\n",
        "has an image more": lambda text: text + text.splitlines()[1].replace("SYN_0", "SYN_9", 2) + "\n",
        "has an image less": lambda text: "\n".join([text.splitlines()[0], *text.splitlines()[2:]]) + "\n",
        "has an age in words": lambda text: re.sub(r",(\d+)\.0,", ",old,", text, count=1),
        "has an age of 900": lambda text: re.sub(r",(\d+)\.0,", ",900.0,", text, count=1),
        "has no head": lambda text: text.partition("\n")[2],
        "has a head alone": lambda text: text.partition("\n")[0] + "\n",
        "lacks a column": lambda text: text.replace("dx_type", "kind"),
        "is cut in a line": lambda text: text[:-30],
        "has a formula as an id": lambda text: text.replace("SYN_0000000,", "=1+1,", 1),
        "has a path as an id": lambda text: text.replace("SYN_0000000,", "../../x,", 1),
    }
    for what, edit in tables.items():

        def change(place: Path, edit: Callable[[str], str] = edit) -> None:
            path = place / "HAM10000_metadata"
            path.write_text(edit(path.read_text()))

        yield f"the table {what}", lambda c=change: hostile(c)


# --- networks -------------------------------------------------------------------------------------------------------


def weights(folder: Path, data: Path) -> Iterator[Case]:
    """What a network starts from: files of one's own, and what lies under torchvision's name in its cache."""
    import torchvision

    state = torchvision.models.mobilenet_v2(weights=None).state_dict()
    ran = folder / "ran"

    def write(make: Callable[..., Any], path: Path) -> None:
        with contextlib.chdir(folder):
            if make.__code__.co_argcount == 2:
                make(state, path)
            else:
                torch.save(make(state), path)

    def build(make: Callable[..., Any], *, good: bool) -> str:
        path = Path(tempfile.mkdtemp(dir=folder)) / "weights.pth"
        write(make, path)
        name = "features.0.0.weight"
        return refused(
            lambda: models.build("mobilenet_v2", weights=str(path), classes=7, seed=0).state_dict()[name],
            good=lambda found: good and torch.equal(found, state[name]),
        )

    for name, (make, _) in BAD_WEIGHTS.items():
        yield f"starting weights: {name}", lambda m=make: build(m, good=False)
    for name, make in WRAPPED.items():
        yield f"starting weights, wrapped: {name}", lambda m=make: build(m, good=True)
    cache = folder / "hub" / "checkpoints"
    cache.mkdir(parents=True)

    def stand_in(content: Any) -> str:
        path = cache / "mobilenet_v2-b0353104.pth"
        path.unlink(missing_ok=True)
        torch.save(content, path)
        os.environ["TORCH_HOME"] = str(folder)
        try:
            refused(lambda: models.describe_weights("mobilenet_v2", "IMAGENET1K_V1"))
            return refused(lambda: models.build("mobilenet_v2", weights="IMAGENET1K_V1", classes=7, seed=0))
        finally:
            del os.environ["TORCH_HOME"]

    yield "a stand-in under torchvision's name", lambda: stand_in(state)
    yield "a pickle under torchvision's name", lambda: stand_in({"x": Evil(ran)})
    yield "no code ran", lambda: _nothing(ran)


def released(folder: Path, data: Path) -> Iterator[Case]:
    model, original = models.build("mobilenet_v2", weights="none", classes=7, seed=3).eval(), folder / "a.safetensors"
    inference.save(model, original, tiny(folder, data))
    sound = model.state_dict()

    def load(change: Callable[[Path], Any]) -> str:
        path = folder / "model.safetensors"
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.copy(original, path)
        change(path)
        return refused(
            lambda: inference.load(path)[0].state_dict(),
            good=lambda found: all(torch.equal(found[name], sound[name]) for name in sound),
        )

    for name, (change, _) in BAD_FACTS.items():
        yield f"its facts: {name}", lambda c=change: load(lambda path: rewrite(path, c))
    for name, value in (("NaN", float("nan")), ("infinity", float("inf"))):

        def spoil(state: dict[str, torch.Tensor], value: float = value) -> None:
            state["classifier.1.weight"][0, 0] = value

        yield f"its weights: {name}", lambda s=spoil: load(lambda path: rewrite(path, None, s))
    shapes: dict[str, Callable[[dict], Any]] = {
        "six classes": lambda s: s.update({"classifier.1.weight": torch.zeros(6, 1280)}),
        "a tensor less": lambda s: s.pop("classifier.1.bias"),
        "a tensor more": lambda s: s.update(more=torch.zeros(1)),
        "whole numbers": lambda s: s.update({"classifier.1.bias": torch.zeros(7, dtype=torch.int64) + 9}),
    }
    for name, change in shapes.items():
        yield f"its weights: {name}", lambda c=change: load(lambda path: rewrite(path, None, c))
    for name in ("a bit at the start", "all zeros", "cut by a byte", "cut in half", "empty", "a folder", "a pipe"):
        yield f"its file: {name}", lambda n=name: load(FILE_DAMAGES[n])
    yield "its file: a page of HTML", lambda: load(FILE_DAMAGES["a page of HTML"])


# --- what is published ----------------------------------------------------------------------------------------------

RUN, RELEASED = "reports/paper_lesion/seed-0", "reports/improved/seed-1"
DRAWS = 200


def house(folder: Path) -> Path:
    """A copy of the project with two published runs, and everything of them made again with few draws."""
    root = folder / "house"
    for name in ("lib", "parameters", "notebooks", "reports/benchmarks", RUN, RELEASED):
        shutil.copytree(files.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "Makefile", "pyproject.toml"):
        shutil.copy(files.ROOT / name, root / name)
    study = root / "parameters" / "paper.yaml"
    text = re.sub(r"^bootstrap_draws:.*$", "", study.read_text(), flags=re.M)
    study.write_text(f"{text}\nbootstrap_draws: {DRAWS}\n")
    made = ["--set", "output=reports", "--set", "galleries=false"]
    for run in (RUN, RELEASED):
        of = ["--study", Path(run).parent.name, "--seed", run.rpartition("-")[2]]
        _command(root, "report", *of, *made, "notebooks/04_evaluation.ipynb", f"{run}/04_evaluation.html")
        (root / run / "isic.csv").unlink()
    _command(root, "card", RELEASED)
    (root / "reports" / "tables").mkdir()
    _command(
        root,
        "report",
        "--study",
        "paper",
        *made,
        "notebooks/06_paper_tables.ipynb",
        "reports/tables/06_paper_tables.html",
    )
    _command(root, "report", "--study", "paper", *made, "notebooks/07_road.ipynb", "reports/tables/07_road.html")
    _command(root, "paper")
    return root


def _command(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-m", "skinlesion", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "lib")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done


class Verifier:
    """A process that verifies the house whenever it is told to, so that nothing is imported twice."""

    CODE = """
import sys
from pathlib import Path
from skinlesion import files
from skinlesion.errors import StudyError
from skinlesion.paper import evidence, verification
for line in sys.stdin:
    if line.strip() == "again":
        evidence.write_sums(files.ROOT / "reports")
    said = "passed"
    try:
        for check in verification.verify(files.ROOT / "reports", readme=files.ROOT / "README.md"):
            if check.faults:
                said = str(check)
                break
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        said = said if isinstance(error, (StudyError, OSError)) else "TRACEBACK " + said
    print(" ".join(said.split()), flush=True)
"""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root / "lib")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, *, sums: bool) -> str:
        self.process.stdin.write("again\n" if sums else "look\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def _bump(value: Any) -> Any:
    """Change the first number in some JSON by a hundredth."""
    if isinstance(value, dict):
        key = next(key for key, each in value.items() if isinstance(each, dict | list | float | int))
        return {**value, key: _bump(value[key])}
    return [_bump(value[0]), *value[1:]] if isinstance(value, list) else value + 1


def _json(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    return edit


def _csv(change: Callable[[pd.DataFrame], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        packed = path.suffix == ".xz"
        table = pd.read_csv(path)
        changed = change(table)
        text = (table if changed is None else changed).to_csv(**files.CSV).encode()
        path.write_bytes(lzma.compress(text) if packed else text)

    return edit


def _put(name: str, row: int, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda t: t.assign(**{name: [value if k == row else each for k, each in enumerate(t[name])]})


def _text(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        text = path.read_text()
        changed = re.sub(old, new, text, count=1)
        if changed == text:
            raise RuntimeError(f"{old} is not in {path}")
        path.write_text(changed)

    return edit


PAGE_CHANGES: dict[str, Callable[[Path], None]] = {
    "a number": _text(r"0\.\d\d\d", "0.999"),
    "a figure": _text(r"(data:image/(?:png|svg.xml);base64,.{200})", r"\1A"),
    "a script": _text(r"<script>", "<script>alert(1);"),
    "a sentence": _text(r"</h1>", "</h1><p>Reproduced in full.</p>"),
}
"""Changes of a page that only its hash can hold: these are tried with the list as it was."""


def _published() -> Iterator[tuple[str, str, Callable[[Path], Any], bool]]:
    """Yield what is changed, in which file, how, and whether the list of hashes is made again."""
    for page in ("01_eda", "02_preprocessing", "03_training", "04_evaluation", "05_error_analysis"):
        for what, change in PAGE_CHANGES.items():
            yield f"{what} in {page}", f"{RUN}/{page}.html", change, False
    for what in PAGE_CHANGES:
        yield f"{what} in the paper's page", "reports/tables/06_paper_tables.html", PAGE_CHANGES[what], False
    for what in ("a number", "a sentence"):
        yield f"{what} in the index", "reports/index.html", PAGE_CHANGES[what], False
    yield "a line out of the list", "reports/SHA256SUMS", lambda path: _drop(path), False
    yield "a hash in the list", "reports/SHA256SUMS", lambda path: flip(path, 0), False
    yield "a bit of the network", f"{RELEASED}/model.safetensors", lambda path: flip(path, 0.5), True
    yield "the card removed", f"{RELEASED}/MODEL_CARD.md", Path.unlink, True
    yield "a number in the card", f"{RELEASED}/MODEL_CARD.md", _text(r"0\.\d\d\d", "0.999"), True
    yield (
        "a headline in the evaluation's page",
        f"{RUN}/04_evaluation.html",
        _text(r"0\.\d{3} \(0\.", "0.920 (0."),
        True,
    )
    yield (
        "a finding in the page of errors",
        f"{RUN}/05_error_analysis.html",
        _text("images are missed", "are seen"),
        True,
    )
    for table in ("claims", "estimands", "scores", "per_class", "runs"):
        for suffix in ("csv", "md", "tex"):
            yield f"{table}.{suffix}", f"reports/tables/{table}.{suffix}", _text(r"0(\.\d)|2", r"7\1"), True
    yield "a table removed", "reports/tables/claims.csv", Path.unlink, True
    yield (
        "a number in a table of the paper's page",
        "reports/tables/06_paper_tables.html",
        _text(r"(<td[^>]*>[^<]*)0\.(\d)", r"\g<1>0.9\2"),
        True,
    )
    changes: dict[str, list[Callable[[Path], None]]] = {
        "predictions.csv.xz": [
            _csv(lambda t: t.assign(p_nv=t.p_nv * 0.99999)),
            _csv(_put("dx", 3, "mel")),
            _csv(lambda t: t.drop(index=5)),
            _csv(_put("part", 1, "calibration")),
        ],
        "split.csv.xz": [
            _csv(_put("part", 1, "test")),
            _csv(_put("lesion_group", 0, "HAM_0000001")),
            _csv(lambda t: t[:-1]),
        ],
        "history.csv": [
            _csv(_put("validation_accuracy", 16, 0.9)),
            _csv(_put("validation_loss", 16, 0.26)),
            _csv(_put("seconds", 3, 9.0)),
            _csv(_put("learning_rate", 3, 0.01)),
            _csv(lambda t: t[:-1]),
        ],
        "epochs.csv": [_csv(_put("test_accuracy", 16, 0.92)), _csv(_put("validation_accuracy", 2, 0.92))],
        "manifest.json": [
            _json(lambda m: m["parameters"].update(learning_rate=0.01)),
            _json(lambda m: m["parameters"].update(seed=1)),
            _json(lambda m: m["parameters"].update(split_by="image")),
            _json(lambda m: m.update(selected_epoch=3)),
            _json(lambda m: m.update(training_seconds=60.0)),
            lambda path: path.write_text("{"),
        ],
        "metrics.json": [
            _json(lambda m: m["test"]["headline"]["accuracy"].update(value=0.92)),
            _json(lambda m: m["test_calibration"]["after"]["ece_fixed"].update(value=0.0)),
            _json(lambda m: m.update(more=1)),
            _json(lambda m: m.pop("temperature")),
        ],
        "errors.json": [
            _json(lambda e: e.update(wrong=e["wrong"] - 100)),
            _json(lambda e: e["hardest"].pop()),
            _json(lambda e: e.pop("pairs")),
            _json(lambda e: e["findings"].__setitem__(0, "**Melanoma.** None is missed.")),
        ],
        "eda.json": [_json(lambda e: e["classes"].update(mel=3000))],
        "preprocessing.json": [
            _json(lambda p: p["counts"]["images test"].update(mel=500)),
            _json(lambda p: p["counts"]["lesions test"].update(all=500)),
            _json(lambda p: p.update(lesion_groups=7470)),
            _json(lambda p: p["leakage"]["this study"]["all"].update(with_sibling=9)),
        ],
        "duplicates.csv": [_csv(_put("image_a", 0, "ISIC_0024306")), _csv(lambda t: t[:-1])],
    }
    forms: dict[str, list[Callable[[Path], None]]] = {
        "manifest.json": [_json(lambda m: m.update(network="0" * 64)), _json(lambda m: m.pop("network"))],
        "portable.csv": [_csv(_put("accuracy", 2, 0.92)), _csv(_put("difference", 1, 0.0)), Path.unlink],
        "forms.csv.xz": [_csv(_put("p_mel", 3, 0.5)), _csv(_put("image_id", 3, "ISIC_0024306")), Path.unlink],
    }
    for run, parts in ((RUN, changes), (RELEASED, forms)):
        for name, those in parts.items():
            for number, change in enumerate(those, 1):
                yield f"{run}/{name} ({number})", f"{run}/{name}", change, True
    yield "a speed", "reports/benchmarks/speed.csv", _csv(_put("images_per_second", 2, 999.0)), True
    yield (
        "a ratio of speeds",
        "reports/benchmarks/speed.json",
        _json(lambda s: s["rows"][2].update(times_the_loop=45.0)),
        True,
    )
    yield (
        "a learning rate of the study",
        "parameters/paper.yaml",
        _text(r"learning_rate: 0.001", "learning_rate: 0.01"),
        True,
    )
    yield "an augmentation of the study", "parameters/paper.yaml", _text(r"\nflip: true", "\nflip: false"), True
    yield "README: the answer", "README.md", _text(r"\*\*No\.\*\*", "**Yes.**"), True
    yield "README: a number of the answer", "README.md", _text(r"0\.8(\d\d)", r"0.9\1"), True
    for text in (
        "It reaches 92.1% on unseen lesions.",
        "claim | ours\n--- | ---\naccuracy | 0.92",
        "Macro F1 is 0.88.",
    ):
        yield (
            f"README: {text[:12]!r} outside",
            "README.md",
            _text(r"## Try it", f"{text}\n\n## Try it"),
            True,
        )
    yield "README: a second answer", "README.md", lambda path: path.write_text(path.read_text() * 2), True
    yield "a file more", "reports/tables/more.md", lambda path: path.write_text("0.92"), False
    yield "a run that is half there", "reports/quick/seed-7/metrics.json", lambda path: path.write_text("{}"), True


def _drop(path: Path) -> None:
    path.write_text("\n".join(path.read_text().splitlines()[3:]) + "\n")


def changes(folder: Path, data: Path) -> Iterator[Case]:
    root = house(folder)
    verifier = Verifier(root)

    def untouched() -> str:
        if (said := verifier.ask(sums=False)) != "passed":
            raise SilentError(f"what is published does not pass: {said}")
        return "passed"

    sums = (root / "reports" / "SHA256SUMS").read_bytes()

    def changed(name: str, change: Callable[[Path], Any], again: bool) -> str:
        path = root / name
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            change(path)
            said = verifier.ask(sums=again)
        finally:
            path.unlink(missing_ok=True) if before is None else path.write_bytes(before)
            if before is None and not any(path.parent.iterdir()):
                path.parent.rmdir()
            (root / "reports" / "SHA256SUMS").write_bytes(sums)
        if said == "passed":
            raise SilentError("not noticed")
        if said.startswith("TRACEBACK"):
            raise SilentError(said)
        return said

    yield "nothing changed", untouched
    for what, name, change, again in _published():
        yield f"{what}{', list made again' if again else ''}", lambda n=name, c=change, a=again: changed(n, c, a)
    yield "and as it was", untouched


GROUPS: dict[str, tuple[str, Callable[[Path, Path], Iterator[Case]]]] = {
    "kills": ("kills and signals in training and writing", kills),
    "published": ("changes to what is published", changes),
    "stores": ("damaged store and table of archives", stores),
    "folders": ("hostile folders of data", folders),
    "states": ("damaged and forged checkpoints", states),
    "weights": ("starting weights, and torchvision's cache", weights),
    "released": ("released networks", released),
}


def attempt(name: str, folder: Path, data: Path, *, every: int = 1, show: Callable[[str], None] = print) -> list[str]:
    """Try the cases of a group, or every nth of them; return a line for each that did not hold."""
    failed, tried = [], Counter[bool]()
    folder.mkdir(parents=True)
    for what, case in itertools.islice(GROUPS[name][1](folder, data), 0, None, every):
        if fault := judge(case):
            failed.append(f"{what}: {fault}")
            show(f"  did not hold: {failed[-1]}")
        tried[not fault] += 1
    show(f"{GROUPS[name][0]:<45} | {tried.total():>5} | {tried[True]:>4} | {tried[False]:>7}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", help=", ".join(GROUPS))
    chosen = parser.parse_args().groups or list(GROUPS)
    torch.set_num_threads(1)
    start, failed = time.monotonic(), []
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        sample.draw(data, lesions=conftest.LESIONS, seed=0)
        print(f"{'tried':<45} | cases | held | did not", flush=True)
        for name in chosen:
            failed += attempt(name, Path(temporary) / name, data, show=lambda line: print(line, flush=True))
    print(f"{time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
