import base64
import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import publish

from skinlesion import files, parameters, runs
from skinlesion.paper import collection, findings, index
from skinlesion.reporting import pages, watch
from skinlesion.reporting.figures import base
from skinlesion.scoring import predictions

PARAMETERS = 'study = "demo"\nseed = 0'


def notebook(*cells):
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    made.cells = [nbformat.v4.new_markdown_cell("# A title\n\nWords."), nbformat.v4.new_code_cell(PARAMETERS)]
    made.cells[1].metadata["tags"] = ["parameters"]
    made.cells += [
        nbformat.v4.new_markdown_cell(cell[3:]) if cell.startswith("md ") else nbformat.v4.new_code_cell(cell)
        for cell in cells
    ]
    return made


def write(path, *cells):
    nbformat.write(notebook(*cells), path)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    cells = (
        "md ## First question",
        "import sys\nprint('one')\nprint('two', flush=True)\nprint('three')",
        "md ## Second question",
        "from IPython.display import HTML\nHTML('<p class=\"synthetic\">SYNTHETIC DATA</p>')",
    )
    source = write(folder / "04_evaluation.ipynb", *cells)
    pages.make(source, parameters.load("demo"), folder / "04_evaluation.html")
    assert sorted(path.name for path in folder.iterdir()) == ["04_evaluation.html", "04_evaluation.ipynb"]
    return (folder / "04_evaluation.html").read_text()


def test_a_page_opens_offline(page):
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "@import" not in page
    assert "<script src" not in page


def test_a_page_lets_nothing_run_but_its_own_script(page):
    script = page.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = BeautifulSoup(page, "html.parser").find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert page.count("<script") == 1


def test_a_page_has_contents_folded_code_and_its_siblings(page):
    assert re.findall(r'<li><a href="#[^"]+">(\w+ question)</a>', page) == ["First question", "Second question"]
    assert '<details class="code"><summary>Code<' in page
    assert BeautifulSoup(page, "html.parser").find("a", {"aria-current": "page"})["href"] == "04_evaluation.html"
    assert '<a href="05_error_analysis.html">' in page
    assert "Run by papermill in" in page


def test_a_page_of_synthetic_data_says_so_once_at_the_very_top(page):
    soup = BeautifulSoup(page, "html.parser")
    (banner,) = soup.select("p.synthetic")
    assert banner is soup.body.find(recursive=False)
    assert soup.body.index(banner) < soup.body.index(soup.find(class_="page"))


def test_a_page_holds_no_path_of_the_machine_it_was_made_on(page):
    assert str(files.ROOT) not in page


def test_what_is_printed_stays_together(page):
    assert "one\ntwo\nthree" in page


def test_a_failing_cell_is_named_and_leaves_the_notebook_but_no_page(tiny, tmp_path):
    source = write(tmp_path / "04_evaluation.ipynb", "1 / 0")
    output = tmp_path / "out" / "04_evaluation.html"
    message = r"04_evaluation.ipynb failed in cell 3 .*ZeroDivisionError: division by zero\n.*partial\.ipynb"
    with pytest.raises(pages.ReportError, match=message):
        pages.make(source, tiny, output)
    assert [path.name for path in output.parent.iterdir()] == ["04_evaluation.partial.ipynb"]


def test_an_old_page_survives_a_failing_run(tiny, tmp_path):
    output = tmp_path / "04_evaluation.html"
    output.write_text("old")
    with pytest.raises(pages.ReportError):
        pages.make(write(tmp_path / "04_evaluation.ipynb", "1 / 0"), tiny, output)
    assert output.read_text() == "old"


def test_a_long_path_of_temporary_files_stops_no_page(tiny, tmp_path, monkeypatch):
    """Sockets have names of a hundred characters at most."""
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    pages.make(write(tmp_path / "04_evaluation.ipynb", "print(1)"), tiny, tmp_path / "04_evaluation.html")
    assert (tmp_path / "04_evaluation.html").is_file()


