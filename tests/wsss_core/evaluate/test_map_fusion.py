"""Fused maps against their definitions, pixel by pixel; what `or` and `and` promise of masks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsss_core.errors import InputError
from wsss_core.evaluate import fuse_logits, fuse_maps, quantise

UNIT = st.floats(0, 1, width=32)
PAIRS = arrays(np.float32, (2, 3, 4, 5), elements=UNIT)


def stretched(pixels: list[float]) -> list[float]:
    low, high = min(pixels), max(pixels)
    return [(pixel - low) / (high - low) for pixel in pixels]


@pytest.mark.parametrize(
    ("how", "of_pixel", "stretch"),
    [
        ("mean", lambda values: sum(values) / len(values), True),
        ("product", math.prod, True),
        ("minimum", min, True),
        ("or", max, False),
        ("and", min, False),
    ],
)
def test_a_fusion_is_its_formula_at_each_pixel(how, of_pixel, stretch):
    maps = np.random.default_rng(0).random((3, 2, 4, 5)).astype(np.float32)
    fused = fuse_maps(list(maps), how)
    for image in range(2):
        pixels = [of_pixel([float(v) for v in maps[:, image, y, x]]) for y in range(4)
                  for x in range(5)]  # fmt: skip
        expected = np.reshape(stretched(pixels) if stretch else pixels, (4, 5))
        np.testing.assert_allclose(fused[image], expected, atol=1e-5)


@given(PAIRS)
@settings(max_examples=30, deadline=None)
def test_or_and_and_are_union_and_intersection_of_the_masks_at_every_threshold(maps):
    masks = [quantise(one) for one in maps]
    for how, joined in (("or", np.logical_or), ("and", np.logical_and)):
        levels = quantise(fuse_maps(list(maps), how))
        for level in range(0, 256, 15):
            expected = joined(masks[0] >= level, masks[1] >= level)
            np.testing.assert_array_equal(levels >= level, expected)


@given(PAIRS)
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_networks_does_not_matter(maps):
    for how in ("mean", "product", "minimum", "or", "and"):
        there, back = fuse_maps(list(maps), how), fuse_maps(list(maps[::-1]), how)
        np.testing.assert_array_equal(there, back)


def test_minimum_stretches_what_and_leaves():
    maps = [np.array([[0.0, 0.25, 0.5]]), np.array([[0.25, 0.5, 0.5]])]
    assert fuse_maps(maps, "and").tolist() == [[0.0, 0.25, 0.5]]
    assert fuse_maps(maps, "minimum").tolist() == [[0.0, 0.5, 1.0]]
    assert fuse_maps(maps, "minimum", "sigmoid").tolist() == [[0.0, 0.25, 0.5]]


def test_the_mean_of_probabilities_is_taken_before_the_logit():
    first, second = np.array([2.0, -3.0, 400.0]), np.array([-1.0, -5.0, 400.0])

    def probability(logit):
        return 1 / (1 + math.exp(-logit))

    found = fuse_logits([first, second], "probabilities")
    for place in range(2):
        mean = (probability(first[place]) + probability(second[place])) / 2
        assert found[place] == pytest.approx(math.log(mean / (1 - mean)))
    assert found[2] == pytest.approx(400)
    assert fuse_logits([first, second]).tolist() == [0.5, -4.0, 400.0]


def test_maps_of_other_classes_or_sizes_are_refused_in_a_line():
    maps = [np.zeros((2, 4, 4)), np.zeros((1, 4, 4))]
    with pytest.raises(InputError, match=r"several of one shape, got \[1, 4, 4\], \[2, 4, 4\]$"):
        fuse_maps(maps)
    with pytest.raises(InputError, match="fusion 'xor': expected one of mean, product, minimum"):
        fuse_maps(maps[:1], "xor")
    with pytest.raises(InputError, match=r"several of one shape, got none$"):
        fuse_maps([])
    with pytest.raises(InputError, match=r"expected logits or probabilities$"):
        fuse_logits([np.zeros(2)], "odds")
