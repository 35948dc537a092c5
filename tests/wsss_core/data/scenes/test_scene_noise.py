import numpy as np
import pytest
from scipy.interpolate import BSpline

from wsss_core.data.scenes.noise import fractal_line, fractal_noise, spline_weights, stream


def test_stream_of_an_ingredient_does_not_depend_on_what_else_was_drawn():
    alone = stream(3, 5, "plume").random(8)
    stream(3, 5, "chimneys").random(1000)
    assert np.array_equal(stream(3, 5, "plume").random(8), alone)


def test_streams_of_seeds_indices_and_ingredients_all_differ():
    largest = 2**64 - 1
    draws = {
        tuple(stream(seed, index, ingredient).random(3))
        for seed in (0, 1, largest)
        for index in (0, 1, largest)
        for ingredient in ("light", "plume", "sensor")
    }
    assert len(draws) == 27


@pytest.mark.parametrize("cells", [1, 4, 9])
def test_spline_weights_equal_scipys_uniform_cubic_b_splines(cells):
    positions = np.linspace(0, 1, 41)
    knots = np.arange(-3, cells + 4)
    expected = np.stack(
        [BSpline.basis_element(knots[k : k + 5])(positions * cells) for k in range(cells + 3)],
        axis=1,
    )
    # basis_element extrapolates its polynomial beyond its support, where the spline is 0
    left, right = knots[: cells + 3], knots[4:]
    outside = (positions[:, None] * cells < left) | (positions[:, None] * cells > right)
    np.testing.assert_allclose(
        spline_weights(positions, cells), np.where(outside, 0, expected), atol=1e-6
    )


def test_positions_beyond_the_lattice_are_held_at_its_ends():
    outside, ends = spline_weights(np.array([-0.5, 1.5]), 4), spline_weights(np.array([0, 1.0]), 4)
    np.testing.assert_array_equal(outside, ends)


def test_noise_has_mean_zero_and_variance_one_over_many_fields():
    fields = np.stack(
        [
            fractal_noise(stream(0, index, "cloud_texture"), 64, cells=(4, 3), octaves=4)
            for index in range(400)
        ]
    )
    lines = np.stack(
        [fractal_line(stream(0, index, "hills"), 64, cells=4, octaves=3) for index in range(1500)]
    )
    # 4 standard errors: a field holds about 12 independent lattice cells of its strongest octave.
    assert abs(fields.mean()) < 4 / np.sqrt(400 * 12)
    assert abs(np.square(fields).mean() - 1) < 4 * np.sqrt(2 / (400 * 12))
    assert abs(np.square(lines).mean() - 1) < 4 * np.sqrt(2 / (1500 * 4))


def test_a_larger_picture_shows_the_same_noise_with_finer_octaves_added():
    def noise(size: int) -> np.ndarray:
        return fractal_noise(stream(1, 2, "plume_texture"), size, cells=(4, 4), octaves=3)

    # 4, 8 and 16 cells all fit both sizes, so the fields agree up to sampling.
    coarse = noise(256).reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert np.abs(coarse - noise(64)).max() < 0.05
