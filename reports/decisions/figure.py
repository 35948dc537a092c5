"""The path of each comparison: the interval of its mean difference against the seeds."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.deciding import Verdict
from reports.decisions.reading import rounds_of
from reports.decisions.rounds import Answer
from reports.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    VERMILION,
    StudyFigure,
    wrapped,
)
from reports.results.study_record import StudyRecord

MOST_PATHS = 12
"""The most comparisons that the figure shows."""

_HUES = {
    Verdict.BETTER: GREEN,
    Verdict.WORSE: VERMILION,
    Verdict.NO_DIFFERENCE: BLUE,
    Verdict.OPEN: GREY,
    Verdict.BUDGET_SPENT: INK,
}


@dataclass(frozen=True)
class ComparisonPath:
    """A comparison, after each seed from the second on; differences in percent points.

    Attributes:
        name: its rows.
        verdict: how it ended.
        seeds: how many, at each look.
        means: mean differences.
        low: lower ends of the intervals; None where there is none.
        high: upper ends.

    """

    name: str
    verdict: Verdict
    seeds: tuple[int, ...]
    means: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class DecisionPaths:
    """The paths of a study.

    Attributes:
        paths: the comparisons that are shown, in the study's order.
        smallest: the smallest difference that matters, in points.
        most_seeds: the last look.
        left_out: a sentence for the caption if not all are shown, else "".

    """

    paths: tuple[ComparisonPath, ...]
    smallest: float
    most_seeds: int
    left_out: str


def decision_paths_info(record: StudyRecord) -> DecisionPaths | None:
    """Collect the paths of a study that decides; None without a path."""
    rounds = rounds_of(record)
    if rounds is None:
        return None
    there = [answer for answer in rounds.answers.values() if answer.decision.path]
    # What went on longest says most; ties stay in the study's order.
    kept = sorted(there, key=lambda answer: -answer.decision.seeds)[:MOST_PATHS]
    shown = [answer for answer in there if answer in kept]
    if not shown:
        return None
    left_out = "" if len(shown) == len(there) else f" Shown are {len(shown)} of {len(there)}."
    return DecisionPaths(
        tuple(map(_path, shown)),
        100 * rounds.question.smallest,
        rounds.question.most_seeds,
        left_out,
    )


def _path(answer: Answer) -> ComparisonPath:
    points = answer.decision.path
    intervals = [answer.interval_at(point) for point in points]
    return ComparisonPath(
        str(answer.pair),
        answer.verdict,
        tuple(point.seeds for point in points),
        tuple(100 * interval.mean for interval in intervals),
        tuple(None if one.low is None else 100 * one.low for one in intervals),
        tuple(None if one.high is None else 100 * one.high for one in intervals),
    )


def draw_decision_paths(info: DecisionPaths) -> Figure:
    """Draw a panel for each comparison."""
    columns = min(3, len(info.paths))
    rows = -(-len(info.paths) // columns)
    figure = StudyFigure(figsize=(8.6, 2.3 * rows + 0.4), layout="constrained")
    grid = list(figure.subplots(rows, columns, sharey=True, squeeze=False).ravel())
    for spare in grid[len(info.paths) :]:
        spare.set_visible(False)
    reach = max(abs(mean) for path in info.paths for mean in path.means if mean == mean)
    limit = 1.6 * max(2 * info.smallest, reach)
    last = max(path.seeds[-1] for path in info.paths)
    for axes, path in zip(grid, info.paths, strict=False):
        _draw(axes, path, info.smallest)
        axes.set_ylim(-limit, limit)
        axes.set_xlim(1.5, last + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.supxlabel("seeds", fontsize=9)
    figure.supylabel("difference [points]", fontsize=9)
    return figure


def _draw(axes: Axes, path: ComparisonPath, smallest: float) -> None:
    hue = _HUES[path.verdict]
    axes.axhspan(-smallest, smallest, color=FAINT, alpha=0.18, linewidth=0, zorder=0)
    axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
    known = [
        (seeds, low, high)
        for seeds, low, high in zip(path.seeds, path.low, path.high, strict=True)
        if low is not None and high is not None
    ]
    if known:
        seeds, low, high = zip(*known, strict=True)
        axes.fill_between(seeds, low, high, color=hue, alpha=0.25, linewidth=0, zorder=2)
        axes.vlines(seeds, low, high, color=hue, alpha=0.6, linewidth=0.9, zorder=2)
    axes.plot(path.seeds, path.means, "-o", color=hue, markersize=3, linewidth=1.3, zorder=3)
    if path.verdict.is_decided:
        axes.plot(
            path.seeds[-1], path.means[-1], "o", color=hue, markersize=8, fillstyle="none", zorder=4
        )
    axes.set_title(f"{wrapped(path.name, 38)}\n{path.verdict}", fontsize=8, color=INK)
