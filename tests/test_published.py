import csv
import shutil
import zipfile

import pytest

from skinlesion.data import dataset, download, published
from skinlesion.data.published import AS_PUBLISHED, DIFFERS, VERDICTS, WRONG

IMAGES = "HAM10000_images_part_1.zip"


@pytest.fixture(scope="module")
def facts(drawn):
    """The facts as if the synthetic sample had been published: what is compared is data, not the real values."""
    frame = dataset.read_unchecked(dataset.find_table(drawn))
    columns = list(dataset.SCHEMA.columns)
    missing = {
        name: int((frame[name].isna() | (frame[name] == "unknown")).sum()) for name in dataset.PUBLISHED["missing"]
    }
    return {
        **dataset.PUBLISHED,
        "images": len(frame),
        "lesions": frame.lesion_id.nunique(),
        "dx": {dx: int((frame.dx == dx).sum()) for dx in dataset.DX},
        "missing": missing,
        "image_size": (160, 120),
        "table_sha256": dataset.content_sha256(frame, columns),
        "labels_sha256": dataset.content_sha256(frame, dataset.LABELS),
    }


@pytest.fixture
def verify(copied, drawn, facts, tmp_path, monkeypatch):
    """Check the copied sample against itself as published; returns verdict and outcome by check."""
    monkeypatch.setattr(published, "PUBLISHED", facts)
    real = download.SETS["ham10000"]
    sources = {
        source.name: download.Source(source.name, source.url, None, published._md5(drawn / source.name))
        for need in real
        for source in need.sources
    }
    needs = tuple(
        download.Need(need.title, tuple(sources[s.name] for s in need.sources), need.fallback, need.optional)
        for need in real
    )
    monkeypatch.setitem(download.SETS, "ham10000", needs)
    monkeypatch.setattr(download, "EXPECTED", {**download.EXPECTED, **sources})

    def run():
        done = published.verify(copied, cache=tmp_path / "cache")
        return done.verdict, done.table.set_index("check")

    return run


def test_the_published_bytes(verify):
    verdict, table = verify()
    assert verdict == VERDICTS[AS_PUBLISHED]
    assert set(table.outcome) <= {AS_PUBLISHED, published.NOT_CHECKED}
    assert table.found["sizes in pixels"] == "160×120: 120"


def test_other_images_are_said_and_not_refused(verify, copied):
    """As in a resized copy: other archives, the same table."""
    with zipfile.ZipFile(copied / IMAGES) as old, zipfile.ZipFile(copied / "new.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    shutil.move(copied / "new.zip", copied / IMAGES)
    verdict, table = verify()
    assert verdict == VERDICTS[DIFFERS]
    assert table.index[table.outcome == DIFFERS].tolist() == [IMAGES]


def test_extracted_images_have_no_archive_to_hash(verify, copied):
    for archive in sorted(copied.glob("HAM10000_images_part_*.zip")):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(copied / archive.stem)
        archive.unlink()
    verdict, table = verify()
    assert verdict == VERDICTS[DIFFERS]
    assert "not there (extracted images)" in table.found[IMAGES]


def edit(copied, old, new):
    table = copied / "HAM10000_metadata"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))


