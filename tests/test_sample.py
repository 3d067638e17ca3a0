import io
import json
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skinlesion.data import sample

LESIONS = 40
COLUMNS = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset"]
VOCABULARY = {
    "dx": {"akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"},
    "dx_type": {"histo", "follow_up", "consensus", "confocal"},
    "sex": {"male", "female", "unknown"},
    "localization": {
        *("abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity"),
        *("neck", "scalp", "trunk", "upper extremity", "unknown"),
    },
    "dataset": {"rosendahl", "vidir_modern", "vidir_molemax", "vienna_dias"},
}
PARTS = ["HAM10000_images_part_1.zip", "HAM10000_images_part_2.zip"]
MASKS = "HAM10000_segmentations_lesion_tschandl.zip"
MIDDLE = np.s_[15:105, 30:130]  # away from the dark rim of the lens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "not" / "yet"
    sample.draw(path, lesions=LESIONS, seed=0)
    return path


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "HAM10000_metadata")


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pictures(folder: Path) -> dict[str, Image.Image]:
    """Read every photograph, by image id."""
    files = {name: content for part in PARTS for name, content in members(folder / part).items()}
    return {Path(name).stem: Image.open(io.BytesIO(content)) for name, content in files.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_layout_is_that_of_the_download(folder: Path) -> None:
    assert set(contents(folder)) == {*PARTS, MASKS, "HAM10000_metadata", "SYNTHETIC.json"}
    first, second = (list(members(folder / part)) for part in PARTS)
    assert first + second == sorted(first + second)
    assert 0 <= len(second) - len(first) <= 1


def test_table_and_archives_name_the_same_images(folder: Path, table: pd.DataFrame) -> None:
    images = [name for part in PARTS for name in members(folder / part)]
    assert sorted(f"{image_id}.jpg" for image_id in table["image_id"]) == images
    inside = "HAM10000_segmentations_lesion_tschandl"
    expected = sorted(f"{inside}/{image_id}_segmentation.png" for image_id in table["image_id"])
    assert list(members(folder / MASKS)) == expected


def test_images_and_masks_fit_each_other(folder: Path) -> None:
    masks = members(folder / MASKS)
    for image_id, picture in pictures(folder).items():
        mask = Image.open(io.BytesIO(masks[f"{Path(MASKS).stem}/{image_id}_segmentation.png"]))
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (160, 120))
        assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (160, 120))
        assert set(np.unique(mask)) == {0, 255}  # some lesion, and some skin


def test_masks_lie_on_the_lesions(folder: Path, table: pd.DataFrame) -> None:
    # A naevus is darker than its skin, so that a threshold finds it wherever the photograph was turned to.
    masks, photos, agreement = members(folder / MASKS), pictures(folder), []
    for image_id in table.query("dx == 'nv'")["image_id"]:
        content = masks[f"{Path(MASKS).stem}/{image_id}_segmentation.png"]
        inside = np.asarray(Image.open(io.BytesIO(content)))[MIDDLE] > 0
        grey = np.asarray(photos[image_id].convert("L"), float)[MIDDLE]
        dark = grey < (grey[inside].mean() + grey[~inside].mean()) / 2
        agreement.append((dark & inside).sum() / (dark | inside).sum())
    assert np.median(agreement) > 0.85


def test_table_reads_like_the_original(folder: Path, table: pd.DataFrame) -> None:
    assert list(table) == COLUMNS
    for column, words in VOCABULARY.items():
        assert set(table[column]) <= words, column
    for column in ("image_id", "lesion_id"):
        assert table[column].str.fullmatch(r"SYN_\d{7}").all()
    assert table["image_id"].is_unique
    ages = table["age"].dropna()
    assert (ages % 5 == 0).all()
    assert ages.between(0, 85).all()
    written = pd.read_csv(folder / "HAM10000_metadata", dtype=str, keep_default_na=False)["age"]
    assert written.str.fullmatch(r"(\d{1,2}\.0)?").all()


def test_only_naevi_are_followed_up(table: pd.DataFrame) -> None:
    assert set(table.query("dx_type == 'follow_up'")["dx"]) == {"nv"}
    assert set(table.query("dx in ['akiec', 'bcc', 'mel']")["dx_type"]) == {"histo"}


def test_table_has_the_gaps_of_the_original(table: pd.DataFrame) -> None:
    assert 0 < table["age"].isna().sum() < len(table) / 4
    assert 0 < (table["sex"] == "unknown").sum() < len(table) / 4
    assert 0 < (table["localization"] == "unknown").sum() < len(table) / 4


@pytest.mark.parametrize(("lesions", "fewest"), [(21, 3), (69, 3), (70, 6), (420, 6)])
def test_every_class_has_lesions_for_every_part(lesions: int, fewest: int) -> None:
    counts = pd.Series(sample._counts(lesions))
    assert set(counts.index) == VOCABULARY["dx"]
    assert counts.min() >= fewest
    assert counts.sum() == lesions


