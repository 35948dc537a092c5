"""Colour jitter against torchvision's and Pillow's, one change after the other."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torchvision.transforms.v2 import functional

from wsss_core.augmentation import jitter_colours

IMAGES = torch.rand(24, 3, 9, 7, generator=torch.Generator().manual_seed(0))
IMAGES[0] = 0.4  # grey: no hue
IMAGES[1, :, :4] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
STRENGTHS = (0.3, 0.4, 0.5, 0.1)
CHANGES = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def numbers_of(order: tuple[int, ...], shares: np.ndarray) -> np.ndarray:
    """The eight numbers by which the changes come in an order."""
    keys = np.empty(4)
    keys[list(order)] = [0.1, 0.2, 0.3, 0.4]
    return np.concatenate([keys, shares])


def test_each_image_is_that_of_torchvision_in_its_own_order():
    random = np.random.default_rng(1)
    orders = list(itertools.permutations(range(4)))
    drawn = np.array([numbers_of(order, random.random(4)) for order in orders])
    found = jitter_colours(IMAGES, drawn, STRENGTHS)
    for place, order in enumerate(orders):
        expected = IMAGES[place]
        for number in order:
            offset = (2 * drawn[place, 4 + number] - 1) * STRENGTHS[number]
            expected = CHANGES[number](expected, offset if number == 3 else 1 + offset)
        torch.testing.assert_close(found[place], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
@pytest.mark.parametrize(
    ("number", "enhance"),
    [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color)],
)
def test_a_single_change_is_that_of_pillow(share, number, enhance):
    strengths = tuple(0.5 if n == number else 0.0 for n in range(4))
    pixels = (IMAGES[2].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    drawn = np.concatenate([[0.1, 0.2, 0.3, 0.4], np.full(4, share)])[None]
    found = jitter_colours(image, drawn, strengths)[0].permute(1, 2, 0).numpy() * 255
    expected = np.asarray(enhance(Image.fromarray(pixels)).enhance(1 + 0.5 * (2 * share - 1)))
    # Pillow rounds the grey value it blends with.
    assert np.abs(found - expected).max() <= 1.6


def test_strengths_of_zero_change_no_bit():
    drawn = np.random.default_rng(0).random((24, 8))
    assert torch.equal(jitter_colours(IMAGES, drawn, (0, 0, 0, 0)), IMAGES)
