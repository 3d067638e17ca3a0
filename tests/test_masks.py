import os
import zipfile

import numpy as np
import pytest

from skinlesion.data import archives, masks
from skinlesion.data.archives import DatasetError


def test_masks_are_read_in_the_order_asked_for_and_mark_the_lesion(drawn, opened):
    ids = list(opened.metadata.image_id[[5, 0, 9]])
    found = masks.read(drawn, ids, size=32)
    assert found.shape == (3, 32, 32)
    assert found.dtype == bool
    assert np.array_equal(found[1], masks.read(drawn, ids[1:2], size=32)[0])
    assert 0.005 < found.mean() < 0.7
    assert found[:, 12:20, 12:20].mean() > found[:, :4].mean()  # lesions are near the middle


def test_masks_are_read_from_an_archive_in_whatever_case_and_with_backslashes(drawn, opened, tmp_path):
    ids = list(opened.metadata.image_id[:2])
    with (
        zipfile.ZipFile(drawn / archives.MASKS) as old,
        zipfile.ZipFile(tmp_path / archives.MASKS.lower(), "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name.replace("/", "\\"), old.read(name))
    assert masks.available(tmp_path)
    assert np.array_equal(masks.read(tmp_path, ids, size=32), masks.read(drawn, ids, size=32))


def test_a_mask_that_cannot_be_decoded_is_named_and_so_is_an_archive_that_is_no_file(tmp_path):
    with zipfile.ZipFile(tmp_path / archives.MASKS, "w") as archive:
        archive.writestr("ISIC_0000001_segmentation.png", b"no mask")
    with pytest.raises(DatasetError, match=r"mask of image ISIC_0000001 cannot be decoded \(no PNG\)"):
        masks.read(tmp_path, ["ISIC_0000001"], size=8)
    (tmp_path / archives.MASKS).unlink()
    os.mkfifo(tmp_path / archives.MASKS)
    with pytest.raises(DatasetError, match=f"{archives.MASKS} is a pipe"):
        masks.read(tmp_path, ["ISIC_0000001"], size=8)


def test_what_is_not_there_is_said(drawn, tmp_path):
    assert masks.available(drawn)
    assert not masks.available(tmp_path)
    with pytest.raises(DatasetError, match=f"{archives.MASKS} has no mask of image ISIC_9999999"):
        masks.read(drawn, ["ISIC_9999999"], size=8)
