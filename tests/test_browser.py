"""What a reader of the pages sees and does, with keyboard, on a phone, in the dark and in print."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from browser import PROGRAM, Browser
from conftest import publish
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from skinlesion import files
from skinlesion.paper import index
from skinlesion.reporting import pages, tables
from skinlesion.reporting.figures import base, evaluation

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is here (CHROMIUM names one)")

LOOKS = [(1440, False), (1024, False), (390, False), (1440, True), (390, True)]
LIBRARY = files.ROOT / "lib" / "skinlesion"


def published():
    """The pages in git, and those that `make report` made since the template last changed."""
    found = [path for path in (files.ROOT / "reports").rglob("*.html") if "reproduced" not in path.parts]
    newest = max(path.stat().st_mtime for room in ("reporting", "paper") for path in (LIBRARY / room).rglob("*.*"))
    return sorted(path for path in found if "local" not in path.parts or path.stat().st_mtime > newest)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def shown(thing):
    data = {"text/html": thing._repr_html_() if hasattr(thing, "_repr_html_") else thing.html()}
    return new_output("display_data", data=data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with everything that one can hold: a wide table, a long one, figures, words, print, a banner, code."""
    rng = np.random.default_rng(0)
    wide = pd.DataFrame({f"a long name of column {k}": [tables.interval(-0.1, -0.2, 0.3)] * 4 for k in range(14)})
    wide.insert(0, "dx", ["nv", "mel", "bcc", "df"])
    long = pd.DataFrame({"value": [0.2, -0.4, np.nan, 12.5, 3, 7, 8, 9, 1000.0, 4], "word": list("abcdefghij")})
    ranked = evaluation.discrimination(rng.integers(0, 7, 50), rng.dirichlet(np.ones(7), 50), areas=np.full(7, 0.5))
    banner = new_output("display_data", data={"text/html": '<p class="synthetic">SYNTHETIC DATA</p>'})
    cells = [
        new_markdown_cell("# A title\n\nSome words on siblings, and on mel."),
        new_code_cell("1 + 1", outputs=[banner]),
        new_markdown_cell("## First"),
        new_code_cell("2", outputs=[shown(tables.show(wide, caption="A wide one, in nats.", index=False))]),
        new_markdown_cell("## Second"),
        new_code_cell("3", outputs=[shown(tables.show(long, caption="A long one."))]),
        new_code_cell("4", outputs=[shown(ranked), new_output("stream", name="stdout", text="x" * 300 + "\n")]),
    ]
    made = new_notebook(cells=cells)
    path = tmp_path_factory.mktemp("page") / "04_evaluation.html"
    path.write_text(pages.render(nbformat.from_dict(made), name=path.name), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for study in ("paper", "paper_lesion"):
        publish(folder, study, 0, hit=0.2)
    return index.write(folder)


def require_sound(browser, path):
    for width, dark in LOOKS:
        browser.open(path, width=width, dark=dark)
        assert browser.faults() == [], (width, dark)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), f"sideways at {width}"


def test_a_page_has_no_serious_fault(browser, page):
    require_sound(browser, page)


@pytest.mark.parametrize("name", ["index.html", "images.html"])
def test_index_and_images_have_no_serious_fault(browser, home, name):
    require_sound(browser, home.with_name(name))


@pytest.mark.parametrize("path", published(), ids=lambda path: path.relative_to(files.ROOT / "reports").as_posix())
def test_a_page_in_reports_has_no_serious_fault(browser, path):
    require_sound(browser, path)


def test_the_first_stop_leads_past_the_navigation_and_no_two_folds_of_code_sound_alike(browser, page):
    browser.open(page)
    browser.press("Tab")
    assert browser.run("document.activeElement.getAttribute('href')") == "#main"
    names = browser.run("[...document.querySelectorAll('details.code summary')].map((each) => each.textContent)")
    assert len(names) == len(set(names)) == 4


def test_only_what_scrolls_is_a_stop_and_its_first_column_stays(browser, page):
    browser.open(page, width=390)
    script = (
        "[...document.querySelectorAll('.scroll')].map((box) => [box.scrollWidth > box.clientWidth + 1, box.tabIndex])"
    )
    stops = browser.run(script)
    assert stops[0] == [True, 0]
    assert all(stop == (0 if wide else -1) for wide, stop in stops)
    left = "document.querySelector('#table-1 tbody th').getBoundingClientRect().left"
    before = browser.run(left)
    browser.run("document.querySelector('#table-1 .scroll').scrollLeft = 400")
    assert browser.run(left) == pytest.approx(before, abs=1)


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_a_caption_is_read_without_scrolling(browser, page, width):
    browser.open(page, width=width)
    ends = "[...document.querySelectorAll('caption')].map((each) => each.getBoundingClientRect().right)"
    assert max(browser.run(ends)) <= width


