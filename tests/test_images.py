import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from skinlesion import dataset, files, images
from skinlesion.dataset import DatasetError


def replace_member(archive, name, content):
    with zipfile.ZipFile(archive) as opened:
        members = {member: opened.read(member) for member in opened.namelist()}
    with zipfile.ZipFile(archive, "w") as opened:
        for member, old in members.items():
            opened.writestr(member, content if member == name else old)


def test_the_store_has_one_square_image_a_row_in_the_tables_order(opened, tmp_path):
    store = images.open_store(opened, size=32, cache=tmp_path)
    assert store.shape == (len(opened.metadata), 32, 32, 3)
    assert store.dtype == np.uint8
    for row in (0, len(store) // 2, len(store) - 1):
        archive, member = opened.members[opened.metadata.image_id[row]]
        with zipfile.ZipFile(archive) as zipped:
            assert (store[row] == images.decode(zipped.read(member), size=32)).all()


def test_the_whole_frame_is_kept(tmp_path):
    frame = np.zeros((90, 120, 3), np.uint8)
    frame[:, :60, 0] = 255  # the left half is red
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=95)
    square = images.decode(buffer.getvalue(), size=32)
    assert square[:, :14, 0].min() > 230
    assert square[:, 18:, 0].max() < 25


def test_the_store_is_decoded_once(opened, tmp_path, monkeypatch):
    first = images.open_store(opened, size=32, cache=tmp_path)
    monkeypatch.setattr(images, "decode", None)
    assert (images.open_store(opened, size=32, cache=tmp_path) == first).all()


def test_an_image_that_cannot_be_decoded_is_named_and_leaves_no_store(copied, tiny, tmp_path):
    replace_member(copied / "HAM10000_images_part_1.zip", "SYN_0000003.jpg", b"\xff\xd8 no JPEG")
    damaged = dataset.open_dataset(tiny.model_copy(update={"data": str(copied)}))
    with pytest.raises(DatasetError, match=r"image SYN_0000003 in HAM10000_images_part_1.zip cannot be decoded"):
        images.open_store(damaged, size=32, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_only_jpegs_are_decoded(opened):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    with pytest.raises(OSError, match="cannot identify"):
        images.decode(buffer.getvalue(), size=8)


def test_a_store_that_does_not_fit_is_refused(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(files.DiskFullError, match="are needed"):
        images.open_store(opened, size=32, cache=tmp_path)


def test_reading_for_a_gallery_keeps_the_order_asked_for(opened):
    forward, backward = images.read(opened, np.array([0, 50])), images.read(opened, np.array([50, 0]))
    assert forward[0].shape == (120, 160, 3)
    assert (forward[0] == backward[1]).all()
    assert (forward[1] == backward[0]).all()
