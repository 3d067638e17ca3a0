import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest

from skinlesion.data import archives, dataset, images
from skinlesion.data.dataset import DatasetError

PART = "HAM10000_images_part_1.zip"


def open_folder(folder):
    metadata = dataset.read_metadata(dataset.find_table(folder))
    dataset.check(metadata, archives.index(folder), folder=folder)


def edit(folder, old, new, count=1):
    table = folder / "HAM10000_metadata"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, count))


def first_row(folder):
    return (folder / "HAM10000_metadata").read_text().splitlines()[1]


def test_the_sample_opens_and_says_that_it_is_synthetic(opened):
    assert opened.synthetic
    assert opened.title.startswith("SYNTHETIC")
    assert opened.metadata.image_id.is_monotonic_increasing
    assert [dataset.DX[k] for k in opened.labels] == list(opened.metadata.dx)


def challenge_table(metadata):
    """The table in the ISIC challenge's format: one column a diagnosis, in capitals."""
    names = [dx.upper() for dx in dataset.DX]
    truth = pd.DataFrame(np.eye(7)[metadata.dx.map(dataset.DX.index)], columns=names)
    return pd.concat([metadata.image_id.rename("image"), truth], axis=1)


def groupings(metadata):
    said = {short: long for long, short in dataset.CONFIRMATION.items()}
    return pd.DataFrame(
        {
            "image": metadata.image_id,
            "lesion_id": metadata.lesion_id,
            "diagnosis_confirm_type": metadata.dx_type.map(said),
        }
    )


def to_kaggle(folder):
    """Extract the archives, twice as the Kaggle mirror does, and take the source from the table."""
    for number in (1, 2):
        archive = folder / f"HAM10000_images_part_{number}.zip"
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder / archive.stem)
        shutil.copytree(folder / archive.stem, folder / f"ham10000_images_part_{number}_again")
        archive.unlink()
    table = folder / "HAM10000_metadata"
    pd.read_csv(table, keep_default_na=False).drop(columns="dataset").to_csv(f"{table}.csv", index=False)
    table.unlink()


def to_challenge(folder):
    metadata = dataset.read_metadata(folder / "HAM10000_metadata")
    with zipfile.ZipFile(folder / "ISIC2018_Task3_Training_Input.zip", "w") as whole:
        for number in (1, 2):
            archive = folder / f"HAM10000_images_part_{number}.zip"
            with zipfile.ZipFile(archive) as part:
                for name in part.namelist():
                    whole.writestr(f"ISIC2018_Task3_Training_Input/{name}", part.read(name))
            archive.unlink()
        whole.writestr("ISIC2018_Task3_Training_Input/LICENSE.txt", "CC")
    with zipfile.ZipFile(folder / "ISIC2018_Task3_Training_GroundTruth.zip", "w") as truth:
        truth.writestr("LICENSE.txt", "CC")
        name = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"
        truth.writestr(name, challenge_table(metadata).to_csv(index=False))
    groupings(metadata).to_csv(folder / dataset.GROUPINGS, index=False)
    (folder / "HAM10000_metadata").unlink()


@pytest.mark.parametrize(("convert", "lost"), [(to_kaggle, ["dataset"]), (to_challenge, ["age", "sex", "dataset"])])
def test_every_layout_holds_the_same_images_and_labels(copied, opened, tmp_path, convert, lost):
    convert(copied)
    metadata = dataset.read_metadata(dataset.find_table(copied))
    other = dataset.Dataset(copied, metadata, archives.index(copied))
    dataset.check(metadata, other.members, folder=copied)
    same = ["image_id", "lesion_id", "dx", "dx_type"]
    pd.testing.assert_frame_equal(metadata[same], opened.metadata[same])
    for column in lost:
        assert (metadata[column].isna() | (metadata[column] == "unknown")).all()
    store = images.open_store(other, size=32, cache=tmp_path)
    assert (store == images.open_store(opened, size=32, cache=tmp_path)).all()


def test_a_challenge_table_without_lesions_or_with_two_diagnoses_is_refused(copied):
    to_challenge(copied)
    table = dataset.find_table(copied)
    (copied / dataset.GROUPINGS).unlink()
    with pytest.raises(DatasetError, match="nobody knows which images show one lesion"):
        dataset.read_metadata(table)
    plain = copied / "ISIC2018_Task3_Training_GroundTruth.csv"
    plain.write_text("image,AKIEC,BCC,BKL,DF,MEL,NV,VASC\nISIC_0000001,1,1,0,0,0,0,0\n")
    with pytest.raises(DatasetError, match="line 2 has not exactly one diagnosis"):
        dataset.read_metadata(plain)


