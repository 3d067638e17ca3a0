"""The card of a released model: what it is, made from what, how good, on whom it fails, and what it is not for.

Source of the headings: M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from skinlesion import files
from skinlesion.data.dataset import DX_NAMES
from skinlesion.reporting import tables
from skinlesion.runs import Files
from skinlesion.scoring import evaluation

NAME = "MODEL_CARD.md"

GROUPS = {"sex": "sex", "age_band": "age in years", "localization": "place", "dataset": "source", "dx_type": "proof"}


def text(run: Path) -> str:
    """Return the card of a run's model, as Markdown, from the files of the run.

    Parameters
    ----------
    run
        Its folder, with manifest.json, metrics.json and errors.json.
    """
    left = Files(run)
    manifest, metrics, errors = left.manifest, left.read_json("metrics.json"), left.read_json("errors.json")
    chosen, test = manifest["parameters"], metrics["test"]
    headline = pd.DataFrame(
        [
            {"score": tables.heading(name), "test part": tables.stated(test["headline"], name)}
            for name in evaluation.names("paper")
        ]
    )
    classes = pd.DataFrame(
        [
            {"diagnosis": f"{dx}, {name}", "images": metrics["test_per_class"][dx]["recall"]["support"]}
            | {
                tables.heading(score): _interval(metrics["test_per_class"][dx][score])
                for score in evaluation.names("paper class")
            }
            for dx, name in DX_NAMES.items()
        ]
    )
    error = {name: found["ece_fixed"]["value"] for name, found in metrics["test_calibration"].items()}
    decay = chosen.get("weight_decay", 0)
    optimiser = f"AdamW with weight decay {decay:g}" if decay else "Adam"
    views = "; what it says of a picture is the mean over its eight symmetries" if chosen.get("views", 1) > 1 else ""
    taught = f" and taught by the networks of `{chosen['teachers']}`" if chosen.get("teachers") else ""
    selection = "the last" if chosen["selection"] == "last" else f"best validation {chosen['selection']}"
    findings = "\n".join(f"- {sentence}" for sentence in errors["findings"])
    return f"""---
license: cc-by-nc-4.0
library_name: torchvision
tags: [dermoscopy, ham10000, image-classification]
---

# {chosen["backbone"]} on HAM10000, split by {chosen["split_by"]}, seed {chosen["seed"]}

**For research, never for a diagnosis.** No medical device; not tested on patients; it misses melanomas, as the tables
below say.

## What it is

A {chosen["backbone"]} for seven diagnoses, from dermoscopic images of {chosen["image_size"]}×{chosen["image_size"]}
pixels ({chosen["resize"]}){views}. Trained as study `{chosen["study"]}` says (`parameters/`): {optimiser},
learning rate {chosen["learning_rate"]}, batches of {chosen["batch_size"]}, {chosen["epochs"]} epochs, of which epoch
{manifest["selected_epoch"]} is kept ({selection}). It started from {manifest["weights"]}{taught}.
Trained in {manifest["training_seconds"] / 60:.0f} minutes on {left.hardware}, in {manifest["precision"]}.

    PYTHONPATH=lib python -m skinlesion predict {files.shown(run)}/model.safetensors PHOTOGRAPH.jpg

gives seven probabilities a picture, calibrated by the temperature of `metrics.json` (below), and says which pictures
look like those that it was trained on (`trained_on.bin` has a hash of each). `model.safetensors` holds the weights, and
in its metadata what is needed to feed them.

## Data and licence

{manifest["data"]["title"]} (P. Tschandl, C. Rosendahl, H. Kittler, Sci. Data 5, 180161 (2018)), licensed CC BY-NC 4.0;
the weights are released under the same terms. No lesion is on both sides of the split
(`{left.require("split.csv").name}`).

## How good it is

{test["images"]:,} test images of {test["lesions"]:,} lesions, one seed; in brackets 95% intervals,
{metrics["bootstrap"]["draws"]:,} draws of lesions. Always naming the largest class gives an accuracy of
{metrics["test_majority_accuracy"]:.3f}.

{tables.markdown(headline)}

{tables.markdown(classes)}

{_official(left)}{_forms(left)}## On whom it fails

Groups with too few images have a dash.

{tables.markdown(_groups(errors))}

## What the error analysis found

{findings}

## Limits

- One collection, from clinics in Austria and Australia, which does not record the colour of the skin; other clinics,
  cameras and skins were not seen. The study `quick_sources` measures what an unseen source does to a network of reduced
  size.
- It knows seven diagnoses and must name one of them for any picture, a picture of something else included.
- Confidence is not calibrated as it comes out of the network: the expected calibration error is
  {error["before"]:.3f}; temperature {metrics["temperature"]:.2f} takes it to {error["after"]:.3f}, and `predict` uses
  it. Probabilities in `predictions.csv.xz` are as they came out.
- Rare diagnoses hardly count in the accuracy: the balanced accuracy and the table of diagnoses tell of them.
"""


def write(run: Path) -> Path:
    """Write the card beside the model."""
    files.write_text(run / NAME, text(run))
    return run / NAME


def _official(left: Files) -> str:
    """Return the section on the official test, where it was taken."""
    if not left.find("official.json"):
        return ""
    found = left.read_json("official.json")
    rows = [
        {"score": tables.heading(name), "official test": tables.stated(found["headline"], name)}
        for name in evaluation.names("paper")
    ]
    change = found["squashed"]["balanced_accuracy"]
    return f"""## The official ISIC 2018 test

{found["data"]["title"]}: scored once, on {found["receipt"]["started"][:10]}. Pictures came undistorted, which changes
the balanced accuracy by {tables.interval(change["difference"], change["low"], change["high"], sign=True)} against
squashing them as they are.

{tables.markdown(pd.DataFrame(rows))}

"""


def _forms(left: Files) -> str:
    """Return the section on its exports, where they were compared."""
    if not left.find("portable.csv"):
        return ""
    table = left.read_csv("portable.csv")
    rows = [
        {
            "form": row.form,
            "MB": f"{row.megabytes:.1f}",
            "accuracy": f"{row.accuracy:.3f}",
            "balanced accuracy": f"{row.balanced_accuracy:.3f}",
            "largest difference to torch": f"{row.difference:.1e}",
            "ms, one view": f"{row.milliseconds:.1f}",
            "views/s, batches of 32": f"{row.images_per_second:.0f}",
        }
        for row in table.itertuples()
    ]
    return f"""## Its forms

`model.onnx` and `model-int8.onnx` are the network for programs without torch: pixels in, seven probabilities out, not
calibrated; `predict` takes either. The test part, scored as above; what each says of each image is in `forms.csv.xz`.
Times are of one view, on one thread of {table.hardware[0]}.

{tables.markdown(pd.DataFrame(rows))}

"""


def _groups(errors: dict) -> pd.DataFrame:
    rows = pd.DataFrame(errors["subgroups"])
    rows = rows[rows.column.isin(GROUPS)]
    cells = {
        (row.column, row.group, row.score): tables.interval(row.value, row.low, row.high, digits=2)
        for row in rows.itertuples()
    }
    facts, scores = rows.drop_duplicates(["column", "group"]), evaluation.names("card")
    return pd.DataFrame(
        [
            {"group": f"{GROUPS[row.column]}: {row.group}", "images": row.images}
            | {tables.heading(score): cells.get((row.column, row.group, score), "–") for score in scores}
            for row in facts.itertuples()
        ]
    )


def _interval(score: dict) -> str:
    return tables.interval(*(score[key] for key in ("value", "low", "high")), digits=2)
