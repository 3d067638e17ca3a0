"""Whether the files of one run agree with each other, and with what its study and the data's table say.

A list of hashes says that a file is the published one; whoever makes the list again can change the file. Then it no
longer agrees with the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from skinlesion import checks, files, parameters
from skinlesion.data import dataset, mistakes, splits
from skinlesion.runs import Files
from skinlesion.scoring import evaluation, predictions

NETWORK, CARD = "model.safetensors", "MODEL_CARD.md"

GIVEN = {"weights", *parameters.Arithmetic.model_fields}
"""Decisive parameters that may be given with the command; a run has the others from its study."""

CLOSE = 1e-5
"""Largest difference between what training and the predictions say of one network: what nine digits, and sums in
another order, may do."""

ROUNDED = 5e-6
"""Largest difference between a probability and what ``readings.csv`` says of it: half of its last digit."""

SIMILAR = 1e-6
"""Largest difference between two measurements of one pair's similarity, on machines of another kind."""

SUMMED = 1e-7
"""Largest difference between a number and the same from probabilities of float32, read again."""

AFTER_AN_EPOCH = 2e-3
"""Largest difference to an accuracy that was computed from probabilities in float16, of which some can be equal there:
where ``epochs.csv`` does not say how many are."""


def faults(run: Files, metadata: pd.DataFrame | None = None) -> list[str]:
    """Say where the files of a finished run disagree.

    Compared are the manifest with the study's parameters, with the epochs and with the network; the predictions with
    the split, the epochs and what the network's other forms say; counts, leakage and pairs with the split.

    Parameters
    ----------
    run
        Of a folder ``<study>/seed-<k>``.
    metadata
        The data's table, where it is at hand: then the split is drawn again from its seed, and ``eda.json`` is
        computed again.

    Raises
    ------
    skinlesion.errors.StudyError
        If a file cannot be read.
    """
    split, said = run.read_csv("split.csv"), predictions.check(run.read_csv("predictions.csv"))
    if split.image_id.duplicated().any():
        return ["split.csv has an image twice"]
    of_parts = (_parameters(run), _predictions(said, split), _epochs(run, said), _preprocessing(run, said, split))
    return list(
        chain(*of_parts, _network(run), _forms(run, said), () if metadata is None else data(run, said, split, metadata))
    )


def across(found: Iterable[Files]) -> list[str]:
    """Say where runs of the same data state other diagnoses, lesions or groups of an image, or other pairs."""
    known: dict[str, tuple[str, pd.DataFrame, pd.DataFrame | None]] = {}
    said = []
    for run in found:
        table = run.read_csv("split.csv").set_index("image_id")[["lesion_id", "lesion_group"]].sort_index()
        table = table[~table.index.str.contains(mistakes.MARK, regex=False)]
        table["dx"] = run.read_csv("predictions.csv").set_index("image_id").dx
        pairs = run.read_csv("duplicates.csv") if run.find("duplicates.csv") else None
        first, other, theirs = known.setdefault(run.manifest["data"]["fingerprint"], (run.name, table, pairs))
        tested = table.dx.notna() & other.dx.reindex(table.index).notna()
        same = table.drop(columns="dx").equals(other.drop(columns="dx"))
        if not same or (table.dx[tested] != other.dx[tested]).any():
            said.append(f"{run.name} and {first} state other diagnoses, lesions or groups of the same images")
        if any(checks.differences(files.plain(pairs), files.plain(theirs), close=SIMILAR)):
            said.append(f"{run.name} and {first} have other duplicates.csv")
    return said


def _differ(name: str, stated: dict[str, Any], found: dict[str, Any], *, close: float = checks.CLOSE) -> Iterator[str]:
    """Compare what a file states with what follows from the others, under the keys of `found`."""
    told = {key: stated[key] for key in found}
    return (f"{name}: {each}" for each in checks.differences(files.plain(told), files.plain(found), close=close))


def _parameters(run: Files) -> Iterator[str]:
    stated, chosen = run.parameters, _chosen(run).model_dump()
    expected = {name: chosen[name] for name in ("study", "compare_with", *parameters.DECISIVE) if name not in GIVEN}
    if parameters.RANDOM in (chosen["weights"], stated["weights"]):
        expected["weights"] = chosen["weights"]
    return _differ("manifest.json", stated, expected)


