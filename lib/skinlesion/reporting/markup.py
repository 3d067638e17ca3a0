"""What a page needs beyond what a notebook gives: the answer first, numbered tables and figures, words explained."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import pairwise

from bs4 import BeautifulSoup, Tag
from nbconvert.filters import markdown2html

from skinlesion.data.dataset import DX_NAMES
from skinlesion.reporting.figures.base import COLOURS

WORDS = {
    "arm": "a study that differs from another in one thing",
    "dx type": "how a diagnosis was made: histo (histology), follow_up, consensus (of experts), confocal (microscopy)",
    "balanced accuracy": "the mean over the diagnoses of the share of their images that are named rightly",
    "lesion group": "lesion ids that show one lesion; its images stay together where a split is by lesion",
    "macro F1": "the mean over the diagnoses of the harmonic mean of precision and recall",
    "nats": "the unit of a loss: one of 0.69 nats gives the true diagnosis a probability of one half",
    "sibling": "another image of the same lesion",
    "stand-in weights": "ImageNet weights to start from that are not the file that torchvision publishes",
}
"""What is explained where a page uses it."""

PATTERN = re.compile(rf"\b({'|'.join(WORDS)})(s?)\b".replace(" ", "[ _]"), re.IGNORECASE)
CODES = re.compile(rf"\b({'|'.join(DX_NAMES)})\b")

NUMBER = re.compile(r"[+−]?[\d.]")

SILENT = ("code", "pre", "script", "style", "abbr", "svg", "a", "h1", "button", "option")
"""Elements in which no word is explained."""


def finish(soup: BeautifulSoup, *, source: str) -> None:
    """Make what nbconvert leaves in ``main`` a page, in place, and list its sections in ``nav``.

    Parameters
    ----------
    source
        The file behind tables and figures that name none.
    """
    main = soup.main
    assert main is not None, "the template has one"
    cells = list(main.find_all("div", class_="cell", recursive=False))
    gone = [f"{heading} {reason}" for heading, reason in _leave_out(cells)]
    top = cells[0]
    for part in reversed([*_answers(soup, cells), *_findings(soup, cells)]):
        top.insert_after(part)
    dress(soup, main, source=source)
    _name_code(soup, main)
    if gone and main.footer:
        main.footer.insert_before(_parsed(f'<p class="left-out">Left out: {html.escape(" ".join(gone))}</p>'))
    for contents in soup.select("nav .contents ol"):
        for heading in main.find_all("h2", id=True):
            name = html.escape(str(heading["id"]))
            contents.append(_parsed(f'<li><a href="#{name}">{html.escape(_text(heading))}</a></li>'))


def dress(soup: BeautifulSoup, main: Tag, *, source: str) -> None:
    """Give tables and figures their numbers, and explain words: in any page, in place."""
    for number, table in enumerate(main.select("table:not(.facts)"), 1):
        frame(soup, table, number=number, source=source)
    for number, picture in enumerate(main.find_all("picture"), 1):
        _caption(soup, picture, number=number, source=source)
    for facts in main.select("table.facts"):
        _fold(soup, facts)
    for header in main.select("table.facts th"):
        header["scope"] = "row"
    for pre in main.find_all("pre"):
        pre["tabindex"] = "0"
    if legend := explain(main):
        last = main.find_all(class_=("findings", "answer"), recursive=False)
        for above in [*main.find_all(recursive=False)[:1], *last][-1:]:
            above.insert_after(_parsed(legend))


def frame(soup: BeautifulSoup, table: Tag, *, number: int, source: str) -> None:
    """Give a table its number, links to what is behind it, a frame that scrolls by keyboard, and telling heads.

    Parameters
    ----------
    source
        The files behind it, where it names none.
    """
    for name in ("thead th", "tbody th"):
        for head in table.select(name):
            if not head.get_text(strip=True):
                head.name, head.attrs = "td", {}
            else:
                head["scope"] = "col" if name.startswith("thead") else "row"
    for row in table.select("tbody tr"):
        first = row.find(["th", "td"])
        if first is not None and first.name == "td":
            first.name, first["scope"] = "th", "row"
    for each in table.select("th, td"):
        each.attrs = {key: value for key, value in each.attrs.items() if key in ("scope", "colspan", "rowspan")}
    rows = [row.find_all(["th", "td"]) for row in table.select("tr")]
    for column in zip(*rows, strict=False):
        if not any(NUMBER.match(each.get_text(strip=True)) for each in column[1:]):
            for each in column:
                each["class"] = "text"
    for style in table.find_previous_siblings("style"):
        style.decompose()
    del table["id"]
    links = _links(str(table.attrs.pop("data-source", "") or source))
    name = f"table-{number}"
    shown = soup.new_tag("figure", attrs={"class": "table", "id": name})
    scroll = soup.new_tag(
        "div", attrs={"class": "scroll", "tabindex": "0", "role": "group", "aria-labelledby": f"{name}-name"}
    )
    table.wrap(scroll)
    scroll.wrap(shown)
    label = f'<figcaption><a id="{name}-name" href="#{name}">Table {number}</a>{links}</figcaption>'
    shown.insert(0, _parsed(label))


def _caption(soup: BeautifulSoup, picture: Tag, *, number: int, source: str) -> None:
    links = _links(str(picture.attrs.pop("data-source", "") or source))
    text = str(picture.img["alt"]) if picture.img else ""
    name = f"figure-{number}"
    picture.wrap(soup.new_tag("figure", attrs={"class": "picture", "id": name}))
    label = (
        f'<figcaption><a href="#{name}">Figure {number}</a> '
        f'<span aria-hidden="true">{html.escape(text)}</span>{links}</figcaption>'
    )
    picture.insert_after(_parsed(label))


def _links(source: str) -> str:
    return "".join(f' <a class="data" href="{html.escape(name)}">{html.escape(name)}</a>' for name in source.split())


def _leave_out(cells: list[Tag]) -> list[tuple[str, str]]:
    """Take away what is not there, and sections of nothing else; return the headings of these, and why."""
    gone = []
    for heading, section in list(_sections(cells)):
        absent = [each for cell in section for each in cell.find_all("p", class_="absent")]
        reasons = list(dict.fromkeys(_text(each) for each in absent))
        for each in absent:
            area = each.find_parent(class_="output_area")
            (area or each).decompose()
        left = [
            cell for cell in section for each in cell.select(".output_area") if each.get_text(strip=True) or each.img
        ]
        if reasons and not left:
            gone.append((heading, " ".join(reasons)))
            for cell in section:
                cells.remove(cell)
                cell.decompose()
    return gone


def _sections(cells: list[Tag]) -> Iterator[tuple[str, list[Tag]]]:
    """Yield each heading of the second or third level with its cells, up to the next heading."""
    starts = [place for place, cell in enumerate(cells) if cell.find(["h2", "h3"])]
    for start, end in pairwise([*starts, len(cells)]):
        yield _text(cells[start].find(["h2", "h3"])), cells[start:end]


def _answers(soup: BeautifulSoup, cells: list[Tag]) -> list[Tag]:
    """Take out what cells with the tag ``answer`` show, to stand at the top."""
    found = []
    for cell in cells:
        shown = cell.find(class_="output_wrapper")
        if shown and "celltag_answer" in cell.get_attribute_list("class"):
            answer = soup.new_tag("section", attrs={"class": "answer", "aria-label": "The answer"})
            answer.append(shown.extract())
            found.append(answer)
    return found


def _findings(soup: BeautifulSoup, cells: list[Tag]) -> list[Tag]:
    """List the last sentences of cells with the tag ``finding``, each with a link to its section."""
    items, link = [], ""
    for cell in cells:
        heading = cell.find(["h2", "h3"])
        if heading is not None and heading.get("id"):
            link = f' <a href="#{html.escape(str(heading["id"]))}" aria-label="{_text(heading)}">→</a>'
        said = cell.select(".output_markdown")
        if "celltag_finding" in cell.get_attribute_list("class") and said:
            listed = said[-1].select("li")
            items += [f"<li>{_inner(each)}{'' if listed else link}</li>" for each in listed or said[-1].find_all("p")]
    if not items:
        return []
    for name, section in list(_sections(cells)):
        if name == "Findings":  # they stand at the top now
            for cell in section:
                cell.decompose()
    return [_parsed(f'<section class="findings"><h2 id="findings">Findings</h2><ul>{"".join(items)}</ul></section>')]


def _fold(soup: BeautifulSoup, facts: Tag) -> None:
    folded = facts.wrap(soup.new_tag("details", attrs={"class": "facts"}))
    first = ": ".join(_text(cell) for cell in facts.tr.find_all(["th", "td"])) if facts.tr else ""
    folded.insert(0, _parsed(f"<summary>What it was made from: {html.escape(first[:60])} …</summary>"))


def _name_code(soup: BeautifulSoup, main: Tag) -> None:
    """Say at each fold of code which it is, so that no two are alike for who only hears them."""
    for number, summary in enumerate(main.select("details.code > summary"), 1):
        heading = summary.find_previous(["h1", "h2", "h3"])
        summary.append(
            _parsed(f'<span class="unseen"> {number}, of: {html.escape(_text(heading) if heading else "")}</span>')
        )


def explain(main: Tag) -> str:
    """Spell out diagnoses where they stand, link words to what they mean, and return the list of what is used."""
    dx: set[str] = set()
    words: set[str] = set()
    linked: set[str] = set()
    for text in list(main.find_all(string=True)):
        if any(parent.name in SILENT or parent.get("aria-hidden") for parent in text.parents):
            continue
        shown, codes = html.escape(text, quote=False), CODES.findall(text)
        here = {match[1].lower().replace("_", " ") for match in PATTERN.finditer(shown)}
        here = {word for word in WORDS if word.lower() in here}
        new = set() if text.find_parent(["thead", "h2", "h3", "summary"]) else here - linked
        for word in new:
            mark = rf'<a class="word" href="#word-{_slug(word)}" title="{WORDS[word]}">\1\2</a>'
            pattern = rf"\b({word})(s?)\b".replace(" ", "[ _]")
            shown = re.sub(pattern, mark, shown, count=1, flags=re.IGNORECASE)
        if codes:
            shown = CODES.sub(lambda match: f'<abbr title="{DX_NAMES[match[1]]}">{match[1]}</abbr>', shown)
        if codes or new:
            text.replace_with(BeautifulSoup(shown, "html.parser"))
        dx, words, linked = dx | set(codes), words | here, linked | new
    rows = [
        f'<div><dt><span class="swatch" style="background:{COLOURS[name]}"></span>{name}</dt><dd>{spelt}</dd></div>'
        for name, spelt in DX_NAMES.items()
        if name in dx
    ] + [f'<div id="word-{_slug(word)}"><dt>{word}</dt><dd>{WORDS[word]}</dd></div>' for word in WORDS if word in words]
    if not rows:
        return ""
    return f'<details class="words" open><summary>Words and diagnoses</summary><dl>{"".join(rows)}</dl></details>'


def inline(text: str) -> str:
    """Return a sentence of Markdown as HTML."""
    return str(markdown2html(text)).strip().removeprefix("<p>").removesuffix("</p>")


def _slug(word: str) -> str:
    return word.replace(" ", "-")


def _parsed(text: str) -> Tag:
    found = BeautifulSoup(text, "html.parser").find()
    assert isinstance(found, Tag)
    return found


def _inner(tag: Tag) -> str:
    return "".join(str(each) for each in tag.children)


def _text(tag: Tag | None) -> str:
    return "" if tag is None else str(tag.get_text()).removesuffix("¶").strip()
