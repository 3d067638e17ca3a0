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


def test_what_is_not_there_is_said(drawn, tmp_path):
    assert masks.available(drawn)
    assert not masks.available(tmp_path)
    with pytest.raises(DatasetError, match=f"{archives.MASKS} has no mask of image ISIC_9999999"):
        masks.read(drawn, ["ISIC_9999999"], size=8)
