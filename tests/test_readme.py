import pandas as pd

from skinlesion import files
from skinlesion.paper import readme


def test_the_readme_is_short_and_opens_with_the_answer():
    text = (files.ROOT / "README.md").read_text()
    assert len(text.split()) <= 1200
    assert text.index("<!-- answer") < 600
    assert text.index("make report") < text.index("## Three ways")


def test_a_block_is_written_between_its_lines_and_nothing_else_is_touched(tmp_path):
    start, end = readme.markers("answer")
    path = tmp_path / "README.md"
    path.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    facts = {"claim": "accuracy", "preprint": 0.92, "verdict": "not reached", "low": 0.7, "high": 0.85}
    rows = [facts | {"split": "by image", "mean": 0.8}, facts | {"split": "by lesion", "mean": 0.75}]
    rows += [facts | {"split": "by lesion", "claim": "loss", "mean": 0.5}]  # by image it was not measured
    files.write_csv(tmp_path / "tables" / "claims.csv", pd.DataFrame(rows))
    readme.write(path, tmp_path)
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "**No.**" in text
    assert "accuracy | 0.92 | 0.800 (0.700–0.850) | 0.750 (0.700–0.850)" in text
    assert "loss | 0.92 | – | 0.500 (0.700–0.850)" in text
