from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from test_published import with_test_set

from skinlesion import files, runs
from skinlesion.data import dataset, images
from skinlesion.learning import augmentation, inference, models, official
from skinlesion.learning.official import OfficialError
from skinlesion.scoring import evaluation, isic, predictions


@pytest.fixture
def run(tiny, copied):
    """A run with a network, beside a folder with a test set of three images, of which the scorer leaves one out."""
    run = runs.Run(tiny.model_copy(update={"bootstrap_draws": 50}))
    network = models.build("mobilenet_v2", weights="none", classes=7, seed=0).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    torch.manual_seed(0)
    network(torch.randn(16, 3, 64, 64))  # with statistics of its own it tells images apart, untrained as it is
    inference.save(network, run.folder / "model.safetensors", run.parameters)
    with_test_set(copied, extra=["ISIC_0035068"])
    return run


def test_the_official_test_is_scored_once_with_a_receipt(run, copied):
    found = official.take(run, copied)
    assert found["images"] == 2
    stated = run.read_json("official.json")
    assert stated["receipt"]["network"] == files.sha256(run.folder / "model.safetensors")
    assert stated["receipt"]["started"]
    table = run.read_csv("official.csv").query("shape == 'undistorted'")
    labels = table.dx.map(dataset.DX.index).to_numpy()
    measured = evaluation.measured(labels, table[predictions.COLUMNS].to_numpy())
    assert stated["headline"]["accuracy"]["value"] == measured["accuracy"]
    assert stated["isic"]["balanced_accuracy"] == measured["balanced_accuracy"]
    with pytest.raises(OfficialError, match=r"scored on .*: it is scored once"):
        official.take(run, copied)


def test_its_pictures_come_undistorted(run, copied):
    """A square picture is reflected to the proportions of a frame before it is squashed, as `predict` does."""
    official.take(run, copied)
    model, facts = inference.load(run.folder / "model.safetensors")
    data = dataset.open_dataset(run.parameters.model_copy(update={"data": str(copied)}))
    chosen = dataset.Dataset(data.folder, data.metadata.iloc[:1], data.members)
    size = facts["image_size"]
    pixels = torch.from_numpy(images.decode_all(chosen, partial(images.decode_any, size=size), size=size))
    scores = model(augmentation.normalise(augmentation.to_float(pixels))).detach()
    wanted = torch.softmax(scores.double(), 1).numpy()
    told = run.read_csv("official.csv")
    found = told.loc[told["shape"] == "undistorted", predictions.COLUMNS].to_numpy()
    assert np.allclose(found[0], wanted[0], atol=1e-4)
    beside = run.read_json("official.json")["squashed"]["accuracy"]
    right = told[predictions.COLUMNS].to_numpy().argmax(1) == told.dx.map(dataset.DX.index)
    counted = ~told.image_id.isin(isic.WITHOUT_WEIGHT)
    for side, shape in (("first", "squashed"), ("second", "undistorted")):
        assert beside[side] == right[counted & (told["shape"] == shape)].mean()
    assert beside["low"] <= beside["difference"] <= beside["high"]
    squashed = images.open_store(chosen, size=facts["image_size"], cache=run.cache, resize="center_crop")
    other = model(augmentation.normalise(augmentation.to_float(torch.from_numpy(squashed[:1])))).detach()
    assert not np.allclose(found[0], torch.softmax(other.double(), 1).numpy(), atol=1e-3)


def test_views_of_the_study_are_taken(run, copied):
    several = runs.Run(run.parameters.model_copy(update={"views": 8, "seed": 1}))
    files.write_bytes(several.folder / "model.safetensors", (run.folder / "model.safetensors").read_bytes())
    one, eight = official.take(run, copied), official.take(several, copied)
    assert (one["views"], eight["views"]) == (1, 8)
    tables = [each.read_csv("official.csv")[predictions.COLUMNS].to_numpy() for each in (run, several)]
    assert not np.allclose(tables[0], tables[1])


def test_the_summary_leaves_out_what_the_official_scorer_does():
    table = pd.DataFrame({"image_id": ["ISIC_0034524", "ISIC_0035068"], "lesion_id": ["a", "b"], "dx": ["nv", "mel"]})
    table[predictions.COLUMNS] = np.eye(7)[[5, 5]]
    table = pd.concat([table.assign(shape=shape) for shape in official.SHAPES])
    found = isic.summary(table, draws=20, seed=0)
    assert found["images"] == 1
    assert found["headline"].value["accuracy"] == 1
