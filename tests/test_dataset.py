import csv
import os
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import claiming

from skinlesion import parameters
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
    groupings(metadata).to_csv(folder / f"{dataset.GROUPINGS}.csv", index=False)
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
    (copied / f"{dataset.GROUPINGS}.csv").unlink()
    with pytest.raises(DatasetError, match="nobody knows which images show one lesion"):
        dataset.read_metadata(table)
    plain = copied / "ISIC2018_Task3_Training_GroundTruth.csv"
    plain.write_text("image,AKIEC,BCC,BKL,DF,MEL,NV,VASC\nISIC_0000001,1,1,0,0,0,0,0\n")
    with pytest.raises(DatasetError, match="line 2 has not exactly one diagnosis"):
        dataset.read_metadata(plain)


def as_dataverse(table):
    """Tabs and quotes, as Dataverse renders a table that is downloaded by default."""
    return table.to_csv(sep="\t", index=False, quoting=csv.QUOTE_NONNUMERIC)


RENDERINGS = {
    "HAM10000_metadata.tab": as_dataverse,
    "ham10000_metadata.TAB": as_dataverse,
    "HAM10000_metadata.tsv": lambda table: table.to_csv(sep="\t", index=False),
    "HAM10000_metadata.csv": lambda table: "\ufeff" + table.to_csv(sep=";", decimal=",", index=False),
    "HAM10000_metadata.txt": lambda table: table.to_csv(sep="\t", index=False, lineterminator="\r\n"),
    "HAM10000_metadata": lambda table: table.rename(columns=" {} ".format).to_csv(sep=";", index=False),
    "HAM10000_metadata/HAM10000_metadata.csv": lambda table: table.to_csv(index=False, na_rep="NaN"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", RENDERINGS)
def test_the_table_is_the_same_by_whatever_name_and_separator(copied, opened, name, encoding):
    table = pd.read_csv(copied / "HAM10000_metadata", keep_default_na=False, na_values={"age": [""]})
    (copied / "HAM10000_metadata").unlink()
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).write_text(RENDERINGS[name](table), encoding=encoding)
    pd.testing.assert_frame_equal(dataset.read_metadata(dataset.find_table(copied)), opened.metadata)
    assert dataset.set_of(dataset.find_table(copied)) == "ham10000"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("image_id,dx,localization\na,nv,Gesäß\n".encode("latin-1"), "'utf-8' codec .* Save it in UTF-8"),
        (bytes(archives.MOST_BYTES + 1), "metadata.csv has more than 20,000,000 bytes, the most that is read: is it"),
    ],
)
def test_a_table_that_cannot_be_read_is_not_told_to_be_an_image_or_to_be_fetched(tmp_path, content, told):
    (tmp_path / "metadata.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=told):
        dataset.read_metadata(tmp_path / "metadata.csv")


def test_a_table_in_a_zip_is_read_and_a_mac_s_shadow_of_it_is_not(copied, opened):
    path = copied / "HAM10000_metadata"
    with zipfile.ZipFile(f"{path}.zip", "w") as archive:
        archive.writestr("__MACOSX/._HAM10000_metadata.csv", "no table")
        archive.writestr("HAM10000_metadata/", "")
        archive.writestr("HAM10000_metadata/HAM10000_metadata.csv", path.read_text())
    path.unlink()
    pd.testing.assert_frame_equal(dataset.read_metadata(dataset.find_table(copied)), opened.metadata)


def column(folder, name, values):
    """Write other values into a column, as text."""
    path = folder / "HAM10000_metadata"
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    table[name] = [values[row % len(values)] for row in range(len(table))]
    table.to_csv(path, index=False)
    return dataset.read_metadata(path)[name]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["40", "55"], {40.0, 55.0}),  # none missing, all whole
        (["40"], {40.0}),
        (["40.0"], {40.0}),
        (["40,5"], {40.5}),
        ([""], set()),
        (["NaN", "n/a", "", "NULL"], set()),
        (["0", ""], {0.0}),
    ],
)
def test_an_age_is_a_number_whatever_the_others_are(copied, given, read):
    ages = column(copied, "age", given)
    assert ages.dtype == float
    assert set(ages.dropna()) == read
    assert ages.isna().any() == (not read or "" in given)


@pytest.mark.parametrize("name", ["localization", "sex", "dataset", "dx_type"])
@pytest.mark.parametrize("nothing", ["", "NaN", "nan", "NA", "None", " "])
def test_an_empty_field_is_unknown_and_no_place_of_its_own(copied, name, nothing):
    assert set(column(copied, name, [nothing])) == {"unknown"}


def test_the_row_of_the_official_test_set_that_has_no_image_is_left_out(tmp_path):
    table = tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv"
    rows = ["image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", "ISIC_0035067,0,1,0,0,0,0,0", "ISIC_0035068,0,1,0,0,0,0,0"]
    table.write_text("\n".join(rows))
    metadata = dataset.read_metadata(dataset.find_table(tmp_path))
    assert metadata.image_id.tolist() == ["ISIC_0035067"]
    assert metadata.dx.tolist() == ["nv"]
    assert metadata.lesion_id.tolist() == ["ISIC_0035067"]


TEST_IDS = ["ISIC_0035067", "ISIC_0035068", "ISIC_0035069"]


