import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file, save_model

from skinlesion.__main__ import SOME_SKIPPED, main
from skinlesion.data import hashes, images
from skinlesion.data.dataset import DX
from skinlesion.learning import inference, models
from skinlesion.learning.inference import InferenceError
from skinlesion.scoring import calibration, isic, predictions


@pytest.fixture
def released(tiny, tmp_path):
    model = models.build("mobilenet_v2", weights="none", classes=7, seed=3).eval()
    path = tmp_path / "model.safetensors"
    inference.save(model, path, tiny)
    return model, path


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs" / "inner"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.JPEG"):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(folder / name, format="JPEG")
    return folder.parent


def run(released, *arguments):
    return main(["predict", str(released[1]), *map(str, arguments)])


def picture(path, form="JPEG", colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 60), colour).save(path, format=form)
    return path


def test_what_is_saved_is_loaded_with_what_is_needed_to_use_it(released, tiny):
    model, path = released
    loaded, facts = inference.load(path)
    assert (facts["backbone"], facts["image_size"], tuple(facts["classes"])) == ("mobilenet_v2", 32, DX)
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(pixels), loaded(pixels))
    assert not loaded.training
    assert path.stat().st_size < 10e6


def test_probabilities_are_those_of_the_store_s_pixels(released, photographs):
    model, facts = inference.load(released[1])
    found, _ = inference.find([photographs])
    [(table, unreadable)] = inference.predict(model, facts, found)
    assert table.image.tolist() == ["a", "b"]
    assert table.path.tolist() == [str(photographs / "inner" / name) for name in ("a.jpg", "b.JPEG")]
    assert not unreadable
    store = np.stack([images.decode(path.read_bytes(), size=32) for path in found])
    again = inference.predict_parts(
        model,
        store,
        metadata=table.assign(dx="nv"),
        split=table[["image"]].rename(columns={"image": "image_id"}).assign(lesion_id="x", part="test"),
    )
    assert np.allclose(table[predictions.COLUMNS], again[predictions.COLUMNS], atol=1e-6)
    assert table.predicted.tolist() == [DX[k] for k in table[predictions.COLUMNS].to_numpy().argmax(1)]