def test_the_row_of_the_official_test_set_that_has_no_image_is_left_out(tmp_path):
    table = tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv"
    rows = ["image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", "ISIC_0035067,0,1,0,0,0,0,0", "ISIC_0035068,0,1,0,0,0,0,0"]
    table.write_text("\n".join(rows))
    metadata = dataset.read_metadata(dataset.find_table(tmp_path))
    assert metadata.image_id.tolist() == ["ISIC_0035067"]
    assert metadata.dx.tolist() == ["nv"]
    assert metadata.lesion_id.tolist() == ["ISIC_0035067"]


def test_an_age_that_is_no_number_is_named(copied):
    row = first_row(copied)
    fields = row.split(",")
    edit(copied, row, ",".join([*fields[:4], "old", *fields[5:]]))
    with pytest.raises(DatasetError, match="line 2: age 'old' is no number"):
        open_folder(copied)


def test_a_missing_folder_and_a_missing_table_are_named(tmp_path, copied):
    with pytest.raises(DatasetError, match=r"nowhere does not exist\. Give the folder"):
        dataset.find_table(tmp_path / "nowhere")
    (copied / "HAM10000_metadata").unlink()
    with pytest.raises(DatasetError, match="copied has no HAM10000_metadata"):
        open_folder(copied)


def test_a_missing_archive_is_named(copied):
    (copied / PART).unlink()
    with pytest.raises(DatasetError, match=r"SYN_0000000, .* more are in the table, but in no archive"):
        open_folder(copied)


def test_a_truncated_archive_is_named(copied):
    content = (copied / PART).read_bytes()
    (copied / PART).write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=f"{PART} is damaged .*: fetch it again"):
        open_folder(copied)


def test_an_image_without_a_row_is_named(copied):
    row = first_row(copied)
    edit(copied, row + "\n", "")
    with pytest.raises(DatasetError, match=f"{row.split(',')[1]} is in the archives, but not in the table"):
        open_folder(copied)


def test_an_image_that_occurs_twice_in_the_archives_is_named(copied):
    with zipfile.ZipFile(copied / "HAM10000_images_part_2.zip", "a") as archive:
        archive.writestr("SYN_0000000.jpg", b"")
    with pytest.raises(DatasetError, match=r"SYN_0000000 occurs twice: in HAM10000_images_part_1.zip and in"):
        open_folder(copied)


def test_a_duplicate_id_in_the_table_is_named_with_its_line(copied):
    row = first_row(copied)
    edit(copied, row + "\n", row + "\n" + row + "\n")
    with pytest.raises(DatasetError, match=rf"line 2 \({row.split(',')[1]}\): image_id .* occurs twice"):
        open_folder(copied)


def test_an_unknown_diagnosis_is_named_with_its_line(copied):
    row = first_row(copied)
    fields = row.split(",")
    edit(copied, row, ",".join([*fields[:2], "melanoma", *fields[3:]]))
    with pytest.raises(DatasetError, match=rf"line 2 \({fields[1]}\): dx 'melanoma' does not satisfy isin"):
        open_folder(copied)


def test_a_lesion_with_two_diagnoses_is_named(copied, opened):
    several = opened.metadata.groupby("lesion_id").filter(lambda rows: len(rows) > 1).iloc[0]
    row = next(line for line in (copied / "HAM10000_metadata").read_text().splitlines() if several.image_id in line)
    other = "nv" if several.dx != "nv" else "df"
    edit(copied, row, row.replace(f",{several.dx},", f",{other},"))
    with pytest.raises(DatasetError, match=f"lesion {several.lesion_id} has two diagnoses"):
        open_folder(copied)


def test_a_missing_column_and_an_empty_table_are_named(copied):
    edit(copied, "dx_type", "kind")
    with pytest.raises(DatasetError, match=r"lacks the column\(s\) dx_type"):
        open_folder(copied)
    (copied / "HAM10000_metadata").write_text("lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n")
    with pytest.raises(DatasetError, match="has no rows"):
        open_folder(copied)


def test_unknown_is_a_value_and_an_empty_age_is_missing(opened):
    assert (opened.metadata.sex == "unknown").any()
    assert opened.metadata.age.isna().any()
    assert opened.metadata.drop(columns="age").notna().all(axis=None)


def test_facts_agree_only_where_the_numbers_do(opened):
    facts = dataset.facts(opened.metadata).set_index("fact")
    assert facts.here["images"] == len(opened.metadata)
    assert facts.published["images"] == sum(dataset.PUBLISHED["dx"].values())
    assert not facts.agrees["images"]


def test_associations_lie_between_none_and_complete(opened):
    values = dataset.associations(opened.metadata)
    assert values.between(0, 1).all()
    twin = opened.metadata.assign(dataset=opened.metadata.dx)
    assert dataset.associations(twin)["dataset"] == pytest.approx(1)


def test_examples_are_of_different_lesions(opened):
    drawn = dataset.examples(opened.metadata, each=3, seed=0)
    assert drawn.lesion_id.is_unique
    assert (drawn.dx.value_counts() == 3).all()
    assert set(drawn.dx) == set(dataset.DX)
