"""Alpha matting against the paper's dense solution, and on a composite whose alpha is known."""

import sys

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.refine.matting import alpha_matting

SIDE = 10


def composite():
    """A translucent plume over a textured ground: image, its true alpha, and a rough map of it."""
    rng = np.random.default_rng(0)
    alpha = np.clip((np.arange(SIDE) - 2) / 5, 0, 1)[None].repeat(SIDE, 0)
    ground = np.array([0.2, 0.5, 0.3]) + rng.normal(0, 0.004, (SIDE, SIDE, 1))
    plume = np.array([0.9, 0.85, 0.8]) + rng.normal(0, 0.004, (SIDE, SIDE, 1))
    image = alpha[..., None] * plume + (1 - alpha[..., None]) * ground
    rough = np.full((SIDE, SIDE), 0.5, np.float32)
    rough[:, :2], rough[:, -2:] = 0.1, 0.9
    return np.rint(image * 255).astype(np.uint8), alpha, rough


def dense_closed_form(image, trimap, epsilon):
    """Equations 10 and 14 of Levin et al., window by window, solved densely in float64."""
    height, width = trimap.shape
    pixels = image.reshape(-1, 3) / 255.0
    laplacian = np.zeros((height * width, height * width))
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            window = [(row + dy) * width + column + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            colours = np.column_stack([pixels[window], np.ones(9)])
            ridge = np.diag([epsilon] * 3 + [0.0])
            fit = colours @ np.linalg.solve(colours.T @ colours + ridge, colours.T)
            residual = np.eye(9) - fit
            # The least of |alpha - fit|^2 + epsilon |slope|^2 is the quadratic form of I - fit.
            laplacian[np.ix_(window, window)] += residual
    known = (trimap != 0.5).ravel()
    alpha = trimap.ravel().copy()
    left = laplacian[np.ix_(~known, ~known)]
    alpha[~known] = np.linalg.solve(left, -laplacian[np.ix_(~known, known)] @ alpha[known])
    return alpha.reshape(trimap.shape).clip(0, 1)


@pytest.mark.ci
def test_alpha_is_that_of_the_papers_equations_and_of_the_composite():
    pytest.importorskip("pymatting")
    image, alpha, rough = composite()
    trimap = np.where(rough >= 0.8, 1, np.where(rough <= 0.2, 0, 0.5))
    for epsilon in (1e-7, 1e-4):
        matte = alpha_matting(image, rough, epsilon=epsilon)
        np.testing.assert_allclose(matte, dense_closed_form(image, trimap, epsilon), atol=2e-3)
    np.testing.assert_allclose(alpha_matting(image, rough), alpha, atol=0.06)
    classes = alpha_matting(image, np.stack([rough, rough[:, ::-1]]))
    np.testing.assert_array_equal(classes[0], alpha_matting(image, rough))


@pytest.mark.ci
@pytest.mark.parametrize("around", [0.0, 1.0])
def test_unknown_pixels_that_touch_one_side_alone_are_of_that_side(around):
    pytest.importorskip("pymatting")
    image, _, _ = composite()
    scores = np.full((SIDE, SIDE), around, np.float32)
    scores[0, 0], scores[6:8, 6:8] = 1 - around, 0.5
    found = alpha_matting(image, scores)
    assert found[6:8, 6:8] == pytest.approx(around, abs=1e-3)
    known = scores != 0.5
    assert (found[known] == scores[known]).all()


def test_a_map_whose_pixels_are_all_sure_is_cut():
    image, _, _ = composite()
    hard = np.zeros((SIDE, SIDE), np.float32)
    hard[2:5, 2:5] = 0.9
    np.testing.assert_array_equal(alpha_matting(image, hard), (hard > 0.5).astype(np.float32))


@pytest.mark.parametrize("score", [0.1, 0.5, 0.9])
def test_a_map_without_sure_object_or_sure_background_stays(score):
    image, _, _ = composite()
    flat = np.full((1, SIDE, SIDE), score, np.float32)
    flat[0, 0, 0] = 0.5
    np.testing.assert_array_equal(alpha_matting(image, flat), flat)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"foreground": 0.2}, "expected 0 <= background < foreground <= 1"),
        ({"background": -0.1}, "expected 0 <= background < foreground <= 1"),
        ({"epsilon": 0.0}, "expected above 0"),
        ({"scores": np.full((SIDE, SIDE), 1.5)}, "scores: expected 0..1"),
        ({"scores": np.full((SIDE, SIDE), np.nan)}, "scores: expected 0..1"),
        ({"scores": np.zeros((4, 4))}, "of the image's size"),
        ({"image": np.zeros((SIDE, SIDE, 3))}, "image: expected uint8"),
        ({"image": np.zeros((2, 9, 3), np.uint8), "scores": np.zeros((2, 9))}, "at least 3 x 3"),
    ],
)
def test_what_cannot_be_matted_is_refused(change, said):
    image, _, rough = composite()
    with pytest.raises(InputError, match=said):
        alpha_matting(**{"image": image, "scores": rough, **change})


def test_without_pymatting_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymatting", None)
    image, _, rough = composite()
    with pytest.raises(InputError, match=r"pip install 'wsss-studies\[matting\]'"):
        alpha_matting(image, rough)
