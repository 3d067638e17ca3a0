import numpy as np

from skinlesion import runs
from skinlesion.data import masks
from skinlesion.learning import inference, models
from skinlesion.probing import inspection


def test_the_run_s_network_and_the_images_of_the_cases_are_opened(tiny, opened):
    run = runs.Run(tiny)
    model = models.build(tiny.backbone, weights="none", classes=7, seed=9).eval()
    inference.save(model, run.folder / "model.safetensors", tiny)
    cases = opened.metadata.iloc[[7, 2]]
    inputs = inspection.open_inputs(run, cases)
    assert inputs.absent == ""
    assert inputs.pixels.shape == (2, 32, 32, 3)
    assert np.array_equal(inputs.masks, masks.read(tiny.data_folder, list(cases.image_id), size=32))
    first, second = (next(each.parameters()) for each in (model, inputs.model))
    assert np.array_equal(first.detach(), second.detach())


def test_what_is_not_here_is_said_in_a_sentence(tiny, opened):
    run = runs.Run(tiny)
    assert inspection.open_inputs(run, opened.metadata).absent.startswith("Not computed: model.safetensors is not here")


def test_a_sample_has_every_class():
    labels = np.repeat(np.arange(7), [1, 5, 50, 2, 9, 300, 7])
    rows = inspection.sample(labels, most=6, seed=0)
    assert np.bincount(labels[rows], minlength=7).tolist() == [1, 5, 6, 2, 6, 6, 6]
    assert (np.diff(rows) > 0).all()


def test_areas_are_shares_of_the_frame():
    found = np.zeros((2, 4, 4), bool)
    found[0, :2] = True
    assert inspection.area(found, 2).tolist() == [0.5, 0.0]
    assert inspection.area(None, 3).isna().all()
