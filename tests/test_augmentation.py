import pytest
import torch

from skinlesion import parameters
from skinlesion.learning import augmentation

OFF = {"flip": False, "rotation_degrees": 0.0, "zoom": 0.0, "translation": 0.0, "brightness": 0.0, "contrast": 0.0}
OFF |= {"saturation": 0.0, "hue": 0.0}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return augmentation.to_float(torch.randint(0, 256, (6, 16, 16, 3), dtype=torch.uint8, generator=generator))


def test_an_images_view_does_not_depend_on_its_batch(batch):
    demo = parameters.load("demo")
    uniform = augmentation.draw(0, 3, 6)[0]
    whole = augmentation.augment(batch, uniform, demo)
    alone = augmentation.augment(batch[[4]], uniform[[4]], demo)
    assert torch.equal(whole[4], alone[0])


def test_the_draws_are_a_function_of_seed_and_epoch():
    assert torch.equal(augmentation.draw(1, 2, 9), augmentation.draw(1, 2, 9))
    assert not torch.equal(augmentation.draw(1, 2, 9), augmentation.draw(1, 3, 9))
    assert not torch.equal(augmentation.draw(1, 2, 9), augmentation.draw(2, 2, 9))


def test_with_everything_off_the_image_is_unchanged(batch):
    off = parameters.load("demo", OFF)
    view = augmentation.augment(batch, augmentation.draw(0, 0, 6)[0], off)
    assert torch.allclose(view, batch, atol=1e-5)


def test_a_flip_alone_is_one_of_four_exact_mirrors(batch):
    flips = parameters.load("demo", {**OFF, "flip": True})
    for image, view in zip(batch, augmentation.augment(batch, augmentation.draw(0, 0, 6)[0], flips), strict=True):
        mirrors = [image, image.flip(1), image.flip(2), image.flip(1, 2)]
        assert sum(torch.allclose(view, mirror, atol=1e-4) for mirror in mirrors) == 1


@pytest.mark.parametrize(
    "key", ["rotation_degrees", "zoom", "translation", "brightness", "contrast", "saturation", "hue"]
)
def test_each_strength_changes_the_image_and_keeps_it_in_range(batch, key):
    chosen = parameters.load("demo", {**OFF, key: 30.0 if key == "rotation_degrees" else 0.3})
    view = augmentation.augment(batch, augmentation.draw(0, 0, 6)[0], chosen)
    assert ((view - batch).abs().amax(dim=(1, 2, 3)) > 0.01).sum() >= 5  # one draw may be near none
    assert view.min() >= 0
    assert view.max() <= 1


def test_translation_is_a_fraction_of_the_frame():
    ramp = torch.linspace(0, 1, 100).expand(1, 3, 100, 100).contiguous()
    shift = parameters.load("demo", {**OFF, "translation": 0.1})
    uniform = torch.full((1, len(augmentation.NAMES)), 0.5)
    uniform[0, 4] = 1.0  # the whole way along x
    view = augmentation.augment(ramp, uniform, shift)
    assert (view - ramp)[0, 0, 50, 20:80].mean() == pytest.approx(0.1, abs=0.002)


def test_colour_changes_leave_grey_as_it_is():
    chosen = parameters.load("demo", {**OFF, "saturation": 0.5, "hue": 0.5})
    grey = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(4, 3, 8, 8).contiguous()
    assert torch.allclose(augmentation.augment(grey, augmentation.draw(0, 0, 4)[0], chosen), grey, atol=1e-3)


def test_without_saturation_an_image_is_its_luma():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8).contiguous()
    uniform = torch.full((1, len(augmentation.NAMES)), 0.5)
    uniform[0, 8] = 0.0
    view = augmentation.augment(red, uniform, parameters.load("demo", {**OFF, "saturation": 0.999}))
    assert torch.allclose(view, torch.full_like(view, 0.299), atol=2e-3)


def test_a_whole_turn_of_hue_is_none(batch):
    chosen = parameters.load("demo", {**OFF, "hue": 0.5})
    uniform = torch.full((6, len(augmentation.NAMES)), 0.5)
    there, back = uniform.clone(), uniform.clone()
    there[:, 9], back[:, 9] = 1.0, 0.0  # half a turn either way
    turned = augmentation.augment(batch, there, chosen)
    assert torch.allclose(turned, augmentation.augment(batch, back, chosen), atol=1e-5)
    assert not torch.allclose(turned, batch, atol=0.1)


def test_an_augmentation_that_is_added_changes_no_other(monkeypatch):
    before = augmentation.draw(3, 1, 5)
    monkeypatch.setattr(augmentation, "NAMES", ("shear", *augmentation.NAMES))
    assert torch.equal(augmentation.draw(3, 1, 5)[:, :, 1:], before)


def test_no_two_draws_of_an_image_go_together():
    u = augmentation.draw(0, 0, 4000)[0]
    assert (torch.corrcoef(u.T) - torch.eye(len(augmentation.NAMES))).abs().max() < 0.06
    assert (u.mean(0) - 0.5).abs().max() < 0.03


@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
def test_the_grid_is_the_one_of_affine_grid(shape):
    demo = parameters.load("demo", {"zoom": 0.3})
    drawn = augmentation.draw(0, 0, 5)[0]
    u = dict(zip(augmentation.NAMES, drawn.T, strict=True))
    signed = {name: 2 * column - 1 for name, column in u.items()}
    flip_x, flip_y = (torch.where(u[name] < 0.5, -1.0, 1.0) for name in ("flip_x", "flip_y"))
    angle, scale = signed["rotation"] * torch.pi / 9, 1 + signed["zoom"] * 0.3
    rows = [
        [flip_x * angle.cos() * scale, -angle.sin() * scale, signed["translation_x"] * 0.2],
        [angle.sin() * scale, flip_y * angle.cos() * scale, signed["translation_y"] * 0.2],
    ]
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    wanted = torch.nn.functional.affine_grid(theta, [5, 3, *shape], align_corners=False)
    assert torch.allclose(augmentation._grid(u, signed, shape, demo), wanted, atol=1e-5)


def test_cutout_greys_a_square_of_its_share_and_moves_with_the_draw():
    strengths = parameters.load("demo", {**OFF, "cutout": 0.5})
    images = torch.zeros(50, 3, 40, 40)
    views = augmentation.augment(images, augmentation.draw(0, 0, 50)[0], strengths)
    cut = (views == 0.5).all(1)
    assert set(views.unique().tolist()) == {0.0, 0.5}
    assert cut.sum((1, 2)).max() <= 400
    assert cut.sum((1, 2)).min() >= 90  # in a corner a quarter of it is inside
    assert len({tuple(each.flatten().tolist()) for each in cut}) > 40
