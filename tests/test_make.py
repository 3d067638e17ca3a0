"""The Makefile's graph, with a stand-in for Python that writes what the real command would and keeps a log."""

import os
import shutil
import subprocess
import sys

import pytest

from skinlesion.files import ROOT

STAND_IN = """#!/bin/sh
echo "$@" >> log
echo "$PYTHONPATH:$JUPYTER_PATH$PYTHONHOME" > path
echo "$RUNS_AT_ONCE" >> share
case "$3" in
  plan) exec REAL "$@" ;;
  inputs) for output; do :; done
    if test -n "$SEEN"; then exec REAL "$@"; fi
    test -f "$output" || { mkdir -p "$(dirname "$output")"; : > "$output"; } ;;
  index) : > "$4/index.html" ;;
  report)
    for output; do :; done
    folder=$(dirname "$output")
    case "$output" in *"$FAIL"*) test -n "$FAIL" && exit 1 ;; esac
    case "$output" in
      *01_eda*) extra=eda.json ;; *02_*) extra=split.csv ;; *03_*) extra=predictions.csv ;;
      *04_*) extra=metrics.json ;; *05_*) extra=errors.json ;;
    esac
    mkdir -p "$folder"; echo made > "$folder/$extra"; echo made > "$output" ;;
esac
""".replace("REAL", sys.executable)

ALL = ["01_eda", "02_preprocessing", "03_training", "04_evaluation", "05_error_analysis"]
PAPER = ["06_paper_tables", "07_road"]