def test_ctrl_c_pressed_twice_ends_in_one_sentence(tmp_path):
    source = write(
        tmp_path / "04_evaluation.ipynb", f"open({str(tmp_path / 'begun')!r}, 'w').close()\nwhile True: pass"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "skinlesion", "report", "--study", "demo", str(source), str(tmp_path / "x.html")],
        env={**os.environ, "PYTHONPATH": str(files.ROOT / "lib")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs of a script ignore it from birth
    )
    while not (tmp_path / "begun").exists() and process.poll() is None:
        time.sleep(0.1)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    assert process.communicate()[1].splitlines() == ["interrupted: run the same command again to go on"]
    assert process.returncode == 130
    assert not (tmp_path / "x.html").exists()


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the schema admits whole minutes
def test_a_cell_that_gets_nowhere_is_stopped(tiny, tmp_path):
    hasty = tiny.model_construct(**{**tiny.model_dump(), "cell_timeout_minutes": 0.1})
    source = write(tmp_path / "05_error_analysis.ipynb", "import time\ntime.sleep(86_400)")
    with pytest.raises(pages.ReportError, match=r"cell_timeout_minutes.* next to nothing.*Run the same command again"):
        pages.make(source, hasty, tmp_path / "05_error_analysis.html")
    assert (tmp_path / "05_error_analysis.partial.ipynb").is_file()


@pytest.mark.parametrize(("share", "stopped"), [(0.01, False), (0.0004, True)], ids=["starved", "idle"])
def test_a_kernel_that_is_left_a_hundredth_of_a_core_by_others_is_not_stopped(monkeypatch, share, stopped):
    minutes, looks = itertools.count(), iter([False] * 100 + [True] * 2)
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: 60 * next(minutes)))
    monkeypatch.setattr(watch, "_kernels", lambda mark: ["kernel"])
    computed = itertools.count()
    monkeypatch.setattr(watch, "_seconds", lambda kernel: 60 * share * next(computed))
    monkeypatch.setattr(watch, "_signal", lambda kernels, number: None)
    interrupted, done = threading.Event(), SimpleNamespace(wait=lambda seconds: next(looks))
    watch._watch("mark", 60.0 * parameters.Runtime().cell_timeout_minutes, interrupted, done)
    assert interrupted.is_set() == stopped


def test_the_index_lists_every_run_with_its_numbers(tmp_path):
    run = tmp_path / "demo" / "seed-0"
    score = {"value": 0.81234, "low": 0.7, "high": 0.9}
    headline = {"headline": dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "loss"), score)}
    files.write_json(run / "metrics.json", {"test": headline})
    files.write_json(run / "manifest.json", {"data": {"title": "SYNTHETIC sample", "synthetic": True}})
    files.write_text(run / "04_evaluation.html", "")
    (tmp_path / "paper" / "seed-1").mkdir(parents=True)
    page = index.write(tmp_path).read_text()
    assert "0.812 (0.700–0.900)" in page
    assert '<a href="demo/seed-0/04_evaluation.html">Evaluation</a>' in page
    assert "SYNTHETIC DATA" in page
    start = page.index("Runs without a report here")
    assert start < page.index("paper, seed 1") < page.index("not measured") < page.index("demo, seed 0")


def test_the_index_scores_every_finished_run_whether_or_not_it_has_metrics(tmp_path):
    run = publish(tmp_path, "quick", 0, hit=0.3)
    (run / "metrics.json").unlink()
    tested = pd.read_csv(run / "predictions.csv").query("part == 'test'")
    accuracy = (tested[predictions.COLUMNS].idxmax(axis=1) == "p_" + tested.dx).mean()
    page = index.write(tmp_path).read_text()
    assert f"<td>{accuracy:.3f}</td>" in page
    assert "not measured" not in page


