"""The random walk against the dense matrix power, and what any such walk has to keep."""

import itertools

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.refine.affinity.random_walk import (
    _Shifts,
    _Windows,
    half_disc,
    power_terms,
    random_walk,
)


def pair_matrix(seed: int, height: int, width: int, radius: int) -> np.ndarray:
    """Drawn affinities of all pixels, float64 [n, n]: symmetric, 1 on the diagonal, 0 beyond."""
    drawn = np.random.default_rng(seed).random((height * width, height * width))
    matrix = np.triu(drawn, 1)
    matrix = matrix + matrix.T + np.eye(height * width)
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    squared = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    return np.where(squared < radius**2, matrix, 0)


def as_maps(matrix: np.ndarray, height: int, width: int, radius: int) -> torch.Tensor:
    """The matrix as [N, h, w], one map an offset, NaN where the partner lies off the grid."""
    offsets = half_disc(radius)
    maps = np.full((len(offsets), height, width), np.nan)
    for number, (dy, dx) in enumerate(offsets):
        for y, x in itertools.product(range(height), range(width)):
            if y + dy < height and 0 <= x + dx < width:
                maps[number, y, x] = matrix[y * width + x, (y + dy) * width + x + dx]
    return torch.from_numpy(maps)


def dense_walk(scores: np.ndarray, matrix: np.ndarray, beta: float, squarings: int) -> np.ndarray:
    """The published way: normalise the columns, square the matrix, multiply the scores."""
    powered = matrix**beta
    transition = powered / powered.sum(axis=0, keepdims=True)
    for _ in range(squarings):
        transition = transition @ transition
    return (scores.reshape(len(scores), -1) @ transition).reshape(scores.shape)


