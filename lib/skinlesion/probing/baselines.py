"""What a network must beat, fitted on the same training part: the metadata alone, and its starting weights frozen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from skinlesion.data import dataset, splits
from skinlesion.data.dataset import DX
from skinlesion.errors import StudyError
from skinlesion.runs import Run
from skinlesion.scoring.predictions import COLUMNS

INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Scikit-learn's C of the head on frozen features: the one of least loss on the validation part is kept."""


def tell(run: Run, split: pd.DataFrame) -> tuple[pd.DataFrame | None, list[str]]:
    """Return what baselines say of the test part: fitted where the data are at hand, or as the run has them already.

    Returns
    -------
    tuple
        Rows of baseline, image_id and the seven probabilities, to five digits, or None where there are none; and a
        sentence on each that is not fitted here.
    """
    kept = run.read_csv("baselines.csv") if run.files("baselines.csv").find("baselines.csv") else None
    told, absent = [], []
    for name, fit in FITS.items():
        try:
            found = pd.DataFrame({"baseline": name, "image_id": split.image_id[split.part == "test"].to_numpy()})
            found[COLUMNS] = [[float(f"{value:.5g}") for value in row] for row in fit(run, split)]
            told.append(found)
        except (StudyError, ImportError) as error:  # no data, no weights, or no torch
            absent.append(f"Not fitted here, {name}: {error}.")
            told += [] if kept is None else [kept[kept.baseline == name]]
    return (pd.concat(told, ignore_index=True) if told else None), absent


def _largest(run: Run, split: pd.DataFrame) -> np.ndarray:
    """Answer with the shares of the diagnoses in training, whatever the image."""
    train, _, test = _parts(run, split)
    shares = train.dx.value_counts(normalize=True).reindex(DX, fill_value=0)
    return np.tile(shares.to_numpy(), (len(test), 1))


def _metadata(run: Run, split: pd.DataFrame) -> np.ndarray:
    """Regress the diagnosis on age (up to its cube; a missing one is the median), sex and localization."""
    train, _, test = _parts(run, split)
    age = SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), PolynomialFeatures(3)
    coded = (make_pipeline(*age), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["sex", "localization"])
    model = make_pipeline(make_column_transformer(*coded), LogisticRegression(max_iter=1000))
    return _probabilities(model.fit(train, train.dx), test)


def _frozen(run: Run, split: pd.DataFrame) -> np.ndarray:
    """Regress the diagnosis on what the starting network makes of the images, each feature scaled."""
    from skinlesion.probing import features  # torch, where there are images alone

    train, validation, test = _parts(run, split)
    seen = features.of_starting_weights(run)
    models_of = {}
    for c in INVERSE_PENALTIES:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
        model.fit(seen[train.index], train.dx)
        models_of[log_loss(validation.dx, _probabilities(model, seen[validation.index]), labels=DX)] = model
    return _probabilities(models_of[min(models_of)], seen[test.index])


FITS = {
    "always the largest class": _largest,
    "metadata alone": _metadata,
    "its starting weights, frozen": _frozen,
}
"""Each baseline by name: what gives the probabilities of the test part, (N, 7)."""


def _parts(run: Run, split: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of the metadata table in training, validation and test."""
    metadata = dataset.open_metadata(run.parameters)
    return [metadata.iloc[splits.rows(split, metadata, part)] for part in ("train", "validation", "test")]


def _probabilities(model: Pipeline, cases: pd.DataFrame | np.ndarray) -> np.ndarray:
    """Return what a model says of cases in the order of the diagnoses, zero for one that it was not trained on."""
    found = pd.DataFrame(model.predict_proba(cases), columns=model.classes_)
    return found.reindex(columns=DX, fill_value=0).to_numpy()
