import pytest

from skinlesion import parameters, studies
from skinlesion.parameters import ParametersError

AUGMENTATION = {name for name, field in parameters.Augmentation.model_fields.items() if field.default}
"""What is on in the recipe."""

OFF = {
    "split_seed",
    "folds",
    "crossover",
    "vault_fraction",
    "mistake",
    "epoch_steps",
    "train_share",
    "small_size",
    "small_epochs",
    "teachers",
    "taught",
}
"""What no recipe speaks of: off unless a study asks for it."""


@pytest.mark.parametrize("study", studies.names())
def test_every_study_is_valid_and_asks_a_question(study):
    assert parameters.load(study).study == study
    assert studies.everything()[study].question.endswith(("?", "."))


def test_the_whole_recipe_stands_in_one_file_with_a_reason_beside_each_value():
    lines = (studies.FOLDER / "paper.yaml").read_text().splitlines()
    values = {line.partition(":")[0]: line.partition("#")[2] for line in lines if line and not line.startswith("#")}
    groups = (parameters.Split, parameters.Frame, parameters.Model, parameters.Recipe, parameters.Augmentation)
    decisive = {name for group in groups for name in group.model_fields} - OFF
    assert decisive <= set(values)
    assert all(values[name] for name in decisive)
    assert parameters.load("paper") == parameters.Parameters(study="paper")


@pytest.mark.parametrize(
    ("study", "of", "differs"),
    [
        ("paper_lesion", "paper", {"split_by"}),
        ("quick", "paper_lesion", {"image_size", "epochs"}),
        ("quick_folds", "quick", {"folds"}),
        ("paper_folds", "paper_lesion", {"folds"}),
        ("quick_crossover_b", "quick_crossover_a", {"crossover", "compare_with"}),
        ("paper_scratch", "paper_lesion", {"weights", "compare_with"}),
        ("quick_plain", "quick", {*AUGMENTATION, "compare_with"}),
        ("quick_split_1", "quick_split_2", {"split_seed"}),
    ],
)
def test_a_study_differs_from_another_as_it_says(study, of, differs):
    one, two = (parameters.load(name).model_dump() for name in (of, study))
    assert {key for key in one if one[key] != two[key]} == {"study"} | differs


def test_an_arm_is_compared_with_what_it_changes_or_with_the_arm_it_names():
    found = studies.everything()
    assert found["quick_plain"].against == found["quick_plain"].of == "quick"
    assert found["quick_crossover_b"].against == "quick_crossover_a"
    assert found["quick_folds"].against is None
    assert {name: parameters.load(name).compare_with for name in found} == {n: s.against for n, s in found.items()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "FOLDER", tmp_path)
    (tmp_path / "base.yaml").write_text("study: base\nepochs: 3\nseeds: 2\n")
    (tmp_path / "arms.yaml").write_text(ARM)
    return tmp_path


ARM = """
longer:
  question: Does more help?
  set: {epochs: 6}
  of: {base: 2}
"""


def test_one_entry_makes_a_study(folder):
    arm = studies.everything()["base_longer"]
    assert (arm.values["epochs"], arm.seeds, arm.of, arm.against) == (6, 2, "base", "base")
    assert arm.changes == {"epochs": 6}
    (folder / "mine.yaml").write_text("study: mine\nextends: base\nhue: 0.1\n")
    mine = studies.read(folder / "mine.yaml")
    assert (mine.values["epochs"], mine.values["hue"], mine.seeds) == (3, 0.1, 0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("idle:\n  question: Nothing?\n  set: {epochs: 3}\n  of: {base: 1}\n", "arm `idle` changes nothing of 'base'"),
        ("again:\n  question: Twice?\n  set: {epochs: 6}\n  of: {base: 1}\n", "a second time \\(as 'base_longer'\\)"),
        (
            "lost:\n  question: Of what?\n  set: {epochs: 6}\n  of: {bsae: 1}\n",
            "arm `lost` changes 'bsae', which is no",
        ),
        ("vague:\n  set: {epochs: 6}\n", "arm `vague` must hold question, of"),
        ("bare:\n  question: Of what?\n  set: {epochs: 6}\n  of: [base]\n", "arm `bare` must hold question, of"),
        ("many:\n  question: How many?\n  set: {epochs: 9}\n  of: {base: two}\n", "'base_many': seeds is 'two'"),
        ("longer:\n  question: Twice?\n  set: {epochs: 9}\n  of: {base: 1}\n", "`longer` is given twice"),
    ],
)
def test_an_arm_that_says_nothing_new_is_refused(folder, entry, message):
    (folder / "arms.yaml").write_text(ARM + entry)
    with pytest.raises(ParametersError, match=message):
        studies.everything()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [", "is not valid YAML"),
        ("study: other", "`study` must be 'mine'"),
        ("study: mine\nepochs: 3\nepochs: 4\n", "`epochs` is given twice"),
        ("study: &a mine\nquestion: *a\n", "anchors are not taken"),
        ("study: mine\nextends: mine\n", "extends 'mine', which is no other"),
        ("study: mine\nextends: nobody\n", "extends 'nobody', which is no other"),
        ("- study", "must hold one `key: value` a line"),
        ("study: mine\nquestion: 2024-13-45", "is not valid YAML: month must be in"),
        ("study: mine\nseeds: three", "'mine': seeds is 'three'"),
        ("study: mine\nquestion: für wen?", "mine.yaml is no text in UTF-8: save it as that"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(folder, text, message):
    (folder / "mine.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(ParametersError, match=message):
        studies.read(folder / "mine.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_be_in_any_unicode(folder, encoding):
    (folder / "mine.yaml").write_text("study: mine\nquestion: für wen?\n", encoding=encoding)
    assert studies.read(folder / "mine.yaml").question == "für wen?"


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("-08", -8), ("1e-3", 0.001), ("1.5E+2", 150.0), (".5", 0.5), ("0x10", "0x10"), ("1:30", "1:30")],
)
def test_a_number_is_what_it_looks_like(folder, text, value):
    (folder / "mine.yaml").write_text(f"study: mine\nepochs: {text}\n")
    assert studies.read(folder / "mine.yaml").values["epochs"] == value
    assert parameters.parse_override(f"epochs={text}") == ("epochs", value)


def test_an_ablation_exchanges_one_component_of_the_recipe_at_a_time():
    made = parameters.ablation("quick")
    base = parameters.load("quick").model_dump()
    assert {key for study in made.values() for key in study.changes} >= AUGMENTATION
    for name, study in made.items():
        chosen = parameters.load(name).model_dump()
        assert {key for key in base if base[key] != chosen[key]} == {"study", "compare_with", *study.changes}
        assert chosen["compare_with"] == "quick"
        assert len(study.changes) == 1
    assert len({str(study.changes) for study in made.values()}) == len(made)
    assert made["quick_scratch"].changes == {"weights": "none"}  # there already
    assert {name for name in made if "selection" in name} == {
        f"quick_ablate_selection_{rule}" for rule in ("balanced_accuracy", "loss", "last")
    }
    # what is off already is not taken away again
    without = parameters.ablation("quick_plain")
    assert not AUGMENTATION - {"flip"} & {key for study in without.values() for key in study.changes}


def test_components_are_exchanged_together_by_name():
    name = "quick_ablate_flip_and_hue"
    assert parameters.ablation("quick", pairs=["flip_and_hue"])[name].changes == {"flip": False, "hue": 0.0}
    assert parameters.load(name).flip is False
    with pytest.raises(ParametersError, match=r"quick has no component 'flop' to exchange. It has: weights"):
        parameters.load("quick_ablate_flip_and_flop")
