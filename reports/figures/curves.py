"""Curves of every trial: its losses over epochs, and the objective over all thresholds.

A small panel shows the seeds of one configuration.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from reports.figures.style import FAINT, colours, small_multiples, wrapped
from reports.names import MEASURE_NAMES
from reports.pairing import Pair
from reports.results.study_record import StudyRecord


@dataclass(frozen=True)
class TrainingCurves:
    """Losses by configuration and seed: (epochs, classification, transfer or None)."""

    panels: Mapping[str, Mapping[Pair, tuple[np.ndarray, np.ndarray, np.ndarray | None]]]
    colours: Mapping[str, str]


def training_curves_info(record: StudyRecord) -> TrainingCurves:
    """Collect the losses of every trial that has a history, in the plan's order."""
    panels: dict[str, dict[Pair, tuple[np.ndarray, np.ndarray, np.ndarray | None]]] = {}
    for one in record.configurations:
        for trial in record.of(one.name):
            rows = record.history.get((one.name, trial.pair))
            if rows is None:
                continue
            rows = rows.sort_values("epoch")
            transfer = rows["transfer_loss"].to_numpy(np.float64)
            panels.setdefault(one.name, {})[trial.pair] = (
                rows["epoch"].to_numpy(np.int64),
                rows["classification_loss"].to_numpy(np.float64),
                None if np.isnan(transfer).all() else transfer,
            )
    return TrainingCurves(panels, colours(record))


def draw_training_curves(info: TrainingCurves) -> Figure:
    """Draw a small panel per configuration: classification loss solid, transfer loss dashed."""
    figure, grid = small_multiples(len(info.panels), 1.75)
    for axes, (name, by_seed) in zip(grid, info.panels.items(), strict=True):
        for epochs, classification, transfer in by_seed.values():
            axes.plot(epochs, classification, color=info.colours[name], linewidth=1.3)
            if transfer is not None:
                axes.plot(
                    epochs, transfer, color=info.colours[name], linestyle=(0, (3, 2)), linewidth=1
                )
        axes.set_title(wrapped(name, 26), loc="left")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("loss (log scale)", fontsize=9)
    return figure


@dataclass(frozen=True)
class SeedCurve:
    """One trial: percent over levels, float64 [256], and by rule its level and what it reaches.

    A rule reaches another percentage than the curve has at its level if it sees other maps.
    """

    percent: np.ndarray
    levels: Mapping[str, int]
    reached: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ThresholdCurves:
    """Curves by configuration and seed; `compared` is the mean curve of the student alone."""

    panels: Mapping[str, Mapping[Pair, SeedCurve]]
    compared: Mapping[str, np.ndarray]
    colours: Mapping[str, str]
    axis: str


def threshold_curves_info(record: StudyRecord) -> ThresholdCurves:
    """Collect the test curves of all healthy trials, for the main class."""
    key = ("student", record.main_class)
    panels: dict[str, dict[Pair, SeedCurve]] = {}
    for one in record.configurations:
        for trial in record.healthy(one.name):
            if trial.figures is None or key not in trial.figures.curves:
                continue
            levels, reached = (
                {
                    rule: trial.figure(name, rule=rule, class_name=record.main_class)
                    for rule in ("fixed", "tuned", "dataset_oracle")
                }
                for name in ("level", record.objective)
            )
            panels.setdefault(one.name, {})[trial.pair] = SeedCurve(
                100 * trial.figures.curves[key],
                {rule: int(level) for rule, level in levels.items() if not math.isnan(level)},
                {rule: 100 * value for rule, value in reached.items()},
            )
    means = {
        name: np.mean([curve.percent for curve in by_seed.values()], axis=0)
        for name, by_seed in panels.items()
    }
    compared = {
        one.name: means[one.baseline]
        for one in record.configurations
        if one.baseline in means and one.baseline != one.name and one.name in panels
    }
    axis = f"{MEASURE_NAMES[record.objective]} [%]"
    return ThresholdCurves(panels, compared, colours(record), axis)


def draw_threshold_curves(info: ThresholdCurves) -> Figure:
    """Draw a small panel per configuration; the student alone stands behind as a dashed line."""
    figure, grid = small_multiples(len(info.panels), 1.8)
    thresholds = np.arange(256) / 255
    for axes, (name, by_seed) in zip(grid, info.panels.items(), strict=True):
        colour = info.colours[name]
        if name in info.compared:
            axes.plot(thresholds, info.compared[name], "--", color=FAINT, linewidth=1)
        for curve in by_seed.values():
            axes.plot(thresholds, curve.percent, color=colour, linewidth=1.2, alpha=0.9)
            for rule, filling in (("dataset_oracle", "white"), ("tuned", colour)):
                if rule in curve.levels:
                    axes.plot(
                        curve.levels[rule] / 255,
                        curve.reached.get(rule, curve.percent[curve.levels[rule]]),
                        "o",
                        color=colour,
                        markersize=5,
                        markerfacecolor=filling,
                        markeredgewidth=1.1,
                        zorder=4,
                    )
        axes.set_title(wrapped(name, 26), loc="left")
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    if grid:
        # Set last: the scale is shared, and later curves would not extend it.
        grid[0].set_ylim(bottom=0)
    figure.supxlabel("threshold", fontsize=9)
    figure.supylabel(info.axis, fontsize=9)
    return figure