def rewrite(copied, change):
    with zipfile.ZipFile(copied / IMAGES) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    with zipfile.ZipFile(copied / IMAGES, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


FAULTS = {
    "another diagnosis": (
        lambda copied: edit(copied, ",nv,", ",mel,"),
        "diagnosis and lesion of every image",
        "other",
    ),
    "another sex": (lambda copied: edit(copied, ",male,", ",female,"), "the other columns", "other"),
    "an unknown word": (lambda copied: edit(copied, ",nv,", ",naevus,"), "vocabulary", "'naevus' does not satisfy"),
    "an age of 400": (lambda copied: edit(copied, "0.0,", "400.0,"), "vocabulary", "400.0"),
    "no table": (lambda copied: (copied / "HAM10000_metadata").unlink(), "table", "has no HAM10000_metadata"),
    "a missing image": (
        lambda copied: rewrite(copied, lambda members: members.pop("SYN_0000003.jpg")),
        "images without a file",
        "SYN_0000003",
    ),
    "an extra image": (
        lambda copied: rewrite(copied, lambda members: members.update({"SYN_9999999.jpg": b""})),
        "files without a row in the table",
        "SYN_9999999",
    ),
    "a damaged image": (
        lambda copied: rewrite(copied, lambda members: members.update({"SYN_0000003.jpg": b"no"})),
        "images that cannot be decoded",
        "SYN_0000003 (no JPEG)",
    ),
    "a missing archive": (lambda copied: (copied / IMAGES).unlink(), IMAGES, "missing"),
    "a truncated archive": (
        lambda copied: (copied / IMAGES).write_bytes((copied / IMAGES).read_bytes()[:5000]),
        "images",
        "is damaged",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(verify, copied, fault):
    damage, check, said = FAULTS[fault]
    damage(copied)
    verdict, table = verify()
    assert verdict == VERDICTS[WRONG]
    assert table.outcome[check] == WRONG
    assert said in table.found[check]


def test_a_duplicate_row_is_named(verify, copied):
    row = (copied / "HAM10000_metadata").read_text().splitlines()[1]
    edit(copied, row + "\n", row + "\n" + row + "\n")
    assert "occurs twice" in verify()[1].found["ids that occur twice in the table"]


def with_test_set(folder, *, archive="ISIC2018_Task3_Test_Images.zip", extra=()):
    """Put a test set of two images into a folder, with Dataverse's default download of its table."""
    ids = ["ISIC_0035067", "ISIC_0035068", "ISIC_0035069"]
    content = zipfile.ZipFile(folder / IMAGES).read("SYN_0000000.jpg")
    with zipfile.ZipFile(folder / archive, "w") as opened:
        for image_id in (ids[0], ids[2], *extra):
            opened.writestr(f"{image_id}.jpg", content)
    rows = [f"HAMTEST_{k:07d}\t{image_id}\tnv\thisto\t\t\t\t" for k, image_id in enumerate(ids)]
    head = "lesion_id\timage_id\tdx\tdx_type\tage\tsex\tlocalization\tdataset"
    (folder / "ISIC2018_Task3_Test_GroundTruth.tab").write_text("\n".join([head, *rows]))


@pytest.mark.parametrize(
    ("archive", "extra", "said"),
    [
        ("ISIC2018_Task3_Test_Images.zip", [], "not there"),
        ("isic2018_task3_test_input.zip", ["ISIC_0035068"], "there"),
    ],
)
def test_two_sets_in_one_folder_are_each_verified(verify, copied, tmp_path, monkeypatch, archive, extra, said):
    monkeypatch.setattr(published, "TEST_IMAGES", 2)
    with_test_set(copied, archive=archive, extra=extra)
    assert verify()[0] == VERDICTS[AS_PUBLISHED]
    done = published.verify(copied, cache=tmp_path / "cache", name="isic2018_test")
    table = done.table.set_index("check")
    assert done.verdict == VERDICTS[DIFFERS]
    assert table.found["sizes in pixels"] == "160×120: 2"
    assert table.found["ISIC_0035068, left out of scoring"] == said
    assert table.found.filter(like=".zip").str.contains("bytes").all()
    (copied / archive).unlink()
    assert published.verify(copied, cache=tmp_path / "cache", name="isic2018_test").verdict == VERDICTS[WRONG]


def test_the_table_by_another_name_is_as_published(verify, copied):
    """Dataverse sends tabs and quotes unless it is asked for the original."""
    table = copied / "HAM10000_metadata"
    frame = dataset.read_unchecked(table)
    frame.to_csv(f"{table}.tab", sep="\t", quoting=csv.QUOTE_NONNUMERIC, index=False)
    table.unlink()
    assert verify()[0] == VERDICTS[AS_PUBLISHED]


def test_the_real_facts_are_those_of_the_paper():
    assert sum(dataset.PUBLISHED["dx"].values()) == sum(dataset.PUBLISHED["dataset"].values()) == 10_015
    assert download.EXPECTED["HAM10000_metadata"].md5 == "8f85fb1aa29d80a2797247e434deb79d"


def test_an_undamaged_sample_is_not_taken_for_the_real_data(copied, tmp_path):
    assert published.verify(copied, cache=tmp_path).verdict == VERDICTS[WRONG]
