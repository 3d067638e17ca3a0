"""The files of one run tell of one thing: whichever of them is changed, another one contradicts it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import publish

from skinlesion import files, parameters
from skinlesion.data import dataset, mistakes, splits
from skinlesion.paper import crosschecks
from skinlesion.runs import Files
from skinlesion.scoring import evaluation, predictions, summary


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with what notebooks 01 and 02 leave, as far as it tells of the split, and with its network's forms."""
    run = publish(tmp_path_factory.mktemp("reports"), "quick", 0)
    split, said = pd.read_csv(run / "split.csv"), pd.read_csv(run / "predictions.csv")
    trained = split[split.part == "train"].assign(dx="nv")
    known = pd.concat([said, trained])
    counts = splits.counts(split, known.set_index("image_id").loc[split.image_id].reset_index())
    counts = {f"{what} {part}": counts[what, part].to_dict() for what, part in counts.columns}
    for part in splits.PARTS:  # lesions of this run have images of several diagnoses, which those of the data have not
        lesions = split[split.part == part].lesion_id.nunique()
        counts[f"lesions {part}"] = {"nv": lesions, "all": lesions}
    pair = next(each for each in split.groupby("lesion_group").image_id.apply(list) if len(each) > 1)
    files.write_csv(run / "duplicates.csv", pd.DataFrame({"image_a": pair[:1], "image_b": pair[1:2]}))
    stated = {"counts": counts, "lesion_ids": split.lesion_id.nunique(), "lesion_groups": split.lesion_group.nunique()}
    stated |= {"duplicate_pairs": 1, "leakage": {"this study": splits.leakage(split, said).to_dict("index")}}
    files.write_json(run / "preprocessing.json", stated)
    files.write_json(run / "eda.json", {"classes": known.dx.value_counts().to_dict()})
    test = said[said.part == "test"][["image_id", *predictions.COLUMNS]]
    coarse = test.assign(**{name: test[name].round(1) for name in predictions.COLUMNS})
    files.write_csv(run / "forms.csv", pd.concat([test.assign(form="torch"), coarse.assign(form="ONNX, int8")]))
    labels, given, _ = predictions.part(said, "test")
    facts = [evaluation.measured(labels, each) for each in (given, coarse[predictions.COLUMNS].to_numpy())]
    stated = pd.DataFrame(facts)[["accuracy", "balanced_accuracy"]].assign(form=["torch", "ONNX, int8"])
    stated["difference"] = [0, np.abs(coarse[predictions.COLUMNS].to_numpy() - given).max()]
    files.write_csv(run / "portable.csv", stated)
    (run / "MODEL_CARD.md").write_text("card")
    (run / "model.safetensors").write_bytes(b"network")
    edit(run, "manifest.json", lambda manifest: manifest.update(network=files.sha256(run / "model.safetensors")))
    return run


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "quick" / "seed-0")


def faults(run):
    return crosschecks.faults(Files(run))


def edit(run, name, change):
    path = run / name
    if name.endswith("json"):
        content = json.loads(path.read_text())
        change(content)
        files.write_json(path, content)
    else:
        files.write_csv(path, change(pd.read_csv(path)))


def put(name, row, value):
    return lambda table: table.assign(**{name: [value if k == row else each for k, each in enumerate(table[name])]})


