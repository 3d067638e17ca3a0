import io
import os
import shutil
import socket
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from conftest import claiming
from PIL import Image

from skinlesion.data import archives
from skinlesion.data.archives import DatasetError

FIRST = "HAM10000_images_part_1.zip"


def write(folder, names, archive=FIRST):
    with zipfile.ZipFile(folder / archive, "w") as opened:
        for name in names:
            opened.writestr(name, name.encode())
    return folder


def test_images_are_found_by_id_and_other_files_are_passed_over(tmp_path):
    names = ["ISIC_0000001.jpg", "deep/er/ISIC_0000002.JPG", "LICENSE.txt", "__MACOSX/._ISIC_0000001.jpg", "cat.jpg"]
    members = archives.index(write(tmp_path, names))
    assert sorted(members) == ["ISIC_0000001", "ISIC_0000002"]


def test_a_members_name_is_never_trusted(tmp_path):
    """A zip-slip: the image is read in place, and nothing is written where its name points."""
    folder = tmp_path / "inner"
    folder.mkdir()
    write(folder, ["../../ISIC_0000001.jpg", "/tmp/ISIC_0000002.jpg"])
    before = sorted(tmp_path.rglob("*"))
    members = archives.index(folder)
    with archives.open_container(folder / FIRST) as read:
        assert read(members["ISIC_0000001"].name) == b"../../ISIC_0000001.jpg"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("extracted", [False, True])
def test_an_image_larger_than_any_is_refused(tmp_path, monkeypatch, extracted):
    monkeypatch.setattr(archives, "MOST_BYTES", 10)
    write(tmp_path, ["ISIC_0000001.jpg"])
    container = tmp_path / FIRST
    if extracted:
        with zipfile.ZipFile(container) as opened:
            opened.extractall(tmp_path)
        container.unlink()
        container = tmp_path
    with (
        archives.open_container(container) as read,
        pytest.raises(DatasetError, match=r"ISIC_0000001.jpg .*has more than 10 bytes, the most"),
    ):
        read("ISIC_0000001.jpg")


def test_a_damaged_member_is_named(tmp_path):
    write(tmp_path, ["ISIC_0000001.jpg"])
    path = tmp_path / FIRST
    content = path.read_bytes()
    path.write_bytes(content.replace(b"ISIC_0000001.jpgISIC_0000001.jpg", b"ISIC_0000001.jpgISIC_0000001.jpX", 1))
    with archives.open_container(path) as read, pytest.raises(DatasetError, match=r"ISIC_0000001.jpg in .* is damaged"):
        read("ISIC_0000001.jpg")


@pytest.mark.parametrize(
    ("flags", "method", "told"),
    [(1, 8, "a password"), (1, 99, "a password"), (0, 9, "deflate64"), (0, 99, "method 99")],
)
def test_an_archive_that_is_sound_and_cannot_be_unpacked_is_not_called_damaged(tmp_path, flags, method, told):
    path = write(tmp_path, ["ISIC_0000001.jpg"]) / FIRST
    content = bytearray(path.read_bytes())
    for head, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # flags, and the method after them
        at += content.index(head)
        content[at : at + 4] = bytes([flags, 0, method, 0])
    path.write_bytes(content)
    with (
        archives.open_container(path) as read,
        pytest.raises(DatasetError, match=f"is packed with {told}: pack it anew"),
    ):
        read("ISIC_0000001.jpg")


def test_of_several_layouts_the_first_counts(tmp_path):
    write(tmp_path, ["ISIC_0000001.jpg"])
    write(tmp_path, ["ISIC_0000001.jpg", "ISIC_0000002.jpg"], archive="ISIC2018_Task3_Training_Input.zip")
    assert archives.layout(tmp_path) == "Dataverse archives"
    assert sorted(archives.index(tmp_path)) == ["ISIC_0000001"]
    (tmp_path / FIRST).unlink()
    assert archives.layout(tmp_path) == "ISIC challenge archives"
    assert len(archives.index(tmp_path)) == 2


HAM, VALIDATION, TEST = "ISIC_0024306", "ISIC_0034321", "ISIC_0034524"
TOGETHER = {
    "Dataverse archives": {"HAM10000_images_part_1.zip": HAM, "ISIC2018_Task3_Test_Images.zip": TEST},
    "ISIC challenge archives": {"ISIC2018_Task3_Training_Input.zip": HAM, "ISIC2018_Task3_Test_Input.zip": TEST},
    "of both": {"ISIC2018_Task3_Training_Input.zip": HAM, "ISIC2018_Task3_Test_Images.zip": TEST},
    "extracted": {"a": HAM, "b": TEST, "c": VALIDATION},
    "extracted into one folder": {"a": HAM, "a/": TEST, "a//": VALIDATION},
    "one extracted": {"HAM10000_images_part_1.zip": HAM, "extracted": TEST},
    "the other extracted": {"extracted": HAM, "ISIC2018_Task3_Test_Input.zip": TEST},
}


@pytest.mark.parametrize("case", TOGETHER)
def test_two_sets_in_one_folder_are_told_apart(tmp_path, case):
    for place, image_id in TOGETHER[case].items():
        if place.endswith(".zip"):
            write(tmp_path, [f"{image_id}.jpg"], archive=place)
        else:
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / f"{image_id}.jpg").write_bytes(b"x")
    assert list(archives.index(tmp_path, "ham10000")) == [HAM]
    assert list(archives.index(tmp_path, "isic2018_test")) == [TEST]


