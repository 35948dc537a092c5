"""IoU against image-level accuracy: which networks are right for the wrong reason."""

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import colours, seed_markers, threshold_axis, wrapped
from reports.results.study_record import StudyRecord
from reports.statistics import summarise


@dataclass(frozen=True)
class AccuracyScatter:
    """One point per healthy trial: configuration, seed, balanced accuracy and IoU in percent."""

    points: tuple[tuple[str, int, float, float], ...]
    colours: Mapping[str, str]
    markers: Mapping[int, str]
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
    figure = Figure(figsize=(8.6, 4.4))
    axes: Axes = figure.add_axes((0.09, 0.13, 0.54, 0.83))
    for name, seed, accuracy, reached in info.points:
        axes.plot(
            accuracy,
            reached,
            info.markers[seed],
            color=info.colours[name],
            markersize=7.5,
            alpha=0.85,
            markeredgecolor="white",
            markeredgewidth=0.8,
        )
    axes.set_xlabel("balanced accuracy of the image-level prediction [%]")
    axes.set_ylabel(info.axis)
    axes.set_ylim(bottom=0)
    accuracies = [accuracy for *_, accuracy, _ in info.points]
    if accuracies:
        axes.set_xlim(min(48.0, min(accuracies) - 2), 101.5)
    means = {
        name: summarise([p[3] for p in info.points if p[0] == name]).mean
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
