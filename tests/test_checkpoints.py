import pickle
from pathlib import Path

import pytest
import torch

from skinlesion import files
from skinlesion.learning import checkpoints
from skinlesion.parameters import Parameters

MINE = {"learning_rate": "0.001", "data": "a" * 64, "code": "b" * 64}


WHOLE = {
    "history": [],
    "sittings": [],
    "best": {"epoch": 0, "value": float("-inf"), "weights": None},
    "partial": {},
    "model": {"w": torch.zeros(2)},
    "averaged": None,
    "optimiser": {"state": {}, "param_groups": []},
    "threads": 1,
}
"""A state as training saves it, before its first epoch is over."""


def save(folder, identity=MINE, **more):
    checkpoints.save(folder, identity, **WHOLE | more)


def load(folder, identity=MINE):
    lines = []
    return checkpoints.load(folder, identity, lines.append), lines


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path, weights=torch.arange(3))
    state, lines = load(tmp_path)
    assert state["weights"].tolist() == [0, 1, 2]
    assert lines == []


def test_where_there_is_none_there_is_none(tmp_path):
    assert load(tmp_path / "nowhere") == (None, [])


class Payload:
    def __reduce__(self):
        return (print, ("a checkpoint ran code",))


def damage(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "noise":
        content = b"no checkpoint"
    elif kind == "empty":
        content = b""
    elif kind == "cut":
        content = content[:2000]
    elif kind == "bit":
        content[len(content) // 2] ^= 1
    elif kind == "zeros":
        content[1024:5120] = bytes(4096)
    elif kind == "code":
        content = pickle.dumps(Payload(), protocol=2)
    path.write_bytes(content)
    if kind in STRUCTURES:
        torch.save(STRUCTURES[kind], path)
        files.seal(path)


STRUCTURES = {
    "foreign": {"model": {}},
    "a list as identity": {"identity": ["a"]},
    "epochs beyond the run": {"identity": {"epochs": "2"}, "history": [{"epoch": 1.0}] * 3},
    "history of words": {"identity": MINE, "history": ["a"]},
    "tensor": torch.arange(3),
    **{
        f"no {key}": {"identity": MINE, **{name: value for name, value in WHOLE.items() if name != key}}
        for key in WHOLE
    },
    **{f"a list as {key}": {"identity": MINE, **WHOLE, key: [1]} for key in WHOLE},
    "no optimiser's state": {"identity": MINE, **WHOLE, "optimiser": {}},
    "half an epoch of nothing": {"identity": MINE, **WHOLE, "partial": {"steps": 3}},
    "an epoch without weights": {"identity": MINE, **WHOLE, "history": [{"epoch": 1.0}]},
    "NaN": {"identity": MINE, **WHOLE, "model": {"w": torch.tensor([0, float("nan")])}},
    "an epoch of another network": {
        "identity": MINE,
        **WHOLE,
        "history": [{"epoch": 1.0}],
        "best": {"epoch": 1, "value": 0.5, "weights": {"a": torch.zeros(3)}},
    },
}


@pytest.mark.parametrize("kind", ["noise", "empty", "cut", "bit", "zeros", "code", *STRUCTURES])
def test_a_damaged_state_is_set_aside_and_the_one_before_it_taken(tmp_path, kind, capsys):
    save(tmp_path, weights=torch.arange(5000))
    save(tmp_path, weights=torch.arange(5000) + 1)
    damage(tmp_path / checkpoints.NAME, kind)
    state, lines = load(tmp_path)
    assert state["weights"][0] == 0
    assert lines[0].startswith("state.pt is damaged, or no state of a run: it is set aside as state.damaged.pt, and ")
    assert (tmp_path / "state.damaged.pt").is_file()
    damage(tmp_path / checkpoints.BEFORE, kind)
    state, lines = load(tmp_path)
    assert state is None
    assert lines[0].endswith("set aside as state.before.damaged.pt, and training starts over")
    assert "weights_only" not in " ".join(lines)
    assert capsys.readouterr().out == ""


def test_the_state_of_another_run_is_set_aside_and_every_difference_is_named(tmp_path):
    save(tmp_path)
    state, lines = load(tmp_path, {**MINE, "learning_rate": "0.1", "data": "c" * 64})
    assert state is None
    assert lines == [
        "starting over: the checkpoint was made with other data, learning_rate (0.001, now 0.1). "
        "It is kept as state.other.pt"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["state.other.pt"]


def test_half_written_files_of_killed_processes_are_removed(tmp_path):
    (tmp_path / f".{checkpoints.NAME}.123.tmp").write_bytes(b"half")
    save(tmp_path)
    load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints.NAME]


def test_all_that_changes_what_is_learnt_is_in_the_identity(tiny, task):
    mine = checkpoints.identity(tiny, "data", task[1])
    assert checkpoints.identity(tiny, "other", task[1]) != mine
    assert checkpoints.identity(tiny, "data", task[1][:-1]) != mine


UNDECIDING = {"study", "data", "synthetic_lesions", "output", "cache"}  # the data's fingerprint is there
UNDECIDING |= {"bootstrap_draws", "compare_with", "readings", "views"}  # after training
UNDECIDING |= {"threads", "checkpoint_seconds", "galleries", "cell_timeout_minutes"}


@pytest.mark.parametrize("name", Parameters.model_fields)
def test_a_parameter_decides_what_is_learnt_unless_it_is_declared_not_to(tiny, task, name):
    """Whoever adds one that does not writes it down here too."""
    mine = checkpoints.identity(tiny, "data", task[1])
    other = checkpoints.identity(tiny.model_copy(update={name: "other"}), "data", task[1])
    assert (mine == other) == (name in UNDECIDING)


def test_a_module_of_training_makes_a_state_stale_unless_it_is_declared_not_to():
    """Whoever adds one that does not writes it down here too."""
    room = {path for path in Path(checkpoints.__file__).parent.glob("[a-z]*") if path.is_file()}
    assert {path.stem for path in room - set(checkpoints.CODE)} == {
        "checkpoints",
        "inference",
        "official",
        "portable",
        "rescoring",
    }