def test_batches_come_in_order_and_say_what_single_images_say(released, tmp_path):
    model, facts = inference.load(released[1])
    rng = np.random.default_rng(1)
    paths = [tmp_path / f"{number:03d}.jpg" for number in range(2 * inference.TOGETHER + 3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    paths[20].write_bytes(b"no image")
    done = list(inference.predict(model, facts, paths, threads=3))
    assert [len(table) + len(unreadable) for table, unreadable in done] == [inference.TOGETHER] * 2 + [3]
    assert [path for _, unreadable in done for path in unreadable] == [paths[20]]
    whole = pd.concat([table for table, _ in done], ignore_index=True)
    single = [next(inference.predict(model, facts, [path]))[0] for path in paths]
    alone = pd.concat(single, ignore_index=True)
    assert whole.image.tolist() == alone.image.tolist()
    assert np.allclose(whole[predictions.COLUMNS], alone[predictions.COLUMNS], atol=1e-5)


def test_files_are_read_as_they_are_asked_for(released, photographs, monkeypatch):
    """However many there are, a few batches are in memory."""
    model, facts = inference.load(released[1])
    read = []
    monkeypatch.setattr(inference.archives, "read_bounded", lambda path, most: read.append(path) or path.read_bytes())
    paths = inference.find([photographs])[0] * 1000
    given = inference.predict(model, facts, paths)
    next(given)
    given.close()
    assert len(read) <= 4 * inference.TOGETHER


def test_bad_files_are_reported_and_skipped(released, photographs, capsys):
    (photographs / "cut.jpg").write_bytes((photographs / "inner" / "a.jpg").read_bytes()[:200])
    (photographs / "empty.jpg").touch()
    output = photographs / "out.csv"
    assert run(released, photographs, "--output", output) == SOME_SKIPPED
    said = capsys.readouterr()
    assert f"2 images in {output}, 2 skipped" in said.out
    assert said.err.count("skipped: ") == 2
    assert f"skipped: {photographs / 'cut.jpg'}: " in said.err
    assert f"skipped: {photographs / 'empty.jpg'}: it is empty" in said.err
    assert "0x" not in said.err  # no address in memory
    assert output.read_text().startswith("path,image,predicted,trained_on,p_akiec")
    shutil.rmtree(photographs / "inner")
    assert run(released, photographs) == 1
    assert "none of the images can be read" in capsys.readouterr().err


def test_pictures_in_other_formats_and_folders_behind_links_are_read(released, tmp_path, capsys):
    names = {
        "a.jpg": "JPEG",
        "b.jfif": "JPEG",
        "c.png": "PNG",
        "d.webp": "WEBP",
        "e.TIF": "TIFF",
        "f": "BMP",
        "g.avif": "AVIF",
    }
    for name, form in names.items():
        picture(tmp_path / "elsewhere" / name, form)
    Image.new("RGBA", (80, 60), (255, 0, 0, 255)).save(tmp_path / "elsewhere" / "h.png")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "given")
    assert run(released, tmp_path / "given") == 0
    said = capsys.readouterr()
    table = pd.read_csv(io.StringIO(said.out))
    assert table.path.tolist() == [str(tmp_path / "given" / "link" / name) for name in (*names, "h.png")]
    assert "skipped" not in said.err
    assert np.ptp(table[predictions.COLUMNS].to_numpy(), axis=0).max() < 1e-3  # all show the same


def test_every_file_that_is_not_read_is_named_with_the_reason(released, tmp_path, capsys):
    folder = tmp_path / "given"
    picture(folder / "a.jpg")
    picture(folder / "b.jpg", "GIF")
    (folder / "c.txt").write_text("notes")
    (folder / "d.heic").write_bytes(b"\x00\x00\x00\x18ftypheic")
    os.mkfifo(folder / "e.jpg")
    (folder / "f.jpg").symlink_to("nothing")
    (folder / "g.jpg").symlink_to("/dev/zero")
    (folder / "h.jpg").mkdir()
    picture(folder / "h.jpg" / "i.jpg")
    for name in (".DS_Store", "._a.jpg", ".thumbnails/a.jpg"):  # left by systems, not by people
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert run(released, folder) == SOME_SKIPPED
    said = capsys.readouterr()
    assert pd.read_csv(io.StringIO(said.out)).path.tolist() == [str(folder / "a.jpg"), str(folder / "h.jpg" / "i.jpg")]
    skipped = {line.split(": ")[1]: line.split(": ")[2] for line in said.err.splitlines() if line.startswith("skipped")}
    formats = "no JPEG or PNG or WEBP or TIFF or BMP or AVIF"
    assert skipped == {
        str(folder / "b.jpg"): formats,
        str(folder / "c.txt"): formats,
        str(folder / "d.heic"): "it is HEIC, which is not read here",
        str(folder / "e.jpg"): "is a pipe",
        str(folder / "f.jpg"): "is a link to nothing",
        str(folder / "g.jpg"): "is a device",
    }


def test_results_can_be_attributed(released, tmp_path, capsys, monkeypatch):
    """Files of one name in several folders, and of one stem: the path is given back as it was given."""
    monkeypatch.chdir(tmp_path)
    paths = [picture(Path(name)) for name in ("patient0/1.jpg", "patient1/1.jpg", "patient1/1.jpeg")]
    assert run(released, *paths) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table.path.tolist() == ["patient0/1.jpg", "patient1/1.jpg", "patient1/1.jpeg"]
    assert set(table.image) == {1}


@pytest.mark.parametrize("names", [("x/1.jpg", "y/1.jpg"), ("a.jpg", "a.jpeg"), ("a.jpg", "a.png")])
def test_the_challenges_format_refuses_two_images_of_one_name(released, tmp_path, capsys, names):
    one, other = (picture(tmp_path / "given" / name, "PNG") for name in names)
    assert run(released, tmp_path / "given", "--isic", "--output", tmp_path / "out.csv") == 1
    assert "in the challenge's format: rename one" in (said := capsys.readouterr().err)
    assert all(str(path) in said for path in (one, other))
    assert not (tmp_path / "out.csv").exists()


def test_the_challenges_format_goes_by_pictures_alone(released, tmp_path, capsys):
    """The ISIC archive gives each picture a file with what is known of it."""
    picture(tmp_path / "given" / "ISIC_0000001.jpg")
    (tmp_path / "given" / "ISIC_0000001.json").write_text("{}")
    assert run(released, tmp_path / "given", "--isic") == SOME_SKIPPED
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table) == ["image", *isic.CATEGORIES]
    assert table.image.tolist() == ["ISIC_0000001"]


