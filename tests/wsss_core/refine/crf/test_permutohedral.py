"""The lattice beside a loop over points and a dictionary of vertices, and beside the Gaussian."""

import math

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.refine.crf.permutohedral import Lattice, build_lattice


def simplex_of(point: np.ndarray) -> tuple[list[tuple[int, ...]], list[float]]:
    """Vertices and barycentric weights, from the paper's definitions, in double precision."""
    d = len(point)
    unit = math.sqrt(2 / 3) * (d + 1)
    scaled = [unit * x / math.sqrt((i + 1) * (i + 2)) for i, x in enumerate(point)]
    lifted = [sum(scaled[i:]) - (i * scaled[i - 1] if i else 0) for i in range(d + 1)]
    origin = [(d + 1) * round(x / (d + 1)) for x in lifted]
    excess = sum(origin) // (d + 1)
    largest_first = sorted(range(d + 1), key=lambda i: origin[i] - lifted[i])
    # Too large a sum: the coordinates rounded up furthest step down, and the other way round.
    for i in largest_first[d + 1 - excess :] if excess > 0 else largest_first[:-excess]:
        origin[i] -= int(math.copysign(d + 1, excess))
    largest_first = sorted(range(d + 1), key=lambda i: origin[i] - lifted[i])
    offsets = [(lifted[i] - origin[i]) / (d + 1) for i in largest_first]
    vertices = []
    for k in range(d + 1):
        vertex = [x + k for x in origin]
        for i in largest_first[d + 1 - k :]:
            vertex[i] -= d + 1
        vertices.append(tuple(vertex))
    weights = [offsets[d - k] - offsets[d + 1 - k] for k in range(1, d + 1)]
    return vertices, [1 - sum(weights), *weights]


def filter_by_loop(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Splat, blur and slice one value per point, point by point and vertex by vertex."""
    count, d = points.shape
    simplices = [simplex_of(point) for point in points]
    lattice: dict[tuple[int, ...], float] = {}
    if count % 4:
        lattice.update(dict.fromkeys(simplex_of(np.zeros(d))[0], 0.0))
    for (vertices, weights), value in zip(simplices, values, strict=True):
        for vertex, weight in zip(vertices, weights, strict=True):
            lattice[vertex] = lattice.get(vertex, 0.0) + weight * value
    for axis in range(d + 1):
        step = np.full(d + 1, 1)
        step[axis] = -d
        lattice = {
            vertex: value
            + lattice.get(tuple(np.add(vertex, step).tolist()), 0.0) / 2
            + lattice.get(tuple(np.subtract(vertex, step).tolist()), 0.0) / 2
            for vertex, value in lattice.items()
        }
    return np.array(
        [
            sum(w * lattice[v] for v, w in zip(vertices, weights, strict=True)) / (1 + 2.0**-d)
            for vertices, weights in simplices
        ]
    )


def lattice_of(points: np.ndarray) -> Lattice:
    return build_lattice(torch.from_numpy(points.T.astype(np.float32))[None])


def filtered(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    vector = torch.from_numpy(values.astype(np.float32))[None]
    return lattice_of(points).filter(vector)[0].numpy()


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 40, 43])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_filtering_is_splat_blur_and_slice_point_by_point(dimensions, count, spread):
    random = np.random.default_rng([dimensions, count])
    points = random.normal(1.5, spread, (count, dimensions)).astype(np.float32)
    values = random.random(count)
    expected = filter_by_loop(points.astype(np.float64), values)
    np.testing.assert_allclose(filtered(points, values), expected, rtol=1e-4, atol=1e-5)


def test_the_filter_is_near_the_gaussian_it_stands_for():
    rows, columns = np.mgrid[:24, :24] / 3.0
    points = np.stack([columns.ravel(), rows.ravel()], 1)
    values = np.sin(points[:, 0]) + 0.3 * points[:, 1]
    squares = ((points[:, None] - points[None]) ** 2).sum(2)
    gaussian = np.exp(-squares / 2)
    expected = gaussian @ values / gaussian.sum(1)
    found = filtered(points, values) / filtered(points, np.ones(len(points)))
    inside = np.abs(points - 4).max(1) < 2
    assert np.abs(found - expected)[inside].max() < 0.05
    assert np.ptp(expected[inside]) > 1


def test_images_of_a_batch_do_not_touch():
    random = np.random.default_rng(0)
    points = torch.from_numpy(random.normal(0, 1, (3, 5, 30)).astype(np.float32))
    points[1] = points[0]
    values = torch.from_numpy(random.random((2, 3, 30)).astype(np.float32))
    together = build_lattice(points).filter(values.reshape(2, 90)).reshape(2, 3, 30)
    for index in range(3):
        alone = build_lattice(points[index : index + 1]).filter(values[:, index].contiguous())
        torch.testing.assert_close(together[:, index], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("vectors", [1, 3])
def test_a_build_without_sparse_products_filters_the_same(vectors, monkeypatch):
    random = np.random.default_rng(0)
    points = random.normal(0, 1, (50, 5))
    values = torch.from_numpy(random.random((vectors, 50)).astype(np.float32))
    expected = lattice_of(points).filter(values)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    torch.testing.assert_close(lattice_of(points).filter(values), expected, rtol=1e-5, atol=1e-6)


def test_points_in_one_place_share_one_simplex_and_their_sum():
    points = np.tile(np.array([[0.3, 0.1, 2.0]]), (8, 1))
    values = np.arange(8.0)
    lattice = lattice_of(points)
    assert lattice.neighbours.shape == (4, 2, 4 + 1)
    one = filter_by_loop(points[:1].repeat(4, 0), np.array([1.0, 0, 0, 0]))[0]
    np.testing.assert_allclose(filtered(points, values), np.full(8, 28 * one), rtol=1e-5)


def test_features_that_reach_too_far_to_be_numbered_are_refused():
    points = torch.zeros(1, 5, 2)
    points[..., 1] = 1e5
    with pytest.raises(InputError, match="larger standard deviations"):
        build_lattice(points)
