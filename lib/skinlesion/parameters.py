"""What varies between studies: typed, validated, and refused by name when wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from skinlesion.files import ROOT, resolve

STUDIES = ROOT / "parameters"


class ParametersError(ValueError):
    """A parameter that cannot be used; the message names the key and the way out."""


class Parameters(BaseModel):
    """One study and one seed. The defaults are the preprint's recipe, or what it leaves open.

    The files in ``parameters/`` give the reason beside each value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    # which run
    study: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    seed: int = Field(default=0, ge=0, lt=2**31)

    # which data
    data: str = "data/ham10000"
    synthetic_lesions: int | None = Field(default=None, ge=21, le=10_000)
    image_size: int = Field(default=224, ge=32, le=600)

    resize: Literal["squash", "center_crop"] = "squash"

    # which split
    split_by: Literal["image", "lesion", "source"] = "image"
    folds: int | None = Field(default=None, ge=2, le=20)
    leakage_arm: Literal["clean", "injected"] | None = None
    train_fraction: float = Field(default=0.7, gt=0, lt=1)
    validation_fraction: float = Field(default=0.15, gt=0, lt=1)
    test_fraction: float = Field(default=0.15, gt=0, lt=1)

    # which model
    backbone: str = "mobilenet_v2"
    weights: str = "IMAGENET1K_V1"

    # how it is trained
    learning_rate: float = Field(default=0.001, gt=0, le=1)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=32, ge=2)
    epochs: int = Field(default=25, ge=1)
    selection: Literal["accuracy", "balanced_accuracy", "loss", "last"] = "accuracy"
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    class_weighted_loss: bool = False
    weighted_sampling: bool = False
    focal_gamma: float = Field(default=0.0, ge=0, le=10)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    flip: bool = True
    rotation_degrees: float = Field(default=20.0, ge=0, le=180)
    zoom: float = Field(default=0.1, ge=0, lt=1)
    translation: float = Field(default=0.1, ge=0, lt=1)
    brightness: float = Field(default=0.1, ge=0, lt=1)
    contrast: float = Field(default=0.1, ge=0, lt=1)
    saturation: float = Field(default=0.1, ge=0, lt=1)
    hue: float = Field(default=0.02, ge=0, le=0.5)

    # how it is scored
    bootstrap_draws: int = Field(default=1000, ge=10)
    compare_with: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")

    # where and how it runs
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int | Literal["auto"] = "auto"
    deterministic: bool = True
    compile: bool = False
    store: Literal["auto", "resident", "streaming"] = "auto"
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    galleries: bool = True
    cell_timeout_minutes: int = Field(default=30, ge=1)
    output: str = "reports"
    cache: str = "data/store"

    @field_validator("threads", mode="before")
    @classmethod
    def _threads_are_counted(cls, threads: object) -> object:
        if threads == "auto" or (type(threads) is int and 1 <= threads <= 1024):
            return threads
        raise ValueError(f"`threads` is {threads!r}: it should be auto, or a number from 1 to 1024")

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> Self:
        total = self.train_fraction + self.validation_fraction + self.test_fraction
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train_fraction + validation_fraction + test_fraction is {total:g}: they must sum to one")
        return self

    @model_validator(mode="after")
    def _kinds_of_split_exclude_each_other(self) -> Self:
        if self.leakage_arm and (self.folds or self.split_by != "lesion"):
            raise ValueError("leakage_arm needs `split_by: lesion` and no folds: both arms start from that split")
        if self.folds and self.split_by == "source":
            raise ValueError("`split_by: source` takes no folds: the seed says which source is left out")
        return self

    @model_validator(mode="after")
    def _warm_up_ends_before_training(self) -> Self:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}: it must be less than epochs, {self.epochs}")
        return self

    @property
    def split(self) -> str:
        """The kind of split in words."""
        how = f"by {self.split_by}"
        if self.leakage_arm:
            how += f", {self.leakage_arm} arm"
        return f"{how}, {self.folds} folds" if self.folds else how

    @property
    def parts(self) -> str:
        """The shares of the parts in words: of the images, of the lesions, or of all sources but the one tested."""
        if self.split_by == "source":
            validation = self.validation_fraction / (1 - self.test_fraction)
            return f"one source test, of the others {1 - validation:.0%} train, {validation:.0%} validation"
        test = 1 / self.folds if self.folds else self.test_fraction
        train = 1 - test - self.validation_fraction
        return f"{train:.0%} train, {self.validation_fraction:.0%} validation, {test:.0%} test"

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


def studies() -> list[str]:
    """Return the names of the studies in ``parameters/``, sorted."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def load(study: str | Path, overrides: Mapping[str, Any] | None = None) -> Parameters:
    """Read and validate one study.

    Parameters
    ----------
    study
        A study's name (``demo``) or the path of its YAML file.
    overrides
        Values that win over the file's.

    Raises
    ------
    ParametersError
        If there is no such study, or a key is unknown, of the wrong type or of an impossible value.
    """
    path = Path(study) if str(study).endswith((".yaml", ".yml")) else STUDIES / f"{study}.yaml"
    if not path.is_file():
        raise ParametersError(
            f"there is no study {path.stem!r}: {path} does not exist. Studies are: {', '.join(studies())}"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ParametersError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ParametersError(f"{path} must hold one `key: value` a line")
    if values.get("study") != path.stem:
        raise ParametersError(f"{path}: `study` must be {path.stem!r}, as the file's name")
    return validate({**values, **(overrides or {})}, source=path.name)


def from_namespace(namespace: Mapping[str, Any]) -> Parameters:
    """Gather a notebook's parameters: the study its ``parameters`` cell names, and what else it sets.

    Parameters
    ----------
    namespace
        The notebook's ``globals()``; names that are no parameters are passed over.

    Raises
    ------
    ParametersError
        As :func:`load`.
    """
    given = {name: namespace[name] for name in Parameters.model_fields if name in namespace}
    return load(given.pop("study", "demo"), given)


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``key=value`` into the key and the value as YAML reads it.

    Raises
    ------
    ParametersError
        If there is no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ParametersError(f"{text!r} is not of the form key=value")
    return key.strip(), yaml.safe_load(value)


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
    value = fault["input"]
    text = f"`{key}` is {value!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
    if isinstance(value, str) and _is_number(value):
        text += " (YAML reads 1e-3 as text: write 0.001 or 1.0e-3, without quotes)"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