@pytest.mark.parametrize("arguments", [[], ["--isic"]])
def test_what_is_redirected_is_the_file_that_output_would_write(released, photographs, tmp_path, capsys, arguments):
    assert run(released, photographs, *arguments) == 0
    printed = capsys.readouterr().out
    output = tmp_path / "out.csv"
    assert run(released, photographs, *arguments, "--output", output) == 0
    assert printed == output.read_text()
    table = pd.read_csv(output)
    assert table.iloc[:, -7:].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-8)


def test_a_screen_gets_three_decimals_and_a_warning_once(released, photographs, capsys, monkeypatch):
    monkeypatch.setattr(inference, "TOGETHER", 1)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert run(released, photographs) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    assert max(len(field) for field in said.out.splitlines()[1].split()[4:]) <= 5
    assert said.err.count("research only, not for diagnosis") == 1


def test_a_name_that_is_no_utf8_or_a_formula_does_not_lose_the_rest(released, tmp_path, capsys):
    folder = tmp_path / "given"
    for name in ("a.jpg", os.fsdecode(b"caf\xe9.jpg"), "é.jpg", "=1+1.jpg", "z\nz.jpg"):
        picture(folder / name)
    names = ["'=1+1", "a", r"caf\udce9", "z\nz", "é"]
    for output in (None, tmp_path / "out.csv"):
        assert run(released, folder, *(["--output", output] if output else [])) == 0
        printed = capsys.readouterr().out
        assert sorted(pd.read_csv(output or io.StringIO(printed)).image) == sorted(names)


def test_an_output_over_an_input_is_refused(released, photographs, tmp_path, capsys):
    photograph = photographs / "inner" / "a.jpg"
    before = photograph.read_bytes()
    (tmp_path / "link.csv").symlink_to(photograph)
    (photographs / "notes.txt").write_text("what else lies there")
    for output in (photograph, tmp_path / "link.csv", photographs / "notes.txt", released[1]):
        content = output.read_bytes()
        assert run(released, photographs, "--output", output) == 1
        assert f"--output {output} is one of the files to read" in capsys.readouterr().err
        assert output.read_bytes() == content
    assert photograph.read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["--isic"]])
def test_the_table_of_an_earlier_call_is_written_anew_where_it_lies_among_the_pictures(
    released, photographs, arguments
):
    output = photographs / "out.csv"
    for _ in range(2):
        assert run(released, photographs, *arguments, "--output", output) == 0
    assert len(pd.read_csv(output)) == 2


