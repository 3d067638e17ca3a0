"""What a stranger's file could make this program do: nothing but be read."""

import ast
import json

import pytest

from skinlesion.files import ROOT


def codes():
    yield from ((path, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "lib").rglob("*.py")))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def faults(code):
    """Name the calls in some code that could run what they read."""
    tree = ast.parse(code)
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {(name.asname or name.name): name.name for name in node.names}
        if isinstance(node, ast.ImportFrom):
            modules |= {(name.asname or name.name): f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first, _, rest = ast.unparse(node.func).partition(".")
        name = ".".join(filter(None, [modules.get(first, first), rest]))
        given = {each.arg: ast.unparse(each.value) for each in node.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if name.partition(".")[0] in ("pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"):
            yield name
        if name == "numpy.load" and given.get("allow_pickle", "False") != "False":
            yield "numpy.load with pickles"
        if name in ("eval", "exec", "os.system", "os.popen", "torch.jit.load", "torch.hub.load", "pandas.read_pickle"):
            yield name
        if given.get("shell", "False") != "False":
            yield f"{name} with a shell"
        if name == "yaml.load" and ast.unparse(node.args[1]) != "_Loader":
            yield "yaml.load without a safe loader"


@pytest.mark.parametrize(("path", "code"), codes(), ids=lambda given: getattr(given, "name", ""))
def test_nothing_that_is_read_can_run_code(path, code):
    assert list(faults(code)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load(path)",
        "from torch import load\nload(path, weights_only=False)",
        "import pickle\npickle.loads(content)",
        "from pickle import load as read\nread(file)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import subprocess\nsubprocess.run(line, shell=True)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "import pandas as pd\npd.read_pickle(path)",
        "eval(text)",
    ],
)
def test_what_could_run_code_is_found(code):
    assert len(list(faults(code))) == 1
