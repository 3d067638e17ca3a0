"""Whether the files of one run agree with each other, and with what its study and the data's table say.

A list of hashes says that a file is the published one; whoever makes the list again can change the file. Then it no
longer agrees with the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import pandas as pd

from skinlesion import files, parameters
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

    Compared are the manifest with the study's parameters (a run that is older than the protocol aside), with the epochs
    and with the network; the predictions with the split, the epochs and what the network's other forms say; counts,
    leakage and pairs with the split.

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
    return list(
        chain(
            _parameters(run),
            _predictions(said, split),
            _epochs(run, said),
            _preprocessing(run, said, split),
            _network(run),
            _forms(run, said),
            () if metadata is None else _data(run, said, split, metadata),
        )
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
        name = "/".join(run.folder.parts[-2:])
        first, other, theirs = known.setdefault(run.manifest["data"]["fingerprint"], (name, table, pairs))
        both = table.dx.notna() & other.dx.reindex(table.index).notna()
        same = table.drop(columns="dx").equals(other.drop(columns="dx")) and (table.dx[both] == other.dx[both]).all()
        if not same:
            said.append(f"{name} and {first} state other diagnoses, lesions or groups of the same images")
        if not _same_pairs(pairs, theirs):
            said.append(f"{name} and {first} have other duplicates.csv")
    return said


def _same_pairs(one: pd.DataFrame | None, other: pd.DataFrame | None) -> bool:
    """Say whether two lists of duplicates are the same; a similarity's last digits depend on the machine."""
    if one is None or other is None:
        return one is other
    try:
        pd.testing.assert_frame_equal(one, other, rtol=0, atol=SIMILAR)
    except AssertionError:
        return False
    return True


def older_than_the_protocol(run: Files) -> bool:
    """Return whether the run was made before it was written down what is measured: then it may have other keys."""
    return not all("protocol" in sitting["source"] for sitting in run.manifest["sittings"])


def _parameters(run: Files) -> Iterator[str]:
    study, seed = run.folder.parent.name, int(run.folder.name.removeprefix("seed-"))
    stated = run.parameters
    if older_than_the_protocol(run):
        expected = {"study": study, "seed": seed}
    else:
        chosen = parameters.load(study, {"seed": seed}).model_dump()
        expected = {name: chosen[name] for name in ("study", "compare_with", *parameters.DECISIVE) if name not in GIVEN}
        if parameters.RANDOM in (chosen["weights"], stated["weights"]):
            expected["weights"] = chosen["weights"]
    for name, value in expected.items():
        if stated[name] != value:
            yield f"manifest.json says {name} {stated[name]}, the study {value}"


def _predictions(said: pd.DataFrame, split: pd.DataFrame) -> Iterator[str]:
    columns = ["image_id", "lesion_id", "lesion_group", "part"]
    if unknown := set(split.part) - {*splits.PARTS, splits.VAULT, splits.UNUSED}:
        yield f"split.csv has the part {min(unknown)}"
    expected = split.loc[split.part.isin(splits.SCORED), columns].reset_index(drop=True)
    if not expected.equals(said[columns]):
        yield "predictions.csv is not of the images, lesions and parts of split.csv"