def _chosen(run: Files) -> parameters.Parameters:
    return parameters.load(run.folder.parent.name, {"seed": int(run.folder.name.removeprefix("seed-"))})


def _predictions(said: pd.DataFrame, split: pd.DataFrame) -> Iterator[str]:
    columns = ["image_id", "lesion_id", "lesion_group", "part"]
    if unknown := set(split.part) - {*splits.PARTS, splits.VAULT, splits.UNUSED}:
        yield f"split.csv has the part {min(unknown)}"
    if not split.loc[split.part.isin(splits.SCORED), columns].reset_index(drop=True).equals(said[columns]):
        yield "predictions.csv is not of the images, lesions and parts of split.csv"


def _epochs(run: Files, said: pd.DataFrame) -> Iterator[str]:
    manifest, history = run.manifest, run.read_csv("history.csv")
    chosen, selected = manifest["parameters"], manifest["selected_epoch"]
    if history.epoch.tolist() != list(range(1, chosen["epochs"] + 1)):
        yield f"history.csv has not the {chosen['epochs']} epochs of manifest.json"
        return
    best = len(history)
    if (by := chosen["selection"]) != "last":
        best = int((history[f"validation_{by}"] * (-1 if by == "loss" else 1)).idxmax()) + 1
    if selected != best:
        yield f"manifest.json says that epoch {selected} was selected, history.csv that epoch {best} was"
        return
    selecting, rounded = mistakes.selecting(chosen.get("mistake")), 0.0
    if chosen.get("views", 1) > 1:  # training looks at one view of an image
        said, rounded = run.read_csv("readings.csv").query("reading == 'one_view'"), ROUNDED
    labels, probabilities, _ = predictions.part(said, selecting)
    given, stated = probabilities[np.arange(len(labels)), labels], history.iloc[selected - 1].to_dict()
    least, most = (-np.log(np.maximum(given + off, 1e-300)).mean() for off in (rounded, -rounded))
    found = {"accuracy": _accuracy(said, selecting), "loss": np.clip(stated["validation_loss"], least, most)}
    found = {f"validation_{name}": float(value) for name, value in found.items()}
    yield from _differ("history.csv", stated, found, close=CLOSE)
    seconds = float(history.seconds.sum())
    yield from _differ("manifest.json", manifest, {"training_seconds": seconds}, close=CLOSE * seconds)
    constant = chosen["schedule"] == "constant" and not chosen["warmup_epochs"]
    if constant and not np.allclose(history.learning_rate, chosen["learning_rate"], rtol=CLOSE):
        yield "history.csv has another learning_rate than manifest.json"
    if not run.find("epochs.csv"):
        return
    after = run.read_csv("epochs.csv")
    off, tied = after[f"{selecting}_accuracy"] - history.validation_accuracy, after.get(f"{selecting}_tied")
    if not after.epoch.equals(history.epoch) or (off.abs() > CLOSE + (AFTER_AN_EPOCH if tied is None else tied)).any():
        yield "epochs.csv has another validation_accuracy, or other epochs, than history.csv"
        return
    found = {f"{part}_accuracy": _accuracy(said, part) for part in splits.PARTS[1:]}
    yield from _differ("epochs.csv", after.iloc[selected - 1].to_dict(), found, close=AFTER_AN_EPOCH)


def _accuracy(said: pd.DataFrame, part: str) -> float:
    labels, probabilities, _ = predictions.part(said, part)
    return float((probabilities.argmax(1) == labels).mean())


