"""A score map over its picture: what shows where, and what it refuses."""

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.evaluate import overlay

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
RAMP = np.tile(np.linspace(0, 1, 30), (20, 1))
MASK = np.zeros((20, 30), bool)
MASK[5:15, 8:20] = True


def test_without_opacity_it_is_the_picture():
    found = overlay(IMAGE, RAMP, opacity=0)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IMAGE)
    np.testing.assert_array_equal(overlay(IMAGE / 255, RAMP, opacity=0), IMAGE)


def test_the_picture_is_left_as_it_was():
    before = IMAGE.copy()
    overlay(IMAGE, RAMP, MASK)
    np.testing.assert_array_equal(IMAGE, before)


def test_scores_that_keep_gradients_are_drawn():
    image, scores = np.zeros((4, 6, 3), np.uint8), np.linspace(0, 1, 24).reshape(4, 6)
    drawn = overlay(image, torch.tensor(scores, requires_grad=True))
    np.testing.assert_array_equal(drawn, overlay(image, scores))


def test_higher_scores_are_lighter():
    drawn = overlay(np.full_like(IMAGE, 128), RAMP, opacity=1)
    lightness = drawn[0] @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).all()


def test_a_low_score_lets_more_of_the_picture_through():
    white, black = (overlay(np.full_like(IMAGE, v), RAMP, opacity=0.8) for v in (255, 0))
    through = (white.astype(int) - black)[0, :, 0]
    assert (np.diff(through) <= 1).all()
    assert through[0] == pytest.approx(255 * 0.6, abs=1)
    assert through[-1] == pytest.approx(255 * 0.2, abs=1)


@pytest.mark.parametrize("width", [1, 2])
def test_the_outline_lies_within_the_mask_along_its_border(width):
    drawn = overlay(IMAGE, RAMP, MASK, opacity=0, outline=(1, 2, 3), width=width)
    edge = np.zeros_like(MASK)
    edge[5:15, 8:20] = True
    edge[5 + width : 15 - width, 8 + width : 20 - width] = False
    assert (drawn[edge] == (1, 2, 3)).all()
    np.testing.assert_array_equal(drawn[~edge], IMAGE[~edge])


def test_the_images_edge_is_no_border_of_a_mask():
    half = np.zeros_like(MASK)
    half[:, :10] = True
    drawn = overlay(IMAGE, RAMP, half, opacity=0, outline=(0, 0, 0), width=1)
    np.testing.assert_array_equal(drawn[:, :9], IMAGE[:, :9])
    assert (drawn[:, 9] == 0).all()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64])
def test_masks_of_0_and_1_are_outlined_and_ignored_pixels_are_outside(kind):
    expected = overlay(IMAGE, RAMP, MASK)
    mask = MASK.astype(kind)
    if kind is not bool:
        mask[0, 0] = 255
    np.testing.assert_array_equal(overlay(IMAGE, RAMP, mask), expected)


def test_scores_of_another_grid_are_stretched_over_the_picture():
    grey = np.full_like(IMAGE, 128)
    coarse = overlay(grey, np.array([[0.0, 1.0]]), opacity=1)
    assert (coarse[:, :7] == coarse[0, 0]).all()
    assert (coarse[:, -7:] == coarse[0, -1]).all()
    levels = overlay(grey, np.array([[0, 255]], np.uint8), opacity=1)
    np.testing.assert_array_equal(levels, coarse)


@pytest.mark.parametrize(
    ("image", "scores", "more", "said"),
    [
        (
            IMAGE.transpose(2, 0, 1),
            RAMP,
            {},
            r"got the shape \[3, 20, 30\]; move the channels last",
        ),
        (IMAGE[..., 0], RAMP, {}, r"image: expected RGB \[H, W, 3\].* got the shape \[20, 30\]"),
        (IMAGE * 1.0, RAMP, {}, "got floats from 0 to 255; give levels of 0..255 as uint8"),
        (IMAGE / np.nan, RAMP, {}, "image: expected .* got floats from nan"),
        (IMAGE.astype(int), RAMP, {}, "image: expected RGB .* got int64"),
        (IMAGE[:0], RAMP, {}, "image: expected RGB"),
        (
            IMAGE,
            RAMP[None],
            {},
            r"one map \[h, w\], got the shape \[1, 20, 30\]; choose a class, suc",
        ),
        (IMAGE, RAMP * 2, {}, r"scores: expected values in \[0, 1\], got 0 to 2"),
        (IMAGE, RAMP * np.nan, {}, r"scores: expected values in \[0, 1\], got nan"),
        (IMAGE, RAMP, {"mask": MASK.T}, r"expected the image's size \[20, 30\], got \[30, 20\]"),
        (IMAGE, RAMP, {"mask": MASK * np.uint8(255)}, "compare it with the class's number first"),
        (IMAGE, RAMP, {"mask": MASK * 1.0}, "mask: expected bool, or 1 for the class"),
        (IMAGE, RAMP, {"opacity": "half"}, "opacity: expected 0 to 1, got 'half'"),
        (IMAGE, RAMP, {"opacity": 2}, "opacity: expected 0 to 1, got 2"),
        (IMAGE, RAMP, {"mask": MASK, "width": 0}, "width: expected 1 pixel or more, got 0"),
        (IMAGE, RAMP, {"mask": MASK, "outline": (0, 0, 256)}, "outline: expected three levels"),
    ],
)
def test_wrong_input_is_a_sentence_that_says_what_was_expected(image, scores, more, said):
    with pytest.raises(InputError, match=said):
        overlay(image, scores, **more)
