"""The course of a search: each trial's objective in order, and against the transfer weight."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INDIGO,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WINE,
    StudyFigure,
    wrapped,
)
from reports.ledger.schema import SEARCH_STATES
from reports.names import MEASURE_NAMES, METRIC_NAMES
from reports.tables.search import SearchTrial, search_trials

# A metric has the same hue in every search.
_HUES = {"cosine": BLUE, "l1": VERMILION, "l2": GREEN, "kl": PURPLE}
_OTHER_HUES = (ORANGE, SKY, INDIGO, WINE)
_MARKERS = {"complete": "o", "pruned": "o", "collapsed": "X", "failed": "x"}


@dataclass(frozen=True)
class SearchPoint:
    """One search trial: its mean objective in percent, NaN without any.

    `transfer_weight` and `metric` are None if the search has no such parameter.
    """

    number: int
    objective: float
    state: str
    transfer_weight: float | None
    metric: str | None


@dataclass(frozen=True)
class SearchInfo:
    """All trials by ascending number.

    Attributes:
        points: the trials.
        best: the complete trials that surpassed all before them: number and objective in percent.
        colours: by metric; empty if no parameter names one.
        axis: the label of the objective's axis.

    """

    points: tuple[SearchPoint, ...]
    best: tuple[tuple[int, float], ...]
    colours: Mapping[str, str]
    axis: str


def _point(trial: SearchTrial) -> SearchPoint:
    weight, metric = trial.parameters.get("lambda"), trial.parameters.get("metric")
    return SearchPoint(
        trial.number,
        100 * trial.summary.mean,
        trial.state,
        float(weight) if isinstance(weight, (int, float)) and weight > 0 else None,
        None if metric is None else str(metric),
    )


def search_info(rows: pd.DataFrame, *, objective: str = "per_image_iou") -> SearchInfo:
    """Collect the points of the figure.

    Args:
        rows: the ledger's `search` table of one study; errors as in `search_trials`.
        objective: the IoU definition of its values.

    """
    points = tuple(_point(trial) for trial in search_trials(rows))
    best: list[tuple[int, float]] = []
    for point in points:
        if (
            point.state == "complete"
            and not math.isnan(point.objective)
            and (not best or point.objective > best[-1][1])
        ):
            best.append((point.number, point.objective))
    metrics = sorted({point.metric for point in points if point.metric is not None})
    others = [metric for metric in metrics if metric not in _HUES]
    hues = {
        metric: _HUES.get(metric) or _OTHER_HUES[others.index(metric) % len(_OTHER_HUES)]
        for metric in metrics
    }
    axis = f"{MEASURE_NAMES[objective]}\nat the best threshold of the tune split [%]"
    return SearchInfo(points, tuple(best), hues, axis)


def _mark(axes: Axes, info: SearchInfo, point: SearchPoint, at: float) -> None:
    """Draw one trial; one without an objective stands on the axis."""
    absent = math.isnan(point.objective)
    colour = info.colours.get(str(point.metric), GREY)
    axes.plot(
        at,
        0 if absent else point.objective,
        "|" if absent else _MARKERS[point.state],
        color=colour,
        markersize=9 if absent else 6,
        alpha=0.85,
        clip_on=False,
        zorder=4,
        transform=axes.get_xaxis_transform() if absent else axes.transData,
        markerfacecolor="none" if point.state == "pruned" else colour,
        markeredgewidth=1.2 if point.state != "complete" or absent else 0,
    )


def draw_search(info: SearchInfo) -> Figure:
    """Draw the course of the search; if trials have a λ, also the objective against it."""
    weighted = any(point.transfer_weight is not None for point in info.points)
    figure = StudyFigure(figsize=(8.6, 3.7), layout="constrained")
    grid = figure.subplots(1, 1 + weighted, sharey=True, squeeze=False).ravel()
    course: Axes = grid[0]
    last = max((point.number for point in info.points), default=0)
    course.set_xlim(-0.04 * last - 0.5, 1.04 * last + 0.5)
    for point in info.points:
        _mark(course, info, point, point.number)
    if info.best:
        numbers, reached = zip(*info.best, strict=True)
        course.plot(
            [*numbers, last],
            [*reached, reached[-1]],
            color=INK,
            linewidth=1.2,
            drawstyle="steps-post",
            zorder=2,
        )
    course.set_xlabel("search trial")
    course.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    course.set_ylabel(info.axis)
    if weighted:
        for point in info.points:
            if point.transfer_weight is not None:
                _mark(grid[1], info, point, point.transfer_weight)
        grid[1].set_xscale("log")
        grid[1].xaxis.set_major_formatter("{x:g}")
        grid[1].set_xlabel("λ, weight of the transfer loss (log scale)")
    course.set_ylim(bottom=0)
    figure.legend(
        handles=_handles(course, info),
        loc="outside upper left",
        ncols=5,
        frameon=False,
        fontsize=8,
    )
    return figure


def _handles(axes: Axes, info: SearchInfo) -> list[Line2D]:
    handles = [
        axes.plot([], [], "s", color=colour, label=wrapped(METRIC_NAMES.get(name, name), 30, 1))[0]
        for name, colour in info.colours.items()
    ]
    if info.best:
        handles += axes.plot([], [], color=INK, linewidth=1.2, label="best so far")
    for state in SEARCH_STATES:
        if any(point.state == state and not math.isnan(point.objective) for point in info.points):
            filling = "none" if state == "pruned" else FAINT
            handles += axes.plot(
                [], [], _MARKERS[state], color=FAINT, markerfacecolor=filling, label=state
            )
    if any(math.isnan(point.objective) for point in info.points):
        handles += axes.plot([], [], "|", color=FAINT, markersize=9, label="without an objective")
    return handles