def test_a_wide_table_uses_the_margin_and_words_do_not(browser, page):
    browser.open(page, width=1440)
    assert browser.run("document.querySelector('#table-1 .scroll').clientWidth") > 1000
    assert browser.run("document.querySelector('main p').clientWidth") < 950


def test_a_table_is_sorted_searched_and_saved(browser, page):
    browser.open(page)
    rows = "[...document.querySelectorAll('#table-2 tbody tr')].filter((row) => !row.hidden)"
    words = f"{rows}.map((row) => row.cells[2].textContent).join('')"
    assert browser.run(words) == "abcdefghij"
    click = "document.querySelectorAll('#table-2 thead button')[0].click()"
    browser.run(click)
    assert browser.run(words) == "baejfghdic"  # −0.4 first, what is missing last
    browser.run(click)
    assert browser.run(words) == "idhgfjeabc"
    assert browser.run("document.querySelectorAll('#table-2 thead th')[0].getAttribute('aria-sort')") == "descending"
    browser.run("saved = null; URL.createObjectURL = (blob) => { saved = blob.text(); return '#'; }; true")
    browser.run(
        "box = document.querySelector('#table-2 input'); box.value = '1,000'; box.dispatchEvent(new Event('input'))"
    )
    assert browser.run(words) == "i"
    browser.run("document.querySelector('#table-2 [aria-label^=Save]').click()")
    assert browser.run("saved") == ',value,word\n8,"1,000.000",i\n'


def test_figures_are_drawn_again_for_a_phone(browser, page):
    sizes = {}
    for width in (1440, 390):
        browser.open(page, width=width)
        shape = "(([image]) => [image.naturalWidth, image.naturalHeight])(document.querySelectorAll('#figure-1 img'))"
        sizes[width] = browser.run(shape)
        assert browser.run("document.querySelector('#figure-1 img').currentSrc").startswith("data:image/svg+xml")
    assert sizes[1440][0] > sizes[1440][1]
    assert sizes[390][1] > 1.5 * sizes[390][0]  # the panels stand below each other
    assert sizes[390][0] < 390


def test_in_print_nothing_is_cut_off_and_every_sheet_is_of_synthetic_data(browser, page):
    browser.open(page, width=720, printed=True)
    assert browser.run(
        "[...document.querySelectorAll('.scroll')].every((box) => getComputedStyle(box).overflowX === 'visible')"
    )
    assert browser.run(
        "[...document.querySelectorAll('table')].every((table) => table.getBoundingClientRect().right <= 722)"
    )
    assert browser.run("getComputedStyle(document.body).page") == "synthetic"
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_a_page_runs_no_script_but_its_own(browser, page):
    browser.open(page)
    browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"hacked = true\">')")
    browser.run(
        "script = document.createElement('script'); script.text = 'hacked = true'; document.body.append(script)"
    )
    assert browser.run("new Promise((done) => setTimeout(() => done(typeof hacked), 200))") == "undefined"


def test_an_image_is_looked_up_with_the_answers_of_all_runs(browser, home):
    tested = {
        study: pd.read_csv(home.parent / study / "seed-0" / "predictions.csv")
        .query("part == 'test'")
        .set_index("image_id")
        for study in ("paper", "paper_lesion")
    }
    browser.open(home.with_name("images.html"), width=390)
    assert browser.run("document.querySelectorAll('#lookup tbody tr').length") == 50
    probabilities = tested["paper"].filter(like="p_")
    wrong = (probabilities.to_numpy().argmax(1) != tested["paper"].dx.map(list(base.COLOURS).index)).sum()
    choose = (
        "(name, value) => { const box = document.getElementById(name); box.value = value; "
        "box.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    browser.run(f"({choose})('which', 'wrong')")
    assert (
        browser.run("document.getElementById('count').textContent") == f"{wrong} images, 0.0% of the answers are right."
    )
    name = tested["paper"].index[7]
    browser.run(f"({choose})('which', ''); ({choose})('wanted', '{name.lower()}')")
    browser.run("document.querySelector('#lookup .open').click()")
    text = browser.run("document.querySelector('#lookup tbody').textContent")
    for study, table in tested.items():
        given = table.loc[name].filter(like="p_").astype(float).sort_values(ascending=False)
        assert f"{study}, seed 0: {given.index[0].removeprefix('p_')} {given.iloc[0] * 100:.0f}" in text
    assert tested["paper"].lesion_id[name] in text
