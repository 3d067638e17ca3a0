import argparse
import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import pandas as pd
import pytest

from skinlesion import __main__ as program
from skinlesion import files, parameters
from skinlesion.paper import readme

README, MAKEFILE = ((files.ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
LINES = filter(None, "".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)).splitlines())
SAID = [README, MAKEFILE, *(path.read_text(encoding="utf-8") for path in (files.ROOT / "lib").rglob("*.py"))]
INLINE = sorted({each for text in SAID for each in re.findall(r"`(make [^`{]+)`", text)})


def test_the_readme_is_short_and_opens_with_the_answer():
    text = (files.ROOT / "README.md").read_text()
    assert len(text.split()) <= 1100
    assert text.index("<!-- answer") < 600
    assert text.index("make report") < text.index("## Explore")


def test_a_block_is_written_between_its_lines_and_nothing_else_is_touched(tmp_path):
    start, end = readme.markers("answer")
    path = tmp_path / "README.md"
    path.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    facts = {"claim": "accuracy", "preprint": 0.92, "verdict": "not reached", "low": 0.7, "high": 0.85}
    rows = [facts | {"split": "by image", "mean": 0.8}, facts | {"split": "by lesion", "mean": 0.75}]
    rows += [facts | {"split": "by lesion", "claim": "loss", "mean": 0.5}]  # by image it was not measured
    files.write_csv(tmp_path / "tables" / "claims.csv", pd.DataFrame(rows))
    readme.write(path, tmp_path)
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "**No.**" in text
    assert "accuracy | 0.92 | 0.800 (0.700–0.850) | 0.750 (0.700–0.850)" in text
    assert "loss | 0.92 | – | 0.500 (0.700–0.850)" in text


def subcommands():
    [found] = [each for each in program._parser()._actions if isinstance(each, argparse._SubParsersAction)]
    return list(found.choices)


@pytest.mark.parametrize("line", [*LINES, *INLINE])
def test_a_command_that_a_reader_is_told_names_what_is_there(line):
    """Programs, targets, variables, options, studies and files; what a reader puts in its place stands in <…>."""
    words = [word for word in shlex.split(line, comments=True) if not word.startswith("PYTHONPATH=")]
    if words[0] == "make":
        for word in words[1:]:
            name, given, value = word.partition("=")
            known = rf"^{name} \?=|\(origin {name}\)" if given else rf"^{name}:.*## "
            assert word.startswith("-j") or re.search(known, MAKEFILE, flags=re.MULTILINE), word
            if name in ("STUDY", "BASE"):
                parameters.load(value)
        return
    name = words[0].removeprefix(".venv/bin/")
    assert name == "python" or entry_points(group="console_scripts", name=name)
    assert words[0] != name  # nobody has to activate anything
    if name == "papermill":
        assert (files.ROOT / words[1]).is_file()
        given = dict(zip(words[4::3], words[5::3], strict=True))
        assert words[3::3] == ["-p"] * len(given)
        parameters.load(given.pop("study"), {name: int(value) for name, value in given.items()})
        return
    options = program._parser().parse_args(words[words.index("skinlesion") + 1 :])
    if hasattr(options, "study"):
        program._load(options)
    named = [path for path in vars(options).values() if isinstance(path, Path) and "<" not in str(path)]
    assert all((files.ROOT / path).exists() for path in named)


@pytest.mark.parametrize("command", subcommands())
def test_every_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main([command, "--help"])
    assert not ended.value.code
    assert command in capsys.readouterr().out
