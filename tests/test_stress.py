"""The small part of `make stress` that is a test: some cases of each group."""

import pytest
import stress

EVERY = {"folders": 9, "states": 12, "stores": 5, "weights": 5, "released": 6}
"""Every nth case of these groups is tried; the others have tests of their own, or take too long."""


@pytest.mark.parametrize("group", EVERY)
def test_what_is_wrong_is_said(group, drawn, tmp_path):
    assert stress.attempt(group, tmp_path / group, drawn, every=EVERY[group]) == []


def test_what_does_not_hold_is_found():
    def silent():
        raise stress.SilentError("a wrong result, silently")

    def broken():
        raise KeyError("x")

    assert stress.judge(lambda: "held") == ""
    assert stress.judge(silent) == "a wrong result, silently"
    assert stress.judge(broken) == "traceback: KeyError: 'x'"
    assert stress.judge(lambda: stress.refused(lambda: 3, good=lambda found: found == 4)) == "a wrong result, silently"
    assert stress.judge(lambda: stress.refused(lambda: 4, good=lambda found: found == 4)) == ""


def test_what_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(stress, "PATIENCE", 1)
    assert stress.judge(lambda: stress.time.sleep(30)) == "hang"
