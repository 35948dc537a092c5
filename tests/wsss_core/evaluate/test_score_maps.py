"""Normalising, resizing and quantising maps, against scalar arithmetic and torch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_core.errors import InputError
from wsss_core.evaluate import normalise, quantise, resize


def normalise_by_loop(values, how):
    flat = [float(value) for value in values.ravel()]
    low, high = min(flat), max(flat)
    if how == "min_max":
        flat = [(x - low) / (high - low) if high > low else 0.0 for x in flat]
    elif how == "max":
        flat = [max(x, 0.0) / high if high > 0 else 0.0 for x in flat]
    else:
        flat = [1 / (1 + math.exp(-x)) for x in flat]
    return np.array(flat).reshape(values.shape)


@pytest.mark.parametrize("how", ["min_max", "max", "sigmoid"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_each_map_is_normalised_on_its_own(how, dtype):
    scale = np.array([1, 30, 0.01]).reshape(3, 1, 1, 1)
    scores = (scale * np.random.default_rng(0).normal(size=(3, 2, 5, 4))).astype(dtype)
    result = normalise(scores, how)
    assert result.dtype == np.float32
    for index in np.ndindex(3, 2):
        expected = normalise_by_loop(scores[index], how)
        np.testing.assert_allclose(result[index], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [-3.0, 0.0, 7.5])
def test_a_constant_map_has_no_contrast(value):
    assert normalise(np.full((3, 3), value), "min_max").tolist() == [[0.0] * 3] * 3


def test_a_map_without_a_positive_score_is_zero_under_max():
    scores = np.array([[[-1.0, -2.0]], [[0.0, -1.0]], [[-1.0, 4.0]]])
    assert normalise(scores, "max").tolist() == [[[0.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]]


@pytest.mark.parametrize("how", ["min_max", "max"])
def test_the_greatest_score_becomes_exactly_one(how):
    scores = np.random.default_rng(1).random((50, 6, 6), dtype=np.float32) * 37
    assert normalise(scores, how).max(axis=(1, 2)).tolist() == [1.0] * 50


def test_sigmoid_of_extreme_scores_saturates_without_a_warning():
    with np.errstate(all="raise", under="ignore"):
        result = normalise(np.array([[-1e4, 1e4]]), "sigmoid")
    assert result.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("how", ["min_max", "max", "sigmoid"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(how, bad):
    scores = np.zeros((2, 3, 3))
    scores[1, 2, 0] = bad
    with pytest.raises(InputError, match="finite"):
        normalise(scores, how)


def test_an_unknown_normalisation_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"^normalisation 'minmax': .*min_max, max, sigmoid$"):
        normalise(np.zeros((2, 2)), "minmax")


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1, width=32))
def test_quantising_takes_the_nearest_level(value):
    level = int(quantise(np.float32(value)))
    assert abs(level - 255 * value) <= 0.5 + 1e-4


def test_every_level_survives_the_way_to_a_score_and_back():
    levels = np.arange(256)
    for dtype in (np.float16, np.float32, np.float64):
        result = quantise((levels / 255).astype(dtype))
        assert result.dtype == np.uint8
        assert result.tolist() == levels.tolist()


def test_rounding_just_beyond_the_range_is_forgiven_and_more_is_not():
    assert quantise(np.array([-1e-7, 1 + 1e-7])).tolist() == [0, 255]
    for bad in (-0.01, 1.01, np.nan, np.inf):
        with pytest.raises(InputError, match=r"in \[0, 1\]"):
            quantise(np.array([[0.5, bad]]))


SIZES = [
    ((1, 1), (5, 7)),
    ((4, 4), (4, 4)),
    ((8, 8), (64, 64)),
    ((14, 14), (360, 640)),
    ((7, 13), (100, 20)),
    ((13, 7), (20, 100)),
    ((50, 60), (7, 3)),
    ((200, 9), (11, 180)),
    ((512, 512), (224, 224)),
    ((3, 5), (1, 1)),
    ((1, 6), (9, 6)),
]


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_resizing_equals_torch_s_bilinear_interpolation(before, after):
    maps = np.random.default_rng(2).normal(size=(3, 2, *before)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps), size=after, mode="bilinear", align_corners=False
    )
    result = resize(maps, after)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected.numpy(), rtol=0, atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.integers(1, 40)] * 4))
def test_resizing_equals_torch_at_any_size(sizes):
    h, w, height, width = sizes
    maps = np.random.default_rng(3).random((1, h, w), dtype=np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], size=(height, width), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(
        resize(maps, (height, width)), expected[0].numpy(), rtol=0, atol=1e-5
    )


def test_a_batch_larger_than_a_tile_equals_its_maps_one_by_one():
    maps = np.random.default_rng(4).random((40, 6, 5), dtype=np.float32)
    together = resize(maps, (130, 120))
    for one, resized in zip(maps, together, strict=True):
        np.testing.assert_array_equal(resize(one, (130, 120)), resized)


def test_a_hand_computed_row_doubles_as_expected():
    assert resize(np.array([[0.0, 4.0]]), (1, 4)).tolist() == [[0.0, 1.0, 3.0, 4.0]]


def test_a_constant_map_stays_exactly_constant():
    assert (resize(np.full((9, 11), 0.3, np.float32), (250, 3)) == np.float32(0.3)).all()


def test_resizing_to_the_same_size_gives_a_copy():
    maps = np.random.default_rng(5).random((4, 4), dtype=np.float32)
    result = resize(maps, (4, 4))
    np.testing.assert_array_equal(result, maps)
    assert not np.shares_memory(result, maps)


def test_no_maps_resize_to_no_maps():
    assert resize(np.zeros((0, 3, 3)), (5, 6)).shape == (0, 5, 6)


def test_float16_strided_maps_resize_as_their_float32_copies():
    maps = np.random.default_rng(6).random((2, 9, 9)).astype(np.float16)[:, ::-1, ::2]
    np.testing.assert_array_equal(
        resize(maps, (20, 20)), resize(np.ascontiguousarray(maps).astype(np.float32), (20, 20))
    )


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (2.0, 4), (4,), (4, 4, 4)])
def test_a_size_that_is_not_two_positive_integers_is_refused(size):
    with pytest.raises(InputError, match=r"^size: expected two positive integers"):
        resize(np.zeros((3, 3)), size)


@pytest.mark.parametrize("maps", [np.zeros(3), np.zeros((0, 3)), np.zeros((2, 2), complex)])
def test_maps_without_pixels_or_of_no_real_type_are_refused(maps):
    with pytest.raises(InputError, match=r"^maps: expected"):
        resize(maps, (4, 4))
    with pytest.raises(InputError, match=r"^maps: expected"):
        normalise(maps, "max")


@pytest.mark.parametrize("value", [0.007, 1.0, -3.0, 1023.0, 65504.0])
@pytest.mark.parametrize("how", ["min_max", "max"])
def test_a_float16_map_of_five_neighbouring_values_is_flat_and_one_of_ten_is_not(value, how):
    values = [np.float16(value)]
    while len(values) < 10:
        values.append(np.nextafter(values[-1], np.float16(0)))
    five, ten = np.array([values[:5]]), np.array([values])
    assert np.unique(normalise(five, how)).tolist() == [float(how == "max" and value > 0)]
    if how == "min_max":
        assert len(np.unique(normalise(ten, how))) == 10


def test_the_same_contrast_counts_where_the_type_can_tell_it_from_rounding():
    scores = np.array([[1.0, 1.001]], np.float32)
    assert normalise(scores, "min_max").tolist() == [[0.0, 1.0]]
    assert normalise(scores.astype(np.float16), "min_max").tolist() == [[0.0, 0.0]]


def test_maps_that_add_up_to_a_constant_fuse_to_a_flat_one():
    one, two = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32) * np.float32(0.3)
    rest = [np.float32(0.1) + two, np.float32(0.7) - one, np.float32(0.3) - two]
    mean = np.mean([one, *rest], axis=0)
    assert np.ptp(mean) > 0
    assert not normalise(mean, "min_max").any()
