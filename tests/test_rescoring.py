import numpy as np
import pytest
import torch

from skinlesion import files, runs
from skinlesion.data import dataset, images, splits
from skinlesion.learning import inference, models, rescoring
from skinlesion.scoring import predictions


@pytest.fixture(params=[1, 8], ids=["one view", "eight views"])
def published(request, tiny, opened, tmp_path):
    """What a network says of the sample, without training."""
    tiny = tiny.model_copy(update={"views": request.param})
    model = models.build("mobilenet_v2", weights="none", classes=7, seed=3).eval()
    run = runs.Run(tiny)
    split = splits.draw(opened.metadata, tiny)
    store = images.open_store(opened, size=tiny.image_size, cache=tmp_path / "store")
    run.write_csv("split.csv", split)
    told = inference.predict_parts(model, store, metadata=opened.metadata, split=split, views=tiny.views)
    run.write_csv("predictions.csv", told)
    inference.save(model, run.folder / rescoring.NETWORK, tiny)
    network = files.sha256(run.folder / rescoring.NETWORK)
    run.write_json("manifest.json", {"data": {"title": opened.title}, "network": network})
    return run, opened


def test_the_probabilities_of_the_network_pass(published):
    run, data = published
    faults, passed = rescoring.faults(runs.Files(run.folder), data)
    assert faults == []
    assert "test images scored again, at most" in passed


def test_probabilities_that_were_made_up_fail_however_well_they_fit_together(published):
    run, data = published
    table = run.read_csv("predictions.csv")
    truth = np.eye(7)[table.dx.map(dataset.DX.index)]
    run.write_csv("predictions.csv", table.assign(**dict(zip(predictions.COLUMNS, truth.T, strict=True))))
    [fault] = rescoring.faults(runs.Files(run.folder), data)[0]
    tested = (table.part == "test").sum()
    assert f"of {tested} of {tested} test images the network says something else" in fault


def test_another_network_fails(published):
    run, data = published
    other = models.build("mobilenet_v2", weights="none", classes=7, seed=4).eval()
    torch.nn.init.constant_(other.classifier[1].bias[:1], 1.0)
    inference.save(other, run.folder / rescoring.NETWORK, run.parameters)
    faults = rescoring.faults(runs.Files(run.folder), data)[0]
    assert faults[0] == "model.safetensors is not the network of manifest.json"
    assert "says something else" in faults[1]


def test_other_images_are_not_compared(published):
    run, data = published
    run.write_json("manifest.json", {"data": {"title": "HAM10000, 10,015 images of 7,470 lesions"}, "network": ""})
    with pytest.raises(rescoring.RescoringError, match="the run is of HAM10000"):
        rescoring.faults(runs.Files(run.folder), data)
