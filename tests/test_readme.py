import pandas as pd
import pytest

from skinlesion import files
from skinlesion.paper import readme


@pytest.mark.parametrize("block", readme.BLOCKS)
def test_the_readme_shows_what_the_committed_reports_say(block):
    text = (files.ROOT / "README.md").read_text()
    start, end = readme.markers(block)
    shown = text.partition(start)[2].partition(end)[0].strip()
    assert shown == readme.BLOCKS[block](files.ROOT / "reports"), "run `make paper`"


def test_the_readme_is_short_and_opens_with_the_answer():
    text = (files.ROOT / "README.md").read_text()
    assert len(text.split()) <= 1200
    assert text.index("<!-- answer") < 600
    assert text.index("make report") < text.index("## Three ways")


def test_a_block_is_written_between_its_lines_and_nothing_else_is_touched(tmp_path):
    start, end = readme.markers("findings")
    path = tmp_path / "README.md"
    path.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    rows = {"score": "accuracy", "tested images": "all", "lesion": "seen − unseen", "size": "96×96", "seeds": 2}
    files.write_csv(tmp_path / "tables" / "leak.csv", pd.DataFrame([rows | {"mean": 0.1, "low": 0.05, "high": 0.15}]))
    readme.write(path, tmp_path)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "- **What the leak does.**" in text
    assert "0.100 (0.050–0.150)" in text
    assert "old" not in text


def test_a_claim_that_one_split_has_measured_is_shown_and_one_that_none_has_is_not(tmp_path):
    rows = [
        "claim | preprint | by image | verdict | by lesion | verdict",
        "accuracy | 0.92 | 0.8 | not reached | – | not measured",
        "small | – | – | reproduced | – | reproduced",
        "efficient | – | – | not measured | – | not measured",
    ]
    files.write_text(tmp_path / "tables" / "claims.md", "\n".join(rows))
    said = readme.answer(tmp_path)
    assert "\naccuracy | 0.92 | 0.8 |" in said
    assert "\n\nSmall: reproduced. The rule" in said  # a word has no numbers, and so no row
    assert "fficient" not in said