def _epochs(run: Files, said: pd.DataFrame) -> Iterator[str]:
    manifest, history = run.manifest, run.read_csv("history.csv")
    chosen, selected = manifest["parameters"], manifest["selected_epoch"]
    if history.epoch.tolist() != list(range(1, chosen["epochs"] + 1)):
        yield f"history.csv has not the {chosen['epochs']} epochs of manifest.json"
        return
    if chosen["selection"] == "last":
        best = len(history)
    else:
        watched = history[f"validation_{chosen['selection']}"]
        best = int(watched.idxmin() if chosen["selection"] == "loss" else watched.idxmax()) + 1
    if selected != best:
        yield f"manifest.json says that epoch {selected} was selected, history.csv that epoch {best} was"
        return
    selecting = mistakes.selecting(chosen.get("mistake"))
    rounded = 0.0
    if chosen.get("views", 1) > 1:  # training looks at one view of an image
        read, rounded = run.read_csv("readings.csv"), ROUNDED
        said = read[read.reading == "one_view"]
    labels, probabilities, _ = predictions.part(said, selecting)
    accuracy, stated = float((probabilities.argmax(1) == labels).mean()), history.iloc[selected - 1]
    if not np.isclose(stated.validation_accuracy, accuracy, rtol=0, atol=CLOSE):
        yield f"history.csv says validation_accuracy {stated.validation_accuracy}, the predictions give {accuracy:.9g}"
    given = probabilities[np.arange(len(labels)), labels]
    least, most = (float(-np.log(np.maximum(given + off, 1e-300)).mean()) for off in (rounded, -rounded))
    if not least - CLOSE <= stated.validation_loss <= most + CLOSE:
        yield f"history.csv says validation_loss {stated.validation_loss}, the predictions give {most:.9g}"
    if not np.isclose(history.seconds.sum(), manifest["training_seconds"], rtol=CLOSE):
        yield f"manifest.json says {manifest['training_seconds']} training_seconds, history.csv {history.seconds.sum()}"
    constant = chosen["schedule"] == "constant" and not chosen["warmup_epochs"]
    if constant and not np.allclose(history.learning_rate, chosen["learning_rate"], rtol=CLOSE):
        yield "history.csv has another learning_rate than manifest.json"
    if run.find("epochs.csv"):
        after = run.read_csv("epochs.csv")
        if after.epoch.tolist() != history.epoch.tolist():
            yield "epochs.csv has other epochs than history.csv"
            return
        tied = after.get(f"{selecting}_tied", AFTER_AN_EPOCH)
        if ((after[f"{selecting}_accuracy"] - history.validation_accuracy).abs() > tied + CLOSE).any():
            yield "epochs.csv has another validation_accuracy than history.csv"
        for part in splits.PARTS[1:]:
            labels, probabilities, _ = predictions.part(said, part)
            value = float((probabilities.argmax(1) == labels).mean())
            if abs(after[f"{part}_accuracy"][selected - 1] - value) > AFTER_AN_EPOCH:
                yield f"epochs.csv says another {part}_accuracy of the selected epoch than the predictions"


