import io
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_model

from skinlesion.__main__ import main
from skinlesion.data import images
from skinlesion.data.dataset import DX
from skinlesion.learning import inference, models
from skinlesion.learning.inference import InferenceError
from skinlesion.scoring import predictions


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
    (folder / "notes.txt").write_text("no image")
    return folder.parent


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
    found = inference.find([photographs])
    [(table, unreadable)] = inference.predict(model, facts, found)
    assert table.image.tolist() == ["a", "b"]
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
    monkeypatch.setattr(inference.archives, "read_bounded", lambda path: read.append(path) or path.read_bytes())
    paths = inference.find([photographs]) * 1000
    given = inference.predict(model, facts, paths)
    next(given)
    given.close()
    assert len(read) <= 4 * inference.TOGETHER


def test_bad_files_are_reported_and_skipped(released, photographs, capsys):
    (photographs / "cut.jpg").write_bytes((photographs / "inner" / "a.jpg").read_bytes()[:200])
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    (photographs / "png.jpg").write_bytes(buffer.getvalue())
    output = photographs / "out.csv"
    assert main(["predict", str(released[1]), str(photographs), "--output", str(output)]) == 0
    said = capsys.readouterr()
    assert "2 images in" in said.out
    assert said.err.count("skipped: ") == 2
    assert "cut.jpg" in said.err
    assert "png.jpg" in said.err
    assert output.read_text().startswith("image,predicted,p_akiec")
    shutil.rmtree(photographs / "inner")
    assert main(["predict", str(released[1]), str(photographs)]) == 1
    assert "none of the images can be read" in capsys.readouterr().err


def test_a_batch_without_a_readable_image_leaves_no_second_head(released, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "TOGETHER", 1)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    for name in ("c.jpg", "d.jpg"):
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    output = tmp_path / "out.csv"
    paths = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")]
    assert main(["predict", str(released[1]), *paths, "--output", str(output)]) == 0
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
    with pytest.raises(InferenceError, match="no JPEG in"):
        inference.find([damaged])
