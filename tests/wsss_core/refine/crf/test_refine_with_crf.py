"""Scores through a dense CRF in one call."""

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.refine import CRF_PRESETS, dense_crf, refine_with_crf, unary_probabilities

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (12, 16, 3), np.uint8)
SCORES = RANDOM.random((2, 12, 16)).astype(np.float32)


@pytest.mark.parametrize("preset", [*CRF_PRESETS, CRF_PRESETS["psa"]])
def test_it_is_the_posterior_of_the_classes_without_the_background(preset):
    posteriors = dense_crf(IMAGE, unary_probabilities(SCORES, preset=preset), preset=preset)
    found = refine_with_crf(IMAGE, SCORES, preset=preset)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, posteriors[1:])
    np.testing.assert_allclose(1 - found.sum(0), posteriors[0], atol=1e-5)


def test_of_one_class_no_axis_for_classes_is_needed():
    one = refine_with_crf(IMAGE, SCORES[0])
    np.testing.assert_array_equal(one, refine_with_crf(IMAGE, SCORES[:1])[0])


def test_images_are_refined_each_on_its_own():
    other = IMAGE[::-1].copy()
    found = refine_with_crf(np.stack([IMAGE, other]), np.stack([SCORES, SCORES]))
    np.testing.assert_allclose(found[0], refine_with_crf(IMAGE, SCORES), atol=1e-6)
    np.testing.assert_allclose(found[1], refine_with_crf(other, SCORES), atol=1e-6)


def test_a_tensor_gives_a_tensor():
    found = refine_with_crf(torch.from_numpy(IMAGE), torch.from_numpy(SCORES))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found, refine_with_crf(IMAGE, SCORES))


@pytest.mark.parametrize(
    ("image", "scores", "more", "said"),
    [
        (
            IMAGE,
            SCORES[:, :6],
            {},
            r"scores: expected the image's size \[12, 16\], got \[6, 16\]; wsss",
        ),
        (
            IMAGE,
            SCORES[None],
            {},
            r"expected \[H, W\] or \[K, H, W\] with an image .* \[1, 2, 12, 16",
        ),
        (IMAGE[None], SCORES, {}, r"got \[2, 12, 16\] with \[1, 12, 16, 3\]"),
        (IMAGE, SCORES[0, 0], {}, r"scores: expected \[H, W\] .* got \[16\]"),
        (IMAGE, SCORES[:0], {}, r"scores have shape \(0, 12, 16\), expected"),
        (IMAGE, SCORES * 2, {}, "scores"),
        (IMAGE, SCORES * np.nan, {}, "scores"),
        (IMAGE / 255, SCORES, {}, "image: expected RGB uint8 .* got float64"),
        (
            IMAGE.transpose(2, 0, 1),
            SCORES,
            {},
            r"image: expected RGB uint8 .* got uint8 \[3, 12, 16\]",
        ),
        (IMAGE, SCORES, {"preset": "best"}, "preset is 'best', expected one of thesis, psa"),
        (IMAGE, SCORES, {"backend": "gpu"}, "backend is 'gpu', expected one of"),
        (IMAGE, "scores", {}, "scores: expected floats in 0..1, got str"),
        (IMAGE, (SCORES * 255).astype(np.uint8), {}, "scores: expected floats in 0..1, got uint8"),
    ],
)
def test_wrong_input_is_a_sentence_that_says_what_was_expected(image, scores, more, said):
    with pytest.raises(InputError, match=said):
        refine_with_crf(image, scores, **more)
