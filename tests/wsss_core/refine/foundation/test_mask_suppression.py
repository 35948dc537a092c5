"""Boxes, suppression and stability of masks, by hand; and what is no image or no grid of points."""

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.refine.foundation.mask_proposals import (
    automatic_masks,
    boxes,
    stability_scores,
    suppress,
)


def test_a_box_is_the_smallest_around_a_mask():
    masks = np.random.default_rng(0).random((40, 9, 7)) < 0.04
    masks[0] = False
    masks[1] = True
    for mask, box in zip(masks, boxes(torch.from_numpy(masks)).tolist(), strict=True):
        y, x = np.nonzero(mask)
        if len(y):
            assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        else:
            assert (box[2] - box[0]) * (box[3] - box[1]) == 0


def test_a_thin_mask_suppresses_its_twin():
    """A line of one pixel's width has a box of that width, not an empty one."""
    line = torch.zeros(2, 8, 30, dtype=torch.bool)
    line[:, 3, 2:27] = True
    kept, quality = suppress(line, torch.tensor([0.8, 0.9]), 0.7)
    assert len(kept) == 1
    assert quality.tolist() == pytest.approx([0.9])


def test_stability_is_the_iou_of_the_mask_at_two_cuts():
    logits = torch.tensor([[[2.0, 1.5, 0.5, -0.5]], [[1.0, -1.0, -3.0, 0.0]], [[-5.0] * 4]])
    # Above 1: 2 of 4 above -1; 0 of 2 (1 and -1 are not above); none of none.
    assert stability_scores(logits).tolist() == [0.5, 0.0, 0.0]


# Bad input


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 \[8, 8\]"),
        (np.zeros((3, 8, 8), np.uint8), r"uint8 \[3, 8, 8\]"),
        (np.zeros((8, 8, 3), np.float32), r"float32 \[8, 8, 3\]"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \[0, 8, 3\]"),
    ],
)
def test_an_image_of_another_kind_is_named(image, named):
    with pytest.raises(InputError, match=rf"image: expected uint8 \[H, W, 3\], got {named}"):
        automatic_masks(None, None, image)


@pytest.mark.parametrize("setting", ["points_per_side", "points_per_batch"])
def test_no_points_are_an_error(setting):
    with pytest.raises(InputError, match=rf"{setting}.*expected at least 1"):
        automatic_masks(None, None, np.zeros((8, 8, 3), np.uint8), **{setting: 0})
