"""The plan of the house: which room may use which, and what review must do without."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skinlesion.files import ROOT

LIBRARY = ROOT / "lib" / "skinlesion"
USES = {
    "data": set(),
    "scoring": {"data"},
    "learning": {"data", "scoring"},
    "probing": {"data", "scoring", "learning"},
    "reporting": {"data", "scoring"},
    "paper": {"data", "scoring", "reporting"},
    "bench": {"data", "scoring", "learning"},
}
"""Each room, and the rooms whose modules its own may import; all may use the root, which uses none of them."""


def used(path: Path) -> set[str]:
    return imported(path.read_text(encoding="utf-8"))


def imported(code: str) -> set[str]:
    """The modules of the library that some code imports, as `room.module` or `module`."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "skinlesion":
            base = node.module.removeprefix("skinlesion").strip(".")
            inside = LIBRARY / base.replace(".", "/")
            found |= {f"{base}.{name.name}".strip(".") for name in node.names} if inside.is_dir() else {base}
    return found


@pytest.mark.parametrize("room", USES)
def test_arrows_between_rooms_go_one_way(room):
    assert (LIBRARY / room).is_dir()
    for path in (LIBRARY / room).rglob("*.py"):
        rooms = {name.partition(".")[0] for name in used(path) if "." in name}
        assert rooms <= USES[room] | {room}, path.name


def test_the_root_uses_no_room_and_there_is_no_other():
    rooms = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert rooms == set(USES)
    for path in LIBRARY.glob("*.py"):
        if path.name != "__main__.py":  # which calls them all
            assert not {name for name in used(path) if name.partition(".")[0] in rooms}, path.name


def test_no_module_uses_itself_by_a_detour():
    """Within a room too."""
    arrows = {".".join(path.relative_to(LIBRARY).with_suffix("").parts): used(path) for path in LIBRARY.rglob("*.py")}
    left = dict(arrows)
    while left:
        floor = {name for name, needs in left.items() if not needs & left.keys()}
        assert floor, f"a circle among {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in floor}


WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
exec(sys.stdin.read())
"""


def test_scoring_review_and_their_notebooks_need_no_torch():
    """As the Dockerfile's smaller environment has it."""
    lines = []
    for room in ("scoring", "reporting", "paper"):
        for path in sorted((LIBRARY / room).rglob("[a-z]*.py")):
            lines.append("import skinlesion." + ".".join(path.relative_to(LIBRARY).with_suffix("").parts))
    assert "import skinlesion.paper.verification" in lines
    for name in ("00_explore", "04_evaluation", "06_paper_tables", "07_road"):
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
        lines += [line for line in code.splitlines() if line.startswith(("import ", "from "))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    command = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(command, input="\n".join(lines), env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
