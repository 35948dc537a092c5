"""Rescale and crop, against Pillow's resize and a paste written out."""

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_core.augmentation import ImageViews, Stored, rescale_and_crop

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (3, 20, 20, 3)).astype(np.uint8)
MASKS = RANDOM.integers(0, 3, (3, 20, 20)).astype(np.uint8)
WEIGHTS = RANDOM.random((3, 20, 20)).astype(np.float32)
SAMPLE = ImageViews.of_stored(Stored(IMAGES, None, MASKS, WEIGHTS), "cpu")


def written_out(array: np.ndarray, factor: float, row: float, column: float, *, smooth: bool, fill):
    """Pillow's resize, and the crop or the padding pixel by pixel."""
    side = round(20 * factor)
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    resized = np.asarray(Image.fromarray(array).resize((side, side), how))
    result = np.full_like(array, fill)
    room = abs(side - 20)
    top, left = (min(int(share * (room + 1)), room) for share in (row, column))
    for y in range(20):
        for x in range(20):
            at = (y + top, x + left) if side > 20 else (y - top, x - left)
            if 0 <= at[0] < side and 0 <= at[1] < side:
                result[y, x] = resized[at]
    return result


@pytest.mark.parametrize("factors", [(0.5, 0.5), (0.8, 0.8), (1.0, 1.0), (1.2, 1.2), (1.6, 1.6)])
def test_a_view_is_pillows_resized_image_cropped_or_laid_on_padding(factors):
    drawn = RANDOM.random((3, 3))
    view = rescale_and_crop(SAMPLE, drawn, factors)
    for place in range(3):
        given = (factors[0], *drawn[place, 1:])
        image = written_out(IMAGES[place], *given, smooth=True, fill=0)
        found = view.images[place].permute(1, 2, 0).numpy() * 255
        # Pillow rounds to whole grey values after each of its two passes.
        assert np.abs(found - image).max() <= 1.51
        mask = written_out(MASKS[place], *given, smooth=False, fill=255)
        assert np.array_equal(view.masks[place].numpy(), mask)
        weights = written_out(WEIGHTS[place], *given, smooth=False, fill=0)
        assert np.array_equal(view.weights[place].numpy(), weights)
        ones = written_out(np.ones((20, 20), np.uint8), *given, smooth=False, fill=0)
        valid = np.ones((20, 20)) if view.valid is None else view.valid[place, 0].numpy()
        assert np.array_equal(valid, ones)
    assert (view.valid is None) == (factors[0] >= 1)


def test_factors_are_uniform_between_the_two_and_drawn_for_each_image():
    drawn = np.array([[0.0, 0.5, 0.5], [0.5, 0.5, 0.5], [0.999999, 0.5, 0.5]])
    view = rescale_and_crop(SAMPLE, drawn, (0.5, 1.0))
    assert view.valid is not None
    assert view.valid.sum((1, 2, 3)).tolist() == [10**2, 15**2, 20**2]


def test_every_place_of_a_crop_is_as_likely_as_the_others():
    drawn = np.stack([np.zeros(1000), np.linspace(0, 1, 1000, endpoint=False), np.zeros(1000)], 1)
    tops = []
    column = ImageViews(torch.arange(20.0).view(1, 1, 20, 1).expand(1, 3, 20, 20) / 20)
    for numbers in drawn[::10]:
        view = rescale_and_crop(column, numbers[None], (0.5, 0.5))
        tops.append(int(view.valid[0, 0].any(1).nonzero()[0]))
    assert np.bincount(tops).min() >= 9
    assert len(np.bincount(tops)) == 11


def test_a_factor_of_one_changes_no_bit():
    view = rescale_and_crop(SAMPLE, RANDOM.random((3, 3)), (1.0, 1.0))
    assert torch.equal(view.images, SAMPLE.images)
    assert torch.equal(view.masks, SAMPLE.masks)
