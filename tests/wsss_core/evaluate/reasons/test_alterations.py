"""Altered images against worked examples and naive loops."""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate.reasons import (
    grey,
    grey_box,
    noisy,
    object_and_context,
    on_background,
    tiled_box,
)


def image_of(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width", "size"), [(6, 9, 4), (5, 7, 3), (3, 2, 6), (1, 1, 2)])
def test_a_cell_is_the_object_if_half_of_its_area_is(height: int, width: int, size: int) -> None:
    codes = np.random.default_rng(height * width).choice([0, 1, 255], (height, width))
    # Both grids drawn on a finer one, where every cell is a whole number of pixels.
    fine = np.kron(codes, np.ones((size, size), int))
    cells = fine.reshape(size, height, size, width).swapaxes(1, 2).reshape(size, size, -1)
    held = (cells == 1).mean(axis=2)
    void = (cells == 255).mean(axis=2)
    there, around = object_and_context(codes.astype(np.uint8), 0, size)
    expected = held >= 0.5 - 1e-12
    if not expected.any() and held.max() > 0:
        expected = held == held.max()
    np.testing.assert_array_equal(there, expected)
    np.testing.assert_array_equal(around, ~expected & (void < 0.5 - 1e-12))


def test_a_small_object_keeps_the_cell_that_holds_most_of_it() -> None:
    codes = np.zeros((12, 12), np.uint8)
    codes[5, 6] = 2
    there, around = object_and_context(codes, 1, 3)
    assert np.argwhere(there).tolist() == [[1, 1]]
    assert around.sum() == 8
    assert not object_and_context(codes, 0, 3)[0].any()


def test_noise_of_the_two_regions_is_one_noise() -> None:
    image, region = image_of(0), image_of(1)[..., 0] > 100
    parts = [noisy(image, one, 0.3, np.random.default_rng(5)) for one in (region, ~region)]
    whole = noisy(image, np.ones_like(region), 0.3, np.random.default_rng(5))
    np.testing.assert_array_equal(parts[0][~region], image[~region])
    np.testing.assert_array_equal(np.where(region[..., None], *parts), whole)


def test_noise_has_the_stated_spread() -> None:
    image = np.full((200, 200, 3), 128, np.uint8)
    altered = noisy(image, np.ones((200, 200), bool), 0.1, np.random.default_rng(0))
    difference = altered.astype(float) - 128
    assert abs(difference.mean()) < 0.5
    assert difference.std() == pytest.approx(25.5, rel=0.01)


def test_grey_covers_the_region_and_its_box() -> None:
    image = image_of(2)
    region = np.zeros((8, 8), bool)
    region[2, 3] = region[4, 5] = True
    covered, boxed = grey(image, region), grey_box(image, region)
    assert (covered[region] == 128).all()
    np.testing.assert_array_equal(covered[~region], image[~region])
    assert (boxed[2:5, 3:6] == 128).all()
    boxed[2:5, 3:6] = image[2:5, 3:6]
    np.testing.assert_array_equal(boxed, image)


def test_a_box_is_tiled_from_the_largest_rectangle_beside_it() -> None:
    image = image_of(3, 6, 6)
    region = np.zeros((6, 6), bool)
    region[3:6, 1:5] = True  # 18 pixels above, 6 left and 6 right
    filled = tiled_box(image, region)
    for row in range(3):
        for column in range(4):
            np.testing.assert_array_equal(filled[3 + row, 1 + column], image[row, column])
    filled[3:6, 1:5] = image[3:6, 1:5]
    np.testing.assert_array_equal(filled, image)


def test_a_tile_smaller_than_the_box_is_repeated() -> None:
    image = image_of(4, 2, 7)
    region = np.zeros((2, 7), bool)
    region[:, 2:] = True
    np.testing.assert_array_equal(tiled_box(image, region), image[:, [0, 1, 0, 1, 0, 1, 0]])


def test_a_box_without_neighbours_becomes_grey() -> None:
    assert (tiled_box(image_of(5), np.ones((8, 8), bool)) == 128).all()


def test_without_an_object_nothing_is_altered() -> None:
    image, nothing = image_of(6), np.zeros((8, 8), bool)
    for way in (grey, grey_box, tiled_box):
        np.testing.assert_array_equal(way(image, nothing), image)


def test_an_object_stays_in_its_place_on_another_background() -> None:
    image, other, region = image_of(7), image_of(8), image_of(9)[..., 0] > 128
    placed = on_background(image, region, other)
    np.testing.assert_array_equal(placed[region], image[region])
    np.testing.assert_array_equal(placed[~region], other[~region])


def test_images_of_other_types_and_sizes_are_refused() -> None:
    region = np.zeros((8, 8), bool)
    with pytest.raises(InputError, match=r"image: expected uint8 \[h, w, 3\], got float64"):
        grey(image_of(0).astype(float), region)
    with pytest.raises(InputError, match=r"region: expected bool \[4, 8\], got bool \[8, 8\]"):
        on_background(image_of(0), region, image_of(0, 4, 8))
    with pytest.raises(InputError, match="sigma: expected above 0, got 0"):
        noisy(image_of(0), region, 0, np.random.default_rng(0))
