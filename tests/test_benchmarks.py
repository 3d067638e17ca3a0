import json

from skinlesion import benchmarks


def test_decoding_is_measured_beside_the_loop_and_written_down(tmp_path):
    table = benchmarks.decoding(tmp_path, count=4, repeats=1)
    assert table.method.tolist() == ["plain loop", "store"]
    assert (table.images == 4).all()
    assert (table[["seconds", "images_per_second", "peak_memory_mb"]] > 0).all(axis=None)
    assert json.loads((tmp_path / "decoding.json").read_text())["environment"]["hardware"]


def test_drawn_jpegs_have_the_size_of_the_originals(tmp_path):
    assert abs(benchmarks.draw_originals(tmp_path, 2) / benchmarks.ORIGINAL_BYTES - 1) < 0.1
