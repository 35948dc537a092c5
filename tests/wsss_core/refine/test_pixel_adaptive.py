"""PAR against its definition written out pixel by pixel."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.refine.pixel_adaptive import par


def neighbours(height: int, width: int, y: int, x: int, dilations: tuple[int, ...]):
    """(row, column, distance) of each neighbour, the border repeated beyond the image."""
    for d in dilations:
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            if (dy, dx) != (0, 0):
                row = min(max(y + dy * d, 0), height - 1)
                column = min(max(x + dx * d, 0), width - 1)
                yield row, column, d * math.sqrt(dy * dy + dx * dx)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def naive_par(
    image: np.ndarray,
    scores: np.ndarray,
    iterations: int = 10,
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24),
    bandwidth: float = 0.3,
    position_weight: float = 0.01,
) -> np.ndarray:
    """One image float64 [3, H, W] and scores [K, H, W], one pixel at a time."""
    _, height, width = image.shape
    pixels = list(itertools.product(range(height), range(width)))
    weights = {}
    for y, x in pixels:
        around = list(neighbours(height, width, y, x, dilations))
        spread = [statistics.stdev(image[c, r, q] for r, q, _ in around) + 1e-8 for c in range(3)]
        colour = [
            -sum(((image[c, y, x] - image[c, r, q]) / spread[c] / bandwidth) ** 2 for c in range(3))
            / 3
            for r, q, _ in around
        ]
        far = statistics.stdev(distance for _, _, distance in around) + 1e-8
        position = [-((distance / far / bandwidth) ** 2) for _, _, distance in around]
        weights[y, x] = [
            (r, q, a + position_weight * b)
            for (r, q, _), a, b in zip(around, softmax(colour), softmax(position), strict=True)
        ]
    for _ in range(iterations):
        refined = np.zeros_like(scores)
        for y, x in pixels:
            for r, q, weight in weights[y, x]:
                refined[:, y, x] += weight * scores[:, r, q]
        scores = refined
    return scores


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


@pytest.mark.parametrize("grid", [(9, 7), (1, 12), (12, 1), (1, 1)])
def test_par_is_what_its_definition_says(grid):
    image, scores = drawn(0, 3, *grid), drawn(1, 2, *grid)
    refined = par(torch.from_numpy(image[None]), torch.from_numpy(scores[None]))
    np.testing.assert_allclose(refined[0].numpy(), naive_par(image, scores), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "settings",
    [
        {"iterations": 1, "dilations": (1,)},
        {"iterations": 3, "dilations": (2, 5), "bandwidth": 0.7},
        {"iterations": 2, "position_weight": 0.0},
        {"iterations": 0},
    ],
)
def test_every_setting_does_what_it_does_in_the_definition(settings):
    image, scores = drawn(2, 3, 6, 8), drawn(3, 1, 6, 8)
    refined = par(torch.from_numpy(image[None]), torch.from_numpy(scores[None]), **settings)
    expected = naive_par(image, scores, **settings)
    np.testing.assert_allclose(refined[0].numpy(), expected, rtol=0, atol=1e-10)


def test_float32_agrees_with_the_definition_in_float64():
    image, scores = drawn(0, 3, 8, 8), drawn(1, 2, 8, 8)
    refined = par(torch.from_numpy(image[None]).float(), torch.from_numpy(scores[None]).float())
    assert refined.dtype == torch.float32
    np.testing.assert_allclose(refined[0].numpy(), naive_par(image, scores), rtol=0, atol=1e-5)


def test_the_images_of_a_batch_do_not_meet():
    images, scores = (torch.from_numpy(drawn(seed, 3, 3, 10, 6)) for seed in (0, 1))
    together = par(images, scores)
    for one in range(3):
        alone = par(images[one : one + 1], scores[one : one + 1])[0]
        torch.testing.assert_close(together[one], alone)


def test_the_scale_of_the_colours_cancels():
    images, scores = (torch.from_numpy(drawn(seed, 1, 3, 10, 6)) for seed in (0, 1))
    torch.testing.assert_close(par(255 * images, scores), par(images, scores), rtol=0, atol=1e-6)


def test_a_constant_grows_by_the_position_weight_each_iteration():
    images = torch.from_numpy(drawn(0, 1, 3, 10, 6))
    refined = par(images, torch.full((1, 1, 10, 6), 2.0).double())
    torch.testing.assert_close(refined, torch.full_like(refined, 2 * 1.01**10))


def test_an_image_of_one_colour_gives_the_mean_of_the_neighbours():
    scores = torch.from_numpy(drawn(1, 1, 1, 5, 5))
    image = torch.full((1, 3, 5, 5), 0.3).double()
    refined = par(image, scores, iterations=1, dilations=(1,), position_weight=0.0)
    ring = scores[0, 0, 1:4, 1:4]
    assert refined[0, 0, 2, 2].item() == pytest.approx((ring.sum() - ring[1, 1]).item() / 8)


def test_scores_spread_within_a_colour_and_stop_at_its_border():
    images = torch.zeros(1, 3, 16, 16)
    images[..., 8:] = 1
    scores = torch.zeros(1, 1, 16, 16)
    scores[..., 6:8, 2:4] = 1  # a seed within the left colour
    refined = par(images, scores, position_weight=0.0)[0, 0]
    # 4 / 128 each, if it spread evenly; the repeated border weighs the inner pixels less.
    assert refined[:, :8].min() > 0.2 * 4 / 128
    assert refined[:, 8:].max() < 1e-4


def test_the_gradient_of_the_scores_is_the_derivative():
    images, scores = (torch.from_numpy(drawn(seed, 1, 3, 4, 3)) for seed in (0, 1))
    assert torch.autograd.gradcheck(
        lambda s: par(images, s, iterations=2, dilations=(1, 2)), scores.requires_grad_()
    )


@pytest.mark.parametrize(
    ("images", "scores", "said"),
    [
        ((1, 3, 4, 4), (1, 2, 4, 5), "of the images' number and size"),
        ((1, 3, 4, 4), (2, 2, 4, 4), "of the images' number and size"),
        ((3, 4, 4), (1, 2, 4, 4), "expects non-empty"),
        ((1, 3, 0, 4), (1, 2, 0, 4), "expects non-empty"),
    ],
)
def test_shapes_that_do_not_meet_are_an_error(images, scores, said):
    with pytest.raises(InputError, match=said):
        par(torch.zeros(images), torch.zeros(scores))


@pytest.mark.parametrize(
    "settings",
    [{"iterations": -1}, {"dilations": ()}, {"dilations": (1, 0)}, {"bandwidth": 0.0},
     {"position_weight": -0.1}],
)  # fmt: skip
def test_settings_outside_their_range_are_an_error_that_names_them(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        par(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4), **settings)


def test_bytes_are_an_error():
    with pytest.raises(InputError, match=r"expects floats; got torch.uint8"):
        par(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(1, 1, 4, 4))