def test_the_index_opens_with_the_answer_and_its_figure_and_an_index_of_ones_own_leads_to_it(tmp_path):
    for study in ("paper", "paper_lesion"):
        publish(tmp_path, study, 0, hit=0.3)
    for table in collection.make(tmp_path, draws=20).values():
        table.write(tmp_path / "tables")
    soup = BeautifulSoup(index.write(tmp_path).read_text(), "html.parser")
    said = findings.headline(findings.read(tmp_path))
    assert soup.main.find("p").get_text() == said
    assert re.search(r"\d\d\.\d% \(.*92%", said)
    order = [tag.get("class", [tag.name])[0] for tag in soup.main.find_all(recursive=False)]
    assert order[:4] == ["h1", "lead", "picture", "findings"]
    assert soup.find("a", href="tables/claims.csv")
    assert soup.find("a", href="images.html")
    own = BeautifulSoup(index.write(tmp_path / "local").read_text(), "html.parser")
    assert own.find("a", href="../index.html")
    assert own.h1.get_text() == "Reports"


def test_a_page_opens_with_its_findings_and_leaves_out_what_is_not_there(tmp_path):
    source = notebook(
        "md ## Is it so?",
        "from IPython.display import Markdown, display\nMarkdown('It **is** so, for mel.')",
        "md ## And with photographs?",
        "from skinlesion.reporting import tables\ntables.NO_PHOTOGRAPHS",
        "md ## Findings",
        "Markdown('1. One.\\n2. Two.')",
    )
    for cell in (source.cells[3], source.cells[7]):
        cell.metadata["tags"] = ["finding"]
    nbformat.write(source, tmp_path / "05_error_analysis.ipynb")
    pages.make(tmp_path / "05_error_analysis.ipynb", parameters.load("demo"), tmp_path / "05_error_analysis.html")
    main = BeautifulSoup((tmp_path / "05_error_analysis.html").read_text(), "html.parser").main
    headings = [tag.get_text().removesuffix("¶") for tag in main.find_all("h2")]
    assert headings == ["Findings", "Is it so?"]
    items = main.select(".findings li")
    assert [item.get_text().removesuffix(" →") for item in items] == ["It is so, for mel.", "One.", "Two."]
    assert items[0].find_all("a")[-1]["href"] == "#Is-it-so?"
    assert "And with photographs? Photographs are left out" in main.select_one(".left-out").get_text()


def test_what_a_user_has_set_for_matplotlib_and_jupyter_changes_no_page(tmp_path, monkeypatch):
    rc, kernel = tmp_path / "user" / "matplotlibrc", tmp_path / "user" / "kernels" / "python3" / "kernel.json"
    files.write_text(rc, "font.family: Times New Roman\nlines.linewidth: 9\nno.such.key: 1\n")
    files.write_json(kernel, {"argv": ["false"], "display_name": "another Python", "language": "python"})
    monkeypatch.setenv("MPLCONFIGDIR", str(rc.parent))
    monkeypatch.setenv("JUPYTER_PATH", str(rc.parent))
    cell = "import matplotlib\nmatplotlib.rcParams['axes.titlecolor'] = 'red'\n"  # as what is read in JupyterLab
    cell += "from skinlesion.reporting.figures import base\nbase.gallery([[[0.5]]], ['Title'], columns=1, alt='Grey.')"
    pages.make(write(tmp_path / "04_evaluation.ipynb", cell), parameters.load("demo"), tmp_path / "page.html")
    page = BeautifulSoup((tmp_path / "page.html").read_text(), "html.parser")
    plain = base.gallery([[[0.5]]], ["Title"], columns=1, alt="Grey.").html()
    assert page.main.img["src"] == BeautifulSoup(plain, "html.parser").img["src"]
    assert "Bad key" not in page.main.get_text()


