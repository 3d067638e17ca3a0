import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import publish

from skinlesion import files, parameters, runs
from skinlesion.data import dataset, mistakes, splits
from skinlesion.paper import crosschecks
from skinlesion.runs import Files
from skinlesion.scoring import evaluation, predictions, summary


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with what notebooks 01 and 02 leave, as far as it tells of the split, and with its network's forms."""
    run = publish(tmp_path_factory.mktemp("reports"), "quick", 0)
    split, said = pd.read_csv(run / "split.csv"), pd.read_csv(run / "predictions.csv")
    classes = dict.fromkeys(dataset.DX, 0) | said.dx.value_counts().to_dict()
    counts = {}
    for part in splits.PARTS:
        rows = split[split.part == part]
        dx = said[said.part == part].dx.value_counts()
        counts[f"images {part}"] = {**{name: int(dx.get(name, 0)) for name in dataset.DX}, "all": len(rows)}
        lesions = rows.lesion_id.nunique()
        counts[f"lesions {part}"] = {"nv": lesions, "all": lesions}
    pair = split.groupby("lesion_group").image_id.apply(list)
    pair = next(each for each in pair if len(each) > 1)
    files.write_csv(run / "duplicates.csv", pd.DataFrame({"image_a": pair[:1], "image_b": pair[1:2]}))
    stated = {"counts": counts, "lesion_ids": split.lesion_id.nunique(), "lesion_groups": split.lesion_group.nunique()}
    stated |= {"duplicate_pairs": 1, "leakage": {"this study": splits.leakage(split, said).to_dict("index")}}
    files.write_json(run / "preprocessing.json", stated)
    files.write_json(run / "eda.json", {"classes": classes})
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


def edit(run, name, change):
    path = run / name
    if name.endswith("json"):
        content = json.loads(path.read_text())
        change(content)
        files.write_json(path, content)
    else:
        table = pd.read_csv(path)
        changed = change(table)
        files.write_csv(path, table if changed is None else changed)


def swap(table):
    """Move an image from the test part to the one that trains."""
    table.loc[table.index[table.part == "test"][0], "part"] = "train"


def set_at(name, row, value):
    return lambda table: table.assign(**{name: [value if k == row else each for k, each in enumerate(table[name])]})


