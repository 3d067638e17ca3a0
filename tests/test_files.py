import errno
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from skinlesion import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("table.csv", "old")]


def test_a_full_disk_is_named_with_the_way_out(tmp_path):
    def fill(temporary):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(files.DiskFullError, match=r"the disk is full: .*x\.csv was not written\. Free some space"),
        files.atomic(tmp_path / "x.csv") as temporary,
    ):
        fill(temporary)
    assert not list(tmp_path.iterdir())


def test_what_cannot_fit_is_refused_before_it_is_started(tmp_path):
    with pytest.raises(files.DiskFullError, match="are needed: free some space"):
        files.require_space(tmp_path, shutil.disk_usage(tmp_path).free + 10**9)


def test_json_holds_numpy_numbers_and_says_null_for_what_is_not_a_number(tmp_path):
    files.write_json(tmp_path / "x.json", {"a": np.float64(0.5), "b": np.nan, "c": np.arange(2), 3: np.inf})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 0.5, "b": None, "c": [0, 1], "3": None}


def test_json_holds_tables_by_the_names_of_their_rows_or_as_a_list():
    table = pd.DataFrame({"value": [0.5, np.nan], "images": [1, 2]})
    rows = [{"value": 0.5, "images": 1}, {"value": None, "images": 2}]
    assert files.plain(table) == rows
    assert files.plain({"t": table.set_axis(["a", "b"])}) == {"t": dict(zip("ab", rows, strict=True))}
    assert files.plain(pd.concat({"x": table.set_axis(["a", "b"])})) == {"x": dict(zip("ab", rows, strict=True))}


def test_csv_keeps_float32_exactly(tmp_path):
    values = np.random.default_rng(0).random(100).astype(np.float32)
    files.write_csv(tmp_path / "x.csv", pd.DataFrame({"p": values}))
    assert (pd.read_csv(tmp_path / "x.csv").p.to_numpy(np.float32) == values).all()


def test_a_path_outside_the_project_is_shown_by_its_last_part(tmp_path):
    assert files.shown(tmp_path / "x.csv") == "x.csv"
    assert files.shown(files.ROOT / "reports" / "x.csv") == "reports/x.csv"
