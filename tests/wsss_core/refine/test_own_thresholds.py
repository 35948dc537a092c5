"""A map's own threshold, and a CRF whose background meets the foreground there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss_core.errors import InputError
from wsss_core.refine.crf.dense_crf import unary_probabilities
from wsss_core.refine.crf.settings import CRF_PRESETS
from wsss_core.refine.own_thresholds import own_cut, own_threshold


def variance_between(scores, threshold):
    low, high = scores[scores < threshold], scores[scores >= threshold]
    if not low.size or not high.size:
        return -1.0
    return low.size * high.size * (high.mean() - low.mean()) ** 2


def test_the_threshold_by_otsu_separates_best_of_all_levels():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.beta(8, 2, 300), rng.beta(30, 2, 60)])
    levels = np.rint(scores * 255) / 255
    found = own_threshold(levels[None])
    best = max(variance_between(levels, level / 255) for level in range(256))
    assert variance_between(levels, found) == pytest.approx(best)


def test_a_flat_map_has_no_threshold():
    assert own_threshold(np.full((1, 4, 4), 0.7)) is None
    assert not own_cut(np.full((2, 4, 4), 0.7)).any()


@given(st.integers(0, 99), st.floats(0.1, 0.9), st.floats(0, 0.1))
def test_the_threshold_follows_the_scale_of_the_map(seed, scale, offset):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.uniform(0, 0.2, 40), rng.uniform(0.7, 1, 24)]).reshape(1, 8, 8)
    np.testing.assert_array_equal(own_cut(scores), scores > 0.5)
    np.testing.assert_array_equal(own_cut(scores * scale + offset), scores > 0.5)


def test_a_quantile_leaves_its_share_of_the_pixels_below():
    scores = np.random.default_rng(1).uniform(size=(1, 20, 20))
    assert (scores < own_threshold(scores, {"quantile": 0.8})).mean() == pytest.approx(0.8)


@pytest.mark.parametrize("rule", ["median", {"quantile": 0}, {"quantile": 1}, {"share": 0.5}])
def test_another_rule_is_refused(rule):
    with pytest.raises(InputError, match="expected 'otsu' or a quantile between 0 and 1"):
        own_threshold(np.linspace(0, 1, 16).reshape(1, 4, 4), rule)


@pytest.mark.parametrize("preset", CRF_PRESETS)
@pytest.mark.parametrize("score", [0.04, 0.3, 0.5, 0.72, 0.95])
def test_foreground_and_background_are_equal_at_the_score_that_they_meet_at(preset, score):
    settings = CRF_PRESETS[preset].meeting_at(score)
    maps = np.array([[[score - 0.01, score + 0.01]]], np.float32)
    background, foreground = unary_probabilities(maps, preset=settings).numpy()[:, 0]
    assert background[0] > foreground[0]
    assert background[1] < foreground[1]
    if settings.unary != "labels":
        equal = unary_probabilities(np.full((1, 1, 1), score, np.float32), preset=settings)
        assert equal.flatten().tolist() == pytest.approx([0.5, 0.5], abs=1e-5)


@pytest.mark.parametrize("score", [0, 1, -0.1, float("nan")])
def test_they_meet_at_no_score_outside_0_to_1(score):
    with pytest.raises(InputError, match="expected a score between 0 and 1"):
        CRF_PRESETS["psa"].meeting_at(score)
