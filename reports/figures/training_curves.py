"""Training curves: the losses of every trial over epochs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from reports.figures.style import colours, small_multiples, wrapped
from reports.results.study_record import StudyRecord


@dataclass(frozen=True)
class TrainingCurves:
    """Losses by configuration and seed: (epochs, classification, transfer or None)."""

    panels: Mapping[str, Mapping[int, tuple[np.ndarray, np.ndarray, np.ndarray | None]]]
    colours: Mapping[str, str]


def training_curves_info(record: StudyRecord) -> TrainingCurves:
    """Collect the losses of every trial that has a history, in the plan's order."""
    panels: dict[str, dict[int, tuple[np.ndarray, np.ndarray, np.ndarray | None]]] = {}
    for one in record.configurations:
        for trial in record.of(one.name):
            rows = record.history[record.history["trial_key"] == trial.key].sort_values("epoch")
            if rows.empty:
                continue
            transfer = rows["transfer_loss"].to_numpy(np.float64)
            panels.setdefault(one.name, {})[trial.seed] = (
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
