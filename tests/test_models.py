import argparse
import os
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import tiny_overrides

from skinlesion.__main__ import main
from skinlesion.files import sha256
from skinlesion.learning import models
from skinlesion.learning.models import WeightsError


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet18", "mobilenet_v3_small"])
def test_a_backbone_from_a_file_keeps_its_features_and_gets_a_new_head(backbone, tmp_path):
    original = torchvision.models.get_model(backbone, weights=None)
    path = tmp_path / "weights.pth"
    torch.save(original.state_dict(), path)
    model = models.build(backbone, weights=str(path), classes=7, seed=0)
    first = next(iter(original.state_dict()))
    assert torch.equal(model.state_dict()[first], original.state_dict()[first])
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("backbone", ["inception_v3", "googlenet"])
def test_every_head_is_replaced_and_a_file_is_read_as_torchvisions_own_weights_are(backbone, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.get_model(backbone, weights=None, init_weights=False).state_dict(), path)
    model = models.build(backbone, weights=str(path), classes=7, seed=0)
    assert model.transform_input
    outputs = [head.out_features for head in model.modules() if isinstance(head, torch.nn.Linear)]
    assert {7} <= set(outputs) <= {7, 1024}
    assert outputs.count(7) == {"inception_v3": 2, "googlenet": 3}[backbone]


def test_the_seed_alone_decides_what_is_random():
    torch.manual_seed(1)
    first = models.build("mobilenet_v2", weights="none", classes=7, seed=5)
    torch.manual_seed(2)
    drawn = torch.rand(1)
    torch.manual_seed(2)
    second = models.build("mobilenet_v2", weights="none", classes=7, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(torch.rand(1), drawn)  # and the caller's generator is left alone


@pytest.mark.parametrize(
    ("backbone", "weights", "message"),
    [
        ("mobilenet_v9", "none", "torchvision has no classifier called 'mobilenet_v9'"),
        ("mobilenet_v2", "IMAGENET", "has no weights 'IMAGENET' for mobilenet_v2; it has IMAGENET1K_V1"),
        ("mobilenet_v2", "nowhere/weights.pth", r"does not exist\. Give the path of a state_dict"),
    ],
)
def test_what_cannot_be_had_is_named(backbone, weights, message):
    with pytest.raises(WeightsError, match=message):
        models.build(backbone, weights=weights, classes=7, seed=0)


def test_weights_of_another_network_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with pytest.raises(WeightsError, match="is no state_dict of torchvision's mobilenet_v2"):
        models.build("mobilenet_v2", weights=str(path), classes=7, seed=0)
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="is no state_dict"):
        models.build("mobilenet_v2", weights=str(path), classes=7, seed=0)


@pytest.fixture(scope="module")
def state():
    return torchvision.models.mobilenet_v2(weights=None).state_dict()


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


