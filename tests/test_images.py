import io
import os
import shutil
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from scipy import ndimage

from skinlesion import files
from skinlesion.data import archives, dataset, images
from skinlesion.data.dataset import DatasetError


def replace_member(archive, name, content):
    with zipfile.ZipFile(archive) as opened:
        members = {member: opened.read(member) for member in opened.namelist()}
    with zipfile.ZipFile(archive, "w") as opened:
        for member, old in members.items():
            opened.writestr(member, content if member == name else old)


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=95, **options)
    return buffer.getvalue()


def test_the_store_has_one_square_image_a_row_in_the_tables_order(opened, tmp_path):
    store = images.open_store(opened, size=32, cache=tmp_path)
    assert store.shape == (len(opened.metadata), 32, 32, 3)
    assert store.dtype == np.uint8
    for row in (0, len(store) // 2, len(store) - 1):
        member = opened.members[opened.metadata.image_id[row]]
        with zipfile.ZipFile(member.container) as zipped:
            assert (store[row] == images.decode(zipped.read(member.name), size=32)).all()


def test_the_whole_frame_is_kept(tmp_path):
    frame = np.zeros((90, 120, 3), np.uint8)
    frame[:, :60, 0] = 255  # the left half is red
    square = images.decode(jpeg(Image.fromarray(frame)), size=32)
    assert square[:, :14, 0].min() > 230
    assert square[:, 18:, 0].max() < 25


def test_a_centre_crop_keeps_shapes_and_loses_both_ends():
    frame = np.zeros((90, 120, 3), np.uint8)
    frame[:, :12, 0] = frame[:, -12:, 0] = 255  # what a crop to 90×90 loses, and three pixels less
    frame[:, 15:105, 1] = 255
    square = images.decode(jpeg(Image.fromarray(frame)), size=30, resize="center_crop")
    assert square.shape == (30, 30, 3)
    assert square[..., 0].max() < 60
    assert square[:, 2:-2, 1].min() > 230


def test_scaled_decoding_gives_nearly_the_same_pixels():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    image = coarse.resize((600, 450), Image.Resampling.BICUBIC)
    whole = images.open_image(jpeg(image)).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.abs(images.decode(jpeg(image), size=64) - np.asarray(whole, float)).mean() < 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_become_rgb(mode):
    image = Image.new("RGB", (40, 40), (128, 128, 128)).convert(mode)
    assert np.abs(images.decode(jpeg(image), size=32).astype(int) - 128).max() < 6


def test_an_image_is_turned_upright_by_its_exif_orientation():
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[:, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    upright = np.asarray(images.open_image(jpeg(Image.fromarray(frame), exif=exif)))
    assert upright.shape == (60, 40, 3)
    assert upright[:25].min() > 230
    assert upright[35:].max() < 25


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(archives, "MOST_PIXELS", 1000)
    with pytest.raises(DatasetError, match="40×30 pixels are more than 1,000: scale it down"):
        images.decode(jpeg(Image.new("RGB", (40, 30))), size=8)


def drawn_disc(width, height, radius, form="PNG", **options):
    """A white disc in the middle of a black picture."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) <= radius
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(np.uint8(255 * inside)[..., None], 3, axis=2)).save(buffer, format=form, **options)
    return buffer.getvalue()


def extent(square):
    """Width and height of the white area around the middle, in pixels."""
    labels, _ = ndimage.label(square[..., 0] > 127)
    white = labels == labels[len(square) // 2, len(square) // 2]
    return white.sum(axis=1).max(), white.sum(axis=0).max()


@pytest.mark.parametrize(
    ("width", "height", "radius"),
    [
        (450, 450, 60),  # framed, 600×450
        (450, 600, 80),  # 800×600
        (800, 450, 80),  # 800×600
        (1200, 400, 120),  # 1200×900
        (301, 900, 120),  # 1200×900
    ],
)
def test_a_circle_in_a_picture_of_any_shape_becomes_the_ellipse_of_a_circle_in_a_frame(width, height, radius):
    wide, high = extent(images.decode(drawn_disc(600, 450, 60, form="JPEG", quality=95), size=224))
    assert (wide, high) == pytest.approx((120 * 224 / 600, 120 * 224 / 450), abs=1)
    assert extent(images.decode_any(drawn_disc(width, height, radius), size=224)) == pytest.approx((wide, high), abs=1)


def test_a_picture_on_its_side_is_framed_as_it_is_seen():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    lying = images.decode_any(drawn_disc(600, 450, 100, exif=exif), size=64)
    assert np.array_equal(lying, images.decode_any(drawn_disc(450, 600, 100), size=64))


@pytest.mark.parametrize("size", [(600, 450), (604, 453), (1600, 1200), (4032, 3024), (450, 338)])
def test_a_picture_of_the_frames_proportions_is_decoded_as_the_data_is(size):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size)
    for side in (32, 224):
        assert np.array_equal(images.decode_any(jpeg(picture), size=side), images.decode(jpeg(picture), size=side))


@pytest.mark.parametrize("shape", [(30, 30), (40, 30), (20, 90), (7, 33), (100, 3)])
def test_a_frame_holds_the_whole_picture_and_beside_it_its_reflection(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    framed = np.asarray(images.in_frame(Image.fromarray(picture)))
    height, width = framed.shape[:2]
    assert abs(width - height * 4 / 3) <= 1
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    assert np.array_equal(framed[top : top + shape[0], left : left + shape[1]], picture)
    margin = min(left, shape[1])
    assert np.array_equal(framed[top : top + shape[0], left - margin : left], picture[:, :margin][:, ::-1])
    margin = min(top, shape[0])
    assert np.array_equal(framed[top - margin : top, left : left + shape[1]], picture[:margin][::-1])


def test_a_strip_that_no_frame_can_hold_is_refused_before_it_is_framed():
    with pytest.raises(DatasetError, match="2×30000 pixels are too long a strip"):
        images.in_frame(Image.new("RGB", (2, 30_000)))


def test_a_centre_crop_needs_no_frame():
    square = drawn_disc(60, 60, 20)
    whole = np.asarray(Image.open(io.BytesIO(square)))
    assert np.array_equal(images.decode_any(square, size=60, resize="center_crop"), whole)


WRITTEN = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "RGBA", "P", "1", "LA"),
    "WEBP": ("RGB", "L", "RGBA", "P"),
    "TIFF": ("RGB", "L", "RGBA", "P", "1", "LA", "CMYK"),
    "BMP": ("RGB", "L", "RGBA", "P", "1"),
    "AVIF": ("RGB", "L", "RGBA"),
}


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in WRITTEN.items() for mode in modes])
def test_every_named_format_is_read_as_colours(form, mode):
    assert set(WRITTEN) == set(images.FORMATS)
    buffer = io.BytesIO()
    Image.new("RGB", (80, 60), "white").convert(mode).save(buffer, format=form)
    assert images.decode_any(buffer.getvalue(), size=32).min() > 250


def test_other_formats_are_refused_by_content(tmp_path):
    for form in ("GIF", "PPM", "ICO", "TGA"):
        Image.new("RGB", (80, 60)).save(tmp_path / "x.jpg", format=form)
        with pytest.raises(DatasetError, match="no JPEG or PNG or WEBP or TIFF or BMP or AVIF"):
            images.decode_any((tmp_path / "x.jpg").read_bytes(), size=32)
        assert not images.is_picture(tmp_path / "x.jpg")


@pytest.mark.parametrize(("brand", "form"), [(b"heic", "HEIC"), (b"mif1", "HEIC"), (b"avif", "AVIF")])
def test_what_a_phone_writes_and_is_not_read_is_called_what_it_is(brand, form):
    with pytest.raises(DatasetError, match=f"it is {form}, which is not read here: save it as JPEG"):
        images.decode(b"\0\0\0\x18ftyp" + brand + bytes(12), size=32)
    with pytest.raises(DatasetError, match="no JPEG" if form == "AVIF" else "it is HEIC"):  # one of the two is read
        images.decode_any(b"\0\0\0\x18ftyp" + brand + bytes(12), size=32)


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=form, quality=100, **options)
    return buffer.getvalue()


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"none").replace(b"gXYZ", b"rXYZ").replace(b"none", b"gXYZ")
"""A profile in which the first channel is green and the second red."""
GREY = SRGB.replace(b"RGB XYZ ", b"GRAYXYZ ", 1).replace(b"rTRC", b"kTRC", 1)


@pytest.mark.parametrize("form", sorted(set(images.FORMATS) - {"BMP"}))
def test_colours_are_those_of_the_profile_that_comes_with_a_picture(form):
    red = Image.new("RGB", (40, 30), (255, 0, 0))
    seen = images.decode_any(encoded(red, form, icc_profile=SWAPPED), size=32).astype(int)
    assert np.abs(seen - (0, 255, 0)).max() <= 3


def test_a_picture_of_the_data_without_a_profile_or_with_that_of_srgb_has_the_pixels_it_had():
    frame = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    plain = Image.open(io.BytesIO(jpeg(frame)))
    for options in ({}, {"icc_profile": SRGB}):
        assert np.array_equal(images.open_image(jpeg(frame, **options)), plain)


@pytest.mark.parametrize(("mode", "profile"), [("L", GREY), ("L", SRGB), ("LA", GREY), ("P", SRGB), ("RGBA", SRGB)])
def test_a_profile_of_grey_and_one_beside_a_palette_or_transparency_are_read(mode, profile):
    picture = Image.new("RGB", (40, 30), (102, 102, 102)).convert(mode)
    pixels = images.decode_any(encoded(picture, "PNG", icc_profile=profile), size=32)
    assert np.abs(pixels.astype(int) - 102).max() <= 1


def with_exif(picture, value):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: value}
    return encoded(picture, "JPEG", exif=exif)


def with_chunk(png, chunk):
    return png[:33] + (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + png[33:]


NO_COLOURS = {
    "a profile cut off": lambda red: encoded(red, "PNG", icc_profile=SRGB[:300]),
    "a profile of which a piece lacks": lambda red: encoded(red, "JPEG", icc_profile=SRGB).replace(
        b"PROFILE\0\1\1", b"PROFILE\0\1\2"
    ),
    "a profile of grey with colours": lambda red: encoded(red, "PNG", icc_profile=GREY),
    "a camera's Adobe RGB": lambda red: with_exif(red, "R03"),
    "primaries of Display P3": lambda red: encoded(red, "AVIF").replace(b"nclx\0\1", b"nclx\0\x0c"),
    "the curve of HDR": lambda red: encoded(red, "AVIF").replace(b"nclx\0\1\0\x0d", b"nclx\0\1\0\x10"),
    "HDR in a PNG": lambda red: with_chunk(encoded(red, "PNG"), b"cICP\x01\x10\0\1"),
}


@pytest.mark.parametrize("case", NO_COLOURS)
def test_a_picture_whose_colours_are_not_known_is_refused(case):
    with pytest.raises(DatasetError, match=r"colour.*: save it in sRGB"):
        images.decode_any(NO_COLOURS[case](Image.new("RGB", (40, 30), (255, 0, 0))), size=32)
    assert images.decode_any(with_exif(Image.new("RGB", (40, 30)), "R98"), size=32).max() == 0  # sRGB


def test_the_preview_in_a_raw_file_is_not_taken_for_the_picture():
    with pytest.raises(DatasetError, match="the preview in a raw file"):
        images.decode_any(encoded(Image.new("RGB", (40, 30)), "TIFF", tiffinfo={254: 1}), size=32)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(mode):
    picture = Image.new("RGBA", (80, 60), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 40, 60))
    buffer = io.BytesIO()
    picture.convert(mode).save(buffer, format="PNG")
    pixels = images.decode_any(buffer.getvalue(), size=32)
    assert pixels[:, :14].max() < 5
    assert pixels[:, 18:].min() > 250


def test_a_picture_whose_values_would_be_clipped_is_refused_and_so_are_several_in_one():
    """Pillow makes white of whatever is above 255."""
    for deep in (np.full((60, 80), 30_000, np.uint16), np.full((60, 80), 0.5, np.float32)):
        buffer = io.BytesIO()
        Image.fromarray(deep).save(buffer, format="TIFF")
        with pytest.raises(DatasetError, match="more than 8 bits a channel"):
            images.decode_any(buffer.getvalue(), size=32)
    for form in ("TIFF", "WEBP", "PNG", "AVIF"):
        buffer = io.BytesIO()
        first, second = Image.new("RGB", (80, 60), "red"), Image.new("RGB", (80, 60), "blue")
        first.save(buffer, format=form, save_all=True, append_images=[second])
        with pytest.raises(DatasetError, match="several pictures"):
            images.decode_any(buffer.getvalue(), size=32)


def test_a_jpeg_with_a_preview_behind_it_is_one_picture():
    buffer = io.BytesIO()
    first = Image.new("RGB", (80, 60), "white")
    first.save(buffer, format="MPO", save_all=True, append_images=[Image.new("RGB", (8, 6))])
    assert images.decode_any(buffer.getvalue(), size=32).min() > 250


def test_a_cut_off_image_is_refused():
    with pytest.raises(DatasetError):
        images.decode(jpeg(Image.new("RGB", (400, 300)))[:900], size=8)


def reopen(folder):
    return dataset.Dataset(folder, dataset.read_metadata(dataset.find_table(folder)), archives.index(folder))


def test_the_fingerprint_follows_the_pixels_and_the_table_and_not_the_layout(copied, opened, tmp_path):
    before = images.fingerprint(opened, cache=tmp_path)
    for number in (1, 2):  # extracted, the bytes are the same
        archive = copied / f"HAM10000_images_part_{number}.zip"
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(copied / "anywhere")
        archive.unlink()
    assert images.fingerprint(reopen(copied), cache=tmp_path) == before
    first = copied / "anywhere" / "SYN_0000000.jpg"
    Image.open(first).rotate(180).save(first)
    turned = images.fingerprint(reopen(copied), cache=tmp_path)
    assert turned != before
    table = copied / "HAM10000_metadata"
    table.write_text(table.read_text().replace(",male,", ",female,", 1))
    assert images.fingerprint(reopen(copied), cache=tmp_path) not in {before, turned}


def test_the_survey_names_what_cannot_be_decoded_and_goes_on(copied, tiny, tmp_path):
    replace_member(copied / "HAM10000_images_part_1.zip", "SYN_0000003.jpg", b"\xff\xd8 no JPEG")
    damaged = dataset.open_dataset(tiny.model_copy(update={"data": str(copied)}))
    table = images.survey(damaged, cache=tmp_path / "cache")
    assert table.image_id[table.error != ""].tolist() == ["SYN_0000003"]
    assert (table.width[table.error == ""] == 160).all()
    with pytest.raises(DatasetError, match=r"image SYN_0000003 in HAM10000_images_part_1.zip cannot be decoded"):
        images.fingerprint(damaged, cache=tmp_path / "cache")


def test_the_store_is_decoded_once(opened, tmp_path, monkeypatch):
    first = images.open_store(opened, size=32, cache=tmp_path)
    monkeypatch.setattr(images, "decode", None)
    assert (images.open_store(opened, size=32, cache=tmp_path) == first).all()


def only_store(cache, suffix=".npy"):
    [path] = [path for path in cache.iterdir() if path.suffix == suffix]
    return path


def zero(path, start, count):
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(count))


STORE_DAMAGES = {
    "zero blocks": lambda path, other: zero(path, 4096, 8192),
    "zero from end to end": lambda path, other: zero(path, 0, path.stat().st_size),
    "cut": lambda path, other: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path, other: os.truncate(path, 0),
    "of another shape": lambda path, other: shutil.copy(other, path),
}


@pytest.mark.parametrize("damage", STORE_DAMAGES)
def test_a_damaged_store_is_set_aside_and_decoded_again(opened, tmp_path, capsys, damage):
    first = np.array(images.open_store(opened, size=32, cache=tmp_path / "a"))
    images.open_store(opened, size=33, cache=tmp_path / "b")
    path = only_store(tmp_path / "a")
    STORE_DAMAGES[damage](path, only_store(tmp_path / "b"))
    capsys.readouterr()
    assert np.array_equal(images.open_store(opened, size=32, cache=tmp_path / "a"), first)
    said = f"{path.name} is damaged: it is set aside as {path.name}.damaged, and decoded again\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("cut", [0.0, 0.5, 0.99])
def test_a_cut_survey_leaves_the_fingerprint_as_it_is(opened, tmp_path, cut):
    before = images.fingerprint(opened, cache=tmp_path)
    path = only_store(tmp_path, ".csv")
    os.truncate(path, int(cut * path.stat().st_size))
    assert images.fingerprint(opened, cache=tmp_path) == before
    lines = path.with_name(f"{path.name}.damaged").read_bytes().splitlines()
    path.write_bytes(b"\n".join(lines[:10]))  # whole lines alone
    assert images.fingerprint(opened, cache=tmp_path) == before


def test_an_image_that_cannot_be_decoded_is_named_and_leaves_no_store(copied, tiny, tmp_path):
    replace_member(copied / "HAM10000_images_part_1.zip", "SYN_0000003.jpg", b"\xff\xd8 no JPEG")
    damaged = dataset.open_dataset(tiny.model_copy(update={"data": str(copied)}))
    with pytest.raises(DatasetError, match=r"image SYN_0000003 in HAM10000_images_part_1.zip cannot be decoded"):
        images.open_store(damaged, size=32, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_only_jpegs_are_decoded(opened):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    with pytest.raises(DatasetError, match="no JPEG"):
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
