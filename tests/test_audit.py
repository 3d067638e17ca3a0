import json
import random
import re

import numpy as np
import pandas as pd
import pytest

from skinlesion import parameters
from skinlesion.__main__ import main
from skinlesion.data import duplicates, splits
from skinlesion.data.dataset import DX
from skinlesion.paper import audit
from skinlesion.scoring import predictions

ONE, OTHER, _ = duplicates.PUBLISHED[0]
FIRST, SECOND = "SYN_0000003", "SYN_0000031"  # their lesions here


@pytest.fixture(scope="module")
def metadata():
    """280 lesions with one to four images, seven classes; two of the images are a published pair."""
    rows = [
        (f"SYN_{lesion:07d}", f"SYN_{lesion * 4 + image:07d}", DX[lesion // 4 % 7])
        for lesion in range(280)
        for image in range(1 + lesion % 4)
    ]
    table = pd.DataFrame(rows, columns=["lesion_id", "image_id", "dx"])
    return table.replace({"image_id": {"SYN_0000012": ONE, "SYN_0000124": OTHER}})  # each the first of four


@pytest.fixture
def data(metadata, tmp_path):
    """A folder with the table and no image."""
    folder = tmp_path / "data"
    folder.mkdir()
    metadata.assign(dx_type="histo").to_csv(folder / "HAM10000_metadata", index=False)
    return folder


def drawn(metadata, by, seed=0):
    fractions = {"train_fraction": 0.6, "validation_fraction": 0.1, "calibration_fraction": 0.1, "test_fraction": 0.2}
    chosen = parameters.load("demo", {"split_by": by, "seed": seed, **fractions})
    groups = duplicates.groups(metadata, duplicates.published(metadata))
    return splits.draw(metadata, chosen, groups=groups)[["image_id", "part"]]


def found(split, metadata):
    return audit.audit(split, metadata, {"published": duplicates.published(metadata)})


def kinds(split, metadata):
    return {(finding.kind, finding.leak) for finding in found(split, metadata).findings}


def counted(images, metadata):
    """How many of the images, which may repeat, are of each diagnosis, and of all."""
    dx = dict(zip(metadata.image_id, metadata.dx, strict=True))
    return {**{name: sum(dx[image] == name for image in images) for name in DX}, "all": len(images)}


def said(split, metadata, kind, sentence):
    """The counts of the one finding of a kind whose sentence matches."""
    (one,) = (e for e in found(split, metadata).findings if e.kind == kind and re.search(sentence, e.said))
    return one.counts


def members(split, part):
    return split.image_id[split.part == part].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_split_by_image_shows_every_image_whose_lesion_is_trained_on(metadata, seed):
    split = drawn(metadata, "image", seed)
    lesion = dict(zip(metadata.image_id, metadata.lesion_id.replace(SECOND, FIRST), strict=True))
    trained = {lesion[image] for image in members(split, "train")}
    for part in ("test", "validation"):
        leaked = [image for image in members(split, part) if lesion[image] in trained]
        assert said(split, metadata, "same lesion", f"{part} images .* in training") == counted(leaked, metadata)
    count = sum(lesion[image] in trained for image in members(split, "test"))
    words = f"{count} of 140 test images ({count / 140:.1%}) have an image of their lesion in training"
    assert words in found(split, metadata).verdict
    assert not {kind for kind, leak in kinds(split, metadata) if not leak}


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_split_has_no_finding(metadata, seed):
    shown = found(drawn(metadata, "lesion", seed), metadata)
    assert (shown.findings, shown.verdict) == ([], "no leak: no lesion is in two parts")


@pytest.mark.parametrize(("tested", "trained", "image"), [(FIRST, SECOND, ONE), (SECOND, FIRST, OTHER)])
def test_images_of_one_lesion_under_two_ids_are_found_on_both_sides(metadata, tested, trained, image):
    split = drawn(metadata, "lesion")
    split.loc[metadata.lesion_id == tested, "part"] = "test"
    split.loc[metadata.lesion_id == trained, "part"] = "train"
    assert said(split, metadata, "near-duplicate", "test images .* in training") == counted([image], metadata)
    images = metadata.image_id[metadata.lesion_id == tested].tolist()
    sentence = "test images .* in training, 4 of them only under another lesion id"
    assert said(split, metadata, "same lesion", sentence) == counted(images, metadata)
    assert not audit.audit(split, metadata, {"published": duplicates.published(metadata).iloc[:0]}).leaks


def test_a_lesion_shared_by_training_and_validation_is_told_where_the_test_part_is_clean(metadata):
    split = drawn(metadata, "lesion")
    shared = metadata.image_id[metadata.lesion_id == "SYN_0000002"]
    split.loc[shared.index, "part"] = ["train", "validation", "validation"]
    shown = found(split, metadata)
    assert re.match("1 kind of leak: 2 of .* validation images .* in training$", shown.verdict)
    assert [each.counts for each in shown.findings] == [counted(shared[1:], metadata)]


def test_oversampling_before_the_split_puts_images_on_both_sides(metadata):
    rare = metadata[metadata.dx == "df"]
    rows = pd.concat([metadata, rare, rare])[["image_id"]].sample(frac=1, random_state=0, ignore_index=True)
    split = rows.assign(part=np.where(rows.index < 300, "train", "test"))
    train, test = members(split, "train"), members(split, "test")
    lesion = dict(zip(metadata.image_id, metadata.lesion_id.replace(SECOND, FIRST), strict=True))
    others = [image for image in set(test) if any(lesion[image] == lesion[each] for each in set(train) - {image})]
    assert said(split, metadata, "same lesion", "test images .* in training") == counted(others, metadata)
    shared = set(train) & set(test)
    assert said(split, metadata, "same image", "test images .* in training") == counted(shared, metadata)
    for part, images in (("train", train), ("test", test)):
        more = [image for image in set(images) for _ in range(images.count(image) - 1)]
        assert said(split, metadata, "repeated rows", f"{part} rows .* before the split") == counted(more, metadata)


def test_oversampling_after_the_split_is_said_and_is_no_leak(metadata):
    split = drawn(metadata, "lesion")
    more = split[(split.part == "train") & (metadata.dx == "df")]
    oversampled = pd.concat([split, more, more, more, more])
    sentence = "train rows .* after the split"
    assert said(oversampled, metadata, "repeated rows", sentence) == counted([*more.image_id] * 4, metadata)
    assert kinds(oversampled, metadata) == {("repeated rows", False), ("class mix", False)}


def test_a_test_part_of_lesions_with_a_single_image_is_told(metadata):
    single = metadata[~metadata.duplicated("lesion_id", keep=False)].image_id
    split = metadata[["image_id"]].assign(part=np.where(metadata.image_id.isin(single), "test", "train"))
    assert said(split, metadata, "single-image lesions", "test") == counted([*single], metadata)
    half = split[split.image_id.isin(single)].assign(part=["train", "test"] * 35)  # where all lesions are so
    assert "single-image lesions" not in {kind for kind, _ in kinds(half, metadata[metadata.image_id.isin(single)])}


def test_dropped_and_balanced_classes_are_told(metadata):
    lesions = metadata.drop_duplicates("lesion_id")
    kept = lesions.lesion_id[(lesions.dx == "nv") | (lesions.groupby("dx").cumcount() < 12)]
    uneven = metadata[metadata.lesion_id.isin(kept)].reset_index(drop=True)
    split = drawn(uneven, "lesion")
    assert kinds(split, uneven) == set()
    without = split[(uneven.dx != "df") | (split.part != "train")]
    sentence = rf": df 0.0% instead of {(uneven.dx == 'df').mean():.1%} \(×0.00\)$"
    assert said(without, uneven, "class mix", sentence) == counted(members(without, "train"), uneven)
    train = split[split.part == "train"]
    smallest = train.groupby(uneven.dx).size().min()
    balanced = pd.concat([train.groupby(uneven.dx).head(smallest), split[split.part != "train"]])
    assert said(balanced, uneven, "class mix", "^train .*nv 14.3% instead of")


def test_unknown_and_missing_images_are_counted_and_those_left_out_on_purpose_are_missing_alone(metadata):
    split = drawn(metadata, "lesion")
    gone = metadata[metadata.lesion_id.isin(["SYN_0000007", "SYN_0000260"])].image_id
    changed = split[~split.image_id.isin(gone)]
    changed = pd.concat([changed, pd.DataFrame({"image_id": ["ISIC_0099999", "cat"], "part": ["test", "train"]})])
    shown = {each.kind: each.counts for each in found(changed, metadata).findings}
    assert shown == {"unknown images": {"test": 1, "train": 1}, "missing images": counted([*gone], metadata)}
    split.loc[metadata.lesion_id.isin([f"SYN_{k:07d}" for k in range(3, 280, 40)]), "part"] = "unused"
    assert kinds(pd.concat([split, split[split.part == "unused"]]), metadata) == {("missing images", False)}


def with_predictions(split, metadata):
    """Right on all images of some lesions, wrong on all of the others."""
    right = metadata.lesion_id.str[-1].isin(["3", "4", "6", "9"])
    following = metadata.dx.map(dict(zip(DX, (*DX[1:], DX[0]), strict=True)))
    return split.assign(predicted=metadata.dx.where(right, following)), right


@pytest.mark.parametrize("by", ["image", "lesion"])
def test_accuracy_is_scored_over_all_test_images_and_over_the_clean_ones(metadata, by):
    split, right = with_predictions(drawn(metadata, by), metadata)
    split.loc[metadata.lesion_id == FIRST, "part"] = "test"
    split.loc[metadata.lesion_id == SECOND, "part"] = "train"
    lesion = metadata.lesion_id.replace(SECOND, FIRST)
    test, trained = split.part == "test", lesion.isin(lesion[split.part == "train"])
    scores = found(split, metadata).scores
    assert [row["images"] for row in scores] == ["all", "clean", "leaked"]
    for row in scores:
        at = {"all": test, "clean": test & ~trained, "leaked": test & trained}[row["images"]]
        assert row["count"] == at.sum()
        assert row["majority_accuracy"] == metadata.dx[at].value_counts(normalize=True).max()
        assert row["accuracy"]["value"] == pytest.approx(right[at].mean())
        recalls = [right[at & (metadata.dx == dx)].mean() for dx in DX if (at & (metadata.dx == dx)).any()]
        assert row["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
        lesions = [right[rows].tolist() for rows in lesion[at].groupby(lesion[at]).groups.values()]
        rng, means = random.Random(1), []
        for _ in range(2000):
            images = [image for each in rng.choices(lesions, k=len(lesions)) for image in each]
            means.append(sum(images) / len(images))
        interval = row["accuracy"]["low"], row["accuracy"]["high"]
        assert interval == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.025)


def test_probabilities_score_as_the_class_they_favour_and_labels_are_no_predictions(metadata, tmp_path):
    split, _ = with_predictions(drawn(metadata, "image"), metadata)
    probability = 0.4 * np.eye(len(DX))[split.predicted.map(DX.index)] + 0.6 / len(DX)
    path, whole = tmp_path / "split.csv", split.drop(columns="predicted")

    def scores(columns, values):
        whole.assign(**dict(zip(columns, values.T, strict=True))).to_csv(path, index=False)
        return found(audit.read(path), metadata).scores

    for columns in (predictions.COLUMNS, list(DX), [dx.upper() for dx in DX]):
        assert scores(columns, probability) == found(split, metadata).scores
    assert scores(columns, np.eye(len(DX), dtype=int)[metadata.dx.map(DX.index)]) == []  # the challenge's ground truth


TABLES = {
    "as ours": "image_id,part\nISIC_0000001,train\nISIC_0000002,validation\nISIC_0000003,test\nISIC_0000004,unused\n",
    "semicolons and a byte order mark": "\ufeffImage;Split\nISIC_0000001;Training\nISIC_0000002;val\n"
    "ISIC_0000003;TESTING\nISIC_0000004;\n",
    "tabs, file names and an index": "\tid\tfilename\tsubset\n0\t7\tisic_0000001.jpg\tTRAIN\n"
    "1\t8\tISIC_0000002.JPG\tdev\n2\t9\tISIC_0000003.jpeg\thold-out\n3\t9\tISIC_0000004.jpeg\tunused\n",
    "paths and Windows lines": 'path,set\r\n"ISIC_2018/nv/ISIC_0000001.jpg",train\r\nISIC_0000002_aug1.png,valid\r\n'
    "C:\\part_1\\ISIC_0000003.jpg,test\r\nISIC_0000004,unused\r\n,\r\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_tables_of_anybody_are_read(tmp_path, text):
    path = tmp_path / "split.csv"
    path.write_bytes(text.encode())
    table = audit.read(path)
    assert table.image_id.tolist() == [f"ISIC_000000{k}" for k in range(1, 5)]
    assert table.part.tolist() == ["train", "validation", "test", "unused"]
    assert list(table) == ["image_id", "part"]


def test_one_file_a_part_is_the_same_as_one_table(metadata, tmp_path):
    split = drawn(metadata, "image").replace({"part": {"calibration": "validation"}})
    split = split.sort_values("part", ignore_index=True)
    split.to_csv(tmp_path / "whole.csv", index=False)
    paths = {part: tmp_path / f"{part}.csv" for part in audit.PARTS if part != "unused"}
    for part, path in paths.items():
        split.loc[split.part == part, ["image_id"]].to_csv(path, index=False)
    same = dict.fromkeys(paths, tmp_path / "whole.csv")  # of which each gives the rows of its part
    whole = found(audit.open_split(tmp_path / "whole.csv"), metadata)
    assert all(found(audit.open_split(None, **each), metadata) == whole for each in (paths, same))


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(["audit-split", *map(str, arguments)]))
    return ended.value.code


def test_the_command_says_the_same_in_words_in_json_and_by_its_status(metadata, data, tmp_path, capsys):
    path = tmp_path / "split.csv"
    with_predictions(drawn(metadata, "image"), metadata)[0].to_csv(path, index=False)
    assert run(path, "--data", data) == 1
    words = " ".join(capsys.readouterr().out.split())
    assert run(path, "--data", data, "--json") == 1
    shown = json.loads(capsys.readouterr().out)
    assert words.startswith(shown["verdict"])
    assert any(finding["leak"] for finding in shown["findings"])
    for finding in shown["findings"]:
        assert f"{finding['kind']}: {finding['said']}" in words
        assert " ".join(map(str, finding["counts"].values())) in words
    for row in shown["scores"]:
        assert f"{row['images']} {row['count']} " in words
        assert f"{row['accuracy']['value']:.3f}" in words
    drawn(metadata, "lesion").to_csv(path, index=False)
    assert run(path, "--data", data) == 0
    assert capsys.readouterr().out.startswith("no leak")


BAD = {
    "PK\x03\x04\0": "is no text",
    "": "cannot be read as a table",
    "image_id,part\n": "has no image row",
    "SYN_0000000\nSYN_0000004\n": "has no line of column names",
    "lesion,part\nSYN_0000000,train\n": r"no column of image ids \(its columns: lesion, part\)",
    "image_id,dx\nSYN_0000000,nv\n": "no column of parts",
    "image_id,part\nSYN_0000000,train\nSYN_0000004,3\n": "line 3: part '3' is not known",
    "image_id,part\nSYN_0000000,train\n": r"no test part \(parts here: train\)",
    "image_id,part\n1,train\nSYN_0000000,test\n": "no train image is in the table of lesions",
    "image_id,part,pred\nSYN_0000000,train,nv\nSYN_0000004,test,4\n": "test image SYN_0000004 .* '4': .* one of akiec",
}
SOUND = "image_id,part\nSYN_0000000,train\nSYN_0000004,test\n"


@pytest.mark.parametrize("text", BAD)
def test_a_table_that_cannot_be_audited_is_refused_in_a_sentence(data, tmp_path, capsys, text):
    path = tmp_path / "split.csv"
    path.write_text(text)
    assert run(path, "--data", data) == 2  # not 1, which says that it leaks
    assert re.search(BAD[text], capsys.readouterr().err)


def test_without_a_table_of_parts_of_lesions_or_of_pairs_it_is_said_what_is_needed(data, tmp_path, capsys):
    path, empty = tmp_path / "split.csv", tmp_path / "empty.csv"
    path.write_text(SOUND)
    empty.touch()
    for arguments, words in (
        (["--data", data], "there is no table"),
        ([tmp_path / "nowhere.csv", "--data", data], "nowhere.csv"),
        ([path, "--data", tmp_path / "empty"], "has no HAM10000_metadata. Give the folder that has it with --data"),
        ([path, "--data", data, "--pairs", path], "lacks the columns image_a and image_b"),
        ([path, "--data", data, "--pairs", empty], "empty.csv cannot be read as a table"),
    ):
        assert run(*arguments) == 2
        message = capsys.readouterr().err
        assert words in message
        assert message.count("\n") == 1


def test_pairs_come_from_the_images_or_from_a_table(opened, data, metadata, tmp_path):
    searched = audit.open_pairs(opened.metadata, opened.folder, cache=tmp_path)[audit.FOUND]
    assert searched.equals(duplicates.find(opened, cache=tmp_path))
    assert list(audit.open_pairs(metadata, data, cache=tmp_path)) == ["published"]  # there are no images
    given = tmp_path / "pairs.csv"
    rows = [("SYN_0000000", "SYN_0000004"), ("SYN_0000000", "ISIC_0000000")]
    pd.DataFrame(rows, columns=["image_a", "image_b"]).to_csv(given, index=False, sep=";")
    read = audit.open_pairs(metadata, data, cache=tmp_path, given=given)["pairs.csv"]
    assert read.to_numpy().tolist() == [["SYN_0000000", "SYN_0000004"]]  # of images of the data
    split = drawn(metadata, "lesion")
    split.loc[metadata.lesion_id == "SYN_0000000", "part"] = "test"
    split.loc[metadata.lesion_id == "SYN_0000001", "part"] = "train"
    leaks = [each for each in audit.audit(split, metadata, {"given": read}).findings if each.kind == "near-duplicate"]
    assert [each.counts["all"] for each in leaks] == [1]


LESION, COPIES = {"same lesion"}, {"repeated rows", "class mix"}
MISTAKES = {None: (set(), set()), "test_by_image": (LESION, set()), "by_image": (LESION, set())}
MISTAKES |= {name: (LESION | {"same image"}, COPIES) for name in ("oversampled", "augmented", "all")}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_mistakes_of_the_road_are_seen_in_the_splits_they_make(tmp_path, mistake):
    """As this study writes them, copies and vault included; nv is half of the data."""
    dx = np.random.default_rng(0).choice(DX, 600, p=[0.08, 0.08, 0.1, 0.05, 0.12, 0.5, 0.07])
    rows = [(f"SYN_{k:07d}", f"SYN_{4 * k + image:07d}", dx[k]) for k in range(600) for image in range(1 + k % 3)]
    metadata = pd.DataFrame(rows, columns=["lesion_id", "image_id", "dx"])
    chosen = parameters.load("quick", {"vault_fraction": 0.15, "mistake": mistake})
    splits.draw(metadata, chosen).to_csv(tmp_path / "split.csv", index=False)
    shown = found(audit.read(tmp_path / "split.csv"), metadata)
    leaks, others = ({e.kind for e in shown.findings if e.leak is leak} for leak in (True, False))
    assert (leaks, others - {"missing images"}) == MISTAKES[mistake]
    assert shown.leaks == bool(leaks)
    if mistake == "test_by_image":
        assert not any("validation images" in finding.said for finding in shown.findings)