def test_classes_are_all_drawn(table: pd.DataFrame) -> None:
    lesions = table.groupby("dx")["lesion_id"].nunique()
    assert set(lesions.index) == VOCABULARY["dx"]
    assert lesions.idxmax() == "nv"
    assert lesions.sum() == LESIONS


def test_a_lesion_has_one_history_and_at_times_several_images(table: pd.DataFrame) -> None:
    lesions = table.groupby("lesion_id")
    assert lesions.size().max() > 1
    own = ["dx", "dx_type", "age", "sex", "localization", "dataset"]
    assert len(table[["lesion_id", *own]].drop_duplicates()) == len(lesions)


def test_ids_tell_nothing_about_the_class(table: pd.DataFrame) -> None:
    by_id = table.sort_values("image_id")
    assert (by_id["lesion_id"] == by_id["lesion_id"].shift()).mean() < 0.2
    assert by_id["dx"].iloc[: len(by_id) // 2].nunique() == 7


def test_images_of_one_lesion_look_alike(folder: Path, table: pd.DataFrame) -> None:
    photos = pictures(folder)
    colour = {image_id: np.asarray(photo, float)[MIDDLE].mean((0, 1)) for image_id, photo in photos.items()}
    lesion = dict(zip(table["image_id"], table["lesion_id"], strict=True))
    same, other = [], []
    for one, two in combinations(colour, 2):
        distance = float(np.linalg.norm(colour[one] - colour[two]))
        (same if lesion[one] == lesion[two] else other).append(distance)
    assert np.mean(same) < 0.7 * np.mean(other)


def test_same_seed_same_bytes_and_another_seed_another_sample(folder: Path, tmp_path: Path) -> None:
    sample.draw(tmp_path / "again", lesions=LESIONS, seed=0)
    assert contents(tmp_path / "again") == contents(folder)
    sample.draw(tmp_path / "again", lesions=21, seed=1)  # in place of the first
    sample.draw(tmp_path / "other", lesions=21, seed=2)
    drawn, other = contents(tmp_path / "again"), contents(tmp_path / "other")
    assert all(drawn[name] != other[name] for name in drawn)
    assert {path.name for path in tmp_path.iterdir()} == {"again", "other"}


def test_is_current_knows_its_own_sample_only(folder: Path, tmp_path: Path, monkeypatch) -> None:
    assert sample.is_current(folder, lesions=LESIONS, seed=0)
    assert not sample.is_current(folder, lesions=LESIONS + 1, seed=0)
    assert not sample.is_current(folder, lesions=LESIONS, seed=1)
    assert not sample.is_current(tmp_path / "nowhere", lesions=LESIONS, seed=0)
    marker = json.loads((folder / "SYNTHETIC.json").read_text())
    assert marker["synthetic"] is True
    monkeypatch.setattr(sample, "VERSION", sample.VERSION + 1)
    assert not sample.is_current(folder, lesions=LESIONS, seed=0)


@pytest.mark.parametrize("text", ["", "[]", "not json"])
def test_a_broken_marker_is_not_current(text: str, folder: Path, tmp_path: Path) -> None:
    for name, content in contents(folder).items():
        (tmp_path / name).write_bytes(content)
    assert sample.is_current(tmp_path, lesions=LESIONS, seed=0)
    (tmp_path / "SYNTHETIC.json").write_text(text)
    assert not sample.is_current(tmp_path, lesions=LESIONS, seed=0)


def test_a_sample_that_lost_a_file_is_not_current(folder: Path, tmp_path: Path) -> None:
    for name, content in contents(folder).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / PARTS[1]).unlink()
    assert not sample.is_current(tmp_path, lesions=LESIONS, seed=0)


def test_a_folder_that_is_not_a_sample_is_left_alone(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "HAM10000_metadata").write_text("the original")
    with pytest.raises(FileExistsError, match=r"real.*another folder"):
        sample.draw(real, lesions=21, seed=0)
    assert contents(real) == {"HAM10000_metadata": b"the original"}
    assert list(tmp_path.iterdir()) == [real]


def test_a_failure_midway_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(sample, "_pack", fail)
    with pytest.raises(OSError, match="disk full"):
        sample.draw(tmp_path / "sample", lesions=21, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_redraw_keeps_the_old_sample(tmp_path: Path, monkeypatch) -> None:
    sample.draw(tmp_path / "sample", lesions=21, seed=0)
    before = contents(tmp_path / "sample")
    monkeypatch.setattr(sample, "_encode", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample.draw(tmp_path / "sample", lesions=21, seed=1)
    assert contents(tmp_path / "sample") == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


@pytest.mark.parametrize(("lesions", "seed", "named"), [(20, 0, "lesions=20"), (40, -1, "seed=-1")])
def test_impossible_arguments_are_refused(lesions: int, seed: int, named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=named):
        sample.draw(tmp_path / "sample", lesions=lesions, seed=seed)
    assert list(tmp_path.iterdir()) == []
