"""Images taken apart into crops, each with the class that a mask finds in it.

Image decomposition of SeCo (Yang et al., "Separate and Conquer", CVPR 2024, arXiv 2402.18467): a
crop shows an object without what stands beside it in the image, or what stands beside it without
the object. A crop's tag is a class, "none", or unknown where several classes meet.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_core.data.image_set import IGNORED

NO_TAG = -1
"""The tag of a crop that holds several classes, or pixels of none that is certain."""

CROP_TRIES = 10  # crops that are drawn until one has a tag


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    """The crops of an image.

    SeCo takes 10 crops whose sides are a seventh of the image's.

    Attributes:
        count: crops of each image in each pass.
        side: their side, as a share of the image's.
        background: the largest share of object pixels that a crop without a class may have.

    """

    count: int = field(default=1, metadata={"ge": 1, "le": 64})
    side: float = field(default=0.5, metadata={"gt": 0, "lt": 1})
    background: float = field(default=0.2, metadata={"ge": 0, "lt": 1})


def crop_tag(mask: NDArray[np.uint8], background: float = 0.2, *, only: int | None = None) -> int:
    """Return the tag of a crop: 0 none, k + 1 class k, or `NO_TAG`.

    Args:
        mask: uint8 [h, w], the mask within the crop: 0 background, k + 1 class k, 255 uncertain.
            Uncertain pixels count as object.
        background: the largest share of object pixels of a crop without a class.
        only: the one class k that the whole image holds; uncertain pixels are of it.

    >>> crop_tag(np.array([[0, 0], [2, 2]], np.uint8)), crop_tag(np.array([[1, 2]], np.uint8))
    (2, -1)
    """
    if (mask != 0).mean() <= background:
        return 0
    if only is not None:
        return only + 1
    classes = np.unique(mask[(mask != 0) & (mask != IGNORED)])
    return int(classes[0]) if len(classes) == 1 else NO_TAG


class Decomposition:
    """Images and masks, and the crops that are drawn of them.

    Args:
        images: uint8 [N, S, S, 3].
        labels: bool [N, K].
        masks: N masks, uint8 [S, S].
        settings: of the crops.

    """

    DRAWN = 2 * CROP_TRIES
    """Numbers that an image draws for a crop: a row and a column for each try."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.bool_],
        masks: Iterable[NDArray[np.uint8]],
        settings: CropSettings,
    ) -> None:
        self._images, self._labels, self._settings = images, labels, settings
        self._masks = np.stack(list(masks))

    def of(self, number: int, drawn: NDArray[np.float64]) -> tuple[NDArray, NDArray[np.float32]]:
        """Return the first crop with a tag, resized to the image's size, and its labels.

        An image none of whose crops has a tag is returned whole, with its own labels.

        Args:
            number: of the image.
            drawn: float [20] in 0..1, a row and a column for each try.

        Returns:
            uint8 [S, S, 3] and float32 [K].

        """
        image, mask, labels = self._images[number], self._masks[number], self._labels[number]
        size = image.shape[0]
        side = max(1, round(self._settings.side * size))
        only = int(labels.argmax()) if labels.sum() == 1 else None
        for row, column in (drawn.reshape(-1, 2) * (size - side + 1)).astype(np.intp):
            box = np.s_[row : row + side, column : column + side]
            tag = crop_tag(mask[box], self._settings.background, only=only)
            if tag != NO_TAG:
                crop = Image.fromarray(image[box])
                resized = crop.resize((size, size), Image.Resampling.BILINEAR)
                return np.asarray(resized), np.eye(len(labels) + 1, dtype=np.float32)[tag][1:]
        return image, labels.astype(np.float32)
