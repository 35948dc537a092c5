"""Bars of where each configuration's maps lie, and of what its logits depend on."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from reports.figures.style import FAINT, GREEN, INK, VERMILION, StudyFigure, wrapped
from reports.results.study_record import StudyRecord
from reports.statistics import summarise

_REGIONS = {
    "mass_object": ("object", GREEN),
    "mass_context": ("context", VERMILION),
    "mass_ring": ("ring", "#b8dccf"),
    "mass_elsewhere": ("elsewhere", "#d5d9de"),
}
_FALLS = {"reliance_object": ("object", GREEN), "reliance_context": ("context", VERMILION)}


@dataclass(frozen=True)
class DiagnosticsInfo:
    """Means over healthy seeds, per configuration in the plan's order.

    Attributes:
        names: of the configurations that have any.
        mass: percent of the map's mass by region, one value per name; only regions with data.
        chance: the object's percentage of the pixels.
        falls: fall of the logit without object and context, one value per name; empty if unknown.
        fall_by_seed: the same for every seed.

    """

    names: tuple[str, ...]
    mass: dict[str, tuple[float, ...]]
    chance: float | None
    falls: dict[str, tuple[float, ...]]
    fall_by_seed: dict[str, tuple[tuple[float, ...], ...]]


def diagnostics_info(record: StudyRecord) -> DiagnosticsInfo:
    """Collect the numbers of the figure, for the main class."""
    names = tuple(
        one.name
        for one in record.configurations
        if record.diagnostic_by_seed(one.name, "mass_object")
    )

    def seeds(name: str, key: str) -> tuple[float, ...]:
        return tuple(record.diagnostic_by_seed(name, key).values())

    def known(keys: dict[str, tuple[str, str]]) -> list[str]:
        return [key for key in keys if any(seeds(name, key) for name in names)]

    chance = seeds(names[0], "object_pixels") if names else ()
    return DiagnosticsInfo(
        names,
        {
            key: tuple(100 * summarise(seeds(name, key)).mean for name in names)
            for key in known(_REGIONS)
        },
        100 * chance[0] if chance else None,
        {key: tuple(summarise(seeds(name, key)).mean for name in names) for key in known(_FALLS)},
        {key: tuple(seeds(name, key) for name in names) for key in known(_FALLS)},
    )


def draw_diagnostics(info: DiagnosticsInfo) -> Figure:
    """Draw stacked bars of the mass, and beside them the falls of the logit if known."""
    rows = np.arange(len(info.names))
    height = 1.1 + 0.36 * len(rows)
    figure = StudyFigure(figsize=(9.4, height), layout="constrained")
    count = 2 if info.falls else 1
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    left = np.zeros(len(rows))
    for key, shares in info.mass.items():
        label, colour = _REGIONS[key]
        width = np.nan_to_num(shares)
        axes[0].barh(rows, width, 0.62, left=left, color=colour, label=label)
        left = left + width
    if info.chance is not None:
        axes[0].axvline(info.chance, color=INK, linewidth=1, linestyle=(0, (4, 2)))
    axes[0].set_xlim(0, 100)
    axes[0].set_xlabel("share of the CAM's mass [%]")
    axes[0].set_yticks(rows, [wrapped(name, 34) for name in info.names])
    axes[0].invert_yaxis()
    if info.falls:
        for place, (key, falls) in enumerate(info.falls.items()):
            label, colour = _FALLS[key]
            at = rows + (place - 0.5) * 0.3
            axes[1].barh(at, np.nan_to_num(falls), 0.28, color=colour, label=f"without {label}")
            for y, seeds in zip(at, info.fall_by_seed[key], strict=True):
                axes[1].plot(seeds, np.full(len(seeds), y), ".", color=INK, markersize=3)
        axes[1].axvline(0, color=FAINT, linewidth=0.8)
        axes[1].set_xlabel("fall of the logit when removed from the scene")
    for panel in axes:
        panel.grid(axis="y", visible=False)
        panel.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=4,
            frameon=False,
            fontsize=8,
            handlelength=1.2,
            columnspacing=1.2,
        )
    return figure
