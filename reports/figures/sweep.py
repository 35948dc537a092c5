"""The sweep's figure: IoU, reliance on the context and accuracy at each value."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import FAINT, INK, StudyFigure, colours, wrapped
from reports.names import MEASURE_NAMES
from reports.pairing import Pair
from reports.results.study_record import StudyRecord
from reports.results.sweep import SweepRow, read_sweep
from reports.statistics import Summary, summarise_pairs

RelianceBySeed = Mapping[tuple[float, str, Pair], float]
"""Fall of the logit without the context, by value of the sweep, configuration and seed."""


@dataclass(frozen=True)
class SweepPoint:
    """One configuration at one value: the figure of its healthy trials by seed, and their mean."""

    at: float
    by_seed: Mapping[Pair, float]
    summary: Summary


@dataclass(frozen=True)
class SweepPanel:
    """One figure over the sweep: points by configuration, by ascending value.

    `bounds` limit the panel's scale: a share lies between 0 and 100 %; None: unbounded.
    """

    axis: str
    lines: Mapping[str, tuple[SweepPoint, ...]]
    bounds: tuple[float, float] | None


@dataclass(frozen=True)
class SweepInfo:
    """The panels from top to bottom, and the lines: baselines dashed, references dotted."""

    name: str
    values: tuple[float, ...]
    panels: tuple[SweepPanel, ...]
    colours: Mapping[str, str]
    dashes: Mapping[str, str]


def _panel(
    axis: str,
    figures: Mapping[str, Mapping[float, Mapping[Pair, float]]],
    bounds: tuple[float, float] | None,
) -> SweepPanel:
    lines = {
        name: tuple(
            SweepPoint(value, by_seed, summarise_pairs(by_seed))
            for value, by_seed in by_value.items()
            if by_seed
        )
        for name, by_value in figures.items()
    }
    return SweepPanel(axis, {name: line for name, line in lines.items() if line}, bounds)


def _reliance(row: SweepRow, reliance: RelianceBySeed) -> dict[float, dict[Pair, float]]:
    """Pick a configuration's reliance, of the trials that have an IoU."""
    name = row.configuration.name
    return {
        value: {
            seed: reliance[value, name, seed]
            for seed in by_seed
            if not math.isnan(reliance.get((value, name, seed), math.nan))
        }
        for value, by_seed in row.iou.items()
    }


def sweep_info(records: Sequence[StudyRecord], reliance: RelianceBySeed | None = None) -> SweepInfo:
    """Collect the numbers of the figure.

    Args:
        records: one per value of the sweep; errors as in `read_sweep`.
        reliance: NaN and keys of no healthy trial are left out.

    Returns:
        IoU and balanced accuracy in percent; reliance as it was given. A panel without any point is
        left out.

    """
    sweep = read_sweep(records)

    def percent(figure: Mapping[float, Mapping[Pair, float]]) -> dict[float, dict[Pair, float]]:
        return {
            value: {seed: 100 * share for seed, share in by_seed.items()}
            for value, by_seed in figure.items()
        }

    rows = {row.configuration.name: row for row in sweep.rows}
    panels = [
        _panel(
            f"{MEASURE_NAMES[sweep.objective]}\nat the {sweep.rule} threshold [%]",
            {name: percent(row.iou) for name, row in rows.items()},
            (0.0, 100.0),
        ),
        _panel(
            "fall of the logit\nwithout the context",
            {name: _reliance(row, reliance or {}) for name, row in rows.items()},
            None,
        ),
        _panel(
            "balanced accuracy of the\nimage-level prediction [%]",
            {name: percent(row.accuracy) for name, row in rows.items()},
            (0.0, 100.0),
        ),
    ]
    shown = tuple(row.configuration for row in sweep.rows)
    dashes = {one.reference: ":" for one in shown if one.reference}
    dashes.update({one.baseline: "--" for one in shown if one.baseline})
    return SweepInfo(
        sweep.name,
        sweep.values,
        tuple(panel for panel in panels if panel.lines),
        colours(replace(records[0], configurations=shown)),
        {one.name: dashes.get(one.name, "-") for one in shown},
    )