@pytest.mark.parametrize("radius", range(1, 9))
@pytest.mark.parametrize(("beta", "squarings"), [(8, 8), (10, 8), (16, 1)])
def test_a_walk_on_a_32_x_32_grid_equals_the_dense_matrix_power(radius, beta, squarings):
    matrix = pair_matrix(radius, 32, 32, radius)
    scores = np.random.default_rng(1).random((2, 32, 32))
    walked = random_walk(
        torch.from_numpy(scores[None]).float(),
        as_maps(matrix, 32, 32, radius)[None].float(),
        beta=beta,
        squarings=squarings,
    )
    expected = dense_walk(scores, matrix, beta, squarings)
    assert walked.dtype == torch.float32
    np.testing.assert_allclose(walked[0].numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("squarings", range(12))
def test_every_number_of_squarings_equals_the_dense_matrix_power_in_double_precision(squarings):
    matrix = pair_matrix(0, 5, 7, 3)
    scores = np.random.default_rng(1).normal(size=(2, 5, 7))
    maps = as_maps(matrix, 5, 7, 3)
    walked = random_walk(torch.from_numpy(scores[None]), maps[None], beta=3, squarings=squarings)
    expected = dense_walk(scores, matrix, 3, squarings)
    np.testing.assert_allclose(walked[0].numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("grid", [(1, 1), (1, 9), (9, 1), (2, 3), (4, 4)])
@pytest.mark.parametrize("radius", [2, 5, 8])
def test_a_grid_smaller_than_the_radius_has_the_pairs_that_fit(grid, radius):
    matrix = pair_matrix(0, *grid, radius)
    scores = np.random.default_rng(1).normal(size=(1, *grid))
    maps = as_maps(matrix, *grid, radius)
    walked = random_walk(torch.from_numpy(scores[None]), maps[None], beta=1, squarings=7)
    np.testing.assert_allclose(
        walked[0].numpy(), dense_walk(scores, matrix, 1, 7), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("product", [_Shifts, _Windows])
@pytest.mark.parametrize("grid", [(6, 5), (1, 9), (3, 2)])
@pytest.mark.parametrize("radius", [1, 2, 5])
def test_the_products_of_cpu_and_gpu_are_those_of_the_matrix(product, grid, radius):
    matrix = pair_matrix(0, *grid, radius)
    maps = torch.from_numpy(np.random.default_rng(1).normal(size=(3, grid[0] * grid[1])))
    affinity = as_maps(matrix, *grid, radius).nan_to_num(0)
    times = product(affinity, half_disc(radius), 3)
    for _ in range(2):  # the second call finds the buffers used
        expected = maps.numpy() @ (matrix - np.eye(len(matrix)))
        np.testing.assert_allclose(times(maps).numpy(), expected, atol=1e-12)


def test_the_images_of_a_batch_do_not_meet():
    scores = torch.rand(3, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    affinity = torch.rand(3, 12, 6, 5, generator=torch.Generator().manual_seed(1))
    together = random_walk(scores, affinity, beta=2, squarings=6)
    for image in range(3):
        one = slice(image, image + 1)
        alone = random_walk(scores[one], affinity[one], beta=2, squarings=6)
        assert torch.equal(together[one], alone)


@pytest.mark.parametrize("squarings", [0, 3, 8])
def test_constants_stay_and_scores_stay_within_their_bounds(squarings):
    affinity = torch.from_numpy(np.random.default_rng(0).random((1, 34, 16, 16))).float()
    constant = torch.full((1, 1, 16, 16), 0.7)
    walked = random_walk(constant, affinity, beta=8, squarings=squarings)
    torch.testing.assert_close(walked, constant, rtol=0, atol=1e-5)
    scores = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 2, 16, 16))).float()
    walked = random_walk(scores, affinity, beta=8, squarings=squarings)
    for one, before in zip(walked[0], scores[0], strict=True):
        assert before.min() - 1e-5 <= one.min()
        assert one.max() <= before.max() + 1e-5


def test_the_sum_weighted_by_each_pixels_own_sum_of_weights_is_kept_and_the_plain_one_is_not():
    matrix = pair_matrix(0, 12, 12, 4)
    scores = torch.from_numpy(np.random.default_rng(1).random((1, 1, 12, 12)))
    walked = random_walk(scores, as_maps(matrix, 12, 12, 4)[None], beta=2, squarings=8)
    weights = torch.from_numpy((matrix**2).sum(0)).view(12, 12)
    torch.testing.assert_close((weights * walked).sum(), (weights * scores).sum())
    assert abs(walked.sum() - scores.sum()) > 0.1


def test_a_long_walk_ends_at_the_weighted_mean_of_each_part_that_hangs_together():
    # Nothing crosses the middle of the grid; within a half every pair has affinity 1.
    matrix = (pair_matrix(0, 4, 8, 3) > 0).astype(float)
    half = (np.arange(32) % 8 < 4).astype(int)
    matrix *= half[:, None] == half
    scores = np.random.default_rng(1).random((1, 4, 8))
    maps = as_maps(matrix, 4, 8, 3)
    walked = random_walk(torch.from_numpy(scores[None]), maps[None], beta=1, squarings=11)
    weights = matrix.sum(0)
    for side in (0, 1):
        mean = np.average(scores.ravel()[half == side], weights=weights[half == side])
        np.testing.assert_allclose(walked.numpy().ravel()[half == side], mean, atol=1e-9)


def test_beta_is_an_exponent_of_the_affinity():
    affinity = torch.from_numpy(np.random.default_rng(0).random((1, 12, 6, 6)))
    scores = torch.from_numpy(np.random.default_rng(1).random((1, 1, 6, 6)))
    powered = random_walk(scores, affinity**2.5, beta=1, squarings=3)
    torch.testing.assert_close(random_walk(scores, affinity, beta=2.5, squarings=3), powered)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    affinity = torch.from_numpy(np.random.default_rng(0).random((1, 34, 12, 12))).to(dtype)
    scores = torch.from_numpy(np.random.default_rng(1).random((1, 1, 12, 12))).to(dtype)
    walked = random_walk(scores, affinity, beta=8, squarings=8)
    wide = random_walk(scores.float(), affinity.float(), beta=8, squarings=8)
    assert walked.dtype == dtype
    assert torch.equal(walked, wide.to(dtype))


def test_a_grid_whose_dense_matrix_would_take_32_gb_is_walked():
    scores = torch.zeros(1, 1, 300, 300)
    scores[0, 0, 150, 150] = 1
    walked = random_walk(scores, torch.ones(1, 4, 300, 300), beta=1, squarings=1)
    # Twice the mean over 3 x 3: a pyramid over 5 x 5 whose row is (1, 2, 3, 2, 1) / 9.
    row = torch.tensor([1.0, 2, 3, 2, 1]) / 9
    torch.testing.assert_close(walked[0, 0, 148:153, 148:153], row[:, None] * row)
    assert walked[0, 0, 147].abs().max() == 0


@pytest.mark.parametrize("radius", range(1, 11))
def test_half_a_disc_and_its_mirror_are_the_disc_without_its_centre(radius):
    half = half_disc(radius)
    both = [*half, *((-dy, -dx) for dy, dx in half), (0, 0)]
    reach = range(-radius, radius + 1)
    disc = {(y, x) for y in reach for x in reach if y * y + x * x < radius * radius}
    assert len(both) == len(disc)
    assert set(both) == disc


def test_radius_5_has_psas_34_offsets_in_its_order():
    assert len(half_disc(5)) == 34
    assert half_disc(5)[:5] == ((0, 1), (0, 2), (0, 3), (0, 4), (1, -4))


@pytest.mark.parametrize("steps", [1, 2, 7, 64, 256])
@pytest.mark.parametrize("tolerance", [0.0, 1e-9, 1e-3])
def test_the_chebyshev_terms_are_the_power_within_the_tolerance(steps, tolerance):
    x = np.linspace(-1, 1, 1001)
    error = np.polynomial.chebyshev.chebval(x, power_terms(steps, tolerance)) - x**steps
    assert np.abs(error).max() <= tolerance + 1e-13


def test_256_steps_need_about_100_products_and_few_steps_all_of_theirs():
    assert 95 < len(power_terms(256, 1e-10)) < 110
    assert len(power_terms(16, 1e-10)) == 17


GOOD = {"scores": (1, 2, 4, 4), "affinity": (1, 34, 4, 4)}


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"scores": (2, 4, 4)}, r"expects non-empty \[B, K, h, w\]"),
        ({"scores": (1, 0, 4, 4)}, r"expects non-empty \[B, K, h, w\]"),
        ({"scores": (2, 2, 4, 4)}, "expects one batch on one grid"),
        ({"scores": (1, 2, 4, 5)}, "expects one batch on one grid"),
        ({"affinity": (1, 30, 4, 4)}, "has 30 maps; .* 22 at radius 4, 34 at radius 5"),
    ],
)
def test_shapes_that_do_not_meet_are_an_error(shapes, said):
    tensors = {name: torch.zeros(shape) for name, shape in {**GOOD, **shapes}.items()}
    with pytest.raises(InputError, match=said):
        random_walk(**tensors, beta=8, squarings=8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beta": 0}, "beta is 0; expected a finite number above 0"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"squarings": -1}, "squarings is -1; expected 0 to 16, whole"),
        ({"squarings": 2.5}, "squarings is 2.5"),
    ],
)
def test_settings_outside_their_range_are_an_error(settings, said):
    scores, affinity = (torch.zeros(shape) for shape in GOOD.values())
    with pytest.raises(InputError, match=said):
        random_walk(scores, affinity, **{"beta": 8, "squarings": 8, **settings})


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_affinities_outside_0_to_1_are_an_error(value):
    scores, affinity = (torch.zeros(shape) for shape in GOOD.values())
    affinity[0, 0, 0, 0] = value
    with pytest.raises(InputError, match=r"affinity has values outside 0\.\.1"):
        random_walk(scores, affinity, beta=8, squarings=8)


def test_scores_that_are_not_finite_are_an_error():
    scores, affinity = (torch.zeros(shape) for shape in GOOD.values())
    scores[0, 0, 0, 0] = float("inf")
    with pytest.raises(InputError, match="scores that are not finite"):
        random_walk(scores, affinity, beta=8, squarings=8)