WRAPPED = {
    "by DataParallel": lambda state: prefixed(state, "module."),
    "by compile": lambda state: prefixed(state, "_orig_mod."),
    "by both": lambda state: prefixed(state, "module._orig_mod."),
    "by both in the other order": lambda state: prefixed(state, "_orig_mod.module."),
    "under state_dict": lambda state: {"state_dict": state, "epoch": 3, "best": 0.7},
    "under model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "under model_state_dict": lambda state: {"model_state_dict": state},
    "under both": lambda state: {"model": {"state_dict": prefixed(state, "module.")}},
    "without counters": lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_state_dict_is_taken_out_of_what_training_programs_wrap_it_in(tmp_path, state, how):
    path = tmp_path / "weights.pth"
    torch.save(WRAPPED[how](state), path)
    built = models.build("mobilenet_v2", weights=str(path), classes=7, seed=0).state_dict()
    features = [name for name in state if name.startswith("features") and not name.endswith("num_batches_tracked")]
    assert len(features) == 260
    assert all(torch.equal(built[name], state[name]) for name in features)


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def chain(error):
    """What a traceback would show of an error: its own words, and those of what it was raised from."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def spoiled(state, name, value):
    copy = {key: tensor.clone() for key, tensor in state.items()}
    copy[name].view(-1)[-1] = value
    return copy


def sevenfold(state):
    return {**state, "classifier.1.weight": torch.zeros(7, 1280), "classifier.1.bias": torch.zeros(7)}


def cut(state, path):
    torch.save(state, path)
    os.truncate(path, 5_000_000)


def script(state, path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


BAD_WEIGHTS = {
    "seven classes": (sevenfold, r"classifier\.1\.weight is of shape \(7, 1280\), not \(1000, 1280\)"),
    "NaN": (lambda state: spoiled(state, "features.0.0.weight", float("nan")), r"features\.0\.0\.weight holds NaN"),
    "infinity": (lambda state: spoiled(state, "classifier.1.bias", float("inf")), "classifier.1.bias holds NaN or inf"),
    "a variance without end": (
        lambda state: spoiled(state, "features.1.conv.0.1.running_var", float("inf")),
        "running_var holds NaN or infinity",
    ),
    "a tensor too few": (
        lambda state: {k: v for k, v in state.items() if k != "classifier.1.bias"},
        r"it lacks classifier\.1\.bias$",
    ),
    "a tensor too many": (lambda state: {**state, "more": torch.zeros(1)}, "it has more that are not expected"),
    "no tensors": (lambda state: {"accuracy": 0.9}, "it holds a dict of other things than tensors"),
    "a tensor": (lambda state: torch.zeros(3), "it holds a Tensor of other things"),
    "code": (
        lambda state: {**state, "x": Evil("ran")},
        r"it holds posix\.mkdir, which is no tensor",
    ),
    "settings": (lambda state: {"state_dict": state, "args": argparse.Namespace()}, r"it holds argparse\.Namespace"),
    "a whole network": (lambda state: torchvision.models.mobilenet_v2(weights=None), r"it holds torchvision\.models"),
    "a page": (lambda state, path: path.write_text("<!DOCTYPE html><html>"), r"it begins with '<!DOCTYPE html>"),
    "another page": (lambda state, path: path.write_text("\n<html>Sign in"), r"it begins with '\\n<html>Sign in"),
    "nothing": (lambda state, path: path.touch(), "it is empty"),
    "a half": (cut, "it is cut off, damaged"),
    "a script": (script, "no archive of tensors alone"),
    "a pipe": (lambda state, path: os.mkfifo(path), "is a pipe"),
    "a folder": (lambda state, path: path.mkdir(), "is a folder"),
    "a device": (lambda state, path: path.symlink_to("/dev/zero"), "is a device"),
    "a link to nothing": (lambda state, path: path.symlink_to("nothing"), "is a link to nothing"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_what_is_no_weights_is_refused_when_the_study_is_checked(case, state, drawn, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, said = BAD_WEIGHTS[case]
    path = tmp_path / "weights.pth"
    if make.__code__.co_argcount == 2:
        make(state, path)
    else:
        torch.save(make(state), path)
    with pytest.raises(WeightsError, match=said) as error:
        models.build("mobilenet_v2", weights=str(path), classes=7, seed=0)
    assert str(path) in str(error.value)
    assert not any("weights_only" in text for text in chain(error.value))
    chosen = tiny_overrides(drawn, tmp_path) | {"weights": str(path)}
    options = [option for key, value in chosen.items() for option in ("--set", f"{key}={value}")]
    assert main(["check", "--study", "demo", *options]) == 1
    assert str(path) in (printed := capsys.readouterr().err)
    assert "weights_only" not in printed
    assert not Path("ran").exists()


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Where torch keeps torchvision's file; nothing is ever fetched."""

    def refuse(*_):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    path = tmp_path / "hub" / "checkpoints" / "mobilenet_v2-b0353104.pth"
    path.parent.mkdir(parents=True)
    return path


def named(path, monkeypatch):
    """Give a file the name that torchvision would give it, with the digits of its own hash."""
    entry = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1
    renamed = path.rename(path.with_name(f"mobilenet_v2-{sha256(path)[:8]}.pth"))
    monkeypatch.setattr(entry.value, "url", f"https://example.org/{renamed.name}")


@pytest.mark.parametrize("content", ["weights", "code", "a page", "a link to nothing"])
def test_a_stand_in_under_the_name_of_torchvisions_file_is_refused(cached, state, tmp_path, content):
    if content == "a page":
        cached.write_text("<html>")
    elif content == "a link to nothing":
        cached.symlink_to("nothing")
    else:
        torch.save(state if content == "weights" else Evil(tmp_path / "ran"), cached)
    said = "is a link to nothing" if "link" in content else "is not what torchvision publishes under this name"
    for _ in range(2):  # every time
        with pytest.raises(WeightsError, match=said):
            models.describe_weights("mobilenet_v2", "IMAGENET1K_V1")
        with pytest.raises(WeightsError, match=said):
            models.build("mobilenet_v2", weights="IMAGENET1K_V1", classes=7, seed=0)
    assert not (tmp_path / "ran").exists()


def test_code_is_not_run_even_under_a_name_with_its_hash(cached, tmp_path, monkeypatch):
    """Eight digits can be found by trying."""
    torch.save({"x": Evil(tmp_path / "ran")}, cached)
    named(cached, monkeypatch)
    with pytest.raises(WeightsError, match=r"could run code") as error:
        models.build("mobilenet_v2", weights="IMAGENET1K_V1", classes=7, seed=0)
    assert not any("weights_only" in text for text in chain(error.value))
    assert not (tmp_path / "ran").exists()


def test_torchvisions_own_builder_is_kept_from_unpickling_code(cached, state, tmp_path, monkeypatch):
    """Also where the file changes after it was looked at."""
    torch.save(state, cached)
    named(cached, monkeypatch)
    [path] = cached.parent.iterdir()
    monkeypatch.setattr(models, "_unpickle", lambda given: torch.save({"x": Evil(tmp_path / "ran")}, given) or state)
    with pytest.raises(WeightsError, match="holds more than tensors") as error:
        models.build("mobilenet_v2", weights="IMAGENET1K_V1", classes=7, seed=0)
    assert not any("weights_only" in text for text in chain(error.value))
    assert path.is_file()
    assert not (tmp_path / "ran").exists()


def test_torchvisions_file_is_used_where_its_hash_is_that_of_its_name(cached, state, monkeypatch):
    torch.save(state, cached)
    named(cached, monkeypatch)
    built = models.build("mobilenet_v2", weights="IMAGENET1K_V1", classes=7, seed=0).state_dict()
    assert torch.equal(built["features.0.0.weight"], state["features.0.0.weight"])
    assert models.describe_weights("mobilenet_v2", "IMAGENET1K_V1") == "torchvision's IMAGENET1K_V1 weights (ImageNet)"


def test_weights_that_cannot_be_fetched_are_refused_with_the_way_out(cached):
    with pytest.raises(WeightsError, match=r"could not be downloaded \(no network\)\. Give a file instead"):
        models.build("mobilenet_v2", weights="IMAGENET1K_V1", classes=7, seed=0)


def test_weights_that_are_missing_are_foreseen_before_they_are_needed(cached, tmp_path):
    assert models.foresee_weights("mobilenet_v2", "IMAGENET1K_V1").endswith("not here yet: training downloads them")
    assert models.foresee_weights("mobilenet_v2", "none") == models.describe_weights("mobilenet_v2", "none")
    with pytest.raises(WeightsError, match=r'in a notebook `weights = "<path>"`'):
        models.foresee_weights("mobilenet_v2", str(tmp_path / "no.pth"))


def test_a_file_that_is_not_torchvisions_is_called_a_stand_in(tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"something")
    assert models.describe_weights("mobilenet_v2", str(path)).startswith("stand-in weights from mine.pth")
    assert models.describe_weights("mobilenet_v2", "none") == "random weights (trained from scratch)"
    assert "IMAGENET1K_V1" in models.describe_weights("mobilenet_v2", "IMAGENET1K_V1")