def _preprocessing(run: Files, said: pd.DataFrame, split: pd.DataFrame) -> Iterator[str]:
    pairs = run.read_csv("duplicates.csv") if run.find("duplicates.csv") else None
    group = split.set_index("image_id").lesion_group
    if pairs is not None and (group.reindex(pairs.image_a).to_numpy() != group.reindex(pairs.image_b).to_numpy()).any():
        yield "duplicates.csv has a pair that split.csv does not keep together"
    if not run.find("preprocessing.json"):
        return
    stated = run.read_json("preprocessing.json")
    found: dict[str, Any] = {name: split[name[:-1]].nunique() for name in ("lesion_ids", "lesion_groups")}
    found |= {} if pairs is None else {"duplicate_pairs": len(pairs)}
    yield from _differ("preprocessing.json", stated, found)
    yield from _differ(
        "preprocessing.json",
        stated["leakage"]["this study"]["all"],
        splits.leakage(split, said).loc["all"].to_dict(),
    )
    for part in splits.PARTS:
        rows, tested = split[split.part == part], said.dx[said.part == part].value_counts()
        images, lesions = (stated["counts"][f"{what} {part}"] for what in ("images", "lesions"))
        found = {"all": len(rows)} | ({} if part == "train" else tested.reindex(dataset.DX, fill_value=0).to_dict())
        yield from _differ(f"preprocessing.json, images of {part}", images, found)
        number, summed = rows.lesion_id.nunique(), {"diagnoses": sum(lesions.values()) - lesions["all"]}
        found = {"all": number, "diagnoses": number}
        yield from _differ(f"preprocessing.json, lesions of {part}", lesions | summed, found)
    if run.find("eda.json") and splits.UNUSED not in set(split.part):
        counted = [stated["counts"][f"images {part}"] for part in splits.PARTS]
        found = {dx: sum(each[dx] for each in counted) for dx in dataset.DX}
        yield from _differ("eda.json", dict.fromkeys(dataset.DX, 0) | run.read_json("eda.json")["classes"], found)


def _network(run: Files) -> Iterator[str]:
    if path := run.find(NETWORK):
        if files.sha256(path) != run.manifest.get("network"):
            yield f"{NETWORK} is not the network of manifest.json"
        if not run.find(CARD):
            yield f"{NETWORK} has no {CARD}"


def _forms(run: Files, said: pd.DataFrame) -> Iterator[str]:
    """Compute ``portable.csv`` again from what each form of the network says of each test image."""
    if not run.find("portable.csv"):
        return
    images = said.image_id[said.part == "test"].tolist()
    labels, published, _ = predictions.part(said, "test")
    found: dict[str, Any] = {}
    first = published
    for form, rows in run.read_csv("forms.csv").groupby("form", sort=False):
        if rows.image_id.tolist() != images:
            yield f"forms.csv has other images of {form} than predictions.csv"
            return
        given = rows[predictions.COLUMNS].to_numpy()
        first = first if found else given
        scores = evaluation.measured(labels, given)
        found[form] = {name: scores[name] for name in ("accuracy", "balanced_accuracy")}
        found[form] |= {"difference": np.abs(given - first).max()}
    if (apart := np.abs(first - published).max()) > predictions.APART:
        yield f"forms.csv says something else of an image than predictions.csv (by {apart:.2g})"
    stated = run.read_csv("portable.csv").set_index("form")[["accuracy", "balanced_accuracy", "difference"]]
    yield from _differ("portable.csv", {"forms": stated}, {"forms": found}, close=SUMMED)


def data(run: Files, said: pd.DataFrame, split: pd.DataFrame, metadata: pd.DataFrame) -> Iterator[str]:
    """Say where a run disagrees with the data's table: parameters as :func:`faults`, `said` its predictions."""
    if set(mistakes.original(split.image_id)) != set(metadata.image_id):
        yield "split.csv is of other images than the data's table"
        return
    for name, rows, column in (("predictions.csv", said, "dx"), ("split.csv", split, "lesion_id")):
        if (metadata[column].to_numpy()[mistakes.rows(rows, metadata)] != rows[column].to_numpy()).any():
            yield f"{name} states another {column} of an image than the data's table"
    if not splits.is_of(_chosen(run), split, metadata):
        yield "split.csv is not the split that its study and seed draw"
    if run.find("preprocessing.json"):
        counts = splits.counts(split, metadata)
        found = {"counts": {f"{what} {part}": counts[what, part].to_dict() for what, part in counts.columns}}
        yield from _differ("preprocessing.json", run.read_json("preprocessing.json"), found)
    if run.find("eda.json"):
        sizes = metadata.groupby("lesion_id").size()
        known: dict[str, Any] = {
            "facts": dataset.facts(metadata),
            "classes": metadata.dx.value_counts().to_dict(),
            "lesions": len(sizes),
            "lesions_with_several_images": (sizes > 1).sum(),
            "missing": dataset.missing(metadata),
            "association_with_dx": dict(dataset.associations(metadata)),
        }
        yield from _differ("eda.json", run.read_json("eda.json"), known)
