"""Reasons of a trial's student: what altered images, maps and groups of a flag say about it.

Measurements on altered images are rows of the table `reasons`. The rest follows from the trial's
scores of the test split, which hold the flags of each image. Both are read on request.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from reports.ledger.parts import read_table
from reports.names import ANY_CLASS, MEAN_OF_CLASSES
from reports.results.score_rows import ScoreRows
from reports.results.trial_cache import read_scores
from reports.storage import Location
from wsss_core.evaluate.reasons import (
    GroupAccuracy,
    delta_density,
    flag_groups,
    pixel_average_precision,
    relative_foreground_sensitivity,
    saliency_recall,
    worst_group,
)

SENSITIVITY = "sensitivity"
"""The relative foreground sensitivity, the mean over all sigmas."""

MAP_FIGURES = ("pixel_average_precision", "saliency_recall", "delta_density")
"""Figures of the maps that follow from score histograms. The recall is of the pixels that hold half
of the map's mass."""

LEAST = 5
"""The fewest images of a group that can be the worst."""

_CONTEXT, _NO_CONTEXT = "context", "no context"


@dataclass(frozen=True)
class TrialReasons:
    """The reasons of one trial's student, by class.

    Attributes:
        measures: (class, measure, sigma) -> value; the sigma is NaN where the measure has none.
        maps: (class, one of `MAP_FIGURES`) -> value.
        groups: class -> the groups of its flags.

    """

    measures: Mapping[tuple[str, str, float], float] = field(default_factory=dict)
    maps: Mapping[tuple[str, str], float] = field(default_factory=dict)
    groups: Mapping[str, list[GroupAccuracy]] = field(default_factory=dict)

    def figure(self, name: str, class_name: str, sigma: float | None = None) -> float:
        """Return a figure of a class, or its mean over classes; NaN if there is none.

        Args:
            name: a measure of the table `reasons`, `SENSITIVITY`, one of `MAP_FIGURES`, or
                "worst_group".
            class_name: a class, or `MEAN_OF_CLASSES`.
            sigma: the noise; None: the mean over all, or a measure without noise.

        """
        if class_name == MEAN_OF_CLASSES:
            classes = {name for name, *_ in self.measures}
            return _mean(self.figure(name, one, sigma) for one in classes)
        if name == "worst_group":
            worst = self.worst_group(class_name)
            return math.nan if worst is None else worst.accuracy
        if name in MAP_FIGURES:
            return self.maps.get((class_name, name), math.nan)
        if name == SENSITIVITY:
            on_object, on_context = (
                self._over_sigmas(measure, class_name, sigma)
                for measure in ("noisy_object", "noisy_context")
            )
            return _mean(relative_foreground_sensitivity(on_object, on_context).tolist())
        return _mean(self._over_sigmas(name, class_name, sigma))

    def worst_group(self, class_name: str) -> GroupAccuracy | None:
        """Return the group of a flag with the lowest accuracy; None without flags."""
        return worst_group(self.groups.get(class_name, ()), least=LEAST)

    def _over_sigmas(self, measure: str, class_name: str, sigma: float | None) -> list[float]:
        found = {
            at: value
            for (one, name, at), value in self.measures.items()
            if (one, name) == (class_name, measure) and sigma in (None, at)
        }
        return [value for _, value in sorted(found.items())]


@dataclass(frozen=True)
class ReasonParts:
    """The reasons of a study's trials, read when they are asked for.

    Attributes:
        results: the results folder.
        keys: the key of a trial -> that of its reasons.

    """

    results: Location
    keys: Mapping[str, str] = field(default_factory=dict)

    def of(self, key: str, levels: Mapping[str, float]) -> TrialReasons:
        """Return the reasons of a trial; empty ones without any.

        Args:
            key: the trial's key.
            levels: class -> the level that cuts its maps.

        """
        found = self._by_trial.get(key)
        if found is None:
            return TrialReasons()
        if key not in self._read:
            measures = {
                (str(class_name), str(measure), float(sigma)): float(value)
                for class_name, measure, sigma, value in zip(
                    *(found[name] for name in ("class_name", "measure", "sigma", "value")),
                    strict=True,
                )
            }
            of_scores = _of_scores(read_scores(self.results, key), levels)
            self._read[key] = TrialReasons(measures, *of_scores)
        return self._read[key]

    @cached_property
    def _by_trial(self) -> dict[str, pd.DataFrame]:
        rows = read_table(self.results, "reasons", keys=list(self.keys.values()))
        rows = rows[rows["network"] == "student"]
        return {str(key): of_trial for key, of_trial in rows.groupby("trial_key")}

    @cached_property
    def _read(self) -> dict[str, TrialReasons]:
        return {}

    @property
    def sigmas(self) -> list[float]:
        """The noise that was measured, ascending."""
        frames = list(self._by_trial.values())
        found = {float(sigma) for frame in frames for sigma in frame["sigma"].dropna()}
        return sorted(found)


def _of_scores(
    rows: ScoreRows, levels: Mapping[str, float]
) -> tuple[dict[tuple[str, str], float], dict[str, list[GroupAccuracy]]]:
    """Return the figures of maps and the groups of flags, from a trial's rows."""
    texts = rows.texts
    rows = rows.at((texts["split"] == "test") & (texts["network"] == "student"))
    maps: dict[tuple[str, str], float] = {}
    groups: dict[str, list[GroupAccuracy]] = {}
    for (name,), of_class in rows.groups("class_name"):
        if name == ANY_CLASS:
            continue
        stack = of_class.stack()
        holding = of_class.at(stack.holds_class).stack()
        maps[name, "pixel_average_precision"] = pixel_average_precision(holding)
        maps[name, "saliency_recall"] = _mean(saliency_recall(holding, 0.5))
        maps[name, "delta_density"] = _mean(delta_density(holding))
        if name not in levels or math.isnan(levels[name]):
            continue
        iou = np.where(stack.holds_class, stack.iou_at(int(levels[name])), np.nan)
        groups[name] = _groups(of_class, iou)
    return maps, groups


def _groups(rows: ScoreRows, iou: np.ndarray) -> list[GroupAccuracy]:
    """Return the groups of every flag and source of one class's rows."""
    flags = [set(text.split(";")) if text else set() for text in rows.texts["flags"]]
    predicted = rows.logits["logit"] > 0
    sources = rows.texts["source"]
    named = sorted(set().union(*flags) - {_CONTEXT, _NO_CONTEXT})
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # which images have it, which are known
    everywhere = np.ones(len(rows), bool)
    context = np.array([_CONTEXT in of_image for of_image in flags], bool)
    known = context | np.array([_NO_CONTEXT in of_image for of_image in flags], bool)
    if known.any():
        found["context"] = context, known
    for name in named:
        found[name] = np.array([name in of_image for of_image in flags], bool), everywhere
    if len(there := sorted({source for source in sources if source})) > 1:
        found |= {f"source {name}": (sources == name, everywhere) for name in there}
    return [
        group
        for name, (has, of) in found.items()
        for group in flag_groups(rows.labelled[of], predicted[of], {name: has[of]}, iou[of])
    ]


def _mean(values: Iterable[float]) -> float:
    """Return the mean of what is not NaN; NaN of nothing."""
    known = [float(value) for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
