"""Counts of finished masks: how many are empty or full throughout, how many hold each class."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from studies.masks.worker import MaskJob
from wsss_core.data.framing import PngStrips
from wsss_core.data.framing.picture_rows import STRIP_ROWS
from wsss_core.errors import InputError


@dataclass(frozen=True)
class MaskCounts:
    """How many masks of a folder mark what.

    Attributes:
        masks: those that could be read.
        empty: those without a pixel of any class.
        full: those whose every pixel is of a class.
        with_class: class -> the masks with a pixel of it.

    """

    masks: int = 0
    empty: int = 0
    full: int = 0
    with_class: dict[str, int] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the counts on one line.

        >>> MaskCounts(130, 130, 0, {"smoke": 0}).describe()
        '130 of 130 masks are empty, 0 are full; smoke is in 0'
        """
        each = ", ".join(f"{name} is in {count}" for name, count in self.with_class.items())
        return f"{self.empty} of {self.masks} masks are empty, {self.full} are full; {each}"


def count_masks(job: MaskJob, names: Sequence[str]) -> MaskCounts:
    """Read the masks of some images and count them.

    Args:
        job: the folder of the masks and their classes.
        names: the images.

    """
    classes = job.recipe.classes
    with ThreadPoolExecutor() as pool:
        held = [one for one in pool.map(_values, map(job.mask_file, names)) if one is not None]
    numbers = set(range(1, len(classes) + 1))
    return MaskCounts(
        len(held),
        sum(not values & numbers for values in held),
        sum(values <= numbers for values in held),
        {name: sum(number in v for v in held) for number, name in enumerate(classes, 1)},
    )


def _values(mask: Path) -> set[int] | None:
    """Return the values that a mask holds; None if it cannot be read."""
    try:
        with contextlib.suppress(NotImplementedError), PngStrips(mask) as png:
            counts = (strip.histogram() for strip in png.strips(STRIP_ROWS))
            return {value for one in counts for value, count in enumerate(one) if count}
    except (InputError, OSError):
        return None
    try:
        with Image.open(mask, formats=("PNG",)) as opened:
            return set(np.unique(np.asarray(opened)).tolist())
    except OSError:
        return None
