import re
import subprocess
import tomllib

import yaml

from skinlesion.files import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked():
    """Name to versions: some packages have one for an old Python and one for a new."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", LOCK, flags=re.M):
        found.setdefault(name, set()).add(version)
    return found


def test_everything_named_is_locked_with_its_hash():
    named = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    for requirement in named:
        assert re.split(r"[<>=\[ ]", requirement)[0].lower() in locked()
    entries = re.split(r"^(?=[a-z0-9._-]+==)", LOCK, flags=re.M)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_lock_holds_no_address():
    assert not re.search(r"https?://|--index|--find-links|\.org|\.com", LOCK)


def test_torch_and_torchvision_are_one_pair():
    (torch,), (torchvision,) = locked()["torch"], locked()["torchvision"]
    assert "+" not in torch + torchvision  # a local build is not what PyPI has


def test_conda_users_get_python_and_make_and_the_lock_from_make():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert {re.split("[=<>]", entry)[0] for entry in environment["dependencies"]} == {"python", "make"}
    (python,) = [entry.removeprefix("python=") for entry in environment["dependencies"] if "python" in entry]
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert tuple(map(int, python.split("."))) >= tuple(map(int, lowest.split(".")))


def test_opencv_is_there_once():
    assert {name for name in locked() if name.startswith("opencv")} == {"opencv-python-headless"}


def test_the_image_for_binder_copies_what_is_there_and_leaves_torch_out():
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY \S+ (.*) \S+$", dockerfile, flags=re.M) for name in line.split()]
    assert {"lib", "notebooks", "reports", "requirements.lock"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    (program,) = re.findall(r"awk '([^']*)'", dockerfile)
    given = {"input": LOCK, "capture_output": True, "text": True, "check": True}
    left = set(re.findall(r"^([a-z0-9._-]+)==", subprocess.run(["awk", program], **given).stdout, flags=re.M))
    gone = locked().keys() - left
    assert {"torch", "torchvision", "triton", "nvidia-cublas"} <= gone
    assert {"pandas", "jupyterlab", "ipywidgets", "scikit-learn"} <= left
    assert not any(name.startswith(("nvidia", "cuda", "torch")) for name in left)
