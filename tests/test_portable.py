import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from skinlesion import files, parameters, runs
from skinlesion.data.dataset import DX
from skinlesion.learning import augmentation, batches, engine, inference, models, portable
from skinlesion.learning.portable import PortableError
from skinlesion.learning.trainer import Inputs
from skinlesion.scoring.predictions import COLUMNS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network that tells colours apart, its file, and the same as ONNX in float32 and in int8."""
    folder = tmp_path_factory.mktemp("portable")
    network = models.build("mobilenet_v2", weights="none", classes=7, seed=0).train()
    pictures = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    torch.manual_seed(0)
    network(augmentation.normalise(augmentation.to_float(torch.from_numpy(pictures))))
    inference.save(network, folder / "model.safetensors", parameters.load("demo", {"image_size": 64}))
    network, facts = inference.load(folder / "model.safetensors")
    shared = {key: value for key, value in facts.items() if key in inference.Facts.model_fields}
    portable.export(network, shared, folder / "model.onnx")
    portable.quantise(folder / "model.onnx", folder / "model-int8.onnx", pictures=pictures)
    return folder, network, pictures


@torch.no_grad()
def told(network, pictures):
    scores = network(augmentation.normalise(augmentation.to_float(torch.from_numpy(pictures))))
    return torch.softmax(scores, 1).numpy()


@pytest.mark.parametrize("count", [1, 3, 20])
def test_what_is_exported_says_the_same_for_any_number_of_pictures(made, count):
    folder, network, pictures = made
    found = portable.load(folder / "model.onnx")[0](pictures[:count])
    assert found.shape == (count, 7)
    assert np.abs(found - told(network, pictures[:count])).max() < 1e-4


def test_int8_is_a_quarter_of_the_size_and_says_nearly_the_same(made):
    folder, network, pictures = made
    assert (folder / "model-int8.onnx").stat().st_size < 0.35 * (folder / "model.onnx").stat().st_size
    wanted, found = told(network, pictures), portable.load(folder / "model-int8.onnx")[0](pictures)
    assert np.ptp(wanted, axis=0).max() > 0.01  # there is something to tell
    assert (
        np.corrcoef((found - wanted.mean(0)).ravel(), (wanted - wanted.mean(0)).ravel())[0, 1] > 0.4
    )  # of an untrained network


def test_the_forms_stand_side_by_side(made, tmp_path):
    folder, network, pictures = made
    run = runs.Run(parameters.load("demo", {"image_size": 64, "output": str(tmp_path)}))
    for path in folder.iterdir():
        files.write_bytes(run.folder / path.name, path.read_bytes())
    labels = told(network, pictures).argmax(1)  # so that torch is always right
    metadata = pd.DataFrame({"image_id": [f"SYN_{k}" for k in range(64)], "dx": np.array(DX)[labels]})
    split = metadata[["image_id"]].assign(part=["train", "test"] * 32)
    table = portable.compare(run, Inputs(metadata, pictures, split, {}), repeats=1).set_index("form")
    assert (table.accuracy["torch"], table.accuracy["ONNX, float32"]) == (1, 1)
    assert (table.difference["torch"], table.images["torch"]) == (0, 32)
    assert table.difference["ONNX, float32"] < 1e-4 < table.difference["ONNX, int8"]
    found = portable.load(folder / "model-int8.onnx")[0](pictures[1::2])
    assert table.accuracy["ONNX, int8"] == (found.argmax(1) == labels[1::2]).mean()
    assert (table[["milliseconds", "images_per_second", "megabytes"]] > 0).all(axis=None)
    assert run.read_csv("portable.csv").form.tolist() == table.index.tolist()
    each = run.read_csv("forms.csv").set_index(["form", "image_id"])
    assert np.array_equal(each.loc["ONNX, int8"][COLUMNS].to_numpy(np.float32), found)
    assert each.loc["torch"].index.tolist() == metadata.image_id[1::2].tolist()


def test_the_forms_are_scored_in_the_views_of_the_run(made, tmp_path):
    folder, network, pictures = made
    run = runs.Run(parameters.load("demo", {"image_size": 64, "output": str(tmp_path), "views": 8}))
    for path in folder.iterdir():
        files.write_bytes(run.folder / path.name, path.read_bytes())
    metadata = pd.DataFrame({"image_id": [f"SYN_{k}" for k in range(64)], "dx": "nv"})
    split = metadata[["image_id"]].assign(part=["train", "test"] * 32)
    portable.compare(run, Inputs(metadata, pictures, split, {}), repeats=1)
    found = run.read_csv("forms.csv").query("form == 'torch'")[COLUMNS].to_numpy()
    source = batches.Source(pictures, torch.device("cpu"))
    wanted = engine.logits(network, source, np.arange(1, 64, 2), views=8).softmax(1).numpy()
    assert np.abs(found - wanted).max() < 1e-5 < np.abs(told(network, pictures[1::2]) - wanted).max()


RELEASED = files.ROOT / next(
    line.removeprefix("RELEASED := ")
    for line in (files.ROOT / "Makefile").read_text().splitlines()
    if line.startswith("RELEASED := ")
)


def test_what_is_released_as_onnx_is_the_released_network():
    network, facts = inference.load(RELEASED / "model.safetensors")
    side = facts["image_size"]
    pictures = np.random.default_rng(0).integers(0, 256, (4, 7, 7, 3), dtype=np.uint8)
    pictures = pictures.repeat(side // 7, 1).repeat(side // 7, 2)
    wanted = told(network, pictures)
    assert np.ptp(wanted, axis=0).max() > 0.01
    for name, most in (("model.onnx", 1e-4), ("model-int8.onnx", 0.2)):
        score, known = portable.load(RELEASED / name)
        assert np.abs(score(pictures) - wanted).max() < most
        assert [known[key] for key in ("study", "seed", "views", "temperature")] == [
            facts[key] for key in ("study", "seed", "views", "temperature")
        ]


def test_the_released_network_is_as_good_in_int8_within_half_a_point():
    table = runs.Files(RELEASED).read_csv("portable.csv").set_index("form")
    assert table.difference["ONNX, float32"] < 1e-4
    assert abs(table.balanced_accuracy["ONNX, int8"] - table.balanced_accuracy["torch"]) < 0.005
    assert all((RELEASED / name).stat().st_size < 10e6 for name in ("model.safetensors", "model.onnx"))


@pytest.fixture
def photographs(tmp_path):
    """Seven pictures of 80×60, each of another colour."""
    for k, colour in enumerate(["red", "green", "blue", "white", "black", "pink", "brown"]):
        Image.new("RGB", (80, 60), colour).save(tmp_path / f"{k}.png")
    return sorted(tmp_path.glob("*.png"))


def predicted(path, photographs, **facts):
    network, known = (portable if path.suffix == ".onnx" else inference).load(path)
    return pd.concat(table for table, _ in inference.predict(network, {**known, **facts}, photographs))


def test_predict_takes_either(made, photographs):
    folder, *_ = made
    wanted, found = (predicted(folder / f"model.{kind}", photographs) for kind in ("safetensors", "onnx"))
    assert np.allclose(wanted[COLUMNS], found[COLUMNS], atol=1e-4)
    assert list(wanted.predicted) == list(found.predicted)
    assert np.ptp(wanted[COLUMNS].to_numpy(), axis=0).max() > 0.01


def test_predict_takes_the_views_that_the_network_was_scored_with(made, photographs):
    folder, *_ = made
    lying = Image.open(photographs[0]).resize((64, 64))
    lying.paste("yellow", (0, 0, 20, 50))
    paths = []
    for k, turn in enumerate([None, Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT]):
        paths.append(photographs[0].with_name(f"turned{k}.png"))
        (lying if turn is None else lying.transpose(turn)).save(paths[-1])
    one, eight = (predicted(folder / "model.onnx", paths, views=views, resize="center_crop") for views in (1, 8))
    assert np.ptp(eight[COLUMNS].to_numpy(), axis=0).max() < 1e-5  # whichever way it lies
    assert np.ptp(one[COLUMNS].to_numpy(), axis=0).max() > 1e-4


@pytest.mark.parametrize("content", ["cut", b"", b"<html>"])
def test_what_is_no_exported_network_is_refused_in_a_sentence(made, tmp_path, content):
    path = tmp_path / "other.onnx"
    path.write_bytes((made[0] / "model.onnx").read_bytes()[:2000] if content == "cut" else content)
    with pytest.raises(PortableError, match=r"other\.onnx is damaged or no ONNX"):
        portable.load(path)