@pytest.mark.parametrize("name", ["ham10000_images_part_1.zip", "HAM10000_IMAGES_PART_1.ZIP"])
def test_an_archive_is_found_in_whatever_case_its_name_is(tmp_path, name):
    write(tmp_path, ["isic_0000001.JPG"], archive=name)
    [(image_id, member)] = archives.index(tmp_path).items()
    assert image_id == "ISIC_0000001"
    with archives.open_container(member.container) as read:
        assert read(member.name) == b"isic_0000001.JPG"


def test_a_zip_with_backslashes_in_its_names_is_read(tmp_path):
    write(tmp_path, [r"HAM10000_images_part_1\ISIC_0000001.jpg", r"a\b\ISIC_0000002.jpg"])
    members = archives.index(tmp_path)
    assert sorted(members) == ["ISIC_0000001", "ISIC_0000002"]
    with archives.open_container(tmp_path / FIRST) as read:
        assert read(members["ISIC_0000002"].name) == rb"a\b\ISIC_0000002.jpg"


def test_part_folders_may_be_links(tmp_path):
    """To a folder, to one inside it, and in a circle."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    (elsewhere / "inner").mkdir(parents=True)
    data.mkdir()
    (elsewhere / "ISIC_0000001.jpg").write_bytes(b"1")
    (elsewhere / "inner" / "ISIC_0000002.jpg").write_bytes(b"2")
    (data / "part_1").symlink_to(elsewhere)
    (data / "part_2").symlink_to(elsewhere / "inner")
    (elsewhere / "back").symlink_to(data)
    members = archives.index(data)
    assert sorted(members) == ["ISIC_0000001", "ISIC_0000002"]
    with archives.open_container(data) as read:
        assert read(members["ISIC_0000002"].name) == b"2"


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


NO_FILES = {
    "is a pipe": os.mkfifo,
    "is a folder": Path.mkdir,
    "is a socket": make_socket,
    "is a device": lambda path: path.symlink_to("/dev/zero"),
    "is a link to nothing": lambda path: path.symlink_to("nothing"),
}


@pytest.mark.parametrize("name", ["ISIC_0000001.jpg", FIRST, "ISIC2018_Task3_Training_Input.zip"])
@pytest.mark.parametrize("reason", NO_FILES)
def test_what_is_named_like_an_image_or_an_archive_and_is_no_file_is_refused(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    NO_FILES[reason](Path(name))
    with pytest.raises(DatasetError, match=f"{name} {reason}"):
        archives.index(tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_is_read_within_bounds_whatever_size_it_claims(tmp_path, monkeypatch, method):
    monkeypatch.setattr(archives, "MOST_BYTES", 1_000_000)
    path = tmp_path / FIRST
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr("ISIC_0000001.jpg", bytes(50_000_000))
    honest = path.read_bytes()
    for claimed in (50_000_000, 1000, 4_000_000_000):  # the truth, and two lies
        path.write_bytes(honest.replace((50_000_000).to_bytes(4, "little"), claimed.to_bytes(4, "little")))
        tracemalloc.start()
        with archives.open_container(path) as read, pytest.raises(DatasetError, match=r"ISIC_0000001\.jpg in "):
            read("ISIC_0000001.jpg")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()


def test_a_file_is_read_within_bounds(tmp_path, monkeypatch):
    path = tmp_path / "x.jpg"
    path.write_bytes(b"12345")
    assert archives.read_bounded(path, most=5) == b"12345"
    with pytest.raises(DatasetError, match=r"x\.jpg has more than 4 bytes"):
        archives.read_bounded(path, most=4)
    shutil.rmtree(tmp_path)
    with pytest.raises(DatasetError, match=r"x\.jpg does not exist"):
        archives.read_bounded(path)


def encoded(**options):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, **options)
    return buffer.getvalue()


BAD_PICTURES = {
    "nothing": (b"", "it is empty"),
    "text": (b"<!DOCTYPE html>", "no JPEG"),
    "another format": (encoded(format="PNG"), "no JPEG"),
    "a head without a body": (b"\xff\xd8\xff", "no JPEG"),
    "zeros": (bytes(1000), "no JPEG"),
    "half a picture": (encoded(format="JPEG")[:400], "runcated"),
    "a picture of 65,500² pixels": (claiming(65_500, 65_500), "pixels"),
    "a picture of 8,000² pixels": (claiming(8_000, 8_000), "8000×8000 pixels"),
    "a picture without a side": (claiming(0, 30), "."),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_a_bad_picture_is_refused_with_a_reason_and_no_address_in_memory(case):
    content, reason = BAD_PICTURES[case]
    with pytest.raises(DatasetError, match=reason) as error, archives.open_picture(content) as image:
        image.load()
    assert "0x" not in str(error.value)


def test_a_copy_of_an_extracted_image_is_one_image_and_another_is_an_error(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ISIC_0000001.jpg").write_bytes(b"same")
    assert len(archives.index(tmp_path)) == 1
    (tmp_path / "b" / "ISIC_0000001.jpg").write_bytes(b"else")
    with pytest.raises(DatasetError, match=r"occurs twice: in a.ISIC_0000001.jpg and in"):
        archives.index(tmp_path)


def test_a_folder_without_images_says_what_may_lie_there(tmp_path):
    with pytest.raises(DatasetError, match=r"has no image of ham10000: .*`make data DATASET=ham10000` downloads"):
        archives.index(tmp_path)
