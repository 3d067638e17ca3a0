import numpy as np
import pandas as pd

from skinlesion import tables


def test_an_interval_is_written_beside_its_value():
    assert tables.interval(0.81234, 0.79, 0.834) == "0.812 (0.790–0.834)"
    assert tables.interval(0.81234, np.nan, np.nan) == "0.812"
    assert tables.interval(np.nan, np.nan, np.nan) == "–"
    rows = pd.DataFrame({"value": [0.5], "low": [0.4], "high": [0.6], "support": [3]}, index=["nv"])
    assert tables.with_interval(rows, digits=1)["nv"] == "0.5 (0.4–0.6)"


def test_a_table_has_its_caption_and_readable_words():
    frame = pd.DataFrame({"test_images": [12345], "fraction": [0.5], "agrees": [True]}, index=["macro_f1"])
    html = tables.show(frame, caption="What it is of.").to_html()
    for word in ("What it is of.", "test images", "12,345", "0.500", "yes", "macro f1"):
        assert word in html
    assert "–" in tables.show(pd.DataFrame({"x": [np.nan]}), caption="").to_html()


def test_two_levels_of_columns_become_one():
    frame = pd.DataFrame({("images", "train"): [1]})
    assert "images: train" in tables.show(frame, caption="").to_html()
