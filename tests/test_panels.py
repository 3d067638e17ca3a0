"""Notebook 00 in a browser: its controls are moved, and what it then shows is what the library says."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from conftest import publish
from nbclient import NotebookClient

from skinlesion.files import ROOT
from skinlesion.reporting import explorer, pages, tables
from skinlesion.scoring import decisions

NOTEBOOK = ROOT / "notebooks" / "00_explore.ipynb"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    publish(folder, "paper_lesion", 0, hit=0.15)
    publish(folder, "quick", 0, hit=0.05)
    return folder


def notebook(published, data="nowhere"):
    content = nbformat.read(NOTEBOOK, as_version=4)
    [cell] = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", ())]
    cell.source += f"\noutput = {str(published)!r}\ndata = {str(data)!r}\nrun = 'paper_lesion, seed 0'"
    return content


def test_it_runs_twice_in_one_kernel_without_the_data(published):
    content = notebook(published)
    content.cells += [cell.copy() for cell in content.cells]
    ran = NotebookClient(content, startup_timeout=pages.PATIENCE, **pages.KERNEL).execute()
    shown = [output for cell in ran.cells for output in cell.get("outputs", ())]
    assert all("application/vnd.jupyter.widget-view+json" in output.data for output in shown)
    assert len(shown) == 2 * 5


@pytest.fixture
def page(published, tmp_path):
    """The notebook in JupyterLab, all cells run, in a browser without a window."""
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    nbformat.write(notebook(published), tmp_path / NOTEBOOK.name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [f"--notebook-dir={tmp_path}", "--IdentityProvider.token=", "--ServerApp.password="]
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib"), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    environment |= {"JUPYTER_PATH": "", "JUPYTER_PREFER_ENV_PATH": "1"}  # the kernel of this Python
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/api", server, tmp_path / "log")
        with sync.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=0)
            opened = browser.new_page(viewport={"width": 1200, "height": 3000})
            opened.set_default_timeout(0)
            opened.goto(f"http://127.0.0.1:{port}/doc/tree/{NOTEBOOK.name}")
            opened.get_by_role("button", name="| Idle").wait_for()
            opened.get_by_text("Run", exact=True).click()
            opened.get_by_text("Run All Cells", exact=True).click()
            yield opened
            if folder := os.environ.get("SCREENSHOTS"):
                opened.screenshot(path=Path(folder) / "explore.png", full_page=True)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _wait(url, server, log):
    while server.poll() is None:
        try:
            return urllib.request.urlopen(url).close()
        except OSError:
            time.sleep(0.25)
    return pytest.fail(log.read_text())


def told(page, decision, threshold):
    """Wait until the page says what a threshold gives."""
    counts, found = decision.counts(threshold), decision.at(threshold)
    said = f"{counts['called']} are called melanoma; {counts['missed']} of the true ones are missed. "
    page.get_by_text(f"{said}The threshold of {decisions.RULE} is {decision.suggested:.3f}.", exact=True).wait_for()
    for score in found.index:
        name = tables.heading(score)
        page.get_by_role("row", name=f"{name} {tables.interval(*found.loc[score])}", exact=True).wait_for()


def test_its_controls_work_in_a_browser(page, published):
    found = explorer.open_runs(published, data="nowhere")
    first = explorer.first_choice(found, "paper_lesion, seed 0")
    page.get_by_text("What each run says of it").wait_for()
    assert page.get_by_label("image", exact=True).input_value() == first
    page.get_by_text("images that both have").wait_for()

    other = found.predictions["paper_lesion, seed 0"].query("part == 'test' and image_id != @first").image_id.iloc[0]
    page.get_by_label("image", exact=True).fill(other)
    page.keyboard.press("Enter")
    page.locator("b", has_text=other).wait_for()

    decision = found.decision("paper_lesion, seed 0", "melanoma")
    told(page, decision, decision.suggested)
    page.get_by_role("slider").press("End")
    told(page, decision, 1.0)
    page.get_by_role("slider").press("Home")
    told(page, decision, 0.0)

    page.get_by_label("diagnosis", exact=True).select_option("mel")
    rows = explorer.chosen(found.tested("paper_lesion, seed 0"), {"dx": "mel"})
    page.get_by_text(f"test part, {len(rows)} of ").wait_for()

    _, compared = explorer.side_by_side(found.predictions["quick, seed 0"], found.predictions["paper_lesion, seed 0"])
    page.get_by_label("images", exact=True).select_option("both are wrong")
    page.get_by_text(f"{(compared.outcome == 'both are wrong').sum()} images: both are wrong").wait_for()
    page.get_by_label("image", exact=True).fill("ISIC_9999999")
    page.keyboard.press("Enter")
    page.get_by_text("no run here has an image 'ISIC_9999999'").wait_for()