def deep(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


CHANGES = {
    "a learning rate": ("manifest.json", deep(0.01, "parameters", "learning_rate"), "learning_rate: 0.01 is stated"),
    "a seed": ("manifest.json", deep(3, "parameters", "seed"), "seed: 3 is stated, 0 follows"),
    "an augmentation": ("manifest.json", deep(False, "parameters", "flip"), "flip: False"),
    "its starting weights": ("manifest.json", deep("none", "parameters", "weights"), "weights: none"),
    "the epoch": ("manifest.json", deep(2, "selected_epoch"), "says that epoch 2 was selected"),
    "the time": ("manifest.json", deep(9, "training_seconds"), "training_seconds: 9 is stated"),
    "the network's hash": ("manifest.json", deep("0" * 64, "network"), "is not the network of manifest.json"),
    "a part": ("split.csv", put("part", 1, "train"), "predictions.csv is not of the images, lesions and parts"),
    "an image twice": ("split.csv", lambda table: pd.concat([table, table[-1:]]), "split.csv has an image twice"),
    "an unknown part": ("split.csv", put("part", 1, "spare"), "split.csv has the part spare"),
    "a lesion": ("predictions.csv", put("lesion_id", 0, "SYN_9999999"), "is not of the images, lesions and parts"),
    "a row lost": ("predictions.csv", lambda table: table[:-1], "is not of the images, lesions and parts"),
    "an epoch lost": ("history.csv", lambda table: table[:-1], "has not the 10 epochs"),
    "its accuracy": ("history.csv", put("validation_accuracy", 9, 0.99), "validation_accuracy: 0.99 is stated"),
    "its loss": ("history.csv", put("validation_loss", 9, 0.26), "validation_loss: 0.26 is stated"),
    "a learning rate of an epoch": ("history.csv", put("learning_rate", 3, 0.5), "another learning_rate"),
    "a count of images": ("preprocessing.json", deep(3, "counts", "images test", "nv"), "images of test: nv: 3"),
    "a count of lesions": (
        "preprocessing.json",
        deep(3, "counts", "lesions train", "nv"),
        "lesions of train: diagnoses",
    ),
    "groups": ("preprocessing.json", deep(3, "lesion_groups"), "lesion_groups: 3 is stated"),
    "pairs": ("preprocessing.json", deep(3, "duplicate_pairs"), "duplicate_pairs: 3 is stated, 1 follows"),
    "a leak": ("preprocessing.json", deep(0.5, "leakage", "this study", "all", "fraction"), "fraction: 0.5"),
    "a pair": ("duplicates.csv", put("image_b", 0, "SYN_0000003"), "a pair that split.csv does not keep together"),
    "a form's accuracy": ("portable.csv", put("accuracy", 1, 0.92), "ONNX, int8 › accuracy: 0.92 is stated"),
    "a form's difference": ("portable.csv", put("difference", 1, 1e-5), "difference: 1e-05 is stated"),
    "a form": ("portable.csv", lambda table: table[:-1], "ONNX, int8 › accuracy is not stated"),
    "a form's probability": ("forms.csv", put("p_mel", 0, 2), "something else of an image than predictions.csv"),
    "a form's image": ("forms.csv", lambda table: table[:-1], "other images of ONNX, int8 than predictions.csv"),
    "a class": ("eda.json", deep(900, "classes", "mel"), "eda.json: mel: 900 is stated"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_that_was_changed_no_longer_agrees_with_the_others(run, what):
    assert faults(run) == []
    name, change, said = CHANGES[what]
    edit(run, name, change)
    assert said in "\n".join(faults(run))


def test_a_file_of_imagenet_weights_is_the_studys_own_only_where_it_does_not_start_from_random_ones(run):
    edit(run, "manifest.json", deep("mine.pth", "parameters", "weights"))
    assert faults(run) == []
    scratch = publish(run.parents[2], "quick_scratch", 0)
    assert faults(scratch) == []
    edit(scratch, "manifest.json", deep("mine.pth", "parameters", "weights"))
    assert faults(scratch) == ["manifest.json: weights: mine.pth is stated, none follows"]


def test_of_several_views_training_is_compared_with_what_was_read_of_one(run):
    one = pd.read_csv(run / "predictions.csv")
    files.write_csv(run / "readings.csv", one.assign(reading="one_view").round(5))
    several = one.assign(**dict(zip(predictions.COLUMNS, one[predictions.COLUMNS[::-1]].to_numpy().T, strict=True)))
    files.write_csv(run / "predictions.csv", several)

    def of_training():
        return [fault for fault in faults(run) if fault.startswith("history.csv")]

    assert len(of_training()) == 2
    edit(run, "manifest.json", deep(8, "parameters", "views"))
    assert of_training() == []
    edit(run, "history.csv", lambda table: table.assign(validation_loss=table.validation_loss + 0.001))
    assert ["validation_loss" in fault for fault in of_training()] == [True]


def test_a_network_needs_its_card_and_its_hash(run):
    (run / "MODEL_CARD.md").unlink()
    (run / "model.safetensors").write_bytes(b"networK")
    assert len(faults(run)) == 2


def test_a_changed_study_no_longer_agrees_with_its_runs(run, monkeypatch):
    chosen = parameters.load("quick", {"learning_rate": 0.002})
    monkeypatch.setattr(parameters, "load", lambda study, given: chosen)
    assert faults(run) == ["manifest.json: learning_rate: 0.001 is stated, 0.002 follows"]


@pytest.mark.parametrize("mistake", [None, "oversampled"])
def test_with_the_datas_table_the_split_is_drawn_again(drawn, opened, tmp_path, monkeypatch, mistake):
    given = {"data": str(drawn), "synthetic_lesions": 84, "vault_fraction": 0.2 if mistake else 0.0, "mistake": mistake}
    chosen, metadata = parameters.load("demo", given), opened.metadata
    monkeypatch.setattr(parameters, "load", lambda study, given: chosen)
    split = splits.draw(metadata, chosen)
    said = split[split.part != "train"].assign(dx=lambda rows: metadata.dx.to_numpy()[mistakes.rows(rows, metadata)])
    run = Files(publish(tmp_path, "demo", 0))

    def faults(said, split):
        return list(crosschecks.data(run, said, split, metadata))

    assert faults(said, split) == []
    other = split.assign(part=split.part.to_numpy()[::-1])
    assert faults(said, other) == ["split.csv is not the split that its study and seed draw"]
    wrong = said.assign(dx=said.dx.to_numpy()[::-1])
    assert faults(wrong, split) == ["predictions.csv states another dx of an image than the data's table"]
    eda = {"facts": [], "classes": {}, "lesions": 1, "lesions_with_several_images": 1, "missing": []}
    files.write_json(run.folder / "eda.json", eda | {"association_with_dx": dataset.associations(metadata).to_dict()})
    assert {fault.split()[1].rstrip(":") for fault in faults(said, split)} == eda.keys()


@pytest.mark.parametrize(
    ("similarity", "other", "same"), [(0.975506103, "b", True), (0.9756, "b", False), (0.975506194, "c", False)]
)
def test_runs_of_the_same_data_agree_on_every_image_and_pair_but_for_what_the_machine_decides(
    tmp_path, similarity, other, same
):
    both = [publish(tmp_path, study, 0) for study in ("quick", "quick_plain")]
    for run, pair in zip(both, (("b", 0.975506194), (other, similarity)), strict=True):
        table = pd.DataFrame([["a", *pair]], columns=["image_a", "image_b", "similarity"])
        files.write_csv(run / "duplicates.csv", table)
    pairs = [] if same else ["quick_plain/seed-0 and quick/seed-0 have other duplicates.csv"]
    assert crosschecks.across(map(Files, both)) == pairs
    edit(both[1], "split.csv", put("lesion_id", 0, "SYN_9999999"))
    images = "quick_plain/seed-0 and quick/seed-0 state other diagnoses, lesions or groups of the same images"
    assert crosschecks.across(map(Files, both)) == [images, *pairs]


def test_an_accuracy_after_an_epoch_may_be_off_by_what_is_tied_in_float16_and_no_more(run):
    said, history = pd.read_csv(run / "predictions.csv"), pd.read_csv(run / "history.csv")
    told = np.repeat(said[predictions.COLUMNS].to_numpy()[None], len(history), 0).astype(np.float16)
    validated = (said.part == "validation").to_numpy()
    told[0, np.flatnonzero(validated)[:3]] = 1 / 7  # as of a network that has hardly begun
    after = summary.epochs(said, told)
    assert after.validation_tied[0] == pytest.approx(3 / validated.sum())
    assert after.validation_tied[1:].max() < after.validation_tied[0]
    for share, fault in ((0.9, False), (1.1, True)):
        off = share * after.validation_tied * (after.epoch == 1)
        files.write_csv(run / "epochs.csv", after.assign(validation_accuracy=history.validation_accuracy - off))
        assert any("another validation_accuracy" in each for each in faults(run)) == fault
    after.loc[len(after) - 1, "test_accuracy"] += 0.01
    files.write_csv(run / "epochs.csv", after.assign(validation_accuracy=history.validation_accuracy))
    assert [fault.partition(": ")[0] for fault in faults(run)] == ["epochs.csv"]
