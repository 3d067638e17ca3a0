"""What varies between studies: typed, validated, and refused by name when wrong."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from skinlesion import studies
from skinlesion.files import resolve
from skinlesion.studies import ParametersError

NAME = r"^[a-z][a-z0-9_]*$"
"""What a study may be called."""


RANDOM = "none"
"""The starting weights of a network that has seen nothing."""

ABLATED = "_ablate_"
"""Stands between a study and the component of it that is exchanged."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(_Group):
    """Which images: the data's fingerprint says what they are."""

    data: str = "data/ham10000"
    synthetic_lesions: int | None = Field(default=None, ge=28, le=10_000)


class Frame(_Group):
    """How a frame becomes the network's input."""

    image_size: int = Field(default=224, ge=32, le=600)
    resize: Literal["squash", "center_crop"] = "squash"


class Split(_Group):
    """Which image trains, which selects the epoch, which calibrates, which tests."""

    split_by: Literal["image", "lesion", "source"] = "image"
    vault_fraction: float = Field(default=0.0, ge=0, lt=1)
    mistake: Literal["test_by_image", "by_image", "oversampled", "augmented", "all"] | None = None
    split_seed: int | None = Field(default=None, ge=0, lt=2**31)
    folds: int | None = Field(default=None, ge=2, le=20)
    crossover: Literal["a", "b"] | None = None
    train_fraction: float = Field(default=0.7, gt=0, lt=1)
    validation_fraction: float = Field(default=0.075, gt=0, lt=1)
    calibration_fraction: float = Field(default=0.075, gt=0, lt=1)
    test_fraction: float = Field(default=0.15, gt=0, lt=1)
    train_share: float = Field(default=1.0, gt=0, le=1)


class Model(_Group):
    """Which network, and what it starts from."""

    backbone: str = "mobilenet_v2"
    weights: str = Field(default="IMAGENET1K_V1", examples=[RANDOM])


class Recipe(_Group):
    """How it is trained. ``examples`` are what an ablation exchanges a value for."""

    learning_rate: float = Field(default=0.001, gt=0, le=1)
    schedule: Literal["constant", "cosine"] = Field(default="constant", examples=["cosine"])
    warmup_epochs: float = Field(default=0.0, ge=0, examples=[1.0])
    weight_decay: float = Field(default=0.0, ge=0, le=1, examples=[0.05])
    batch_size: int = Field(default=32, ge=2)
    epochs: int = Field(default=25, ge=1)
    epoch_steps: int | None = Field(default=None, ge=1)
    selection: Literal["accuracy", "balanced_accuracy", "loss", "last"] = Field(
        default="accuracy", examples=["balanced_accuracy", "loss", "last"]
    )
    ema_decay: float = Field(default=0.0, ge=0, lt=1, examples=[0.998])
    class_weighted_loss: bool = Field(default=False, examples=[True])
    weighted_sampling: bool = Field(default=False, examples=[True])
    focal_gamma: float = Field(default=0.0, ge=0, le=10, examples=[2.0])
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, examples=[0.1])
    logit_adjustment: float = Field(default=0.0, ge=0, le=3, examples=[1.0])
    mixup: float = Field(default=0.0, ge=0, le=10, examples=[0.2])
    small_size: int | None = Field(default=None, ge=32, le=600)
    small_epochs: int = Field(default=0, ge=0)
    teachers: str | None = Field(default=None, pattern=NAME)
    taught: float = Field(default=0.0, ge=0, le=1)


class Perturbation(_Group):
    """What is added to gradients or weights while they are learnt; off at zero."""

    gradient_noise: float = Field(default=0.0, ge=0)
    adaptive_gradient_noise: float = Field(default=0.0, ge=0)
    weight_noise: float = Field(default=0.0, ge=0)
    sharpness: float = Field(default=0.0, ge=0)
    shrinkage: float = Field(default=0.0, ge=0, lt=1)


