"""A step that is applied to some images alone: where a score of their maps says so."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_core.evaluate import resize
from wsss_core.refine.label_free import map_agreement, map_area, map_entropy
from wsss_core.refine.steps.registry import (
    STEP_KINDS,
    Images,
    Known,
    Refiner,
    Scores,
    at_image_size,
    make_refiner,
)


class Conditional(Refiner):
    """A step for the images whose label-free score lies above or below a value, or between two.

    All other images keep their maps. All maps are those at the images' size.

    Args:
        then: the step: its `kind` and `arguments`, see `make_refiner`.
        score: "agreement" of the maps with those that a second opinion makes of them, "entropy" or
            "area", see `wsss_core.refine.label_free`.
        second: the steps of the second opinion, in the form of `then`; none: the step itself.
        above: the score has to be larger; None: any.
        below: the score has to be smaller; None: any.

    """

    def __init__(
        self,
        then: Mapping[str, Any],
        score: str,
        second: Sequence[Mapping[str, Any]] = (),
        above: float | None = None,
        below: float | None = None,
    ) -> None:
        kind = str(then["kind"])
        self._step = make_refiner(kind, then["arguments"])
        self.by_name = self._step.by_name
        # Features belong to all images of a shard in their order, so none may be left out.
        self._on_all = kind in STEP_KINDS and STEP_KINDS[kind].image_features
        self._second = [make_refiner(str(one["kind"]), one["arguments"]) for one in second]
        self._score, self._above, self._below = score, above, below

    def compute_image_features(
        self,
        images: Images,
        classes: Sequence[str],
        folder: Path,
        *,
        device: str = "cpu",
        **named: Any,
    ) -> None:
        """See `Refiner`; the features are those of the step."""
        self._step.weights_digests = self.weights_digests
        self._step.compute_image_features(images, classes, folder, device=device, **named)

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        before = at_image_size(scores, images)
        by_itself = self._score == "agreement" and not self._second
        refined: Scores | None = None
        if by_itself or self._on_all:
            refined = self._step(images, scores, **known._asdict())
        chosen = self.chosen(images, scores, refined)
        if not chosen.any():
            return before
        if refined is None:
            some = self._step(images[chosen], scores[chosen], **known._asdict())
        else:
            some = refined[chosen]
        after = before.copy()
        after[chosen] = resize(np.asarray(some, np.float32), before.shape[-2:])
        return after

    def chosen(
        self, images: Images, scores: Scores, refined: Scores | None = None
    ) -> NDArray[np.bool_]:
        """Return which images the step is applied to, bool [n].

        Args:
            images: uint8 [n, S, S, 3].
            scores: float32 [n, K, h, w], 0..1.
            refined: what the step makes of them, where it gives the second opinion.

        """
        size = images.shape[1:3]
        maps = at_image_size(scores, images)
        if self._score == "agreement":
            other = scores if self._second or refined is None else refined
            for step in self._second:
                other = step(images, other)
            pairs = zip(maps, resize(np.asarray(other, np.float32), size), strict=True)
            found = [map_agreement(one, second) for one, second in pairs]
        else:
            of_maps = map_entropy if self._score == "entropy" else map_area
            found = [of_maps(one) for one in maps]
        values = np.array(found)
        chosen = np.ones(len(values), np.bool_)
        if self._above is not None:
            chosen &= values > self._above
        if self._below is not None:
            chosen &= values < self._below
        return chosen
