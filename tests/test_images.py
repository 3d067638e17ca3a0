import io
import zipfile

import numpy as np
import pytest
from PIL import Image

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
    monkeypatch.setattr(images, "MOST_PIXELS", 1000)
    with pytest.raises(DatasetError, match="40×30 pixels are more than any image of the data has"):
        images.decode(jpeg(Image.new("RGB", (40, 30))), size=8)


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


def test_an_image_that_cannot_be_decoded_is_named_and_leaves_no_store(copied, tiny, tmp_path):
    replace_member(copied / "HAM10000_images_part_1.zip", "SYN_0000003.jpg", b"\xff\xd8 no JPEG")
    damaged = dataset.open_dataset(tiny.model_copy(update={"data": str(copied)}))
    with pytest.raises(DatasetError, match=r"image SYN_0000003 in HAM10000_images_part_1.zip cannot be decoded"):
        images.open_store(damaged, size=32, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_only_jpegs_are_decoded(opened):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    with pytest.raises(DatasetError, match="cannot identify"):
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