class Augmentation(_Group):
    """How strongly each view of a training image may differ from it; off at zero."""

    flip: bool = Field(default=True, examples=[False])
    rotation_degrees: float = Field(default=20.0, ge=0, le=180, examples=[0.0])
    zoom: float = Field(default=0.1, ge=0, lt=1, examples=[0.0])
    translation: float = Field(default=0.1, ge=0, lt=1, examples=[0.0])
    brightness: float = Field(default=0.1, ge=0, lt=1, examples=[0.0])
    contrast: float = Field(default=0.1, ge=0, lt=1, examples=[0.0])
    saturation: float = Field(default=0.1, ge=0, lt=1, examples=[0.0])
    hue: float = Field(default=0.02, ge=0, le=0.5, examples=[0.0])
    cutout: float = Field(default=0.0, ge=0, lt=1, examples=[0.3])


class Scoring(_Group):
    """How it is scored, once it has been trained."""

    bootstrap_draws: int = Field(default=10_000, ge=10)
    compare_with: str | None = Field(default=None, pattern=NAME)
    readings: bool = False
    views: Literal[1, 8] = 1


class Arithmetic(_Group):
    """On what and in what it is computed: what decides the last bits of a result."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    deterministic: bool = True
    compile: bool = False


class Runtime(_Group):
    """What decides how fast, and where files lie, and nothing of what is learnt."""

    threads: int | Literal["auto"] | list[int] = "auto"  # a list: of each epoch, of which the last is of all after it
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    galleries: bool = True
    cell_timeout_minutes: int = Field(default=30, ge=1)  # without progress; a cell may take as long as it likes
    output: str = "reports/local"
    cache: str = "data/store"

    @field_validator("threads", mode="before")
    @classmethod
    def _threads_are_counted(cls, threads: object) -> object:
        numbers = threads if isinstance(threads, list) and threads else [threads]
        if threads == "auto" or all(type(number) is int and 1 <= number <= 1024 for number in numbers):
            return threads
        raise ValueError(f"`threads` is {threads!r}: it should be auto, a number from 1 to 1024, or one for each epoch")


class Parameters(Runtime, Arithmetic, Scoring, Augmentation, Perturbation, Recipe, Model, Split, Frame, Source):
    """One study and one seed. The defaults are the preprint's recipe, or what it leaves open.

    The files in ``parameters/`` give the reason beside each value. What needs one group alone asks for that group.
    """

    study: str = Field(pattern=NAME)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> Self:
        names = [f"{part}_fraction" for part in ("train", "validation", "calibration", "test")]
        total = sum(getattr(self, name) for name in names)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"{' + '.join(names)} is {total:g}: they must sum to one")
        return self

    @model_validator(mode="after")
    def _kinds_of_split_exclude_each_other(self) -> Self:
        if self.crossover and (self.folds or self.split_by != "lesion"):
            raise ValueError(
                "crossover needs `split_by: lesion` and no folds: both runs of a pair start from that split"
            )
        if self.folds and self.split_by == "source":
            raise ValueError("`split_by: source` takes no folds: the seed says which source is left out")
        if self.vault_fraction and (self.folds or self.crossover or self.split_by != "lesion"):
            raise ValueError("vault_fraction needs `split_by: lesion`, no folds and no crossover")
        if self.mistake and not self.vault_fraction:
            raise ValueError(
                f"mistake: {self.mistake} needs a vault_fraction: what it does is seen on images it spares"
            )
        if self.readings and not self.vault_fraction:
            raise ValueError("readings need a vault_fraction: they are compared with what the vault says")
        return self

    @model_validator(mode="after")
    def _warm_up_ends_before_training(self) -> Self:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}: it must be less than epochs, {self.epochs}")
        return self

    @model_validator(mode="after")
    def _small_epochs_have_a_size(self) -> Self:
        if (self.small_size is None) != (self.small_epochs == 0) or (self.small_size or 0) >= self.image_size:
            raise ValueError("small_size and small_epochs go together, and small_size is below image_size")
        if self.small_epochs >= self.epochs:
            raise ValueError(f"small_epochs is {self.small_epochs}: it must be less than epochs, {self.epochs}")
        return self

    @model_validator(mode="after")
    def _who_is_taught_has_teachers(self) -> Self:
        if (self.teachers is None) != (self.taught == 0):
            raise ValueError("teachers and taught go together: a study, and the share of its networks in the loss")
        return self

    @property
    def drawn_with(self) -> int:
        """The seed of the split: ``split_seed``, or where that is not set the seed of the run."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def split(self) -> str:
        """The kind of split in words."""
        how = f"by {self.split_by}"
        if self.crossover:
            how += f", run {self.crossover} of a crossover"
        if self.mistake:
            how += f", with the mistake {self.mistake}"
        return f"{how}, {self.folds} folds" if self.folds else how

    @property
    def parts(self) -> str:
        """The shares of the parts in words: of the images, of the lesions, or of those that are not set apart."""
        validation, calibration, test = self.validation_fraction, self.calibration_fraction, self.test_fraction
        if self.folds:
            test = 1 / self.folds
        first, rest = f"{test:.0%} test", ""
        if self.vault_fraction:
            first = f"{self.vault_fraction:.0%} in a vault; of the others {first}"
        if self.crossover or self.split_by == "source":
            validation, calibration, test = validation / (1 - test), calibration / (1 - test), 0
            first, rest = "one source test", "of the others "
        if self.crossover:
            first, rest = "one image of each lesion that has several test", "of the lesions with one image "
        train = 1 - validation - calibration - test
        if self.train_share < 1:
            rest += f"{self.train_share:.1%} of "
        return f"{first}, {rest}{train:.1%} train, {validation:.1%} validation, {calibration:.1%} calibration"

    def training_identity(self) -> dict[str, Any]:
        """Return what decides what is learnt: two runs with the same are one training, bit for bit.

        That is on the same data and machine, with as many threads. Whether the seed of the split is the run's own or
        given makes no difference.
        """
        return {name: getattr(self, name) for name in DECISIVE} | {"split_seed": self.drawn_with}

    @property
    def synthetic(self) -> bool:
        """Whether the study draws its own sample instead of reading HAM10000."""
        return self.synthetic_lesions is not None

    @property
    def data_folder(self) -> Path:
        """Folder with the archives and the metadata table."""
        return resolve(self.data)

    @property
    def run_folder(self) -> Path:
        """Folder of this run's files: ``<output>/<study>/seed-<k>``."""
        return resolve(self.output) / self.study / f"seed-{self.seed}"


