import os
import signal
import subprocess
import sys

import pytest

from skinlesion import __main__ as program
from skinlesion.errors import StudyError
from skinlesion.files import ROOT


def raising(error):
    def run(options):
        raise error

    return run


def test_what_a_user_can_mend_ends_in_one_line_and_a_fault_of_the_program_in_its_traceback(monkeypatch, capsys):
    monkeypatch.setattr(program, "_plan", raising(StudyError("the thing is wrong: mend it")))
    assert program.main(["plan"]) == 1
    assert capsys.readouterr().err == "error: the thing is wrong: mend it\n"
    for error in (ValueError("operands could not be broadcast"), RuntimeError("a kernel failed"), KeyError("a")):
        monkeypatch.setattr(program, "_plan", raising(error))
        with pytest.raises(type(error)):
            program.main(["plan"])


def test_a_reader_that_has_enough_ends_a_command_without_a_word():
    """As ``predict … | head -1`` does."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "skinlesion", "plan", "--missing"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "lib")},
        stdout=writes,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_an_unknown_study_and_a_wrong_value_are_refused_in_words(capsys):
    assert program.main(["check", "--study", "nobody"]) == 1
    assert program.main(["check", "--study", "demo", "--set", "epochs=0"]) == 1
    said = capsys.readouterr().err
    assert "there is no study 'nobody'" in said
    assert "`epochs` is 0" in said
    assert "Traceback" not in said


def test_every_error_of_the_library_has_one_root():
    import importlib
    import pkgutil

    import skinlesion

    for module in pkgutil.walk_packages(skinlesion.__path__, "skinlesion."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    named = {each.__name__ for each in StudyError.__subclasses__()}
    assert {"DatasetError", "CheckpointError", "ReportError", "ParametersError"} <= named


@pytest.mark.parametrize("shadowed", [False, True], ids=["not installed", "of another project"])
@pytest.mark.parametrize("package", ["yaml", "pydantic", "torch", "papermill", "pandas"])
def test_a_package_that_is_not_there_is_named_with_the_way_to_it(tmp_path, package, shadowed):
    fault = ImportError("for another Python\nas numpy says") if shadowed else ModuleNotFoundError("it is not there")
    (tmp_path / f"{package}.py").write_text(f"raise {fault!r}")
    command = (
        ["report", "--study", "demo", "x.ipynb", "x.html"] if package == "papermill" else ["check", "--study", "demo"]
    )
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from skinlesion.__main__ import main; sys.exit(main())"
    run = ["-m", "skinlesion"] if shadowed else ["-c", start]
    done = subprocess.run(
        [sys.executable, *run, *command, "--set", f"data={tmp_path / 'drawn'}"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'lib'}" if shadowed else str(ROOT / "lib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    way = f"PYTHONPATH puts the packages of {tmp_path} before those of this Python: unset it"
    told = f"for another Python: {way}" if shadowed else f"it is not there: {program.INSTALL}"
    assert done.stderr.splitlines() == [f"error: {told}"]
