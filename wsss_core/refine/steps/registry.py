"""The steps of a refinement chain by their names in a study, built in or a researcher's own.

A step of one's own is a plug-in, called as f(images, scores, **settings).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wsss_core.plugins import is_plugin, load_plugin
from wsss_core.refine.steps.foundation import ClipAided, SegmentAnything
from wsss_core.refine.steps.pixel import DenseCrf, PixelAdaptive
from wsss_core.refine.steps.refiner import Images, Known, Refiner, Scores
from wsss_core.refine.steps.walk import AffinityWalk, BoundaryWalk


class PlugIn(Refiner):
    """A researcher's own step: f(images, scores, **settings) -> scores."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self._call: Callable[..., Any] = load_plugin("refine", name)
        self._settings = dict(settings)

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        return np.asarray(self._call(images, scores, **self._settings), np.float32)


def make_refiner(kind: str, settings: Mapping[str, Any]) -> Refiner:
    """A step by its name in `REFINERS`, or a plug-in "module:attribute"."""
    return PlugIn(kind, settings) if is_plugin(kind) else REFINERS[kind](**settings)


REFINERS: dict[str, type[Refiner]] = {
    "crf": DenseCrf,
    "par": PixelAdaptive,
    "affinity": AffinityWalk,
    "boundary": BoundaryWalk,
    "sam": SegmentAnything,
    "clip": ClipAided,
}
