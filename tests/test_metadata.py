"""What programs read: the citation, Croissant metadata of the data, RO-Crate metadata of the reports."""

import hashlib
import json
import re
import tomllib

import pytest
import yaml
from conftest import publish

from skinlesion.data import dataset, download
from skinlesion.files import ROOT, write_text
from skinlesion.paper import crate, evidence

CROISSANT = ROOT / "lib" / "skinlesion" / "data" / "ham10000.croissant.json"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_says_what_the_project_says_and_names_nobody_who_is_not_known():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == (ROOT / "README.md").read_text().partition("\n")[0].removeprefix("# ")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["authors"] == [{"name": "The authors of this study"}]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert "CC BY-NC 4.0" in (ROOT / "LICENSE").read_text()


def test_the_preprint_and_its_references_are_where_a_reader_and_a_program_look():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    notebook = json.loads((ROOT / "notebooks" / "01_eda.ipynb").read_text())
    text = "".join(line for cell in notebook["cells"] for line in cell["source"])
    graph = json.loads((ROOT / "reports" / crate.NAME).read_text())["@graph"]
    (preprint,) = (each["name"] for each in graph if each["@id"] == "#preprint")
    assert preprint in {each["title"] for each in citation["references"]}
    assert preprint in text
    cited = [each for each in citation["references"] if each["type"] == "conference-paper"]
    assert len(cited) == 2
    for each in cited:
        assert each["title"] in text
        assert each["doi"] in text
        assert all(author["family-names"] in text for author in each["authors"])


def test_croissant_speaks_of_the_files_that_are_downloaded_and_the_columns_that_are_read():
    found = json.loads(CROISSANT.read_text())
    objects = {each["name"]: each for each in found["distribution"] if each["@type"] == "cr:FileObject"}
    sources = {source.name: source for need in download.SETS["ham10000"] for source in need.sources}
    assert objects.keys() == sources.keys()
    for name, source in sources.items():
        assert objects[name]["contentUrl"] == source.url
        assert objects[name]["contentUrl"].startswith(download.DATAVERSE)
        assert objects[name]["md5"] == source.md5
        assert objects[name].get("contentSize") == (f"{source.size} B" if source.size else None)
    sets = {each["name"]: each for each in found["recordSet"]}
    fields = {field["name"] for field in sets["images"]["field"]}
    assert fields == {*dataset.SCHEMA.columns, "image"}
    known = {row["diagnoses/dx"]: row["diagnoses/name"] for row in sets["diagnoses"]["data"]}
    assert known == dataset.DX_NAMES
    counts = f"{dataset.PUBLISHED['images']:,} dermoscopic images of {dataset.PUBLISHED['lesions']:,}"
    assert found["description"].startswith(counts)


def test_croissants_own_library_reads_the_data_as_it_is_read_here(drawn):
    croissant = pytest.importorskip("mlcroissant", reason="pip install mlcroissant")
    found, places = json.loads(CROISSANT.read_text()), {}
    for each in found["distribution"]:
        if each["@type"] == "cr:FileObject":  # the sample has files of the same names, and other bytes
            places[each["@id"]] = drawn / each["name"]
            each["md5"] = hashlib.md5(places[each["@id"]].read_bytes()).hexdigest()
    records = list(croissant.Dataset(found, mapping=places).records("images"))
    table = dataset.read_metadata(dataset.find_table(drawn)).set_index("image_id")
    assert {each["images/image_id"].decode() for each in records} == set(table.index)
    for each in records[:10]:
        row = table.loc[each["images/image_id"].decode()]
        assert (each["images/dx"].decode(), each["images/lesion_id"].decode()) == (row.dx, row.lesion_id)
        assert each["images/image"].size == (160, 120)


@pytest.fixture
def folder(tmp_path):
    publish(tmp_path, "paper", 0)
    publish(tmp_path / "local", "quick", 0)
    write_text(tmp_path / "tables" / "claims.csv", "claim\n")
    write_text(tmp_path / "index.html", "<html>")
    return tmp_path


def test_the_crate_lists_every_published_file_once_and_no_other(folder):
    crate.write(folder)
    evidence.write_sums(folder)
    graph = {each["@id"]: each for each in json.loads((folder / crate.NAME).read_text())["@graph"]}
    files = {name for name, each in graph.items() if each["@type"] == "File"}
    published = {path.relative_to(folder).as_posix() for path in evidence.published(folder)}
    assert files == (published - {crate.NAME}) | {evidence.SUMS}
    parts = [part["@id"] for each in graph.values() for part in each.get("hasPart", [])]
    assert len(parts) == len(set(parts))
    assert set(parts) >= files
    assert set(parts) <= graph.keys()
    assert graph["paper/seed-0/"]["name"] == "paper, seed 0: drawn at random"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", graph["./"]["datePublished"])


def test_the_crate_of_the_committed_reports_is_what_would_be_written():
    assert (ROOT / "reports" / crate.NAME).read_text() == crate.text(ROOT / "reports"), "run `make paper`"


def test_the_crates_own_library_reads_it(folder):
    rocrate = pytest.importorskip("rocrate.rocrate", reason="pip install rocrate")
    crate.write(folder)
    found = rocrate.ROCrate(folder)
    assert {each.id for each in found.data_entities} >= {"paper/seed-0/", "tables/claims.csv", "index.html"}
