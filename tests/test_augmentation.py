import pytest
import torch

from skinlesion import augmentation, parameters

OFF = {"flip": False, "rotation_degrees": 0.0, "zoom": 0.0, "translation": 0.0, "brightness": 0.0, "contrast": 0.0}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return augmentation.to_float(torch.randint(0, 256, (6, 16, 16, 3), dtype=torch.uint8, generator=generator))


def test_an_images_view_does_not_depend_on_its_batch(batch):
    demo = parameters.load("demo")
    uniform = augmentation.draw(0, 3, 6)
    whole = augmentation.augment(batch, uniform, demo)
    alone = augmentation.augment(batch[[4]], uniform[[4]], demo)
    assert torch.equal(whole[4], alone[0])


def test_the_draws_are_a_function_of_seed_and_epoch():
    assert torch.equal(augmentation.draw(1, 2, 9), augmentation.draw(1, 2, 9))
    assert not torch.equal(augmentation.draw(1, 2, 9), augmentation.draw(1, 3, 9))
    assert not torch.equal(augmentation.draw(1, 2, 9), augmentation.draw(2, 2, 9))


def test_with_everything_off_the_image_is_unchanged(batch):
    off = parameters.load("demo", OFF)
    view = augmentation.augment(batch, augmentation.draw(0, 0, 6), off)
    assert torch.allclose(view, batch, atol=1e-5)


def test_a_flip_alone_is_one_of_four_exact_mirrors(batch):
    flips = parameters.load("demo", {**OFF, "flip": True})
    for image, view in zip(batch, augmentation.augment(batch, augmentation.draw(0, 0, 6), flips), strict=True):
        mirrors = [image, image.flip(1), image.flip(2), image.flip(1, 2)]
        assert sum(torch.allclose(view, mirror, atol=1e-4) for mirror in mirrors) == 1


@pytest.mark.parametrize("key", ["rotation_degrees", "zoom", "translation", "brightness", "contrast"])
def test_each_strength_changes_the_image_and_keeps_it_in_range(batch, key):
    chosen = parameters.load("demo", {**OFF, key: 30.0 if key == "rotation_degrees" else 0.3})
    view = augmentation.augment(batch, augmentation.draw(0, 0, 6), chosen)
    assert ((view - batch).abs().amax(dim=(1, 2, 3)) > 0.01).sum() >= 5  # one draw may be near none
    assert view.min() >= 0
    assert view.max() <= 1


def test_translation_is_a_fraction_of_the_frame():
    ramp = torch.linspace(0, 1, 100).expand(1, 3, 100, 100).contiguous()
    shift = parameters.load("demo", {**OFF, "translation": 0.1})
    uniform = torch.full((1, augmentation.DRAWS), 0.5)
    uniform[0, 4] = 1.0  # the whole way along x
    view = augmentation.augment(ramp, uniform, shift)
    assert (view - ramp)[0, 0, 50, 20:80].mean() == pytest.approx(0.1, abs=0.002)
