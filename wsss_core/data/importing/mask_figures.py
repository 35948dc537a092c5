"""What the pixels of a mask say of its image, from one decoding: classes, size, border."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wsss_core.data.formats import EmptyMask, Labels, MaskMaker, innermost
from wsss_core.data.image_set import IGNORED


@dataclass(frozen=True)
class MaskFigures:
    """The figures of a mask.

    Attributes:
        shape: height and width.
        areas: code -> number of its pixels, of the codes that occur: 0 background, k + 1 class k,
            255 ignored.
        border: the share of the image's outermost pixels that are object; ignored ones do not
            count.

    """

    shape: tuple[int, int]
    areas: Mapping[int, int] = field(default_factory=dict)
    border: float = 0.0

    @property
    def share(self) -> float:
        """The share of all pixels that are object; ignored ones do not count."""
        objects = sum(area for code, area in self.areas.items() if code not in (0, IGNORED))
        counted = objects + self.areas.get(0, 0)
        return objects / counted if counted else 0.0

    @property
    def ignored(self) -> int:
        """The number of ignored pixels."""
        return self.areas.get(IGNORED, 0)

    def held(self, least: int) -> tuple[int, ...]:
        """Return the codes of the classes with at least so many pixels."""
        return tuple(sorted(code for code in self._objects if self.areas[code] >= least))

    def tiny(self, least: int) -> tuple[int, ...]:
        """Return the codes of the classes with some pixels, but fewer."""
        return tuple(sorted(code for code in self._objects if self.areas[code] < least))

    def recoded(self, codes: Sequence[int]) -> "MaskFigures":
        """Return the figures with other codes, `codes[old]`."""
        areas: dict[int, int] = {}
        for code, area in self.areas.items():
            areas[codes[code]] = areas.get(codes[code], 0) + area
        return replace(self, areas=areas)

    @property
    def _objects(self) -> Collection[int]:
        return self.areas.keys() - {0, IGNORED}


def is_empty_mask(mask: MaskMaker) -> bool:
    """Return whether a mask stands for an image that is known to hold nothing; opens no file."""
    return isinstance(innermost(mask), EmptyMask)


def mask_figures(mask: MaskMaker) -> MaskFigures:
    """Return the figures of a mask.

    Raises:
        InputError: it cannot be read.

    """
    codes = mask.read()
    areas = np.bincount(codes.ravel(), minlength=256)
    edge = np.concatenate([codes[0], codes[-1], codes[1:-1, 0], codes[1:-1, -1]])
    counted = edge[edge != IGNORED]
    height, width = codes.shape
    return MaskFigures(
        (height, width),
        {int(code): int(areas[code]) for code in np.flatnonzero(areas)},
        float((counted > 0).mean()) if counted.size else 0.0,
    )


def labels_by_mask(figures: MaskFigures, classes: Sequence[str], least: int) -> Labels | None:
    """Return the classes that a mask shows; None where it is ignored everywhere.

    Args:
        figures: of the mask.
        classes: class k has the code k + 1.
        least: the least pixels of a class.

    """
    if set(figures.areas) == {IGNORED}:
        return None
    return Labels(frozenset(classes[code - 1] for code in figures.held(least)))


def shown_labels(
    labels: Labels, figures: MaskFigures, classes: Sequence[str], least: int
) -> Labels | None:
    """Return the labels of an image without classes that its mask shows too little of.

    A class without any pixel stays where some pixels are ignored: it may lie there.

    Args:
        labels: as the format, or a table, gives them.
        figures: of the mask.
        classes: class k has the code k + 1.
        least: the least pixels of a class.

    Returns:
        the labels; None where the mask shows none of the classes that were given.

    """
    areas = {name: figures.areas.get(code, 0) for code, name in enumerate(classes, start=1)}
    kept = frozenset(
        name
        for name in labels.present
        if areas[name] >= max(least, 1) or (figures.ignored and not areas[name])
    )
    return None if labels.present and not kept else Labels(kept, labels.unknown)
