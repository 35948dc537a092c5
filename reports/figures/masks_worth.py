"""IoU against the number of true masks spent: how many masks is a method worth?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from reports.figures.style import INK, StudyFigure, chain_colours, wrapped
from reports.names import MEASURE_NAMES, RULE_NAMES
from reports.pairing import Pair
from reports.results.study_record import StudyRecord
from reports.statistics import Summary, summarise_pairs


@dataclass(frozen=True)
class MasksPoint:
    """An entry of `segment` in the figure, figures in percent."""

    entry: str
    spent: int
    summary: Summary
    by_seed: Mapping[Pair, float]


@dataclass(frozen=True)
class MasksWorthInfo:
    """The numbers of the figure.

    Attributes:
        axis: what stands beside the vertical axis.
        lines: entries whose masks come from the same maps, or from none, by masks spent.
        colours: of each line.

    """

    axis: str
    lines: Mapping[str, tuple[MasksPoint, ...]]
    colours: Mapping[str, str]


def masks_worth_info(record: StudyRecord) -> MasksWorthInfo | None:
    """Collect the figure's numbers; None unless entries spend different numbers of masks.

    Args:
        record: the study.

    """
    lines: dict[str, list[MasksPoint]] = {}
    for entry in record.segments:
        spent = entry.masks_spent
        by_seed = {pair: 100 * one for pair, one in entry.by_seed(record.objective).items()}
        if spent is None or not by_seed or entry.single_stage:
            continue
        point = MasksPoint(entry.entry, spent, summarise_pairs(by_seed), by_seed)
        maps = entry.pseudo_masks(RULE_NAMES)
        lines.setdefault(f"with {maps}" if maps else "true masks alone", []).append(point)
    if len({point.spent for points in lines.values() for point in points}) < 2:
        return None
    ordered = {
        name: tuple(sorted(points, key=lambda point: point.spent)) for name, points in lines.items()
    }
    axis = f"{MEASURE_NAMES[record.objective]} [%]"
    return MasksWorthInfo(axis, ordered, chain_colours(list(ordered)))


def draw_masks_worth(info: MasksWorthInfo) -> Figure:
    """Draw a line for each source of pseudo masks; the axis of masks is log(1 + masks)."""
    figure = StudyFigure(figsize=(8.6, 3.6), layout="constrained")
    axes = figure.subplots()
    shift = {name: 0.012 * place for place, name in enumerate(info.lines)}
    handles = []
    for name, points in info.lines.items():
        colour = info.colours[name]
        places = [math.log10(1 + point.spent) + shift[name] for point in points]
        means = [point.summary.mean for point in points]
        (line,) = axes.plot(
            places, means, color=colour, linewidth=1.6, marker="o", markersize=5.5, zorder=4
        )
        handles.append(line)
        for place, point in zip(places, points, strict=True):
            low, high = point.summary.low, point.summary.high
            if low is not None and high is not None:
                axes.plot([place] * 2, [low, high], color=colour, linewidth=1.1, alpha=0.45)
            values = list(point.by_seed.values())
            axes.plot([place] * len(values), values, "o", color=colour, markersize=2.8, alpha=0.6)
    spent = sorted({point.spent for points in info.lines.values() for point in points})
    axes.set_xticks([math.log10(1 + count) for count in spent], [str(count) for count in spent])
    values = [v for points in info.lines.values() for p in points for v in p.by_seed.values()]
    margin = max(2.0, 0.15 * (max(values) - min(values)))
    axes.set_ylim(max(0.0, min(values) - margin), min(100.0, max(values) + margin))
    axes.set_xlabel("true masks spent, thresholds included")
    axes.set_ylabel(info.axis, color=INK)
    legend = figure.legend(
        handles, ["name"] * len(handles), loc="outside upper left", ncols=2, frameon=False,
        fontsize=8,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), info.lines, strict=True):
        text.set_text(wrapped(name, 52, 1))
    return figure
