import numpy as np
import pytest
from PIL import Image

from skinlesion.data import dataset, hashes, images
from skinlesion.parameters import load


@pytest.fixture(scope="module")
def pictures(drawn):
    opened = dataset.open_dataset(load("demo", {"data": str(drawn), "synthetic_lesions": 84}))
    return images.read(opened, np.arange(60))


def test_a_hash_has_ninety_nine_bits_half_of_them_set(pictures):
    found = hashes.of_each(pictures)
    assert found.shape == (60, hashes.LENGTH)
    bits = np.unpackbits(found, axis=1)
    assert (bits.sum(1) == 49).all()
    assert not bits[:, 99:].any()
    assert hashes.of_each([]).shape == (0, hashes.LENGTH)


def test_a_picture_scaled_is_known_and_one_mirrored_is_not(pictures):
    found = hashes.of_each(pictures)
    for pixels in pictures[:10]:
        image = Image.fromarray(pixels)
        for size in ((64, 64), (600, 450), (224, 224)):
            assert hashes.known(image.resize(size), found)
    # A drawn lesion may be nearly its own mirror image; a photograph is not.
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)
    assert hashes.known(image, hashes.of_each([np.asarray(image)]))
    assert not hashes.known(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), hashes.of_each([np.asarray(image)]))


def test_nothing_is_known_of_no_picture():
    assert not hashes.known(Image.new("RGB", (40, 30)), np.empty((0, hashes.LENGTH), np.uint8))