def test_the_help_says_what_the_status_means(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert f"{SOME_SKIPPED}, some were skipped" in " ".join(capsys.readouterr().out.split())


def beside(released, temperature=None, trained_on=None):
    """Put what a run leaves beside its network."""
    if temperature is not None:
        (released[1].parent / "metrics.json").write_text(json.dumps({"temperature": temperature, "test": {}}))
    if trained_on is not None:
        (released[1].parent / inference.TRAINED_ON).write_bytes(hashes.of_each(trained_on).tobytes())


def test_probabilities_are_calibrated_where_the_temperature_lies_beside_the_network(released, photographs, capsys):
    rewrite(released[1], change_weights=lambda state: state["classifier.1.bias"].copy_(torch.arange(7.0)))
    model, facts = inference.load(released[1])
    [(raw, _)] = inference.predict(model, facts, inference.find([photographs])[0])
    assert run(released, photographs) == 0
    assert "probabilities are not calibrated" in capsys.readouterr().err
    beside(released, temperature=2.5)
    assert run(released, photographs) == 0
    said = capsys.readouterr()
    assert "probabilities are calibrated: temperature 2.50" in said.err
    expected = calibration.with_temperature(raw[predictions.COLUMNS].to_numpy(), 2.5)
    found = pd.read_csv(io.StringIO(said.out))
    np.testing.assert_allclose(found[predictions.COLUMNS], expected, atol=1e-6)
    assert np.abs(expected - raw[predictions.COLUMNS]).to_numpy().max() > 1e-3


@pytest.mark.parametrize("temperature", [0, -1, "warm", float("nan")])
def test_a_temperature_that_is_none_is_refused_by_name(released, photographs, temperature, capsys):
    beside(released, temperature=temperature)
    assert run(released, photographs) == 1
    said = capsys.readouterr().err
    assert "metrics.json is damaged (its " in said
    assert "put it back, or take it away" in said


def test_a_picture_of_the_training_part_is_known_again(released, tmp_path, drawn, capsys):
    """As it lies in the archive, in the network's square, and compressed anew; not another, and not one turned."""
    with zipfile.ZipFile(drawn / "HAM10000_images_part_1.zip") as archive:
        content = [archive.read(f"SYN_000000{k}.jpg") for k in range(4)]
    beside(released, trained_on=[images.decode(each, size=32) for each in content[:3]])
    frame, square = images.open_image(content[0]), Image.fromarray(images.decode(content[1], size=32))
    frame.save(tmp_path / "a.png")
    square.save(tmp_path / "b.png")
    images.open_image(content[2]).resize((600, 450)).save(tmp_path / "c.jpg", quality=60)
    (tmp_path / "d.jpg").write_bytes(content[3])
    frame.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "e.png")
    assert run(released, *(tmp_path / f"{name}" for name in ("a.png", "b.png", "c.jpg", "d.jpg", "e.png"))) == 0
    said = capsys.readouterr()
    assert pd.read_csv(io.StringIO(said.out)).trained_on.tolist() == ["yes", "yes", "yes", "no", "no"]
    assert "the 3 images it was trained on are known again if scaled" in said.err
    assert "3 of 5 look like images it was trained on" in said.err


def test_a_cut_list_of_training_images_is_refused_by_name(released, photographs, capsys):
    beside(released, temperature=1.5)
    (released[1].parent / inference.TRAINED_ON).write_bytes(b"x" * (hashes.LENGTH + 1))
    assert run(released, photographs) == 1
    assert f"{inference.TRAINED_ON} is damaged" in capsys.readouterr().err


def test_a_picture_of_another_shape_comes_undistorted_before_the_network(released, tmp_path):
    model, facts = inference.load(released[1])
    square = Image.new("RGB", (450, 450))
    square.paste((200, 120, 90), (150, 150, 300, 300))
    frame = Image.new("RGB", (600, 450))
    frame.paste(square, (75, 0))
    square.save(tmp_path / "square.png")
    frame.save(tmp_path / "frame.png")
    [(table, _)] = inference.predict(model, facts, [tmp_path / "square.png", tmp_path / "frame.png"])
    first, second = table[predictions.COLUMNS].to_numpy()
    assert np.allclose(first, second, atol=1e-6)


def test_a_batch_without_a_readable_image_leaves_no_second_head(released, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "TOGETHER", 1)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    for name in ("c.jpg", "d.jpg"):
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    output = tmp_path / "out.csv"
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")]
    assert run(released, *paths, "--output", output) == SOME_SKIPPED
    assert pd.read_csv(output).image.tolist() == ["c", "d"]


