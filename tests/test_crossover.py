import numpy as np
import pandas as pd
import pytest
from conftest import random_predictions

from skinlesion.data.dataset import DX
from skinlesion.scoring import crossover, predictions


@pytest.fixture
def runs():
    """Two runs that test five images; the first trained on siblings of two, the second on those of the others."""
    tables = [random_predictions(10, seed=seed).assign(part="test", dx="mel") for seed in (0, 1)]
    tables = [table.assign(lesion_group=[f"G{k}" for k in range(10)])[:5] for table in tables]
    trained = [["G0", "G1", "G1", "other"], ["G2", "G3", "G4", "G4", "G4"]]
    splits = [pd.DataFrame({"lesion_group": groups, "part": "train"}) for groups in trained]
    return tables, splits


def test_every_image_is_read_once_from_the_run_that_saw_its_lesion_and_once_from_the_other(runs):
    (first, second), splits = runs
    seen, unseen = crossover.sides(first, second, splits=tuple(splits))
    one, other = (table[predictions.COLUMNS].to_numpy() for table in (first, second))
    assert np.array_equal(seen[predictions.COLUMNS], np.vstack([one[:2], other[2:]]))
    assert np.array_equal(unseen[predictions.COLUMNS], np.vstack([other[:2], one[2:]]))
    assert seen.siblings.tolist() == unseen.siblings.tolist() == [1, 2, 1, 1, 3]
    assert seen.image_id.tolist() == unseen.image_id.tolist() == first.image_id.tolist()
    assert set(seen.dx) <= set(DX)


def test_runs_that_are_no_crossover_are_refused(runs):
    (first, second), splits = runs
    with pytest.raises(crossover.CrossoverError, match="test other images"):
        crossover.sides(first, second.iloc[:4], splits=tuple(splits))
    with pytest.raises(crossover.CrossoverError, match="both runs, or of neither"):
        crossover.sides(first, second, splits=(splits[0], splits[0]))
