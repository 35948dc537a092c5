"""The contact sheet: which images, and the outlines on them."""

import numpy as np
import pytest

from wsss_core.data.description.facts import ImageFacts, ShownImage
from wsss_core.data.description.sheet import (
    COLOURS,
    CONTEXT_COLOUR,
    LONGEST,
    outlined,
    some_of,
)


def test_an_outline_is_the_pixels_of_the_mask_that_touch_its_outside():
    mask = np.zeros((LONGEST, LONGEST), np.uint8)
    mask[40:100, 30:90] = 1
    shown = outlined(ShownImage(np.zeros((LONGEST, LONGEST, 3), np.uint8), mask), 1)
    expected = np.zeros((LONGEST, LONGEST), bool)
    expected[40:100, 30:90] = True
    expected[41:99, 31:89] = False
    assert np.array_equal((shown == COLOURS[0]).all(axis=2), expected)


def test_a_mask_at_the_border_of_the_picture_has_no_line_there():
    mask = np.zeros((LONGEST, LONGEST), np.uint8)
    mask[:50] = 1
    shown = (outlined(ShownImage(np.zeros((LONGEST, LONGEST, 3), np.uint8), mask), 1) > 0).any(
        axis=2
    )
    assert shown[49].all()
    assert shown.sum() == LONGEST


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(1000, 500, (160, 80)), (48, 64, (96, 128))]
)
def test_pictures_are_made_to_fit_with_their_shape_kept(height, width, shape):
    picture = ShownImage(np.zeros((height, width, 3), np.uint8))
    assert outlined(picture, 1).shape == (*shape, 3)


def test_an_object_of_one_pixel_is_seen_on_a_large_image():
    mask = np.zeros((2000, 2000), np.uint8)
    mask[1200, 700] = 1
    shown = outlined(ShownImage(np.zeros((2000, 2000, 3), np.uint8), mask), 1)
    marked = np.argwhere((shown == COLOURS[0]).all(axis=2))
    assert marked.tolist() == [[96, 56]]


def test_contexts_have_a_colour_of_their_own_and_lie_below_objects():
    rgb = np.zeros((LONGEST, LONGEST, 3), np.uint8)
    mask = np.zeros((LONGEST, LONGEST), np.uint8)
    mask[10:20, 10:20] = 2
    context = np.zeros_like(mask)
    context[10:20, 10:20] = context[50:60, 50:60] = 1
    shown = outlined(ShownImage(rgb, mask, context), 2)
    assert tuple(shown[10, 10]) == COLOURS[1]
    assert tuple(shown[50, 50]) == CONTEXT_COLOUR


def test_an_image_at_another_size_than_its_mask_is_shown_at_the_shape_of_the_mask():
    picture = ShownImage(np.zeros((32, 32, 3), np.uint8), np.zeros((100, 200), np.uint8))
    assert outlined(picture, 1).shape == (80, 160, 3)


def of_groups(*sizes: int) -> list[ImageFacts]:
    return [
        ImageFacts("train", f"{group}_{n}", (True,), 8, 8, group=f"g{group}")
        for group, size in enumerate(sizes)
        for n in range(size)
    ]


def test_images_are_drawn_from_as_many_groups_as_possible():
    chosen = some_of(of_groups(50, 1, 1, 30), 4)
    assert {one.group for one in chosen} == {"g0", "g1", "g2", "g3"}


def test_the_same_images_are_drawn_whatever_their_order():
    images = of_groups(*[1] * 30)
    assert some_of(images, 5) == some_of(images[::-1], 5)


def test_fewer_images_than_asked_for_are_all_drawn():
    assert len(some_of(of_groups(2, 1), 8)) == 3
