import nbformat
import pytest
from bs4 import BeautifulSoup

from skinlesion.files import ROOT
from skinlesion.paper import checklist

ITEMS = checklist.checklist().numbers
TARGETS = sorted({target for cell in ITEMS["where"] for target in checklist.targets(cell)})

TRIPOD_AI = """1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17
18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"""
REFORMS = "1a 1b 1c 2a 2b 2c 2d 2e 3a 3b 3c 3d 3e 3f 3g 4a 4b 4c 5a 5b 5c 5d 5e 5f 6a 6b 6c 7a 7b 7c 8a 8b"
NUMBERS = {"claim": {str(number) for number in range(1, 45)}}
NUMBERS |= {"tripod_ai": set(TRIPOD_AI.split()), "reforms": set(REFORMS.split())}


def headings(path):
    texts = [path.read_text(encoding="utf-8")]
    if path.suffix == ".ipynb":
        texts = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    return {line.lstrip("#").strip() for text in texts for line in text.splitlines() if line.startswith("#")}


def test_what_answers_an_item_is_there():
    places = [target.partition("#") for target in TARGETS]
    assert [file for file, *_ in places if not (ROOT / file).is_file()] == []
    assert [(file, name) for file, _, name in places if name and name not in headings(ROOT / file)] == []


@pytest.mark.parametrize("guideline", checklist.GUIDELINES)
def test_every_item_of_a_guideline_has_a_row_and_there_is_no_other(guideline):
    assert {number for cell in ITEMS[guideline] for number in checklist.targets(cell)} == NUMBERS[guideline]


def test_an_answer_says_where_and_a_gap_says_why():
    assert set(ITEMS.answered) == {"yes", "partly", "not answered", "does not apply"}
    assert (ITEMS["where"][ITEMS.answered.isin(["yes", "partly"])] != "").all()
    assert (ITEMS["where"][ITEMS.answered == "not answered"] == "").all()
    assert (ITEMS.note[ITEMS.answered != "yes"] != "").all()


def test_links_lead_from_the_tables_to_the_heading():
    link = checklist.link("notebooks/02_preprocessing.ipynb#Who is in which part?")
    assert link == "../../notebooks/02_preprocessing.ipynb#Who-is-in-which-part%3F"
    protocol = checklist.link("parameters/PROTOCOL.md#Is the preprint's number reached?")
    assert protocol.endswith("PROTOCOL.md#is-the-preprints-number-reached")
    table = checklist.checklist()
    assert f"[02_preprocessing: Who is in which part?]({link})" in table.texts()["checklist.md"]
    page = BeautifulSoup(table.show().to_html(), "html.parser")
    assert {a["href"] for a in page.find_all("a")} == {checklist.link(target) for target in TARGETS}
    cells = [[cell.get_text() for cell in row.find_all("td")] for row in page.select("tbody tr")]
    assert cells == table.shown.to_numpy().tolist()
