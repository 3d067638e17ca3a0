import pytest

from skinlesion import parameters
from skinlesion.parameters import ParametersError


@pytest.mark.parametrize("study", parameters.studies())
def test_every_study_is_valid_and_gives_a_reason_beside_its_values(study):
    assert parameters.load(study).study == study
    assert (parameters.STUDIES / f"{study}.yaml").read_text().count("#") >= 4


def test_the_two_paper_studies_differ_in_the_split_alone():
    paper, lesion = (parameters.load(study).model_dump() for study in ("paper", "paper_lesion"))
    assert {key for key in paper if paper[key] != lesion[key]} == {"study", "split_by"}


AUGMENTATION = {"flip", "rotation_degrees", "zoom", "translation", "brightness", "contrast", "saturation", "hue"}


@pytest.mark.parametrize(
    ("study", "differs"),
    [
        ("folds", {"folds"}),
        ("clean", {"leakage_arm"}),
        ("injected", {"leakage_arm", "compare_with"}),
        ("scratch", {"weights", "compare_with"}),
        ("plain", {*AUGMENTATION, "compare_with"}),
    ],
)
def test_the_other_studies_differ_from_the_one_by_lesion_as_they_say(study, differs):
    for base, other in (("paper_lesion", f"paper_{study}"), ("quick", f"quick_{study}")):
        if other == "quick_folds":  # there is none
            continue
        one, two = (parameters.load(name).model_dump() for name in (base, other))
        assert {key for key in one if one[key] != two[key]} == {"study"} | differs


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("paper", "by image: 70% train, 15% validation, 15% test"),
        ("paper_clean", "by lesion, clean arm: 70% train, 15% validation, 15% test"),
        ("paper_folds", "by lesion, 5 folds: 65% train, 15% validation, 20% test"),
        ("transfer", "by source: one source test, of the others 82% train, 18% validation"),
    ],
)
def test_a_split_is_said_as_it_is_drawn(study, words):
    chosen = parameters.load(study)
    assert f"{chosen.split}: {chosen.parts}" == words


def test_the_paper_study_has_the_numbers_of_the_preprint():
    paper = parameters.load("paper")
    assert (paper.backbone, paper.learning_rate, paper.batch_size, paper.epochs) == ("mobilenet_v2", 0.001, 32, 25)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"epochz": 3}, r"`epochz` is not a parameter; did you mean `epochs`\?"),
        ({"learning_rate": "1e-3"}, r"`learning_rate` is '1e-3': .*YAML reads 1e-3 as text: write 0.001"),
        ({"epochs": 0}, r"`epochs` is 0: input should be greater than or equal to 1"),
        ({"epochs": 2.5}, r"`epochs` is 2.5: "),
        ({"flip": "yes"}, r"`flip` is 'yes': "),
        ({"split_by": "patient"}, r"`split_by` is 'patient': input should be 'image', 'lesion' or 'source'"),
        (
            {"test_fraction": 0.2},
            r"train_fraction \+ validation_fraction \+ test_fraction is 1.05: they must sum to one",
        ),
        ({"leakage_arm": "clean", "split_by": "image"}, "leakage_arm needs `split_by: lesion` and no folds"),
        ({"seed": -1}, r"`seed` is -1: "),
        ({"split_by": "source", "folds": 4}, "takes no folds"),
        ({"warmup_epochs": 12.0}, "warmup_epochs is 12: it must be less than epochs, 12"),
    ],
)
def test_a_wrong_value_is_refused_by_name(override, message):
    with pytest.raises(ParametersError, match=message):
        parameters.load("demo", override)


def test_a_study_that_does_not_exist_is_refused_with_the_ones_that_do():
    with pytest.raises(ParametersError, match=r"there is no study 'dmeo'.*Studies are: demo, paper"):
        parameters.load("dmeo")


def test_a_file_must_be_yaml_and_name_its_study(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("study: [")
    with pytest.raises(ParametersError, match="is not valid YAML"):
        parameters.load(path)
    path.write_text("study: other")
    with pytest.raises(ParametersError, match="`study` must be 'mine'"):
        parameters.load(path)


def test_a_notebook_gathers_what_it_sets_and_nothing_else():
    chosen = parameters.from_namespace({"study": "demo", "epochs": 3, "pd": object(), "_": 1, "best": 2})
    assert (chosen.study, chosen.epochs) == ("demo", 3)
    assert parameters.from_namespace({}).study == "demo"


def test_an_override_is_read_as_yaml():
    assert parameters.parse_override("epochs=3") == ("epochs", 3)
    assert parameters.parse_override("weights=none") == ("weights", "none")
    with pytest.raises(ParametersError, match="not of the form key=value"):
        parameters.parse_override("epochs")
