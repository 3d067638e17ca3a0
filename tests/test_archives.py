import zipfile

import pytest

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
        pytest.raises(DatasetError, match=r"ISIC_0000001.jpg .*no image is that large"),
    ):
        read("ISIC_0000001.jpg")


def test_a_damaged_member_is_named(tmp_path):
    write(tmp_path, ["ISIC_0000001.jpg"])
    path = tmp_path / FIRST
    content = path.read_bytes()
    path.write_bytes(content.replace(b"ISIC_0000001.jpgISIC_0000001.jpg", b"ISIC_0000001.jpgISIC_0000001.jpX", 1))
    with archives.open_container(path) as read, pytest.raises(DatasetError, match=r"ISIC_0000001.jpg in .* is damaged"):
        read("ISIC_0000001.jpg")


def test_of_several_layouts_the_first_counts(tmp_path):
    write(tmp_path, ["ISIC_0000001.jpg"])
    write(tmp_path, ["ISIC_0000001.jpg", "ISIC_0000002.jpg"], archive="ISIC2018_Task3_Training_Input.zip")
    assert archives.layout(tmp_path) == "Dataverse archives"
    assert sorted(archives.index(tmp_path)) == ["ISIC_0000001"]
    (tmp_path / FIRST).unlink()
    assert archives.layout(tmp_path) == "ISIC challenge archives"
    assert len(archives.index(tmp_path)) == 2


def test_a_copy_of_an_extracted_image_is_one_image_and_another_is_an_error(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ISIC_0000001.jpg").write_bytes(b"same")
    assert len(archives.index(tmp_path)) == 1
    (tmp_path / "b" / "ISIC_0000001.jpg").write_bytes(b"else")
    with pytest.raises(DatasetError, match=r"occurs twice: in a.ISIC_0000001.jpg and in"):
        archives.index(tmp_path)


def test_a_folder_without_images_says_what_may_lie_there(tmp_path):
    with pytest.raises(DatasetError, match=r"has no image: .*`make data` downloads them"):
        archives.index(tmp_path)
