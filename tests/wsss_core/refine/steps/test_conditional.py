"""Steps that follow each map's own scale, or are applied where a score without labels says so."""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate import resize
from wsss_core.refine.steps.registry import STEP_KINDS, check_step, lacking, make_refiner

SIDE = 32
PAR = {"kind": "par", "arguments": {"iterations": 2, "dilations": [1, 2]}}


@pytest.fixture
def discs():
    return np.stack(
        [
            (np.mgrid[:SIDE, :SIDE] - np.array(at)[:, None, None]).__pow__(2).sum(0) < radius**2
            for at, radius in (((10, 10), 6), ((18, 14), 9), ((20, 20), 4))
        ]
    )


@pytest.fixture
def images(discs):
    noise = np.random.default_rng(0).normal(0, 6, (3, SIDE, SIDE, 3))
    pictures = np.where(discs[..., None], (230, 220, 210), (40, 60, 50))
    return np.clip(pictures + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def scores(discs):
    """Coarse maps that stay high off the disc: .6 there and 1 on it, float32 [3, 1, 8, 8]."""
    coarse = discs.reshape(3, 1, 8, 4, 8, 4).mean(axis=(3, 5))
    return (0.6 + 0.4 * coarse).astype(np.float32)


def iou(refined, discs):
    cut = refined[:, 0] > 0.5
    return (cut & discs).sum((1, 2)) / (cut | discs).sum((1, 2))


def test_a_background_that_follows_the_maps_finds_the_object_that_a_fixed_one_drowns(
    images, scores, discs
):
    fixed = make_refiner("crf", {"preset": "thesis"})(images, scores)
    assert (fixed > 0.5).all()
    for preset in ("thesis", "psa", "afa", "irn"):
        following = make_refiner("crf", {"preset": preset, "background": "otsu"})
        assert (iou(following(images, scores), discs) > 0.9).all()
    share = {"preset": "psa", "background": {"quantile": 1 - discs.mean()}}
    assert (iou(make_refiner("crf", share)(images, scores), discs) > 0.6).all()


def test_a_map_without_a_threshold_of_its_own_has_the_presets_background(images):
    flat = np.full((3, 1, 8, 8), 0.4, np.float32)
    own = make_refiner("crf", {"preset": "psa", "background": "otsu"})(images, flat)
    np.testing.assert_array_equal(own, make_refiner("crf", {"preset": "psa"})(images, flat))


def test_a_step_is_applied_to_the_images_of_the_condition_alone(images, scores, discs):
    areas = discs.mean((1, 2))
    small = (areas.min() + np.sort(areas)[1]) / 2
    step = make_refiner("conditional", {"then": PAR, "score": "area", "below": float(small)})
    refined = step(images, scores)
    chosen = areas < small
    assert chosen.sum() == 1
    expected = make_refiner("par", PAR["arguments"])(images, scores)
    np.testing.assert_allclose(refined[chosen], expected[chosen], atol=1e-6)
    np.testing.assert_array_equal(refined[~chosen], resize(scores, (SIDE, SIDE))[~chosen])


def test_a_step_that_agrees_with_the_maps_is_applied_and_another_is_not(images, scores):
    par = make_refiner("par", PAR["arguments"])(images, scores)
    agreeing = {"then": PAR, "score": "agreement"}
    np.testing.assert_allclose(
        make_refiner("conditional", {**agreeing, "above": 0.5})(images, scores), par, atol=1e-6
    )
    flooding = {"kind": "crf", "arguments": {"preset": "thesis"}}
    kept = make_refiner("conditional", {"then": flooding, "score": "agreement", "above": 0.5})
    np.testing.assert_array_equal(kept(images, scores), resize(scores, (SIDE, SIDE)))
    doubted = {**agreeing, "second": [flooding], "above": 0.5}
    np.testing.assert_array_equal(
        make_refiner("conditional", doubted)(images, scores), resize(scores, (SIDE, SIDE))
    )


def test_bounds_are_exclusive_and_together_a_band(images):
    half = np.full((3, 1, 8, 8), 0.5, np.float32)  # an entropy of 1
    half[1], half[2] = 0, 0.11  # 0 and about a half
    how = {"then": PAR, "score": "entropy"}

    def chosen(**bounds):
        return make_refiner("conditional", {**how, **bounds}).chosen(images, half).tolist()

    assert chosen(above=0.0) == [True, False, True]
    assert chosen(below=1.0) == [False, True, True]
    assert chosen(above=0.4, below=0.6) == [False, False, True]


def test_a_conditional_step_cannot_run_where_a_step_inside_cannot():
    sam = {"kind": "sam", "arguments": {"weights": None}}
    with pytest.raises(InputError, match="sam"):
        check_step("conditional", {"then": PAR, "second": [sam]})


def test_matting_lacks_its_package_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert lacking("matting", {}) == (
        "pymatting is not installed; pip install 'wsss-studies[matting]'"
    )
    with pytest.raises(InputError, match="refiner matting: pymatting is not installed"):
        check_step("matting", {})
    assert [kind for kind in STEP_KINDS if lacking(kind, {})] == ["matting"]