def _preprocessing(run: Files, said: pd.DataFrame, split: pd.DataFrame) -> Iterator[str]:
    pairs = run.read_csv("duplicates.csv") if run.find("duplicates.csv") else None
    group = split.set_index("image_id").lesion_group
    if pairs is not None and (group.reindex(pairs.image_a).to_numpy() != group.reindex(pairs.image_b).to_numpy()).any():
        yield "duplicates.csv has a pair that split.csv does not keep together"
    if not run.find("preprocessing.json"):
        return
    stated = run.read_json("preprocessing.json")
    found = {"lesion_ids": split.lesion_id.nunique(), "lesion_groups": split.lesion_group.nunique()}
    found |= {} if pairs is None else {"duplicate_pairs": len(pairs)}
    yield from (
        f"preprocessing.json says {stated[name]} {name}, not {value}"
        for name, value in found.items()
        if stated[name] != value
    )
    diagnoses = {part: said[said.part == part].dx.value_counts() for part in splits.PARTS[1:]}
    counted = stated["counts"]
    for part in splits.PARTS:
        rows = split[split.part == part]
        expected = {"all": len(rows)} | {dx: int(diagnoses[part].get(dx, 0)) for dx in dataset.DX if part in diagnoses}
        here = counted.get(f"images {part}", {})
        if any(here.get(name, 0) != count for name, count in expected.items()):
            yield f"preprocessing.json counts other images of {part} than split.csv"
        lesions = counted.get(f"lesions {part}", {})
        if lesions.get("all", 0) != rows.lesion_id.nunique() or sum(lesions.values()) != 2 * lesions.get("all", 0):
            yield f"preprocessing.json counts other lesions of {part} than split.csv"
    if run.find("eda.json") and splits.UNUSED not in set(split.part):
        classes = run.read_json("eda.json")["classes"]
        if any(sum(counted[f"images {part}"][dx] for part in splits.PARTS) != classes.get(dx, 0) for dx in dataset.DX):
            yield "eda.json counts other diagnoses than preprocessing.json"
    leaked = splits.leakage(split, said).loc["all"]
    if any(not np.isclose(stated["leakage"]["this study"]["all"][name], leaked[name]) for name in leaked.index):
        yield "preprocessing.json says another leakage than split.csv shows"


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
    each, stated = run.read_csv("forms.csv"), run.read_csv("portable.csv").set_index("form")
    images = said[said.part == "test"].image_id.tolist()
    labels, published, _ = predictions.part(said, "test")
    told = dict(list(each.groupby("form", sort=False)))
    if list(told) != stated.index.tolist() or any(rows.image_id.tolist() != images for rows in told.values()):
        yield "forms.csv has other forms than portable.csv, or other images than predictions.csv"
        return
    first = told[stated.index[0]][predictions.COLUMNS].to_numpy()
    if (apart := np.abs(first - published).max()) > predictions.APART:
        yield f"forms.csv says something else of an image than predictions.csv (by {apart:.2g})"
    for form, rows in told.items():
        given = rows[predictions.COLUMNS].to_numpy()
        found = evaluation.measured(labels, given) | {"difference": float(np.abs(given - first).max())}
        yield from (
            f"portable.csv says {name} {stated[name][form]} of {form}, forms.csv gives {found[name]:.9g}"
            for name in ("accuracy", "balanced_accuracy", "difference")
            if not np.isclose(stated[name][form], found[name], rtol=0, atol=SUMMED)
        )


def _data(run: Files, said: pd.DataFrame, split: pd.DataFrame, metadata: pd.DataFrame) -> Iterator[str]:
    """Compare with the data's table, where the run is of it."""
    if set(mistakes.original(split.image_id)) != set(metadata.image_id):
        yield "split.csv is of other images than the data's table"
        return
    table = metadata.set_index("image_id")
    if (table.dx.reindex(mistakes.original(said.image_id)).to_numpy() != said.dx.to_numpy()).any():
        yield "predictions.csv states other diagnoses than the data's table"
    if (table.lesion_id.reindex(mistakes.original(split.image_id)).to_numpy() != split.lesion_id.to_numpy()).any():
        yield "split.csv states other lesions than the data's table"
    if not older_than_the_protocol(run):
        chosen = parameters.load(run.folder.parent.name, {"seed": run.manifest["parameters"]["seed"]})
        if not splits.is_of(chosen, split, metadata):
            yield "split.csv is not the split that its study and seed draw"
        if run.find("preprocessing.json"):
            stated = run.read_json("preprocessing.json")
            counts = splits.counts(split, metadata)
            found = {f"{what} {part}": counts[what, part].to_dict() for what, part in counts.columns}
            if stated["counts"] != files.plain(found):
                yield "preprocessing.json counts other images or lesions than the data's table"
    if run.find("eda.json"):
        stated = run.read_json("eda.json")
        sizes = metadata.groupby("lesion_id").size()
        found = {
            "facts": dataset.facts(metadata).to_dict("records"),
            "classes": metadata.dx.value_counts().to_dict(),
            "lesions": len(sizes),
            "lesions_with_several_images": int((sizes > 1).sum()),
            "missing": dataset.missing(metadata).to_dict("records"),
        }
        yield from (
            f"eda.json says other {name} than the data's table"
            for name, value in found.items()
            if stated[name] != files.plain(value)
        )
        for name, value in dataset.associations(metadata).items():
            if not np.isclose(stated["association_with_dx"][name], value):
                yield f"eda.json says another association with {name} than the data's table"