DECISIVE = [
    name
    for name in Parameters.model_fields
    if name != "study" and not any(name in group.model_fields for group in (Source, Scoring, Runtime))
]
"""Parameters that decide what is learnt: all but those of the groups that say they do not."""


def load(study: str | Path, overrides: Mapping[str, Any] | None = None) -> Parameters:
    """Read and validate one study.

    Parameters
    ----------
    study
        A study's name (``demo``, or an arm's: ``quick_plain``), or the path of a YAML file.
    overrides
        Values that win over the study's; but `weights` says where ImageNet weights lie, and an arm that starts from
        random ones still does, or it would be compared under a wrong name.

    Raises
    ------
    ParametersError
        If there is no such study, or a key is unknown, of the wrong type or of an impossible value.
    """
    if str(study).endswith((".yaml", ".yml")):
        chosen = studies.read(Path(study))
    else:
        found = studies.everything()
        base, ablated, _ = str(study).partition(ABLATED)
        if ablated and base in found:
            found |= ablation(base, pairs=[str(study).removeprefix(base + ABLATED)])
        if study not in found:
            raise ParametersError(f"there is no study {study!r} in {studies.FOLDER}. Studies are: {', '.join(found)}")
        chosen = found[str(study)]
    given = {**chosen.values, **(overrides or {})}
    if chosen.values.get("compare_with") and chosen.values.get("weights") == RANDOM:
        given["weights"] = RANDOM
    return validate(given, source=f"study {chosen.name}")


