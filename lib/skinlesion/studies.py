"""What is studied: the files in ``parameters/``, and the arms that change one study in one thing."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from skinlesion.errors import StudyError
from skinlesion.files import ROOT

FOLDER = ROOT / "parameters"

ARMS = "arms.yaml"
"""The file of arms in that folder."""


class ParametersError(StudyError):
    """A study or parameter that cannot be used; the message names the key and the way out."""


@dataclass(frozen=True)
class Study:
    """One study as its file, or an arm's entry, gives it.

    Attributes
    ----------
    name
        Of its run folders.
    question
        What it answers, in words.
    values
        Its parameters, those of the study it extends or changes included; what is not in it has its default.
    seeds
        How many runs are planned: seeds 0, 1, ….
    changes
        What it sets other than the study it changes; empty for a file.
    of
        The study it changes, or None.
    against
        The study it is compared with, pair of runs by pair of runs, or None.
    table
        The table of the paper that shows the comparison.
    """

    name: str
    question: str
    values: Mapping[str, Any]
    seeds: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    of: str | None = None
    against: str | None = None
    table: str = "effects"

    def __post_init__(self) -> None:
        """Refuse what no run can be planned from."""
        if type(self.seeds) is not int or self.seeds < 0:
            raise ParametersError(f"study {self.name!r}: seeds is {self.seeds!r}: it should be a number, 0 or more")


def names() -> list[str]:
    """Return the names of all studies in ``parameters/``, sorted."""
    return sorted(everything())


def everything() -> dict[str, Study]:
    """Return every study of the files, and of the arms, by name: in the order in which they stand there.

    Raises
    ------
    ParametersError
        If a file cannot be read, an arm changes a study that is not there, nothing, or the same as another arm.
    """
    paths = sorted(FOLDER.glob("*.yaml"))
    return dict(_everything(FOLDER, tuple((path, path.stat().st_mtime_ns) for path in paths)))


@functools.lru_cache(maxsize=2)
def _everything(folder: Path, files: tuple[tuple[Path, int], ...]) -> dict[str, Study]:
    found = {path.stem: read(path) for path, _ in files if path.name != ARMS}
    for name, entry in _mapping(folder / ARMS).items():
        for study in _arms(name, entry, found):
            found[study.name] = study
    return found


def read(path: Path) -> Study:
    """Read one study's file; the study it ``extends`` is read first.

    Raises
    ------
    ParametersError
        If it is no YAML, names itself otherwise than its file, or extends what is not there or itself.
    """
    return _read(path, ())


def _read(path: Path, before: tuple[str, ...]) -> Study:
    values = _mapping(path)
    if values.get("study") != path.stem:
        raise ParametersError(f"{path}: `study` must be {path.stem!r}, as the file's name")
    question, seeds, base = values.pop("question", ""), values.pop("seeds", 0), values.pop("extends", None)
    if base is not None:
        there = FOLDER / f"{base}.yaml"
        if base in (*before, path.stem) or not there.is_file():
            raise ParametersError(f"{path}: it extends {base!r}, which is no other study's file in {FOLDER}")
        values = {**_read(there, (*before, path.stem)).values, **values}
    return Study(path.stem, question, values, seeds=seeds)


def _arms(name: str, entry: Any, found: Mapping[str, Study]) -> list[Study]:
    """Return the studies of one entry of the file of arms: one for each study it changes."""
    where = f"{ARMS}: arm `{name}`"
    known = {"question", "of", "set", "against", "table"}
    whole = isinstance(entry, dict) and {"question", "of", "set"} <= set(entry) <= known
    if not whole or not all(isinstance(entry[key], dict) for key in ("of", "set")):
        raise ParametersError(
            f"{where} must hold question, of (study: number of seeds), set (key: value), and may hold against and table"
        )
    made = []
    for base, seeds in entry["of"].items():
        if base not in found:
            raise ParametersError(f"{where} changes {base!r}, which is no study before it")
        size = base.partition("_")[0]
        study = f"{size}_{name}"
        against = entry.get("against", base)
        if against != base and against is not None:
            against = f"{size}_{against}"
        changes = {key: value for key, value in entry["set"].items() if found[base].values.get(key) != value}
        values = {**found[base].values, **changes, "study": study, "compare_with": against}
        if not changes:
            raise ParametersError(f"{where} changes nothing of {base!r}")
        same = [each.name for each in found.values() if _recipe(each.values) == _recipe(values)]
        if study in found or same:
            raise ParametersError(f"{where} makes the study {study!r} a second time (as {(same or [study])[0]!r})")
        table = entry.get("table", "effects")
        made.append(Study(study, entry["question"], values, seeds, changes, base, against, table))
    return made


def _recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in ("study", "compare_with")}


def parse(text: str | bytes, *, source: object) -> Any:
    """Return what YAML holds, numbers as in YAML 1.2: 010 is ten, 1e-3 is a number, and 1:30 and 0x10 are text.

    Raises
    ------
    ParametersError
        If it is no YAML, gives a key twice, or repeats itself through anchors, of which a few lines can grow beyond any
        memory.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.reader.ReaderError as error:
        raise ParametersError(f"{source} is no text in UTF-8: save it as that ({error})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParametersError(f"{source} is not valid YAML: {error}") from error


NUMBERS = {
    "tag:yaml.org,2002:int": (int, r"[-+]?[0-9]+"),
    "tag:yaml.org,2002:float": (float, r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
}
"""How YAML 1.2 writes numbers; to YAML 1.1, which PyYAML reads, 010 is eight, 1:30 is 90 and 1e-3 is text."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [rule for rule in rules if rule[0] not in NUMBERS]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        return NUMBERS[node.tag][0](self.construct_scalar(node))

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"anchors are not taken (line {self.peek_event().start_mark.line + 1})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for place, key in enumerate(keys) if key in keys[:place]]
        if twice:
            raise yaml.YAMLError(f"`{twice[0]}` is given twice (line {node.start_mark.line + 1} and after)")
        return super().construct_mapping(node, deep)


for _tag, (_, _rule) in NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_rule})$"), list("-+.0123456789"))
    _Loader.add_constructor(_tag, _Loader.construct_number)


def _mapping(path: Path) -> dict[str, Any]:
    values = parse(path.read_bytes(), source=path)
    if not isinstance(values, dict):
        raise ParametersError(f"{path} must hold one `key: value` a line")
    return values
