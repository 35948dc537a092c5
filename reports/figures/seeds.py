"""IoU of every seed: a row of dots per configuration or chain, and a scatter over accuracy.

The scatter shows which networks are right for the wrong reason: image-level accuracy high, IoU low.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import (
    FAINT,
    INK,
    StudyFigure,
    colours,
    draw_trial,
    seed_markers,
    threshold_axis,
    wrapped,
)
from reports.pairing import Pair, fold_of
from reports.results.study_record import StudyRecord
from reports.statistics import summarise_pairs
from reports.tables.cells import count_text

_MOST_LABELS = 16
"""The most markers that a legend explains."""


@dataclass(frozen=True)
class SeedRow:
    """One configuration: percent by seed, their mean, and a note if trials are lacking."""

    name: str
    colour: str
    by_seed: Mapping[Pair, float]
    mean: float
    note: str


@dataclass(frozen=True)
class SeedDots:
    """Every seed's IoU in percent, per configuration in the plan's order.

    `marks` are vertical lines at the student alone and the teacher alone: label, colour, percent.
    """

    rows: tuple[SeedRow, ...]
    marks: tuple[tuple[str, str, float], ...]
    markers: Mapping[Pair, str]
    axis: str


def seed_dots_info(record: StudyRecord) -> SeedDots:
    """Collect the IoU of every healthy trial at the study's rule, for the main class."""
    hues = colours(record)
    rows = []
    for one in record.configurations:
        values = record.by_seed(one.name, record.objective)
        by_seed = {seed: 100 * value for seed, value in values.items()}
        states = record.states(one.name)
        note = "" if states["ok"] == states.total() else count_text(states)
        mean = summarise_pairs(by_seed).mean
        rows.append(SeedRow(one.name, hues[one.name], by_seed, mean, note))
    means = {row.name: row.mean for row in rows if row.by_seed}
    roles = {name: "student alone" for one in record.configurations if (name := one.baseline)}
    for one in record.configurations:
        if one.reference:
            roles.setdefault(one.reference, "teacher alone")
    marks = tuple(
        (f"{role}: {name}", hues[name], means[name])
        for name, role in roles.items()
        if name in means
    )
    return SeedDots(tuple(rows), marks, seed_markers(record), threshold_axis(record))


def draw_seed_dots(info: SeedDots) -> Figure:
    """Draw one row of dots per configuration; thin lines join a seed's dots from row to row."""
    figure = StudyFigure(figsize=(8.6, 1.15 + 0.42 * len(info.rows)), layout="constrained")
    axes: Axes = figure.add_subplot()
    for label, colour, value in info.marks:
        dashes = "--" if label.startswith("student") else ":"
        axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.2, zorder=1)
    for seed in info.markers:
        path = [(row.by_seed.get(seed, np.nan), at) for at, row in enumerate(info.rows)]
        axes.plot(*zip(*path, strict=True), color=FAINT, linewidth=0.7, alpha=0.6, zorder=1.5)
    for at, row in enumerate(info.rows):
        axes.plot([row.mean] * 2, [at - 0.3, at + 0.3], color=row.colour, linewidth=2.6, zorder=3)
        for seed, value in row.by_seed.items():
            marker = info.markers[seed]
            draw_trial(axes, (value, at), marker, row.colour, size=6.5, edge=0.7, zorder=4)
        if row.note:
            axes.annotate(
                row.note,
                (1.0, at),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
    axes.set_yticks(range(len(info.rows)), [wrapped(row.name, 40, 1) for row in info.rows])
    axes.set_ylim(len(info.rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(info.axis)
    axes.set_xlim(left=0)
    handles = [
        *(
            axes.plot([], [], marker, color=FAINT, label=label)[0]
            for label, marker in _legend(info.markers).items()
        ),
        axes.plot([], [], "|", color=INK, markersize=11, markeredgewidth=2.4, label="mean")[0],
        *(
            axes.plot(
                [],
                [],
                "--" if label.startswith("student") else ":",
                color=colour,
                label=wrapped(label, 40, 1),
            )[0]
            for label, colour, _ in info.marks
        ),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    return figure


def _legend(markers: Mapping[Pair, str]) -> dict[str, str]:
    """Return label -> marker of each seed; in a study with folds, of each fold."""
    found = {
        f"seed {pair}" if (fold := fold_of(pair)) is None else f"fold {fold}": marker
        for pair, marker in markers.items()
    }
    return dict(list(found.items())[:_MOST_LABELS])


@dataclass(frozen=True)
class AccuracyScatter:
    """One point per healthy trial: configuration, seed, balanced accuracy and IoU in percent."""

    points: tuple[tuple[str, Pair, float, float], ...]
    colours: Mapping[str, str]
    markers: Mapping[Pair, str]
    axis: str


def accuracy_scatter_info(record: StudyRecord) -> AccuracyScatter:
    """Collect balanced accuracy and IoU of every healthy trial that has both."""
    points = []
    for one in record.configurations:
        accuracy = record.by_seed(one.name, "balanced_accuracy")
        reached = record.by_seed(one.name, record.objective)
        points += [
            (one.name, seed, 100 * accuracy[seed], 100 * reached[seed])
            for seed in sorted(set(accuracy) & set(reached))
        ]
    axis = threshold_axis(record, "\n")
    return AccuracyScatter(tuple(points), colours(record), seed_markers(record), axis)


def draw_accuracy_scatter(info: AccuracyScatter) -> Figure:
    """Draw the scatter; names stand at the right, in the order of their mean IoU."""
    figure = StudyFigure(figsize=(8.6, 4.4))
    axes: Axes = figure.add_axes((0.09, 0.13, 0.54, 0.83))
    for name, seed, accuracy, reached in info.points:
        marker, colour = info.markers[seed], info.colours[name]
        draw_trial(axes, (accuracy, reached), marker, colour, size=7.5, edge=0.8)
    axes.set_xlabel("balanced accuracy of the image-level prediction [%]")
    axes.set_ylabel(info.axis)
    axes.set_ylim(bottom=0)
    accuracies = [accuracy for *_, accuracy, _ in info.points]
    if accuracies:
        axes.set_xlim(min(48.0, min(accuracies) - 2), 101.5)
    means = {
        name: summarise_pairs({p[1]: p[3] for p in info.points if p[0] == name}).mean
        for name in {point[0] for point in info.points}
    }
    ranked = sorted(means, key=lambda name: (-means[name], name))
    step = min(0.075, 0.95 / max(len(ranked), 1))
    for place, name in enumerate(ranked):
        at = 0.97 - step * place
        axes.plot(
            1.05,
            at,
            "o",
            color=info.colours[name],
            markersize=6.5,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            1.08,
            at,
            f"{means[name]:.1f}  {wrapped(name, 40, 1)}",
            transform=axes.transAxes,
            va="center",
            fontsize=8.5,
        )
    return figure