@pytest.fixture
def project(tmp_path):
    for name in ("lib", "notebooks", "parameters"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("Makefile", "requirements.lock", "pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(project, *arguments, fail="", python="PYTHON=./python", **others):
    """Run make; return what it printed, its status, and the notebooks that were run, in order."""
    (project / "log").unlink(missing_ok=True)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS")) and key != "PYTHON"
    }
    done = subprocess.run(
        ["make", python, *arguments],
        cwd=project,
        env={**environment, "FAIL": fail, **others},
        capture_output=True,
        text=True,
        check=False,
    )
    log = (project / "log").read_text().split("\n") if (project / "log").exists() else []
    ran = [line.rsplit("/", 1)[1].removesuffix(".html") for line in log if " report " in line]
    return done.stdout + done.stderr, done.returncode, ran


def change(project, name):
    """Touch a file, a minute after everything else: file times may be too coarse to tell it from what was just made."""
    for path in project.rglob("*"):
        earlier = path.stat().st_mtime_ns - 60 * 10**9
        os.utime(path, ns=(earlier, earlier))
    (project / name).touch()


def test_the_first_report_runs_everything_and_says_where_it_is(project):
    output, status, ran = make(project, "report")
    assert status == 0
    assert sorted(ran) == ALL
    assert ran.index("02_preprocessing") < ran.index("03_training") < ran.index("04_evaluation")
    assert "reports/local/demo/seed-0/05_error_analysis.html" in output
    assert all(f"Making reports/local/demo/seed-0/{name}.html\n" in output for name in ALL)
    assert "$" not in output  # no command is shown


def test_an_environment_that_has_not_the_library_finds_it_from_every_folder(project):
    make(project, "report")
    assert (project / "path").read_text().split(":")[0].strip() == str(project / "lib")


def test_packages_and_kernels_of_another_project_do_not_reach_the_environment(project):
    (project / ".venv" / "bin").mkdir(parents=True)
    shutil.copy2(project / "python", project / ".venv" / "bin")
    (project / ".venv" / ".synced").touch()
    set_for_others = dict.fromkeys(("PYTHONPATH", "PYTHONHOME", "JUPYTER_PATH"), "/another")
    make(project, "report", python="SEEDS=0", **set_for_others)
    assert set((project / "path").read_text().strip().strip(":").split(":")) == {str(project / "lib")}
    make(project, "report", **set_for_others)
    assert (project / "path").read_text().strip().strip(":").endswith(":/another")  # an environment of one's own


def test_the_second_report_does_nothing_and_says_so_at_once(project):
    make(project, "report")
    output, status, ran = make(project, "report")
    assert (status, ran) == (0, [])
    assert len((project / "log").read_text().splitlines()) == 1  # it looked at its inputs
    assert "Nothing to do: the reports of demo are up to date." in output


@pytest.mark.parametrize(
    ("touched", "expected"),
    [
        ("notebooks/04_evaluation.ipynb", ["04_evaluation"]),
        ("notebooks/02_preprocessing.ipynb", ALL[1:]),
        ("lib/skinlesion/data/splits.py", ALL),
        ("README.md", []),
    ],
)
def test_only_what_depends_on_a_changed_file_runs(project, touched, expected):
    make(project, "report")
    change(project, touched)
    assert sorted(make(project, "report")[2]) == expected


def test_a_changed_value_makes_new_reports_and_a_changed_comment_none(project):
    make(project, "report", SEEN="really")
    study = project / "parameters/demo.yaml"
    study.write_text(study.read_text() + "# a comment\n")
    assert make(project, "report", SEEN="really")[2] == []
    study.write_text(study.read_text() + "hue: 0.1\n")
    assert sorted(make(project, "report", SEEN="really")[2]) == ALL


def test_other_data_makes_other_reports(project):
    make(project, "report", "STUDY=quick", "DATA=here", SEEN="really")
    assert make(project, "report", "STUDY=quick", "DATA=here", SEEN="really")[2] == []
    assert sorted(make(project, "report", "STUDY=quick", "DATA=there", SEEN="really")[2]) == ALL


def test_a_changed_image_and_weights_of_the_same_name_make_new_reports(project):
    folder = project / "here"
    folder.mkdir()
    for name in ("ISIC_1.jpg", "ISIC_2.jpg", "weights.pth"):
        (folder / name).write_text("as it was")
    given = ["report", "STUDY=quick", f"DATA={folder}", f"WEIGHTS={folder / 'weights.pth'}"]
    make(project, *given, SEEN="really")
    assert make(project, *given, SEEN="really")[2] == []
    for change in (folder / "ISIC_2.jpg").unlink, lambda: (folder / "weights.pth").write_text("another"):
        change()
        assert sorted(make(project, *given, SEEN="really")[2]) == ALL


def test_a_failing_notebook_stops_the_build_and_loses_nothing(project):
    make(project, "report")
    change(project, "notebooks/03_training.ipynb")
    output, status, ran = make(project, "report", fail="03_training")
    assert status != 0
    assert "Nothing to do" not in output
    assert "04_evaluation" not in ran
    assert (project / "reports/local/demo/seed-0/predictions.csv").read_text() == "made\n"
    assert sorted(make(project, "report")[2]) == ALL[2:]


def test_after_a_failure_only_the_rest_is_made(project):
    assert make(project, "report", fail="04_evaluation")[1] != 0
    assert "03_training" not in make(project, "report")[2]


def test_several_seeds_are_made_side_by_side(project):
    _, status, ran = make(project, "-j2", "report", "SEEDS=0 1")
    assert status == 0
    assert sorted(ran) == sorted(ALL * 2)
    assert (project / "reports/local/demo/seed-1/04_evaluation.html").exists()


@pytest.mark.parametrize(
    ("jobs", "seeds", "share"), [("-j2", "0 1", "2"), ("-j2", "0 1 2", "2"), ("-j3", "0", "1"), ("-j", "0 1", "2")]
)
def test_runs_side_by_side_are_told_how_many_they_are(project, jobs, seeds, share):
    make(project, jobs, "report", f"SEEDS={seeds}")
    assert set((project / "share").read_text().split()) == {share}


def test_a_run_by_itself_is_told_nothing(project):
    make(project, "report")
    assert not (project / "share").read_text().strip()


def test_the_paper_tables_are_made_from_the_runs_that_are_here_and_only_when_these_change(project):
    run = project / "reports/paper/seed-0/predictions.csv.xz"
    run.parent.mkdir(parents=True)
    run.touch()
    output, _, ran = make(project, "paper")
    assert sorted(ran) == PAPER
    assert "Making reports/tables/06_paper_tables.html" in output
    assert "$" not in output
    assert make(project, "paper")[2] == []
    for changed in ("reports/paper/seed-0/predictions.csv.xz", "lib/skinlesion/paper/claims.py"):
        change(project, changed)
        assert sorted(make(project, "paper")[2]) == PAPER


def test_reports_of_a_study_leave_the_paper_tables_alone(project):
    for name in ("reports/tables/06_paper_tables.html", "reports/paper/seed-0/predictions.csv.xz"):
        (project / name).parent.mkdir(parents=True)
        change(project, name)  # the page older than its evidence
    assert sorted(make(project, "report")[2]) == ALL


def test_verify_and_reproduce_say_what_they_are_to_do(project):
    make(project, "verify")
    assert "-m skinlesion verify" in (project / "log").read_text()
    make(project, "reproduce", "STUDY=quick", "SEED=2")
    assert "reproduce --study quick --seed 2" in (project / "log").read_text()


def test_a_study_that_does_not_exist_is_refused_and_leaves_nothing(project):
    output, status, _ = make(project, "report", "STUDY=typo", SEEN="really")
    assert status != 0
    assert "there is no study 'typo'" in output
    assert not (project / "reports" / "local" / "typo").exists()


@pytest.mark.parametrize("study", ["demo; touch x", "../demo", "demo$(touch x)", "Demo", "a b", "$(shell touch x)"])
def test_what_is_no_name_never_reaches_a_shell(project, study):
    output, status, _ = make(project, "report", f"STUDY={study}")
    assert status != 0
    assert "STUDY is a name of lower-case letters" in output
    assert not (project / "log").exists()
    assert not (project / "x").exists()


@pytest.mark.parametrize("seeds", ["SEEDS=0 01", "SEEDS=00", "SEED=01", "SEEDS=0,1", "SEEDS=-1"])
def test_a_seed_has_one_name(project, seeds):
    """Pages would lie in seed-01, and the files of the same run in seed-1."""
    output, status, _ = make(project, "report", seeds)
    assert status != 0
    assert "SEEDS and SEED are numbers such as 0 or 12" in output
    assert not (project / "log").exists()


@pytest.mark.parametrize("folder", ["a b", "it's", "(x)", "a&b", "a;touch x", "~x", "a:b", 'say "x"', "$$x"])
def test_any_folder_can_be_named(project, folder):
    make(project, "report", "STUDY=quick", f"DATA={folder}")
    assert f"--set data={folder.replace('$$', '$')} " in (project / "log").read_text()
    assert not (project / "x").exists()


def test_a_folder_that_make_cannot_carry_is_refused_by_name(project):
    assert "DATA has a $ in it" in make(project, "report", "STUDY=quick", "DATA=a$b")[0]


def test_help_names_every_target_a_user_has(project):
    output, _, _ = make(project, "help")
    for target in (
        "help",
        "report",
        "runs",
        "ablation",
        "publish",
        "paper",
        "verify",
        "reproduce",
        "data",
        "check-data",
        "bench",
        "test",
        "stress",
        "lint",
        "lab",
        "lock",
        "clean",
        "distclean",
    ):
        assert f"make {target} " in output


@pytest.mark.parametrize("surrounded", [False, True])
def test_clean_deletes_what_was_made_and_nothing_else(project, surrounded):
    """Whatever a repository around the folder ignores."""
    made = [project / "reports/local/demo/seed-0/04_evaluation.html", project / "data/demo/HAM10000_metadata"]
    data = [
        project / "data/ham10000/HAM10000_metadata",
        project / "reports/local/paper/seed-0/checkpoint/state.pt",
        project / "reports/paper/seed-0/manifest.json",
        project / "lib/skinlesion/mine.py",
    ]
    for path in (*made, *data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if surrounded:
        (project / ".gitignore").write_text("lib/\nreports/\nMakefile\n")
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    assert make(project, "clean")[1] == 0
    assert all(path.exists() for path in data)
    assert not any(path.exists() for path in made)


def test_missing_runs_are_made_by_study_and_seed_and_a_failed_one_stops_no_other(project):
    for path in (project / "parameters").glob("*.yaml"):
        path.unlink()
    (project / "parameters/one.yaml").write_text("study: one\nseeds: 2\nquestion: How?\n")
    (project / "parameters/arms.yaml").write_text("{}")
    output, status, ran = make(project, "runs")
    assert status == 0
    assert sorted(ran) == sorted(ALL * 2)
    assert "0 of 2" in output
    change(project, "notebooks/03_training.ipynb")
    _, status, ran = make(project, "runs", fail="seed-0/03_training")
    assert status != 0
    assert ran.count("04_evaluation") == 1


def test_training_is_launched_by_what_launches_jobs(project):
    output, _, _ = make(project, "report", "LAUNCH=env JOB=1")
    log = (project / "log").read_text().splitlines()
    assert sum(" train --study demo --seed 0" in line for line in log) == 1
    assert "Training seed 0 of demo\n" in output
    assert "$" not in output
