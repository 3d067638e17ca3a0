import ast
import copy

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from conftest import publish, tiny_overrides
from nbclient import NotebookClient

from skinlesion import files, parameters, runs
from skinlesion.paper import reproduction
from skinlesion.reporting import pages
from skinlesion.scoring import isic, predictions

NOTEBOOKS = sorted((files.ROOT / "notebooks").glob("*.ipynb"))
OF_A_RUN = [notebook for notebook in NOTEBOOKS if notebook.stem in pages.TITLES]
EXPLORER = "00_explore"


@pytest.fixture(scope="module")
def finished(drawn, tmp_path_factory):
    """The notebooks of a run, in their order on tiny parameters; tests of their own run the two across runs."""
    folder = tmp_path_factory.mktemp("run")
    tiny = parameters.load("demo", tiny_overrides(drawn, folder))
    for notebook in OF_A_RUN:
        pages.make(notebook, tiny, tiny.run_folder / f"{notebook.stem}.html")
    return runs.Run(tiny)


def test_every_notebook_leaves_its_page_and_its_files(finished):
    left = {path.name for path in finished.folder.iterdir()}
    made = {f"{stem}.html" for stem in pages.TITLES}
    assert {notebook.stem for notebook in NOTEBOOKS} == {EXPLORER, *pages.TITLES, pages.PAPER, pages.ROAD}
    written = set(runs.WRITERS) - {"readings.csv", "official.csv", "official.json", "portable.csv", "forms.csv"}
    assert left == made | written | {"model.safetensors", "trained_on.bin", "epochs.npz", "checkpoint"}


def test_every_page_says_at_the_top_that_the_data_is_synthetic(finished):
    for stem in pages.TITLES:
        page = (finished.folder / f"{stem}.html").read_text()
        body = page[page.index("<body>") :]
        assert body.index("SYNTHETIC DATA") < 100


def test_every_figure_has_a_text_and_nothing_is_not_a_number(finished):
    for stem in pages.TITLES:
        page = (finished.folder / f"{stem}.html").read_text()
        assert page.count("<img") == page.count(' alt="')
        assert "No description" not in page
        assert ">nan<" not in page


def test_the_numbers_of_the_report_are_those_of_the_predictions(finished):
    test = finished.read_csv("predictions.csv").query("part == 'test'")
    right = (test[predictions.COLUMNS].to_numpy().argmax(1) == test.dx.map(list(predictions.DX).index)).mean()
    stated = finished.read_json("metrics.json")["test"]["headline"]["accuracy"]["value"]
    assert stated == pytest.approx(right)
    assert f"{stated:.3f} (" in (finished.folder / "04_evaluation.html").read_text()
    assert finished.read_json("errors.json")["wrong"] == round((1 - right) * len(test))


def test_the_predictions_follow_the_split_and_never_the_training_part(finished):
    split, table = finished.read_csv("split.csv"), finished.read_csv("predictions.csv")
    joined = table.merge(split, on="image_id", suffixes=("", "_split"))
    assert (joined.part == joined.part_split).all()
    assert set(table.part) == {"validation", "calibration", "test"}
    assert len(table) == (split.part != "train").sum()


def test_what_was_said_after_the_selected_epoch_is_what_is_predicted(finished):
    said = np.load(finished.folder / "epochs.npz")["probabilities"]
    selected = finished.read_json("manifest.json")["selected_epoch"]
    predicted = finished.read_csv("predictions.csv")[predictions.COLUMNS].to_numpy()
    assert np.abs(said[selected - 1] - predicted).max() < 1e-3
    epochs = finished.read_csv("epochs.csv").set_index("epoch")
    history = finished.read_csv("history.csv").set_index("epoch")
    np.testing.assert_allclose(epochs.validation_accuracy, history.validation_accuracy, atol=1e-6)
    stated = finished.read_json("metrics.json")["test"]["headline"]["accuracy"]["value"]
    assert epochs.test_accuracy[selected] == pytest.approx(stated)