def deep(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


CHANGES = {
    "a learning rate": ("manifest.json", deep(0.01, "parameters", "learning_rate"), "learning_rate 0.01, the study"),
    "a seed": ("manifest.json", deep(3, "parameters", "seed"), "says seed 3, the study 0"),
    "an augmentation": ("manifest.json", deep(False, "parameters", "flip"), "says flip False"),
    "its starting weights": ("manifest.json", deep("none", "parameters", "weights"), "says weights none, the study"),
    "the epoch": ("manifest.json", deep(2, "selected_epoch"), "says that epoch 2 was selected"),
    "the time": ("manifest.json", deep(9, "training_seconds"), "says 9 training_seconds"),
    "the network's hash": ("manifest.json", deep("0" * 64, "network"), "is not the network of manifest.json"),
    "a part": ("split.csv", swap, "predictions.csv is not of the images, lesions and parts of split.csv"),
    "an image twice": ("split.csv", lambda t: pd.concat([t, t[-1:]]), "split.csv has an image twice"),
    "an unknown part": ("split.csv", set_at("part", 1, "spare"), "split.csv has the part spare"),
    "a lesion": ("predictions.csv", set_at("lesion_id", 0, "SYN_9999999"), "is not of the images, lesions and parts"),
    "a row lost": ("predictions.csv", lambda table: table[:-1], "is not of the images, lesions and parts"),
    "an epoch lost": ("history.csv", lambda table: table[:-1], "has not the 10 epochs"),
    "its accuracy": ("history.csv", set_at("validation_accuracy", 9, 0.99), "says validation_accuracy 0.99"),
    "its loss": ("history.csv", set_at("validation_loss", 9, 0.26), "says validation_loss 0.26"),
    "a learning rate of an epoch": ("history.csv", set_at("learning_rate", 3, 0.5), "has another learning_rate"),
    "a count of images": ("preprocessing.json", deep(3, "counts", "images test", "nv"), "counts other images of test"),
    "a count of lesions": ("preprocessing.json", deep(3, "counts", "lesions test", "nv"), "other lesions of test"),
    "groups": ("preprocessing.json", deep(3, "lesion_groups"), "says 3 lesion_groups"),
    "pairs": ("preprocessing.json", deep(3, "duplicate_pairs"), "says 3 duplicate_pairs, not 1"),
    "a leak": ("preprocessing.json", deep(0.5, "leakage", "this study", "all", "fraction"), "another leakage"),
    "a pair": ("duplicates.csv", set_at("image_b", 0, "SYN_0000003"), "a pair that split.csv does not keep together"),
    "a form's accuracy": ("portable.csv", set_at("accuracy", 1, 0.92), "says accuracy 0.92 of ONNX, int8"),
    "a form's difference": ("portable.csv", set_at("difference", 1, 1e-5), "says difference 1e-05 of ONNX, int8"),
    "a form's probability": ("forms.csv", set_at("p_mel", 0, 2), "something else of an image than predictions.csv"),
    "a form's image": ("forms.csv", lambda table: table[:-1], "or other images than predictions.csv"),
    "a class": ("eda.json", deep(900, "classes", "mel"), "eda.json counts other diagnoses"),
}


def test_a_run_whose_files_agree_has_no_fault(run):
    assert crosschecks.faults(runs.Files(run)) == []


def test_a_file_of_imagenet_weights_is_the_studys_own_only_where_it_does_not_start_from_random_ones(run):
    edit(run, "manifest.json", deep("mine.pth", "parameters", "weights"))
    assert crosschecks.faults(runs.Files(run)) == []
    scratch = publish(run.parents[2], "quick_scratch", 0)
    assert crosschecks.faults(runs.Files(scratch)) == []
    edit(scratch, "manifest.json", deep("mine.pth", "parameters", "weights"))
    assert crosschecks.faults(runs.Files(scratch)) == ["manifest.json says weights mine.pth, the study none"]


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_that_was_changed_no_longer_agrees_with_the_others(run, what):
    name, change, said = CHANGES[what]
    edit(run, name, change)
    faults = crosschecks.faults(runs.Files(run))
    assert any(said in fault for fault in faults), faults


def test_of_several_views_training_is_compared_with_what_was_read_of_one(run):
    one = pd.read_csv(run / "predictions.csv")
    files.write_csv(run / "readings.csv", one.assign(reading="one_view").round(5))
    several = one.assign(**dict(zip(predictions.COLUMNS, one[predictions.COLUMNS[::-1]].to_numpy().T, strict=True)))
    files.write_csv(run / "predictions.csv", several)

    def faults():
        return [fault for fault in crosschecks.faults(runs.Files(run)) if fault.startswith("history.csv")]

    assert len(faults()) == 2
    edit(run, "manifest.json", deep(8, "parameters", "views"))
    assert faults() == []
    edit(run, "history.csv", lambda table: table.assign(validation_loss=table.validation_loss + 0.001))
    assert ["validation_loss" in fault for fault in faults()] == [True]


def test_a_network_needs_its_card_and_its_hash(run):
    (run / "MODEL_CARD.md").unlink()
    (run / "model.safetensors").write_bytes(b"networK")
    assert len(crosschecks.faults(runs.Files(run))) == 2


def test_a_changed_study_no_longer_agrees_with_its_runs(run, monkeypatch):
    chosen = parameters.load("quick", {"learning_rate": 0.002})
    monkeypatch.setattr(parameters, "load", lambda study, given: chosen)
    assert crosschecks.faults(runs.Files(run)) == ["manifest.json says learning_rate 0.001, the study 0.002"]


def test_a_run_that_is_older_than_the_protocol_is_not_held_to_its_study(run):
    edit(run, "manifest.json", lambda manifest: [sitting["source"].pop("protocol") for sitting in manifest["sittings"]])
    edit(run, "manifest.json", deep(0.7, "parameters", "train_fraction"))
    assert crosschecks.faults(runs.Files(run)) == []


@pytest.mark.parametrize("mistake", [None, "oversampled"])
def test_with_the_datas_table_the_split_is_drawn_again(drawn, opened, tmp_path, monkeypatch, mistake):
    chosen = parameters.load(
        "demo",
        {"data": str(drawn), "synthetic_lesions": 84, "vault_fraction": 0.2 if mistake else 0.0, "mistake": mistake},
    )
    monkeypatch.setattr(parameters, "load", lambda study, given: chosen)
    metadata = opened.metadata
    split = splits.draw(metadata, chosen)
    assert split.image_id.str.contains(mistakes.MARK, regex=False).any() == (mistake is not None)
    said = split[split.part != "train"].assign(dx=lambda rows: metadata.dx.to_numpy()[mistakes.rows(rows, metadata)])
    said[predictions.COLUMNS] = 1 / 7
    path = publish(tmp_path, "demo", 0) / "split.csv"
    files.write_csv(path, split)
    run = runs.Files(path.parent)
    assert list(crosschecks._data(run, said, split, metadata)) == []
    other = split.assign(part=split.part.to_numpy()[::-1])
    assert list(crosschecks._data(run, said, other, metadata)) == [
        "split.csv is not the split that its study and seed draw"
    ]
    wrong = said.assign(dx=said.dx.to_numpy()[::-1])
    assert "predictions.csv states other diagnoses than the data's table" in crosschecks._data(
        run, wrong, split, metadata
    )


def test_runs_of_the_same_data_agree_on_every_image(tmp_path):
    first, second = publish(tmp_path, "quick", 0), publish(tmp_path, "quick_plain", 0)
    both = [runs.Files(first), runs.Files(second)]
    assert crosschecks.across(both) == []
    edit(second, "split.csv", set_at("lesion_id", 0, "SYN_9999999"))
    assert crosschecks.across(both) == [
        "quick_plain/seed-0 and quick/seed-0 state other diagnoses, lesions or groups of the same images"
    ]


@pytest.mark.parametrize(
    ("similarity", "other", "same"), [(0.975506103, "b", True), (0.9756, "b", False), (0.975506194, "c", False)]
)
def test_a_pairs_similarity_may_differ_in_what_the_machine_decides(tmp_path, similarity, other, same):
    runs_of = [publish(tmp_path, study, 0) for study in ("quick", "quick_plain")]
    for run, pair in zip(runs_of, (("b", 0.975506194), (other, similarity)), strict=True):
        files.write_csv(
            run / "duplicates.csv", pd.DataFrame([["a", *pair]], columns=["image_a", "image_b", "similarity"])
        )
    assert (crosschecks.across(runs.Files(run) for run in runs_of) == []) == same


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
        assert any("another validation_accuracy" in each for each in crosschecks.faults(Files(run))) == fault
