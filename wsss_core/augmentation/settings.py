"""Settings of the views that training takes of its images; no torch is loaded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from wsss_core.errors import InputError, quoted

Sampling = Literal["shuffled", "balanced"]
SAMPLINGS: tuple[str, ...] = get_args(Sampling)

LARGEST_FACTOR = 4.0
"""The largest factor of `rescale`: the memory of a sample grows with its square."""

STRENGTHS = 30
"""The largest magnitude of RandAugment, as in its paper and in torchvision's 31 bins."""

_LATER: dict[str, Any] = {"later": True}
"""Marks a setting that keys of artifacts leave out where it has its default."""


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """How each sample is changed; the defaults change nothing.

    Every sample draws for itself. Its draws follow from (seed, pass, place in the pass) and from
    one option alone, so that an option changes no draw of another one. A view has the size of the
    stored image.

    Attributes:
        sampling: "shuffled" takes each image once a pass. "balanced" draws a class for each place,
            all classes and "no class" (the background alone) alike, and then one of its images.
        rescale: lowest and highest factor by which an image is resized before a random crop of its
            own size; a smaller one lies somewhere on padding. Padding is void (255) in masks, and
            no evidence to a classifier. None: no rescaling.
        jitter: how far brightness, contrast and saturation (0..1 each) and hue (0..0.5) may go, in
            an order drawn for each sample, as in torchvision's `ColorJitter`. None: no jitter.
        randaugment: how many operations a sample draws, and their magnitude, 0..30 (Cubuk et al.,
            "RandAugment", NeurIPS 2020, arXiv 1909.13719). Masks move with their image. None: none.
        cutmix: the probability that a box of another image of the batch is pasted into a sample,
            its area uniform (Yun et al., "CutMix", ICCV 2019, arXiv 1905.04899, alpha 1). Image
            labels are mixed by area. None: none.

    Raises:
        InputError: a value out of its range.

    """

    sampling: Sampling = field(default="shuffled", metadata=_LATER)
    rescale: tuple[float, float] | None = field(default=None, metadata=_LATER)
    jitter: tuple[float, float, float, float] | None = field(default=None, metadata=_LATER)
    randaugment: tuple[int, int] | None = field(default=None, metadata=_LATER)
    cutmix: float | None = field(default=None, metadata=_LATER)

    def __post_init__(self) -> None:
        for name, expected, fits in (
            ("sampling", f"one of {', '.join(SAMPLINGS)}", self.sampling in SAMPLINGS),
            (
                "rescale",
                f"two factors above 0, {LARGEST_FACTOR:g} at most, the lower first",
                self.rescale is None or _factors(self.rescale),
            ),
            (
                "jitter",
                "brightness, contrast, saturation of 0 to 1 and hue of 0 to 0.5",
                self.jitter is None or _within(self.jitter, (1.0, 1.0, 1.0, 0.5)),
            ),
            (
                "randaugment",
                f"operations, 1 to 14, and their magnitude, 0 to {STRENGTHS}",
                self.randaugment is None or _operations(self.randaugment),
            ),
            ("cutmix", "above 0, 1 at most", self.cutmix is None or 0 < self.cutmix <= 1),
        ):
            if not fits:
                raise InputError(f"{name} is {quoted(getattr(self, name))}; expected {expected}")

    @property
    def pads(self) -> bool:
        """Whether a view may hold pixels that are not of an image."""
        return self.randaugment is not None or (self.rescale is not None and self.rescale[0] < 1)

    @property
    def has_fixed_views(self) -> bool:
        """Whether an image has the same view whenever it is taken, up to its mirror image.

        What a frozen network makes of such views can be kept. Other views are drawn anew each time.
        """
        drawn = (self.rescale, self.jitter, self.randaugment, self.cutmix)
        return all(option is None for option in drawn)


VIEW_SETTINGS = tuple(field.name for field in fields(AugmentationSettings))
"""The names of the settings of views, which decide what the making of a batch costs."""


def _numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == count
        and all(type(v) in (int, float) and math.isfinite(v) for v in values)
    )


def _factors(values: Any) -> bool:
    return _numbers(values, 2) and 0 < values[0] <= values[1] <= LARGEST_FACTOR


def _within(values: Any, highest: tuple[float, ...]) -> bool:
    return _numbers(values, len(highest)) and all(
        0 <= value <= bound for value, bound in zip(values, highest, strict=True)
    )


def _operations(values: Any) -> bool:
    whole = _numbers(values, 2) and all(type(value) is int for value in values)
    return whole and 1 <= values[0] <= 14 and 0 <= values[1] <= STRENGTHS
