import base64
import inspect
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import publish, random_predictions, random_scores
from matplotlib.colors import to_rgb

from skinlesion.data import dataset, splits
from skinlesion.paper import collection
from skinlesion.probing import saliency
from skinlesion.reporting.figures import (
    base,
    eda,
    error_analysis,
    paper_tables,
    preprocessing,
    training,
)
from skinlesion.reporting.figures import (
    evaluation as of_evaluation,
)
from skinlesion.scoring import calibration, comparison, conformal, decisions, evaluation, predictions, subgroups

MODULES = (eda, preprocessing, training, of_evaluation, error_analysis, paper_tables)
PUBLIC = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == module.__name__
}
figures = SimpleNamespace(**PUBLIC)

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2],
        "train_loss": [1.0, 0.5],
        "train_accuracy": [0.5, 0.8],
        "validation_loss": [1.1, 0.9],
        "validation_accuracy": [0.4, 0.6],
        "learning_rate": [0.001, 0.001],
        "images_per_second": [100.0, 120.0],
        "seconds": [3.0, 2.5],
    }
)

PAIRS = pd.DataFrame({"image_a": ["a", "c"], "image_b": ["b", "d"], "similarity": [0.9, 0.8], "inliers": [20, 11]})


def wrong():
    table = random_predictions()
    return evaluation.mistakes(table, table[predictions.COLUMNS].to_numpy()), table


def groups():
    table = random_predictions(100).assign(sex="male")
    table.loc[:40, "sex"] = "female"
    bootstrap = evaluation.Bootstrap.draw(table.lesion_group.to_numpy(), draws=20, seed=0)
    return subgroups.scores(table, table[predictions.COLUMNS].to_numpy(), columns=["sex"], bootstrap=bootstrap)


def bootstrap():
    return evaluation.Bootstrap.draw(random_scores(0, 60)[2], draws=20, seed=0)


def tables_of_paper(tiny):
    folder = Path(tiny.output)
    for study in ("paper", "quick", "quick_plain"):
        publish(folder, study, 0)
    return collection.make(folder, draws=20)


def draw(name, opened, tiny):
    metadata = opened.metadata
    labels, probabilities, _ = random_scores(0, 60)
    split = splits.draw(metadata, tiny)
    mistakes, table = wrong()
    leaks = splits.leakage(split, metadata)
    makers = {
        "class_counts": lambda: figures.class_counts(metadata),
        "images_per_lesion": lambda: figures.images_per_lesion(metadata),
        "by_class": lambda: figures.by_class(metadata, ["sex", "dataset"]),
        "ages": lambda: figures.ages(metadata),
        "association": lambda: figures.association(dataset.associations(metadata)),
        "parts": lambda: figures.parts(splits.counts(split, metadata)),
        "flow": lambda: figures.flow(splits.flow(split, pairs=2), split="by lesion"),
        "similarities": lambda: figures.similarities(PAIRS, PAIRS[1:]),
        "leakage": lambda: figures.leakage(leaks, other=leaks, labels=("a", "b")),
        "curves": lambda: figures.curves(HISTORY, selected=2),
        "pace": lambda: figures.pace(HISTORY),
        "confusion": lambda: figures.confusion(evaluation.confusion(labels, probabilities)),
        "scores_per_class": lambda: figures.scores_per_class(evaluation.per_class(labels, probabilities)),
        "discrimination": lambda: figures.discrimination(
            labels, probabilities, areas=evaluation.one_vs_rest_auc(labels, probabilities)
        ),
        "confused_pairs": lambda: figures.confused_pairs(evaluation.confused_pairs(mistakes, table.dx.value_counts())),
        "confidence": lambda: figures.confidence(probabilities.argmax(1) == labels, probabilities.max(1)),
        "subgroups": lambda: figures.subgroups(groups(), score="accuracy", overall=0.5),
        "gaps": lambda: figures.gaps(groups(), score="accuracy"),
        "calibration": lambda: figures.calibration(
            *[calibration.reliability(labels, probabilities)] * 2, temperature=1.5
        ),
        "decision": lambda: figures.decision(
            decisions.bands(*decisions.question(labels, probabilities, ("mel",)), bootstrap()),
            name="mel",
            chosen={"90%": (0.9, 0.5)},
        ),
        "net_benefit": lambda: figures.net_benefit(
            decisions.net_benefit(*decisions.question(labels, probabilities, ("mel",)), bootstrap()),
            question="melanoma",
        ),
        "selective": lambda: figures.selective(
            decisions.risk_coverage(labels, probabilities), decisions.referral(labels, probabilities, bootstrap())
        ),
        "coverage": lambda: figures.coverage(
            *[conformal.summary(labels, conformal.sets(probabilities, np.full(7, 0.9)), bootstrap())] * 2, aim=0.9
        ),
        "differences": lambda: figures.differences(
            comparison.paired(*[random_predictions(60).query("part == 'test'")] * 2, draws=20, seed=0),
            first="a",
            second="b",
        ),
        "attention": lambda: figures.attention(
            saliency.on_lesion(
                metadata[:3].assign(lesion_group=metadata.lesion_id),
                np.array([True, True, False]),
                np.ones((3, 4, 4)),
                np.ones((3, 4, 4), bool),
                draws=10,
                seed=0,
            )
        ),
        "corruptions": lambda: figures.corruptions(
            pd.DataFrame(
                {
                    "corruption": ["blur"] * 2,
                    "severity": [0, 1],
                    "accuracy": [0.9, 0.8],
                    "balanced_accuracy": [0.8, 0.6],
                    "loss": [0.3, 0.5],
                }
            )
        ),
        "map_of_features": lambda: figures.map_of_features(
            np.random.default_rng(0).random((len(metadata), 2)), metadata, metadata.index % 2 == 0
        ),
        "doubt": lambda: figures.doubt(
            pd.DataFrame(
                {"images": [9, 5], "candidates": [1, 0], "fraction": [0.11, 0.0]}, index=["histo", "follow_up"]
            ),
            column="dx_type",
        ),
        "claims": lambda: figures.claims(tables_of_paper(tiny)["claims"].numbers),
        "effects": lambda: figures.effects(tables_of_paper(tiny)["effects"].numbers),
        "leak": lambda: figures.leak(tables_of_paper(tiny)["effects"].numbers.assign(**LEAK)),
        "ladder": lambda: figures.ladder(
            tables_of_paper(tiny)["effects"].numbers.assign(step="a", part="test"), names=("accuracy",)
        ),
        "costs": lambda: figures.costs(
            pd.DataFrame(
                [{"network": "a", "million_operations": 9, "megabytes": 3, "mean": 0.5, "low": 0.4, "high": 0.6}]
            )
        ),
        "best": lambda: figures.best(
            pd.DataFrame(
                [
                    {"of": "a test", "network": "one", "quantity": "score", "score": score}
                    | {"mean": 0.5, "low": 0.4, "high": 0.6, "aim": 0.7}
                    for score in ("accuracy", "balanced_accuracy", "macro_f1")
                ]
            )
        ),
        "curves_of_runs": lambda: figures.curves_of_runs({"by image": {0: HISTORY, 1: HISTORY}, "by lesion": {}}),
        "overlays": lambda: figures.overlays(
            np.zeros((2, 8, 8, 3), np.uint8),
            np.zeros((2, 8, 8)),
            np.eye(8, dtype=bool)[None].repeat(2, 0),
            ["a", "b"],
            alt="Two images.",
        ),
    }
    return makers[name]()


