"""A pass over the images: which one stands at each place, and all that is drawn for it.

A pass is a function of (seed, number of the pass) and the settings. Nothing is drawn while batches
are made, so a training that resumes, or takes a batch in parts, sees the same samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsss_core.augmentation.flips import draw_flips
from wsss_core.augmentation.settings import AugmentationSettings

_STREAMS = {"sampling": 1, "flip": 2, "rescale": 3, "jitter": 4, "randaugment": 5, "cutmix": 6,
            "paste": 7, "crops": 8}  # fmt: skip
"""A number of its own for each option, so that none of them moves the draws of another."""

_WIDTHS = {"rescale": 3, "jitter": 8, "cutmix": 5}
"""How many numbers a sample draws for an option; `randaugment` draws two for each operation."""


@dataclass(frozen=True, eq=False)
class ImagePass:
    """The N places of a pass.

    Attributes:
        order: intp [N], the image at each place.
        flipped: bool [N], whether it is mirrored; None: none is.
        drawn: option -> float64 [N, D] in 0..1, of which the sample at each place is made.

    """

    order: NDArray[np.intp]
    flipped: NDArray[np.bool_] | None = None
    drawn: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.order)

    def at(self, places: NDArray[np.intp]) -> "ImagePass":
        """Return some places of the pass."""
        flipped = None if self.flipped is None else self.flipped[places]
        drawn = {option: numbers[places] for option, numbers in self.drawn.items()}
        return ImagePass(self.order[places], flipped, drawn)

    @staticmethod
    def joined(parts: "Sequence[ImagePass]") -> "ImagePass":
        """Return the places of several passes, one after the other."""
        if len(parts) == 1:
            return parts[0]
        flips = [part.flipped for part in parts if part.flipped is not None]
        return ImagePass(
            np.concatenate([part.order for part in parts]),
            np.concatenate(flips) if flips else None,
            {o: np.concatenate([part.drawn[o] for part in parts]) for o in parts[0].drawn},
        )


def draw_pass(
    settings: AugmentationSettings,
    count: int,
    *,
    flip: bool,
    seed: int,
    number: int,
    classes: NDArray[np.bool_] | None = None,
    flips_of_places: bool = False,
) -> ImagePass:
    """Draw a pass over N images.

    Args:
        settings: what is drawn.
        count: N.
        flip: whether images are mirrored, each with probability 1/2.
        seed: of the training.
        number: of the pass, from 0.
        classes: bool [N, K], which classes an image holds; needed by balanced sampling.
        flips_of_places: flips are drawn for places, as in trainings of segmenters, and not for
            images, as in those of classifiers.

    """
    random = np.random.default_rng([seed, number])
    order = random.permutation(count)
    flipped = draw_flips(random, count) if flip else None
    if flipped is not None and not flips_of_places:
        flipped = flipped[order]

    if settings.sampling == "balanced":
        assert classes is not None
        order = balanced_order(pass_stream("sampling", seed, number), classes)
        # An image may come twice in a pass, so that flips belong to places.
        flipped = draw_flips(pass_stream("flip", seed, number), count) if flip else None
    drawn = {
        option: pass_stream(option, seed, number).random((count, width))
        for option, width in _WIDTHS.items()
        if getattr(settings, option) is not None
    }
    if settings.randaugment is not None:
        drawn["randaugment"] = pass_stream("randaugment", seed, number).random(
            (count, 2 * settings.randaugment[0])
        )
    return ImagePass(order, flipped, drawn)


def pass_stream(option: str, seed: int, number: int, *further: int) -> np.random.Generator:
    """Return the generator of an option in a pass.

    Args:
        option: a name in `_STREAMS`.
        seed: of the training.
        number: of the pass.
        further: tells several draws of one option apart.

    """
    return np.random.default_rng([seed, number, _STREAMS[option], *further])


def balanced_order(random: np.random.Generator, classes: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Draw N images so that each class is looked for equally often.

    For each of N places a class is drawn, uniformly among those that some image holds and "no
    class" if some image holds none, and then one of its images.

    Args:
        random: the generator.
        classes: bool [N, K], which classes each image holds.

    Returns:
        intp [N], with repetition.

    """
    groups = [np.flatnonzero(of_class) for of_class in (*classes.T, ~classes.any(axis=1))]
    groups = [group for group in groups if group.size]
    chosen = random.integers(0, len(groups), len(classes))
    within = random.random(len(classes))
    return np.array(
        [groups[g][int(w * groups[g].size)] for g, w in zip(chosen, within, strict=True)], np.intp
    )


class Passes:
    """Passes that follow each other without a gap, for batches that are all full.

    Args:
        settings: what is drawn.
        count: images of a pass.
        flip: see `draw_pass`.
        seed: of the training.
        classes: see `draw_pass`.

    """

    def __init__(
        self,
        settings: AugmentationSettings,
        count: int,
        *,
        flip: bool,
        seed: int,
        classes: NDArray[np.bool_] | None = None,
    ) -> None:
        self._settings, self._count, self._classes = settings, count, classes
        self._flip, self._seed = flip, seed
        self._drawn: dict[int, ImagePass] = {}

    def batch(self, step: int, batch_size: int) -> ImagePass:
        """Return the places of the batch that a step takes, 0-based.

        >>> passes = Passes(AugmentationSettings(), 3, flip=True, seed=0)
        >>> [passes.batch(step, 2).order.tolist() for step in range(3)]
        [[2, 0], [1, 2], [0, 1]]
        """
        places = np.arange(step * batch_size, (step + 1) * batch_size)
        numbers = places // self._count
        needed = range(int(numbers[0]), int(numbers[-1]) + 1)
        self._drawn = {n: self._drawn[n] if n in self._drawn else self._draw(n) for n in needed}
        return ImagePass.joined(
            [self._drawn[n].at(places[numbers == n] % self._count) for n in needed]
        )

    def _draw(self, number: int) -> ImagePass:
        return draw_pass(
            self._settings,
            self._count,
            flip=self._flip,
            seed=self._seed,
            number=number,
            classes=self._classes,
            flips_of_places=True,
        )
