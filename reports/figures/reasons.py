"""Figures of reasons: accuracy, IoU, sensitivity, worst group side by side; curves over noise."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import (
    FAINT,
    StudyFigure,
    colours,
    draw_trial,
    seed_markers,
    small_multiples,
    wrapped,
)
from reports.names import SHORT_MEASURE_NAMES
from reports.pairing import Pair
from reports.results.reasons import SENSITIVITY
from reports.results.study_record import StudyRecord
from reports.statistics import summarise_pairs


@dataclass(frozen=True)
class ReasonColumn:
    """A figure of every trial: its label, where nothing lies, values by row and seed."""

    label: str
    neutral: float | None
    by_row: Mapping[str, Mapping[Pair, float]]


@dataclass(frozen=True)
class ReasonDots:
    """Several figures side by side, a row per configuration in the plan's order."""

    rows: tuple[str, ...]
    columns: tuple[ReasonColumn, ...]
    colours: Mapping[str, str]
    markers: Mapping[Pair, str]


def reason_dots_info(record: StudyRecord) -> ReasonDots | None:
    """Collect accuracy, IoU, sensitivity and worst group of every healthy trial."""
    if record.reasons is None:
        return None
    names = tuple(one.name for one in record.configurations)
    main = record.main_class

    def percent(found: Mapping[Pair, float]) -> dict[Pair, float]:
        return {pair: 100 * value for pair, value in found.items()}

    columns = [
        ReasonColumn(
            "balanced accuracy [%]",
            50.0,
            {name: percent(record.by_seed(name, "balanced_accuracy")) for name in names},
        ),
        ReasonColumn(
            f"{SHORT_MEASURE_NAMES[record.objective]} [%]",
            None,
            {name: percent(record.by_seed(name, record.objective)) for name in names},
        ),
        ReasonColumn(
            "RFS", 0.0, {name: record.reason_by_seed(name, SENSITIVITY, main) for name in names}
        ),
        ReasonColumn(
            "found with the\nobject grey [%]",
            None,
            {name: percent(record.reason_by_seed(name, "object_grey", main)) for name in names},
        ),
        ReasonColumn(
            "worst group [%]",
            None,
            {name: percent(record.reason_by_seed(name, "worst_group", main)) for name in names},
        ),
    ]
    shown = tuple(column for column in columns if any(column.by_row.values()))
    return ReasonDots(names, shown, colours(record), seed_markers(record))


def draw_reason_dots(info: ReasonDots) -> Figure:
    """Draw a column of axes per figure, a row of dots per configuration, and a bar at its mean."""
    height = 0.9 + 0.36 * len(info.rows)
    figure = StudyFigure(figsize=(8.8, height), layout="constrained")
    every = figure.subplots(1, len(info.columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(every, info.columns, strict=True):
        if column.neutral is not None:
            axes.axvline(column.neutral, color=FAINT, linestyle="--", linewidth=1)
        for at, name in enumerate(info.rows):
            values = column.by_row[name]
            if not values:
                continue
            mean = summarise_pairs(values).mean
            axes.plot([mean] * 2, [at - 0.3, at + 0.3], color=info.colours[name], linewidth=2.4)
            for pair, value in values.items():
                marker, colour = info.markers[pair], info.colours[name]
                draw_trial(axes, (value, at), marker, colour, size=5.5, edge=0.6)
        axes.set_xlabel(column.label, fontsize=8.5)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    every[0].set_yticks(range(len(info.rows)), [wrapped(name, 28) for name in info.rows])
    every[0].set_ylim(len(info.rows) - 0.5, -0.5)
    return figure


@dataclass(frozen=True)
class NoiseCurves:
    """Balanced accuracy in percent over sigma, for each configuration and seed.

    Attributes:
        sigmas: ascending.
        panels: configuration -> seed -> noise on the object, and on the context.
        colours: by configuration.

    """

    sigmas: tuple[float, ...]
    panels: Mapping[str, Mapping[Pair, tuple[tuple[float, ...], ...]]]
    colours: Mapping[str, str]


def noise_curves_info(record: StudyRecord) -> NoiseCurves | None:
    """Collect the accuracy at each sigma of every healthy trial, for the main class."""
    if record.reasons is None:
        return None
    sigmas = record.reasons.sigmas
    panels: dict[str, dict[Pair, tuple[tuple[float, ...], ...]]] = {}
    for one in record.configurations:
        noisy = [
            [record.reason_by_seed(one.name, measure, record.main_class, sigma) for sigma in sigmas]
            for measure in ("noisy_object", "noisy_context")
        ]
        of_one = {
            pair: tuple(tuple(100 * at.get(pair, np.nan) for at in curve) for curve in noisy)
            for pair in noisy[0][0]
        }
        if of_one:
            panels[one.name] = of_one
    return NoiseCurves(tuple(sigmas), panels, colours(record)) if panels else None


def draw_noise_curves(info: NoiseCurves) -> Figure:
    """Draw small axes per configuration: solid with noise on the object, dashed on the context."""
    figure, every = small_multiples(len(info.panels), 1.7)
    axes: Axes
    for axes, (name, of_one) in zip(every, info.panels.items(), strict=True):
        for curves in of_one.values():
            for curve, line in zip(curves, ("-", "--"), strict=True):
                axes.plot(info.sigmas, curve, line, color=info.colours[name], linewidth=1.2)
        axes.set_title(wrapped(name, 26), fontsize=8.5)
        axes.set_ylim(-3, 103)
    figure.supxlabel("sigma of the noise", fontsize=9)
    figure.supylabel("balanced accuracy [%]", fontsize=9)
    return figure
