"""What may be printed of one and the same network: its test part, and other images or scores in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from skinlesion.data.dataset import MALIGNANT
from skinlesion.data.mistakes import MARK
from skinlesion.data.splits import PARTS, VAULT
from skinlesion.scoring import lesions
from skinlesion.scoring.predictions import COLUMNS

RARE = ("akiec", "df", "vasc")
"""The diagnoses that are dropped where the rare ones are."""


@dataclass(frozen=True)
class Left:
    """What a run left that readings are made from.

    Attributes
    ----------
    predictions
        ``predictions.csv``: the images that were not trained on.
    more
        ``readings.csv``: the training images, and test and vault after the epoch that is best on the test part; None
        where the study does not keep them.
    split
        ``split.csv``.
    seed
        Of the run.
    """

    predictions: pd.DataFrame
    more: pd.DataFrame | None
    split: pd.DataFrame
    seed: int

    def part(self, name: str) -> pd.DataFrame:
        """Return what is said of one part."""
        return self.predictions[self.predictions.part == name]

    def reading(self, name: str) -> pd.DataFrame:
        """Return what one reading says."""
        if self.more is None:
            raise ValueError("this run keeps no readings")
        return self.more[self.more.reading == name]


@dataclass(frozen=True)
class Reading:
    """One way to come to a printed number.

    Attributes
    ----------
    says
        What is printed, in words.
    printed
        The images it is over, as rows of predictions.
    vault
        What the same network says of the vault; by default as it was kept.
    scores
        What is computed in the place of a score: ``{"macro_f1": "weighted_f1"}``.
    """

    says: str
    printed: Callable[[Left], pd.DataFrame]
    vault: Callable[[Left], pd.DataFrame] = lambda left: left.part(VAULT)
    scores: Mapping[str, str] = field(default_factory=dict)


def _test(left: Left) -> pd.DataFrame:
    return left.part("test")


def _no_copies(left: Left) -> pd.DataFrame:
    tested = left.part("test")
    return tested[~tested.image_id.str.contains(MARK, regex=False)]


def _selected_on_test(part: str) -> Callable[[Left], pd.DataFrame]:
    def chosen(left: Left) -> pd.DataFrame:
        table = left.reading("test_selected")
        return table[table.part == part]

    return chosen


def _drawn_anew(left: Left) -> pd.DataFrame:
    """Draw as many images as the test part has, whatever part they are of, as often from each diagnosis."""
    everything = pd.concat([left.reading("train"), *(left.part(part) for part in PARTS[1:])])
    shares = left.part("test").dx.value_counts()
    rng = np.random.default_rng([left.seed, 1])
    return pd.concat(rows.sample(shares.get(dx, 0), random_state=rng) for dx, rows in everything.groupby("dx"))


def _single(left: Left) -> pd.DataFrame:
    return lesions.alone(left.part("test"), left.split)


def _without_rare(left: Left) -> pd.DataFrame:
    """Leave the rare diagnoses out, of the images and of the answers."""
    tested = left.part("test")
    tested = tested[~tested.dx.isin(RARE)].copy()
    tested[[f"p_{dx}" for dx in RARE]] = 0.0
    return tested.assign(**tested[COLUMNS].div(tested[COLUMNS].sum(axis=1), axis=0))


def _in_two(left: Left) -> pd.DataFrame:
    """Call every image benign (in the place of nv) or malignant (of mel), by the sums of the probabilities."""
    tested = left.part("test").copy()
    malignant = tested[[f"p_{dx}" for dx in MALIGNANT]].sum(axis=1)
    tested[COLUMNS] = 0.0
    dx = np.where(tested.dx.isin(MALIGNANT), "mel", "nv")
    return tested.assign(p_mel=malignant, p_nv=1 - malignant, dx=dx)


TRAINED = {
    None: {"clean": Reading("no mistake", _test)},
    "test_by_image": {"test by image": Reading("test images drawn one by one", _test)},
    "by_image": {"by image": Reading("all parts drawn image by image", _test)},
    "oversampled": {
        "oversampled, natural mix": Reading("oversampled before the split; test images that are no copies", _no_copies),
        "oversampled": Reading("oversampled before the split", _test),
    },
    "augmented": {
        "augmented, natural mix": Reading("augmented before the split; test images that are no copies", _no_copies),
        "augmented": Reading("augmented before the split", _test),
    },
    "all": {"all together": Reading("augmented before the split, epoch selected on the test part", _test)},
}
"""By mistake: what is printed of a network that was trained with it."""

REREAD = {
    "selected on test": Reading("epoch selected on the test part", _selected_on_test("test"), _selected_on_test(VAULT)),
    "validation": Reading("the validation part, which selected the epoch", lambda left: left.part("validation")),
    "training images": Reading("the training images", lambda left: left.reading("train")),
    "test drawn anew": Reading("a test part drawn anew from all images, after training", _drawn_anew),
    "single-image lesions": Reading("test images of lesions that have a single image", _single),
    "rare dropped": Reading(f"without {', '.join(RARE)}", _without_rare),
    "malignant or not": Reading("malignant against benign", _in_two),
    "weighted F1": Reading("weighted F1 for macro F1", _test, scores={"macro_f1": "weighted_f1"}),
    "each output alone": Reading(
        "binary accuracy, mean of the seven outputs", _test, scores={"accuracy": "output_accuracy"}
    ),
}
"""Other readings of the clean network. Weighted F1 leaves accuracy as it is, each output alone macro F1."""