LEAK = {"lesion": "seen − unseen", "tested images": "all"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_figure_is_drawn_and_says_what_it_shows(name, opened, tiny):
    picture = draw(name, opened, tiny)
    shown = BeautifulSoup(picture._repr_mimebundle_()[0]["text/html"], "html.parser")
    assert len(shown.img["src"]) > 2000
    assert shown.img["alt"].endswith(".")
    assert len(shown.img["alt"]) >= len("Three.")
    assert "nan" not in shown.img["alt"]
    assert (shown.source is None) == picture.photographs
    assert ("image/png" in shown.img["src"]) >= picture.photographs


def svg(address):
    kind, _, content = address.partition(";base64,")
    assert kind == "data:image/svg+xml"
    return base64.b64decode(content).decode()


def test_a_figure_is_an_svg_with_words_or_a_png_where_that_is_smaller():
    figure, axes = base.blank(8, 3)
    axes[0].set(title="0.12345 words", xlim=(0, 1))
    assert ">0.12345 words</text>" in svg(BeautifulSoup(base.Picture(figure, "One.").html(), "html.parser").img["src"])
    axes[0].plot(*np.random.default_rng(0).random((2, 20_000)), ".")
    assert BeautifulSoup(base.Picture(figure, "Many.").html(), "html.parser").img["src"].startswith("data:image/png")


def test_on_a_phone_panels_stand_below_each_other_with_their_names_and_the_figure_is_left_as_it_was():
    figure, axes = base.blank(9, 3, columns=3)
    for axis in axes:
        base.forest(axis, pd.DataFrame({"value": [1], "low": [0], "high": [2]}, index=["a" * 30]), colours=["red"])
    axes[1].tick_params(labelleft=False)
    narrow = base.stacked(figure)
    narrow.draw_without_rendering()
    boxes = [axis.get_position() for axis in narrow.axes]
    assert all(upper.y0 > lower.y1 for upper, lower in pairwise(boxes))
    assert all(axis.yaxis.get_tick_params()["labelleft"] for axis in narrow.axes)
    assert narrow.get_figwidth() == base.NARROW
    assert figure.get_figwidth() == 9
    assert figure.axes[1].get_position().x0 > figure.axes[0].get_position().x0


def test_on_a_phone_folded_names_do_not_touch():
    names = ["a name as long as three whole lines of a phone's figure " + "abcde"[place % 5] for place in range(20)]
    figure, axes = base.blank(8, 1.1 + 0.25 * len(names))
    axes[0].set(ylim=(19.5, -0.5), yticks=range(len(names)), yticklabels=names)
    narrow = base.stacked(figure)
    narrow.draw_without_rendering()
    boxes = [label.get_window_extent() for label in narrow.axes[0].get_yticklabels()]
    assert all(upper.y0 > lower.y1 for upper, lower in pairwise(boxes))


MACHADO = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
"""What an eye without a kind of cone makes of linear RGB (G. M. Machado et al., IEEE TVCG 15, 1291 (2009))."""


def lab(colours, cones):
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(MACHADO[cones]), 0, 1)
    xyz = seen @ np.transpose([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 1e-4)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("cones", MACHADO)
def test_no_two_classes_look_alike(cones):
    seen = lab(base.COLOURS.values(), cones)
    far = np.linalg.norm(seen[:, None] - seen[None], axis=2)[~np.eye(len(seen), dtype=bool)]
    assert far.min() > 25  # 10.8 between two classes is what was too close
    assert len({str(line) for line in base.LINES.values()}) == len(set(base.MARKS.values())) == len(dataset.DX)


def test_colours_and_words_on_them_can_be_read():
    for colour in base.COLOURS.values():
        assert base.contrast(colour, "white") >= 2.95
    for colour in (*base.PART_COLOURS.values(), base.INK, base.MUTED):
        assert base.contrast(colour, "white") >= 4.5
    assert base.contrast("black", "white") == pytest.approx(21)
    shares = pd.DataFrame(np.linspace(0, 1, 49).reshape(7, 7))
    _, (axis,) = base.blank(5, 5)
    base.heat(axis, shares, words=shares.map("{:.0%}".format).to_numpy())
    grounds = axis.collections[0].get_facecolor()
    assert min(base.contrast(text.get_color(), ground) for text, ground in zip(axis.texts, grounds, strict=True)) >= 4.5
    assert {text.get_color() for text in axis.texts} == {"black", "white"}


def points(axis):
    """Where the marks of an axis lie, and the ends of its lines: two sets of x."""
    marks = [x for line in axis.lines if line.get_marker() == "o" for x in line.get_xdata()]
    ends = [x for line in axis.lines if line.get_marker() == "None" for x in line.get_xdata()]
    return marks, ends


def test_effects_are_drawn_at_their_means_with_their_intervals_in_one_order():
    rows = [(name, score) for name in ("b", "a") for score in evaluation.names("effects")][:-1]  # a has no last score
    table = pd.DataFrame(rows, columns=["difference", "score"])
    table["mean"] = np.arange(len(table)) / 10
    table = table.assign(low=table["mean"] - 0.05, high=table["mean"] + 0.02)
    table = table.assign(minimum=table.low, maximum=table.high)
    axes = figures.effects(table).figure.axes
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["b", "a"]
    for axis, score in zip(axes, evaluation.names("effects"), strict=True):
        marks, ends = points(axis)
        here = table[table.score == score].set_index("difference").reindex(["b", "a"])
        assert marks == pytest.approx(here["mean"].tolist(), nan_ok=True)
        assert set(here.low.dropna()) | set(here.high.dropna()) <= set(ends)


def test_claims_are_drawn_at_what_was_measured_beside_what_is_claimed():
    rows = [
        {"claim": claim, "score": score, "preprint": claimed, "split": split, "mean": mean, "low": mean - 0.03}
        for claim, score, claimed, mean in (("accuracy", "accuracy", 0.92, 0.8), ("loss", "loss", 0.26, 0.6))
        for split in ("by image", "by lesion")
    ]
    table = pd.DataFrame(rows).assign(high=lambda table: table["mean"] + 0.05)
    for axis, (_, here) in zip(figures.claims(table).figure.axes, table.groupby("claim"), strict=True):
        marks, ends = points(axis)
        assert marks == here["mean"].tolist()
        assert {*here.low, *here.high, *here.preprint} <= set(ends)


def test_subgroups_and_gaps_are_drawn_at_their_values():
    table = groups()
    for drawn, column in (
        (figures.subgroups(table, score="accuracy", overall=0.5), "value"),
        (figures.gaps(table, score="accuracy"), "gap"),
    ):
        marks, ends = points(drawn.figure.axes[0])
        known = table[(table.score == "accuracy") & table[column].notna()]
        assert sorted(marks) == pytest.approx(sorted(known[column]))
        low, high = ("low", "high") if column == "value" else ("gap_low", "gap_high")
        assert {*known[low], *known[high]} <= set(ends)


def test_a_gallery_shows_each_image_with_its_title():
    picture = base.gallery(np.zeros((3, 8, 8, 3), np.uint8), list("abc"), columns=2, alt="Three.")
    assert [axis.get_title() for axis in picture.figure.axes][:3] == list("abc")
    assert [len(axis.images) for axis in picture.figure.axes] == [1, 1, 1, 0]


def test_every_class_has_a_colour_of_its_own():
    assert list(base.COLOURS) == list(dataset.DX)
    assert len(set(base.COLOURS.values())) == len(dataset.DX)


def test_no_confusion_at_all_can_be_drawn():
    empty = evaluation.confused_pairs(wrong()[0].iloc[:0], pd.Series(dtype=int))
    figures.confused_pairs(empty)._repr_mimebundle_()
    figures.confusion(np.eye(7, dtype=int))._repr_mimebundle_()
