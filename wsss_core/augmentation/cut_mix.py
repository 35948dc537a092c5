"""CutMix: a box of another image is pasted into a sample (Yun et al., ICCV 2019, 1905.04899)."""

from typing import NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.augmentation.sample import ImageViews


class Box(NamedTuple):
    """Rows top..bottom - 1 and columns left..right - 1 of an image."""

    top: int
    bottom: int
    left: int
    right: int


def cut_boxes(drawn: NDArray, size: tuple[int, int]) -> list[Box]:
    """Return a box for each sample, as in the paper: a uniform share of the area, any centre.

    Args:
        drawn: float [B, 3] in 0..1: the share that stays, the centre's row and column.
        size: (H, W) of the images in pixels. Boxes are cut off at the border.

    """
    height, width = size
    boxes = []
    for stays, row, column in drawn.tolist():
        tall, wide = (int(side * (1 - stays) ** 0.5) for side in size)
        middle, centre = int(row * height), int(column * width)
        top, left = max(0, middle - tall // 2), max(0, centre - wide // 2)
        bottom, right = min(height, middle + tall // 2), min(width, centre + wide // 2)
        boxes.append(Box(top, bottom, left, right))
    return boxes


def paste_boxes(sample: ImageViews, others: ImageViews, boxes: list[Box]) -> ImageViews:
    """Return views with the boxes of other views in them, labels mixed by valid area.

    Args:
        sample: B views.
        others: B views to take the boxes from.
        boxes: B boxes.

    """
    if sample.valid is not None or others.valid is not None:
        sample, others = sample.with_valid(), others.with_valid()
    inside = torch.zeros_like(sample.images[:, :1], dtype=torch.bool)
    for place, box in enumerate(boxes):
        inside[place, :, box.top : box.bottom, box.left : box.right] = True

    def pasted(own: Tensor | None, other: Tensor | None) -> Tensor | None:
        if own is None or other is None:
            return None
        return torch.where(inside if own.ndim == 4 else inside[:, 0], other, own)

    images = pasted(sample.images, others.images)
    assert images is not None
    labels = None
    if sample.labels is not None and others.labels is not None:
        labels = mixed_labels(
            sample.labels, others.labels, inside, pasted(sample.valid, others.valid)
        )
    return ImageViews(
        images,
        labels,
        pasted(sample.masks, others.masks),
        pasted(sample.weights, others.weights),
        pasted(sample.valid, others.valid),
    )


def mixed_labels(own: Tensor, other: Tensor, inside: Tensor, valid: Tensor | None) -> Tensor:
    """Return labels [B, K] mixed by the area that each of two images has in a sample.

    Args:
        own: float [B, K], of the sample.
        other: float [B, K], of the image that the box is of.
        inside: bool [B, 1, H, W], the box.
        valid: float [B, 1, H, W], 1 at pixels that count; None: all do.

    """
    counted = torch.ones_like(inside, dtype=own.dtype) if valid is None else valid.to(own.dtype)
    area = counted.sum((1, 2, 3)).clamp_min(1)
    share = ((counted * inside).sum((1, 2, 3)) / area).unsqueeze(1)
    return own * (1 - share) + other * share
