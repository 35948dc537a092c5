"""The ring around an object, and where a map peaks."""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate import peak_region, ring_around


def naive_ring(mask: np.ndarray, width: int) -> np.ndarray:
    height, length = mask.shape
    ring = np.zeros_like(mask)
    for y in range(height):
        for x in range(length):
            near = mask[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1]
            ring[y, x] = near.any() and not mask[y, x]
    return ring


@pytest.mark.parametrize("width", [1, 2, 5, 40])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_the_ring_holds_the_pixels_within_its_width_and_none_of_the_mask(width, share):
    mask = np.random.default_rng(int(width + 100 * share)).random((17, 23)) < share
    assert np.array_equal(ring_around(mask, width), naive_ring(mask, width))


@pytest.mark.parametrize(("side", "width"), [(8, 1), (64, 4), (200, 12)])
def test_the_ring_is_a_sixteenth_of_the_shorter_side_wide_and_a_pixel_at_least(side, width):
    mask = np.zeros((side, side + 30), bool)
    mask[side // 2, side // 2] = True
    assert np.array_equal(ring_around(mask), naive_ring(mask, width))


@pytest.mark.parametrize(
    ("at", "expected"),
    [((0, 0), "object"), ((0, 1), "context"), ((0, 2), "ring"), ((0, 3), "elsewhere")],
)
def test_a_peak_is_named_by_the_region_it_lies_in(at, expected):
    masks = [np.zeros((1, 4), bool) for _ in range(3)]
    for place, mask in enumerate(masks):
        mask[0, place] = True
    scores = np.zeros((1, 4))
    scores[at] = 1
    assert peak_region(scores, *masks) == expected


def test_of_equal_peaks_the_object_counts_first_and_an_unknown_context_not_at_all():
    one, other = np.array([[True, False, False]]), np.array([[False, True, False]])
    scores = np.array([[0.7, 0.7, 0.1]])
    assert peak_region(scores, other, one, one) == "object"
    assert peak_region(scores, np.zeros((1, 3), bool), None, other) == "ring"


@pytest.mark.parametrize("score", [0.0, 0.4, 1.0])
def test_a_map_that_is_the_same_everywhere_peaks_nowhere(score):
    everything = np.ones((3, 4), bool)
    assert peak_region(np.full((3, 4), score), everything, everything, everything) == "nowhere"


def test_every_mask_of_a_single_pixel_has_its_ring_cut_off_at_the_border():
    for y, x in np.ndindex(5, 6):
        mask = np.zeros((5, 6), bool)
        mask[y, x] = True
        assert np.array_equal(ring_around(mask, 2), naive_ring(mask, 2))


def test_where_regions_overlap_the_object_goes_before_the_context_and_that_before_the_ring():
    scores, all_of_it, none = np.eye(2), np.ones((2, 2), bool), np.zeros((2, 2), bool)
    assert peak_region(scores, all_of_it, all_of_it, all_of_it) == "object"
    assert peak_region(scores, none, all_of_it, all_of_it) == "context"
    assert peak_region(scores, none, none, all_of_it) == "ring"


def test_maps_and_regions_that_do_not_fit_are_refused():
    mask = np.zeros((2, 3), bool)
    with pytest.raises(InputError, match=r"^mask: expected bool \[h, w\], got uint8 \[2, 3\]"):
        ring_around(mask.astype(np.uint8))
    with pytest.raises(InputError, match=r"^width: expected at least 1 pixel, got 0"):
        ring_around(mask, 0)
    with pytest.raises(InputError, match=r"^scores: expected \[h, w\] without NaN, .* 6 NaN"):
        peak_region(np.full((2, 3), np.nan), mask, None, mask)
    with pytest.raises(InputError, match=r"^context: expected bool \[2, 3\], got bool \[3, 2\]"):
        peak_region(np.zeros((2, 3)), mask, mask.T, mask)
