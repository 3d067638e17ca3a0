import pytest

from skinlesion import parameters
from skinlesion.parameters import ParametersError


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("paper", "by image: 15% test, 70.0% train, 7.5% validation, 7.5% calibration"),
        ("quick_folds", "by lesion, 5 folds: 20% test, 65.0% train, 7.5% validation, 7.5% calibration"),
        (
            "quick_sources",
            "by source: one source test, of the others 82.4% train, 8.8% validation, 8.8% calibration",
        ),
        (
            "quick_crossover_a",
            "by lesion, run a of a crossover: one image of each lesion that has several test, of the lesions with one "
            "image 82.4% train, 8.8% validation, 8.8% calibration",
        ),
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
        ({"learning_rate": "1e-3"}, r"`learning_rate` is '1e-3': input should be a valid number"),
        ({"epochs": 0}, r"`epochs` is 0: input should be greater than or equal to 1"),
        ({"epochs": 2.5}, r"`epochs` is 2.5: "),
        ({"flip": "yes"}, r"`flip` is 'yes': "),
        ({"split_by": "patient"}, r"`split_by` is 'patient': input should be 'image', 'lesion' or 'source'"),
        (
            {"test_fraction": 0.2},
            r"validation_fraction \+ calibration_fraction \+ test_fraction is 1.05: they must sum to one",
        ),
        ({"crossover": "a", "split_by": "image"}, "crossover needs `split_by: lesion` and no folds"),
        ({"seed": -1}, r"`seed` is -1: "),
        ({"split_by": "source", "folds": 4}, "takes no folds"),
        ({"warmup_epochs": 12.0}, "warmup_epochs is 12: it must be less than epochs, 12"),
    ],
)
def test_a_wrong_value_is_refused_by_name(override, message):
    with pytest.raises(ParametersError, match=message):
        parameters.load("demo", override)


@pytest.mark.parametrize(
    ("study", "given", "starts"),
    [("quick", "a.pth", "a.pth"), ("quick", "none", "none"), ("quick_scratch", "a.pth", "none"), ("demo", "a", "a")],
)
def test_an_arm_from_random_weights_keeps_them_wherever_imagenet_weights_lie(study, given, starts):
    assert parameters.load(study, {"weights": given}).weights == starts


def test_a_study_that_does_not_exist_is_refused_with_the_ones_that_do():
    with pytest.raises(
        ParametersError, match=r"no study 'dmeo'.*Studies are: demo, improved, ladder, paper, quick, paper_lesion"
    ):
        parameters.load("dmeo")


def kernel(*cells):
    """The namespace of a kernel in which these cells were run."""
    names = {"In": ["", *cells]}
    for cell in cells:
        exec(cell, names)
    return names


FIRST = 'study = "demo"  # a file\nseed = 0\n'


def test_a_notebook_has_the_parameters_of_its_cell_and_nothing_else():
    assert parameters.from_namespace(kernel(FIRST + "epochs = 3", "store = object()")).epochs == 3
    assert parameters.from_namespace({}).study == "demo"
    twice = kernel(FIRST + "epochs = 3", "x = 1 + 1", "store = [1 + 1]", FIRST, "y = len('a')")
    assert parameters.from_namespace(twice) == parameters.load("demo", {"seed": 0})  # `epochs = 3` was taken away
    injected = kernel(FIRST, 'seed = 4\nhue = 0.1\noutput = "elsewhere"', "import ast", "zoom = 0.5")
    chosen = parameters.from_namespace(injected)
    assert (chosen.seed, chosen.hue, chosen.output, chosen.zoom) == (4, 0.1, "elsewhere", 0.1)


def test_a_mistyped_name_in_the_parameters_cell_is_refused():
    with pytest.raises(ParametersError, match=r"`epoch` is not a parameter; did you mean `epochs`\?"):
        parameters.from_namespace(kernel(FIRST + "epoch = 1"))
    with pytest.raises(ParametersError, match="`epoch` is not a parameter"):
        parameters.from_namespace(kernel(FIRST, "epoch = 3"))  # papermill -p epoch 3


def test_an_override_is_read_as_yaml_and_text_as_it_stands():
    assert parameters.parse_override("epochs=3") == ("epochs", 3)
    assert parameters.parse_override("threads=auto") == ("threads", "auto")
    assert parameters.parse_override("data=/a folder #2") == ("data", "/a folder #2")
    for wrong in ("epochs", "epochs=!!python/object:os.system {}", "epochs=["):
        with pytest.raises(ParametersError, match=r"not of the form key=value|is not valid YAML"):
            parameters.parse_override(wrong)


@pytest.mark.parametrize(("study", "seed", "same"), [("quick_split_0", 0, True), ("quick_split_1", 0, False)])
def test_two_runs_with_one_identity_are_one_training_whatever_they_are_called(study, seed, same):
    found = parameters.load(study, {"seed": seed}).training_identity()
    assert (found == parameters.load("quick", {"seed": seed}).training_identity()) == same


def test_what_needs_one_group_of_parameters_gets_what_that_group_alone_gives():
    strong = parameters.Augmentation(flip=False, hue=0.2)
    chosen = parameters.load("paper", {"flip": False, "hue": 0.2})
    assert {name: getattr(chosen, name) for name in parameters.Augmentation.model_fields} == strong.model_dump()
