"""All that a run's predictions say: the content of metrics.json, and that of errors.json which needs no image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skinlesion.data.dataset import DX
from skinlesion.scoring import (
    calibration,
    comparison,
    conformal,
    decisions,
    doubt,
    evaluation,
    lesions,
    predictions,
    subgroups,
)
from skinlesion.scoring.evaluation import Bootstrap

PARTS = ("validation", "calibration", "test")

HARDEST = 15
"""How many of the hardest images are listed."""


def metrics(
    table: pd.DataFrame,
    split: pd.DataFrame,
    *,
    draws: int,
    seed: int,
    other: tuple[str, pd.DataFrame] | None = None,
    baselines: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return what metrics.json holds: every score of the parts, and what follows from them on the test part.

    Temperature, thresholds and limits of conformal sets are of the calibration part, all else is of the part that is
    named.

    Parameters
    ----------
    table
        Predictions on validation, calibration and test.
    split
        Every image of the data with its lesion_group.
    draws, seed
        Of the bootstrap over lesions.
    other
        Study and predictions of the run to be compared with.
    baselines
        What baselines say of the test part (:func:`skinlesion.scoring.comparison.against`); absent, they are left out.

    Returns
    -------
    dict
        Tables, arrays, numbers and dicts of them; :func:`skinlesion.files.write_json` takes it.

    Raises
    ------
    skinlesion.scoring.predictions.PredictionsError
        If a part has no image.
    """
    parts = {name: predictions.part(table, name) for name in PARTS}
    labels, probabilities, groups = parts["test"]
    held_out, given, held_out_groups = parts["calibration"]
    bootstrap = Bootstrap.draw(groups, draws=draws, seed=seed)
    temperature = calibration.fit_temperature(held_out, given)
    scaled = calibration.with_temperature(probabilities, temperature)
    limits = {
        name: conformal.calibrate(
            held_out, given, lesions=held_out_groups, coverage=conformal.COVERAGE, by_class=by_class
        )
        for name, by_class in conformal.KINDS.items()
    }
    melanoma = decisions.question(labels, scaled, decisions.QUESTIONS["melanoma"])
    return {
        **{name: lesions.scored(*part, draws=draws, seed=seed) for name, part in parts.items()},
        "test_majority_accuracy": evaluation.majority_accuracy(labels),
        "test_per_class": evaluation.per_class(labels, probabilities, bootstrap),
        "test_confusion": evaluation.confusion(labels, probabilities),
        "test_estimands": lesions.estimands(table, split, draws=draws, seed=seed),
        "test_decisions": {
            name: decisions.answer(parts["calibration"], parts["test"], yes, bootstrap)
            for name, yes in decisions.QUESTIONS.items()
        },
        "test_net_benefit": decisions.net_benefit(*melanoma, bootstrap),
        "temperature": temperature,
        "test_calibration": {
            name: evaluation.headline(labels, each, bootstrap, where="calibration")
            for name, each in (("before", probabilities), ("after", scaled))
        },
        "test_referral": decisions.referral(labels, probabilities, bootstrap),
        "test_conformal": {
            name: conformal.summary(labels, conformal.sets(probabilities, limit), bootstrap)
            for name, limit in limits.items()
        },
        "compared": None if other is None else _compared(*other, table, draws=draws, seed=seed),
        "bootstrap": {"draws": draws, "unit": "lesion", "interval": "95% percentile"},
    } | ({} if baselines is None else {"baselines": comparison.against(table, baselines, draws=draws, seed=seed)})


def errors(
    table: pd.DataFrame,
    metadata: pd.DataFrame | None = None,
    *,
    draws: int,
    seed: int,
    sizes: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return what errors.json holds and no image is needed for, of the test part.

    Parameters
    ----------
    table
        Predictions.
    metadata
        The data's table; absent, what needs it is left out: subgroups, label_candidates_by_dx_type, proven.
    draws, seed
        Of the bootstrap over lesions.
    sizes
        Rows of :func:`skinlesion.scoring.subgroups.scores` by lesion_size, which needs the masks; p-values are
        corrected over them too.

    Returns
    -------
    dict
        Tables, numbers and dicts of them; :func:`skinlesion.files.write_json` takes it.
    """
    test = table[table.part == "test"].reset_index(drop=True)
    labels, probabilities, groups = predictions.part(test, "test")
    wrong = evaluation.mistakes(test, probabilities)
    hardest = wrong.sort_values("p_true", kind="stable", ignore_index=True).head(HARDEST)
    doubtful = doubt.candidates(test)
    found = {
        "test_images": len(test),
        "wrong": len(wrong),
        "pairs": evaluation.confused_pairs(wrong, test.dx.value_counts()),
        "hardest": hardest[["image_id", "dx", "predicted", "confidence", "p_true"]],
        "consistency": subgroups.consistency(test, probabilities),
        "label_candidates": doubtful,
    }
    if metadata is None:
        return found
    cases = subgroups.cases(test, metadata)
    bootstrap = Bootstrap.draw(groups, draws=draws, seed=seed)
    scores = subgroups.scores(cases, probabilities, columns=subgroups.COLUMNS, bootstrap=bootstrap)
    proven = np.flatnonzero(cases.dx_type == "histo")
    return found | {
        "subgroups": subgroups.corrected(pd.concat([scores, sizes], ignore_index=True)),
        "label_candidates_by_dx_type": doubt.by(doubtful, cases, "dx_type"),
        "proven": lesions.scored(labels[proven], probabilities[proven], groups[proven], draws=draws, seed=seed)
        if len(proven)
        else None,
    }


def epochs(table: pd.DataFrame, said: np.ndarray) -> pd.DataFrame:
    """Return the accuracy on each part after every epoch: what another rule of selection would have given.

    Parameters
    ----------
    table
        Predictions.
    said
        float16 of shape (epochs, n, 7): the probabilities of its rows after each epoch.

    Returns
    -------
    pandas.DataFrame
        epoch, counted from one, and validation_accuracy, calibration_accuracy, test_accuracy; and validation_tied …,
        the share of images whose two highest probabilities are equal in float16: so far may the accuracy be off.
    """
    first, second = (np.partition(said, -k, axis=2)[:, :, -k] for k in (1, 2))
    found = {"accuracy": said.argmax(2) == table.dx.map(DX.index).to_numpy(), "tied": first == second}
    shares = {
        f"{part}_{name}": each[:, (table.part == part).to_numpy()].mean(1)
        for name, each in found.items()
        for part in PARTS
    }
    return pd.DataFrame({"epoch": np.arange(1, len(said) + 1), **shares})


def _compared(study: str, other: pd.DataFrame, table: pd.DataFrame, *, draws: int, seed: int) -> dict[str, Any]:
    pair = comparison.common(other, table)
    return {
        "with": study,
        "scores": comparison.paired(*pair, draws=draws, seed=seed),
        "mcnemar": comparison.mcnemar(*pair),
    }
