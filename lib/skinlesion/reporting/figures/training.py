"""The figures of notebook 03."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import MaxNLocator

from skinlesion.reporting.figures.base import MUTED, PART_COLOURS, Picture, blank, direct_labels


def curves(history: pd.DataFrame, *, selected: int) -> Picture:
    """Draw loss and accuracy per epoch, in training and validation, with the selected epoch marked."""
    figure, axes = blank(9, 3.2, columns=2)
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        ends = {}
        for part in ("train", "validation"):
            values = history[f"{part}_{quantity}"]
            axis.plot(history.epoch, values, "o-", color=PART_COLOURS[part], markersize=3)
            ends[part] = values.iloc[-1]
        direct_labels(axis, history.epoch.iloc[-1], ends)
        axis.axvline(selected, color=MUTED, linestyle=":", linewidth=1)
        axis.set(xlabel="epoch", title=quantity if quantity == "accuracy" else "loss (cross-entropy, nats)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.margins(x=0.02, y=0.12)
    late = selected > len(history) / 2
    axes[0].annotate(
        f"selected: {selected}",
        (selected, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if late else 3, -2),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        fontsize=8,
        color=MUTED,
    )
    first, last = history.iloc[0], history.iloc[-1]
    return Picture(
        figure,
        f"Training loss goes from {first.train_loss:.2f} to {last.train_loss:.2f} and validation accuracy "
        f"from {first.validation_accuracy:.2f} to {last.validation_accuracy:.2f} in {len(history)} epochs.",
    )


def pace(history: pd.DataFrame) -> Picture:
    """Draw the learning rate, the throughput and the time of each epoch."""
    figure, axes = blank(9, 2.4, columns=3)
    for axis, column, title in zip(
        axes,
        ("learning_rate", "images_per_second", "seconds"),
        ("learning rate", "training throughput (images/s)", "time per epoch (s)"),
        strict=True,
    ):
        axis.plot(history.epoch, history[column], "o-", color=PART_COLOURS["train"], markersize=3)
        axis.set(xlabel="epoch", title=title, ylim=(0, history[column].max() * 1.2))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return Picture(
        figure,
        f"Learning rate {history.learning_rate.iloc[-1]:g}, median throughput "
        f"{history.images_per_second.median():.0f} images per second, median epoch "
        f"{history.seconds.median():.1f} seconds.",
    )