def test_what_cannot_be_used_is_named(released, photographs, tmp_path):
    with pytest.raises(InferenceError, match=r"none\.safetensors is not here"):
        inference.load(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(released[1].read_bytes()[:1000])
    with pytest.raises(InferenceError, match=r"damaged\.safetensors is damaged or no network of this library"):
        inference.load(damaged)
    foreign = tmp_path / "foreign.safetensors"
    save_model(released[0], str(foreign))
    with pytest.raises(InferenceError, match=r"foreign\.safetensors is damaged or no network of this library"):
        inference.load(foreign)
    with pytest.raises(InferenceError, match="does not exist"):
        inference.find([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InferenceError, match="no picture in"):
        inference.find([tmp_path / "empty"])


def rewrite(path, change_facts=None, change_weights=None):
    """Write a network again with other metadata, or other weights."""
    with safe_open(path, framework="pt") as opened:
        metadata, state = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if change_facts:
        metadata[inference.FACTS] = change_facts(json.loads(metadata[inference.FACTS]))
    if change_weights:
        change_weights(state)
    save_file(state, path, metadata=metadata)


def without(key):
    return lambda facts: json.dumps({name: value for name, value in facts.items() if name != key})


def other(key, value):
    return lambda facts: json.dumps({**facts, key: value})


BAD_FACTS = {
    "a list": (lambda facts: "[1, 2]", "its metadata: "),
    "null": (lambda facts: "null", "its metadata: "),
    "a number": (lambda facts: "7", "its metadata: "),
    "no JSON": (lambda facts: "{", "its metadata: Invalid JSON"),
    "no size": (without("image_size"), "its image_size: Field required"),
    "no classes": (without("classes"), "its classes: Field required"),
    "a size below zero": (other("image_size", -1), "its image_size: "),
    "a size beyond memory": (other("image_size", 10**9), "its image_size: "),
    "a size in words": (other("image_size", "224"), "its image_size: "),
    "an unknown manner": (other("resize", "stretch"), "its resize: "),
    "another order": (other("classes", list(DX[::-1])), "its classes: should be akiec, bcc"),
    "six classes": (other("classes", list(DX[:6])), "its classes: should be akiec, bcc"),
    "other classes": (other("classes", [*DX[:6], "scc"]), "its classes: should be akiec, bcc"),
    "markup in the study": (other("study", "<script>alert(1)</script>"), "its study: "),
    "markup in the backbone": (other("backbone", "<b>mobilenet_v2</b>"), "its backbone: "),
    "an unknown backbone": (other("backbone", "mobilenet_v9"), "torchvision has no classifier called 'mobilenet_v9'"),
    "a seed below zero": (other("seed", -3), "its seed: "),
}


@pytest.mark.parametrize("case", BAD_FACTS)
def test_a_network_with_other_metadata_than_is_written_is_refused_in_one_sentence(released, photographs, case):
    change, said = BAD_FACTS[case]
    rewrite(released[1], change)
    with pytest.raises(InferenceError) as error:
        inference.load(released[1])
    assert str(error.value).startswith(f"{released[1].name} is damaged or no network of this library ({said}")
    assert "\n" not in str(error.value)
    assert "<" not in str(error.value)
    assert run(released, photographs) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_network_with_weights_that_are_not_finite_is_refused(released, value):
    def spoil(state):
        state["classifier.1.weight"][3, 5] = value

    rewrite(released[1], change_weights=spoil)
    with pytest.raises(InferenceError, match=r"classifier\.1\.weight holds NaN or infinity"):
        inference.load(released[1])


def test_a_network_with_weights_of_another_kind_of_number_is_refused(released):
    rewrite(released[1], change_weights=lambda state: state.update({"classifier.1.bias": torch.zeros(7).long() + 9}))
    with pytest.raises(InferenceError, match=r"classifier\.1\.bias is not of torch\.float32"):
        inference.load(released[1])


def test_a_network_written_with_more_metadata_than_is_known_is_used(released):
    rewrite(released[1], other("licence", "CC BY-NC 4.0"))
    assert inference.load(released[1])[1]["classes"] == DX


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "is a pipe"),
        (Path.mkdir, "is a folder"),
        (lambda p: p.symlink_to("nothing"), "is a link to nothing"),
    ],
)
def test_a_network_that_is_no_file_is_refused_by_name(tmp_path, make, reason):
    make(tmp_path / "model.safetensors")
    with pytest.raises(InferenceError, match=rf"model\.safetensors {reason}"):
        inference.load(tmp_path / "model.safetensors")