@pytest.mark.parametrize("images_of", ["ISIC2018_Task3_Test_Images.zip", "ISIC2018_Task3_Test_Input.zip"])
@pytest.mark.parametrize("table", ["ISIC2018_Task3_Test_GroundTruth.tab", "ISIC2018_Task3_Test_GroundTruth.csv"])
@pytest.mark.parametrize("beside", [False, True])
def test_both_copies_of_the_test_set_are_whole_with_either_table_and_beside_the_other_set(
    copied, tmp_path, tiny, images_of, table, beside
):
    """Dataverse has no image ISIC_0035068, the challenge has one; both have its row."""
    folder = copied if beside else tmp_path
    there = TEST_IDS if images_of.endswith("Input.zip") else [TEST_IDS[0], TEST_IDS[2]]
    with zipfile.ZipFile(folder / images_of, "w") as archive:
        for image_id in there:
            archive.writestr(f"{image_id}.jpg", b"x")
    if table.endswith(".tab"):
        rows = [f"HAMTEST_{k:07d}\t{image_id}\tnv\t\t\t\t\t" for k, image_id in enumerate(TEST_IDS)]
        head = "lesion_id\timage_id\tdx\tdx_type\tage\tsex\tlocalization\tdataset"
    else:
        rows = [f"{image_id},0,1,0,0,0,0,0" for image_id in TEST_IDS]
        head = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    (folder / table).write_text("\n".join([head, *rows]))
    metadata = dataset.read_metadata(dataset.find_table(folder, "isic2018_test"))
    dataset.check(metadata, archives.index(folder, "isic2018_test"), folder=folder)
    assert metadata.image_id.tolist() == [TEST_IDS[0], TEST_IDS[2]]
    found = dataset.open_dataset(tiny.model_copy(update={"data": str(folder), "synthetic_lesions": None}))
    assert found.metadata.image_id[0] == ("SYN_0000000" if beside else TEST_IDS[0])


BAD_FIRST_IMAGES = {
    "nothing": (b"", "it is empty"),
    "text": (b"<html>", "no JPEG"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "no JPEG"),
    "a head alone": (b"\xff\xd8\xff", "no JPEG"),
    "zeros": (bytes(5000), "no JPEG"),
    "65,500² pixels": (claiming(65_500, 65_500), "pixels"),
    "too much": (bytes(archives.MOST_BYTES + 1), "more than 20,000,000 bytes"),
}


@pytest.mark.parametrize("fault", BAD_FIRST_IMAGES)
@pytest.mark.parametrize("extracted", [False, True])
def test_a_bad_first_image_is_named(copied, tiny, fault, extracted):
    content, reason = BAD_FIRST_IMAGES[fault]
    with zipfile.ZipFile(copied / PART) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {"SYN_0000000.jpg": content}
    if extracted:
        with zipfile.ZipFile(copied / "HAM10000_images_part_2.zip") as archive:
            archive.extractall(copied / "part")
        for name, old in members.items():
            (copied / "part" / name).write_bytes(old)
        (copied / PART).unlink()
        (copied / "HAM10000_images_part_2.zip").unlink()
    else:
        with zipfile.ZipFile(copied / PART, "w") as archive:
            for name, old in members.items():
                archive.writestr(name, old)
    place = "part/SYN_0000000.jpg" if extracted else PART
    chosen = tiny.model_copy(update={"data": str(copied), "synthetic_lesions": None})
    with pytest.raises(DatasetError, match=rf"image SYN_0000000 in {place} cannot be decoded \(.*{reason}"):
        _ = dataset.open_dataset(chosen).title


def test_a_table_that_is_no_file_is_refused(copied):
    (copied / "HAM10000_metadata").unlink()
    os.mkfifo(copied / "HAM10000_metadata.csv")
    with pytest.raises(DatasetError, match=r"HAM10000_metadata\.csv is a pipe"):
        dataset.read_metadata(dataset.find_table(copied))


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


@pytest.fixture
def own(drawn, tmp_path):
    """Photographs of somebody's own, in a folder each, as PH2 has them, with a table of their own."""
    source = dataset.open_dataset(parameters.load("demo", {"data": str(drawn), "synthetic_lesions": 84}))
    folder = tmp_path / "PH2"
    rows = []
    for number, row in enumerate(source.metadata.itertuples()):
        member = source.members[row.image_id]
        with archives.open_container(member.container) as read:
            content = read(member.name)
        name = f"IMD{number:03d}"
        (folder / "images" / name).mkdir(parents=True)
        (folder / "images" / name / f"{name}.jpg").write_bytes(content)
        rows.append({"image_id": name, "dx": row.dx, "dx_type": "expert", "dataset": "Pedro Hispano"[:5]})
    (folder / "images" / "overview.jpg").write_bytes(b"no picture")  # which the table does not speak of
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", sep=";", index=False)
    return folder


def test_images_of_ones_own_are_read_by_a_table_of_ones_own(own):
    data = dataset.open_dataset(parameters.load("quick", {"data": str(own)}))
    assert data.title.startswith(f"images of PH2, {len(data.metadata)} images of {len(data.metadata)} lesions")
    assert data.metadata.lesion_id.equals(data.metadata.image_id)
    assert set(data.metadata.dx_type) == {"expert"}
    assert set(data.metadata.dataset) == {"Pedro"}
    assert data.metadata.age.isna().all()
    assert set(data.members) == set(data.metadata.image_id)
    assert not data.synthetic


def test_a_table_of_ones_own_needs_a_known_diagnosis_and_every_image(own):
    table = own / "metadata.csv"
    text = table.read_text()
    table.write_text(text.replace(";nv;", ";naevus;", 1))
    with pytest.raises(DatasetError, match="naevus"):
        dataset.open_dataset(parameters.load("quick", {"data": str(own)}))
    table.write_text(text + "IMD999;nv;expert;Pedro\n")
    with pytest.raises(DatasetError, match="IMD999 is in the table, but in no archive"):
        dataset.open_dataset(parameters.load("quick", {"data": str(own)}))