def _scale(panel: SweepPanel) -> tuple[float, float]:
    """Find the ends of a panel's scale: all seeds are inside, wide intervals may be cut.

    The t interval of two seeds is six times as long as their range. Drawn whole it would press
    everything else flat, so the scale extends the seeds' range by at most half of it on each side.
    """
    points = [point for line in panel.lines.values() for point in line]
    seeds = [value for point in points for value in point.by_seed.values()]
    ends = [
        end
        for point in points
        for end in (point.summary.low, point.summary.high)
        if end is not None
    ]
    low, high = min(seeds), max(seeds)
    reach = (high - low) / 2 or 1.0
    low = max(min([low, *ends]), low - reach) - reach / 10
    high = min(max([high, *ends]), high + reach) + reach / 10
    if panel.bounds is not None:
        # A margin, so that dots at 0 and 100 % are whole.
        margin = reach / 10
        low, high = max(low, panel.bounds[0] - margin), min(high, panel.bounds[1] + margin)
    return low, high


def draw_sweep(info: SweepInfo) -> Figure:
    """Draw the panels one below the other; lines are set side by side at each value."""
    names = [name for name in info.colours if any(name in panel.lines for panel in info.panels)]
    figure = StudyFigure(
        figsize=(8.6, 0.9 + 2.35 * len(info.panels) + 0.17 * math.ceil(len(names) / 3)),
        layout="constrained",
    )
    stack = figure.subplots(max(len(info.panels), 1), 1, sharex=True, squeeze=False).ravel()
    gaps = [later - one for one, later in zip(info.values, info.values[1:], strict=False)]
    # Whiskers stand apart; all together they take less than the way to the next value.
    step = min(0.012 * sum(gaps), 0.6 * min(gaps) / len(names)) if gaps and names else 0.02
    shift = {name: step * (place - (len(names) - 1) / 2) for place, name in enumerate(names)}
    for axes, panel in zip(stack, info.panels, strict=False):
        _draw_panel(axes, panel, info, shift)
    last: Axes = stack[-1]
    last.set_xticks(info.values, [f"{value:g}" for value in info.values])
    last.set_xlabel(info.name)
    handles = [
        last.plot(
            [],
            [],
            info.dashes[name],
            color=info.colours[name],
            linewidth=1.8,
            marker="o",
            markersize=4.5,
        )[0]
        for name in names
    ]
    if handles:
        # Set as texts: matplotlib leaves out labels that begin with an underscore.
        legend = figure.legend(
            handles,
            ["name"] * len(names),
            loc="outside upper left",
            ncols=3,
            frameon=False,
            fontsize=8,
            handlelength=2.6,
        )
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set_text(wrapped(name, 38, 1))
    return figure


def _draw_panel(axes: Axes, panel: SweepPanel, info: SweepInfo, shift: Mapping[str, float]) -> None:
    if panel.bounds is None:
        axes.axhline(0, color=FAINT, linewidth=1, zorder=1)
    for name, line in panel.lines.items():
        colour = info.colours[name]
        for point in line:
            x = point.at + shift[name]
            if point.summary.low is not None and point.summary.high is not None:
                axes.plot(
                    [x, x],
                    [point.summary.low, point.summary.high],
                    color=colour,
                    linewidth=1.1,
                    alpha=0.45,
                    zorder=2,
                )
            values = list(point.by_seed.values())
            axes.plot(
                [x] * len(values),
                values,
                "o",
                color=colour,
                markersize=2.6,
                alpha=0.6,
                markeredgewidth=0,
                zorder=3,
            )
        # The line breaks at a value that lost all its trials.
        means = {point.at: point.summary.mean for point in line}
        axes.plot(
            [value + shift[name] for value in info.values],
            [means.get(value, math.nan) for value in info.values],
            info.dashes[name],
            color=colour,
            linewidth=1.5,
            marker="o",
            markersize=4.8,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=4,
        )
    axes.set_ylim(*_scale(panel))
    axes.set_ylabel(panel.axis, color=INK)
    axes.grid(axis="x", visible=False)