def ablation(base: str, *, pairs: Iterable[str] = ()) -> dict[str, studies.Study]:
    """Return the studies that take away, or exchange, one component of a study each.

    A component is a parameter of :class:`Model`, :class:`Recipe` or :class:`Augmentation` that has ``examples`` of what
    it can be exchanged for, and is not so already. What an arm does already is that arm.

    Parameters
    ----------
    base
        The study's name.
    pairs
        Components to be exchanged together, joined by ``_and_``: ``flip_and_hue``.

    Raises
    ------
    ParametersError
        If there is no such study, or component of it.
    """
    chosen = load(base)
    single = {}
    for group in (Model, Recipe, Augmentation):
        for name, field in group.model_fields.items():
            others = [value for value in field.examples or () if value != getattr(chosen, name)]
            for value in others:
                single[name if len(others) == 1 else f"{name}_{value}"] = {name: value}
    wanted = dict(single)
    for pair in pairs:
        parts = pair.split("_and_")
        unknown = [part for part in parts if part not in single]
        if unknown:
            raise ParametersError(f"{base} has no component {unknown[0]!r} to exchange. It has: {', '.join(single)}")
        wanted[pair] = {key: value for part in parts for key, value in single[part].items()}
    return {study.name: study for name, changes in wanted.items() for study in [_ablated(base, name, changes)]}


def _ablated(base: str, name: str, changes: Mapping[str, Any]) -> studies.Study:
    found = studies.everything()
    same = [arm for arm in found.values() if arm.of == arm.against == base and arm.changes == changes]
    if same:
        return same[0]
    study = f"{base}{ABLATED}{name}"
    values = {**found[base].values, **changes, "study": study, "compare_with": base}
    words = ", ".join(f"{key} {value}" for key, value in changes.items())
    return studies.Study(study, f"What does {base} become with {words}?", values, 0, changes, base, base)


def from_namespace(namespace: Mapping[str, Any]) -> Parameters:
    """Gather a notebook's parameters: what its ``parameters`` cell sets, and the cell that papermill puts behind it.

    Other names of the kernel are no parameters, whatever they are called and however long they have been there.

    Parameters
    ----------
    namespace
        The notebook's ``globals()``.

    Raises
    ------
    ParametersError
        As :func:`load`; so a mistyped name in that cell is refused.
    """
    given = {name: namespace[name] for name in _assigned(namespace.get("In", ()))}
    return load(given.pop("study", "demo"), given)


def _assigned(cells: Sequence[str]) -> list[str]:
    """Return what the last cell that sets ``study`` sets, and what plain cells right after it do."""
    names: list[str] = []
    for cell in reversed(cells):
        found = _plain_assignments(cell)
        names = [] if found is None else [*found, *names]
        if "study" in (found or ()):
            return list(dict.fromkeys(names))
    return []


def _plain_assignments(cell: str) -> list[str] | None:
    """Return the names a cell sets, if it does nothing but give names plain values."""
    names = []
    try:
        for line in ast.parse(cell).body:
            if not isinstance(line, ast.Assign) or not all(isinstance(target, ast.Name) for target in line.targets):
                return None
            ast.literal_eval(line.value)
            names += [target.id for target in line.targets if isinstance(target, ast.Name)]
    except (SyntaxError, ValueError):
        return None
    return names


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``key=value`` into the key and the value as YAML reads it.

    Raises
    ------
    ParametersError
        If there is no equals sign, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ParametersError(f"{text!r} is not of the form key=value")
    key, field = key.strip(), Parameters.model_fields.get(key.strip())
    if field is not None and field.annotation is str:  # a path may hold what YAML reads as a comment
        return key, value
    return key, studies.parse(value, source=text)


def validate(values: Mapping[str, Any], *, source: str) -> Parameters:
    """Return `values` as parameters, or refuse them with one line a fault.

    Raises
    ------
    ParametersError
        Each line names the key, the value and what it should be.
    """
    try:
        return Parameters.model_validate(dict(values))
    except ValidationError as error:
        faults = "\n".join(f"  {_explain(fault)}" for fault in error.errors())
        raise ParametersError(f"{source} cannot be used:\n{faults}") from None


def _explain(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, Parameters.model_fields, n=1)
        return f"`{key}` is not a parameter" + (f"; did you mean `{close[0]}`?" if close else "")
    if fault["type"] == "missing":
        return f"`{key}` is missing"
    if fault["type"] == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    return f"`{key}` is {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