def test_tables_and_figures_are_numbered_linked_and_headed(tmp_path):
    source = notebook(
        "import pandas as pd\nfrom skinlesion.reporting import tables\n"
        "tables.show(pd.DataFrame({'nv': [1.5], 'word': ['x']}, index=['accuracy']), caption='Of siblings.')",
        "tables.show(pd.DataFrame({'a': ['b']}), caption='Two.', index=False, source='a.csv b.md')",
        "from skinlesion.reporting.figures import base\nbase.Picture(base.blank(2, 2)[0], 'A square.')",
    )
    nbformat.write(source, tmp_path / "04_evaluation.ipynb")
    pages.make(tmp_path / "04_evaluation.ipynb", parameters.load("demo"), tmp_path / "04_evaluation.html")
    main = BeautifulSoup((tmp_path / "04_evaluation.html").read_text(), "html.parser").main
    one, two, three = main.find_all("figure")
    assert (one["id"], two["id"], three["id"]) == ("table-1", "table-2", "figure-1")
    links = [[link["href"] for link in figure.figcaption.find_all("a")] for figure in (one, two, three)]
    assert links == [["#table-1", "metrics.json"], ["#table-2", "a.csv", "b.md"], ["#figure-1", "metrics.json"]]
    assert one.caption.get_text() == "Of siblings."
    assert one.caption.find("a", title=True)["href"] == "#word-sibling"
    assert [head["scope"] for head in one.find_all("th")] == ["col", "col", "row"]
    assert not [head for head in main.find_all("th") if not head.get_text(strip=True)]
    assert one.find("abbr")["title"] == "melanocytic nevus"
    assert three.img["alt"] == "A square."
    legend = main.select_one("details.words").get_text()
    assert "another image of the same lesion" in legend
    assert "melanocytic nevus" in legend
    assert "melanoma" not in legend  # which this page does not speak of


@pytest.mark.parametrize("page", sorted((files.ROOT / "reports").glob("[!l]*/**/*.html")), ids=lambda path: path.name)
def test_a_published_page_is_under_two_megabytes(page):
    assert page.stat().st_size < 2_000_000


@pytest.mark.parametrize("page", sorted((files.ROOT / "reports").glob("[!l]*/**/*.html")), ids=lambda path: path.name)
def test_what_a_published_page_links_is_there(page):
    links = {
        tag["href"] for tag in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find_all("a", href=True)
    }
    local = {link for link in links if not link.startswith(("#", "http"))}
    assert local
    assert [link for link in local if not (page.parent / link.partition("#")[0]).exists()] == []


def test_a_page_shows_the_parameters_that_it_was_run_with_and_no_path(tmp_path):
    source = write(tmp_path / "04_evaluation.ipynb", "print(study)")
    pages.make(source, parameters.load("quick_plain", {"seed": 3, "output": str(tmp_path)}), tmp_path / "page.html")
    shown = BeautifulSoup((tmp_path / "page.html").read_text(), "html.parser").find("pre").get_text()
    assert 'study = "quick_plain"' in shown
    assert "seed = 3" in shown
    assert not runs.NO_PHOTOGRAPHS.search((tmp_path / "page.html").read_text())
    pages.make(source, parameters.load("demo", {"galleries": False}), tmp_path / "page.html")
    assert runs.NO_PHOTOGRAPHS.search((tmp_path / "page.html").read_text())
    cell = 'study = "demo"  # a file\nseed = 0\noutput = "reports"  # where'
    ran = pages._as_run(cell, {"study": "paper", "seed": 2, "output": "/home/somebody"})
    assert ran == 'study = "paper"  # a file\nseed = 2\noutput = "reports"  # where'


def test_a_page_of_a_study_that_makes_a_mistake_says_so_in_red(tiny):
    record = {"data": {"title": "some", "synthetic": False, "fingerprint": "f" * 64}}
    vault = tiny.model_copy(update={"vault_fraction": 0.15})
    assert "mistake" not in pages.Header(runs.Run(vault), record)._repr_html_().casefold()
    shown = pages.Header(runs.Run(vault.model_copy(update={"mistake": "oversampled"})), record)._repr_html_()
    assert 'class="mistake"' in shown
    assert "background:#a4001f" in shown
    assert "images are copied until every diagnosis has as many" in shown