def test_the_validation_score_is_that_of_the_selected_epoch(finished):
    history = finished.read_csv("history.csv").set_index("epoch")
    selected = finished.read_json("manifest.json")["selected_epoch"]
    stated = finished.read_json("metrics.json")["validation"]["headline"]["accuracy"]["value"]
    assert stated == pytest.approx(history.validation_accuracy[selected])


def test_a_second_run_of_the_training_notebook_does_not_train_again(finished):
    before = finished.read_csv("history.csv"), finished.read_csv("predictions.csv")
    pages.make(
        files.ROOT / "notebooks" / "03_training.ipynb", finished.parameters, finished.folder / "03_training.html"
    )
    for old, name in zip(before, ("history.csv", "predictions.csv"), strict=True):
        pd.testing.assert_frame_equal(old, finished.read_csv(name))
    assert "resumed after epoch 2 of 2" in (finished.folder / "03_training.html").read_text()


@pytest.mark.parametrize("notebook", OF_A_RUN, ids=lambda path: path.stem)
def test_a_notebook_runs_twice_in_one_kernel(finished, notebook, tmp_path):
    content = nbformat.read(notebook, as_version=4)
    chosen = finished.parameters.model_dump(exclude={"study", "seed"}, exclude_none=True)
    first = next(cell for cell in content.cells if "parameters" in cell.metadata.get("tags", ()))
    first.source += "".join(f"\n{name} = {value!r}" for name, value in chosen.items())
    content.cells = [*content.cells, *copy.deepcopy(content.cells)]
    ran = NotebookClient(content, startup_timeout=pages.PATIENCE, **pages.KERNEL).execute()
    assert all(output.output_type != "error" for cell in ran.cells for output in cell.get("outputs", ()))


def test_a_notebook_runs_by_hand_with_papermill(finished, tmp_path):
    notebook, given = files.ROOT / "notebooks" / "04_evaluation.ipynb", finished.parameters.model_dump()
    given["bootstrap_draws"] = 30
    papermill.execute_notebook(notebook, tmp_path / "out.ipynb", given, start_timeout=pages.PATIENCE, **pages.KERNEL)
    assert finished.read_json("metrics.json")["bootstrap"]["draws"] == 30


def test_a_run_made_again_is_bit_identical_and_leaves_the_first_alone(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "FOLDER", str(tmp_path / "reproduced"))
    monkeypatch.setattr(reproduction, "PUBLISHED", finished.folder.parents[1])
    before = (finished.folder / "predictions.csv").stat().st_mtime_ns
    found = reproduction.reproduce(finished.parameters)
    assert (found.verdict, found.differs) == (reproduction.IDENTICAL, [])
    assert (finished.folder / "predictions.csv").stat().st_mtime_ns == before
    assert (tmp_path / "reproduced" / "demo" / "seed-0" / "predictions.csv").is_file()


def test_the_file_for_the_challenge_holds_the_probabilities_of_the_test_part(finished):
    test = finished.read_csv("predictions.csv").query("part == 'test'")
    pd.testing.assert_frame_equal(finished.read_csv("isic.csv"), isic.submission(test))


@pytest.mark.parametrize(("stem", "table"), [(pages.PAPER, "claims.csv"), (pages.ROAD, "road.csv")])
def test_a_page_across_runs_says_how_far_it_is_and_leaves_its_tables_beside_it(tmp_path, capsys, stem, table):
    publish(tmp_path / "reports", "paper", 0)
    across = parameters.load("paper", {"output": str(tmp_path / "reports"), "bootstrap_draws": 20})
    pages.make(files.ROOT / "notebooks" / f"{stem}.ipynb", across, tmp_path / "tables" / f"{stem}.html")
    assert (tmp_path / "tables" / table).is_file()
    assert not (tmp_path / "reports" / "tables").exists()
    assert ("tables: claims" in capsys.readouterr().out) == (stem == pages.PAPER)
    assert "tables: claims" not in (tmp_path / "tables" / f"{stem}.html").read_text()


def code(notebook):
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_thin_and_committed_without_outputs(notebook):
    cells = code(notebook)
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    assert [cell.source.splitlines()[0] for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    for cell in cells:
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda}
        assert len(cell.source.splitlines()) <= 22
