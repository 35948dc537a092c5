"""What is known of a split's images without their pixels: names, origins and labels."""

from dataclasses import dataclass, field

import numpy as np

from wsss_core.data.image_set import ImageSource


@dataclass(frozen=True, eq=False)
class SplitOutline:
    """The N images of a split, in the order in which the split is read.

    Attributes:
        identifiers: N names, unique within the split.
        groups: N names of the frame, clip or patient each image belongs to; the identifier where
            that is unknown.
        labels: bool [N, K], which classes an image holds.
        sources: N names of the data set each image came from; "" where that is unknown.
        cameras: N names of the camera or place; "" where that is unknown.

    """

    identifiers: tuple[str, ...]
    groups: tuple[str, ...]
    labels: np.ndarray
    sources: tuple[str, ...] = field(default=())
    cameras: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        unknown = ("",) * len(self.identifiers)
        for name in ("sources", "cameras"):
            object.__setattr__(self, name, getattr(self, name) or unknown)


def outline_of(source: ImageSource, split: str, size: int) -> SplitOutline:
    """Return what a source knows of a split's images.

    A source with a method `outline(split)` is asked for it. Any other one reads the whole split.

    Args:
        source: the images' source.
        split: "train", "tune" or "test".
        size: the side in pixels that images are read at, if they have to be.

    Raises:
        InputError: the first thing that is wrong with the split.

    """
    own = getattr(source, "outline", None)
    if own is not None:
        found: SplitOutline = own(split)
        return found
    images = source.read(split, size)
    return SplitOutline(
        images.identifiers, images.groups, images.labels, images.sources, images.cameras
    )
