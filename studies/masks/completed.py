"""The masks of a folder: which images have one, by the digests in it, and what the masks hold."""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image

from studies.masks.files import MaskOrigin, add_origin, origin_of
from studies.masks.worker import UNFINISHED_MASKS, MaskJob
from wsss_core.data.framing import PngStrips, checked_file_digest
from wsss_core.data.framing.picture_rows import STRIP_ROWS
from wsss_core.data.image_decoding import image_shape
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.errors import InputError


class MaskState(StrEnum):
    """What a folder holds for an image."""

    MISSING = "missing"
    DONE = "done"
    REPLACED = "replaced"  # the mask is of other bytes than the image has now
    CORRUPT = "corrupt"  # the mask is not as it was written, or is of other settings


@dataclass(frozen=True)
class Completed:
    """The images of a folder by the state of their mask.

    Attributes:
        states: a state for each image.

    """

    states: dict[str, MaskState]

    def of(self, *states: MaskState) -> list[str]:
        """Return the images in one of these states, in order."""
        return [name for name, state in self.states.items() if state in states]

    @property
    def missing(self) -> list[str]:
        """The images that need a mask."""
        return [name for name, state in self.states.items() if state != MaskState.DONE]


def completed(job: MaskJob, names: Sequence[str], *, earlier: bool = False) -> Completed:
    """Compare images and masks.

    Args:
        job: the images and the folder of their masks.
        names: the images.
        earlier: whether masks without digests may be of an earlier release: then those that are
            whole, of their image's size and not older than it get their digests, once.

    """
    state: Callable[[str], MaskState] = lambda name: mask_state(job, name, earlier=earlier)  # noqa: E731
    with ThreadPoolExecutor() as pool:
        return Completed(dict(zip(names, pool.map(state, names), strict=True)))


def mask_state(job: MaskJob, name: str, *, earlier: bool = False) -> MaskState:
    """Return what the folder holds for an image, see `completed`."""
    files = job.files(name)
    if not all(file.is_file() for file in files):
        return MaskState.MISSING
    image = Path(job.images) / name
    try:
        expected = MaskOrigin(checked_file_digest(image, job.rules), job.digest_of(name))
    except InputError:
        return MaskState.MISSING  # the worker that opens the image says why it cannot be read
    try:
        origins = {origin_of(file) for file in files}
        if origins == {None} and earlier and _fits(files, image, job.rules):
            for file in files:
                add_origin(file, Path(job.out) / UNFINISHED_MASKS, expected)
            return MaskState.DONE
    except OSError:
        return MaskState.CORRUPT
    if origins == {expected}:
        return MaskState.DONE
    of_images = {origin and origin.settings for origin in origins} == {expected.settings}
    return MaskState.REPLACED if of_images else MaskState.CORRUPT


def _fits(files: Sequence[Path], image: Path, rules: PixelRules) -> bool:
    """Return whether files without digests are whole, of an image's size and not older than it."""
    made = image.stat().st_mtime
    for file in files:
        if file.stat().st_mtime < made:
            return False
        try:
            with Image.open(file, formats=("PNG",)) as opened:
                opened.verify()  # compares every chunk's CRC
            with Image.open(file, formats=("PNG",)) as opened:
                if np.asarray(opened).shape != image_shape(image, rules):
                    return False
        except Exception:  # decoders raise nearly anything
            return False
    return True


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
