"""IRN's boundary branch: paths and their highest edge, the walk, and what the head learns."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.refine.affinity.heads import (
    BoundaryNet,
    boundary_walk,
    path_maximum,
    straight_path,
)
from wsss_core.refine.affinity.random_walk import half_disc, random_walk
from wsss_core.refine.affinity.settings import AffinitySettings
from wsss_core.refine.affinity.training import pair_labels

SIZE, STRIDE = 64, 4
SETTINGS = AffinitySettings(
    stride=STRIDE, radius=3, train_radius=4, widths=(32,) * 5, epochs=8, batch_size=4,
    learning_rate=2e-2,
)  # fmt: skip
DARK, LIGHT = np.array((60, 60, 160)), np.array((200, 170, 60))


def two_colours(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of two noisy colours whose upright border lies in the middle of a column of cells.

    Labels on the 16 x 16 grid: 0 dark, 1 light, 255 in that column. Either colour may be left.
    """
    random = np.random.default_rng(seed)
    cells = random.integers(4, 12, (count, 1, 1))
    swapped = random.random((count, 1, 1)) < 0.5
    light = (np.arange(SIZE) >= STRIDE * cells + STRIDE // 2) != swapped
    plain = np.where(np.broadcast_to(light, (count, SIZE, SIZE))[..., None], LIGHT, DARK)
    images = np.clip(plain + random.normal(0, 12, plain.shape), 0, 255).astype(np.uint8)
    columns = np.arange(16)
    labels = np.where(columns == cells, 255, (columns > cells) != swapped)
    return images, np.broadcast_to(labels, (count, 16, 16)).astype(np.uint8)


@pytest.fixture(params=["cnn", "vit"])
def network(request: pytest.FixtureRequest) -> Network:
    options = {"depth": 3, "patch_size": 4} if request.param == "vit" else {}
    return request.getfixturevalue(request.param)(size=SIZE, **options)


def trained(network: Network, settings: AffinitySettings = SETTINGS, seed: int = 1) -> BoundaryNet:
    return BoundaryNet.trained(network, *two_colours(0, 24), settings, seed=seed)


def naive_path(dy: int, dx: int) -> set[tuple[int, int]]:
    """Pixels of the spanned rectangle less than 1 from the line through both ends."""
    rows = range(min(0, dy), max(0, dy) + 1)
    columns = range(min(0, dx), max(0, dx) + 1)
    direction = np.array([dy, dx]) / np.hypot(dy, dx)
    path = set()
    for y in rows:
        for x in columns:
            along = direction * (direction @ (y, x))
            if np.linalg.norm(np.array((y, x)) - along) < 1 - 1e-9:
                path.add((y, x))
    return path


def test_a_path_holds_the_pixels_less_than_1_from_the_line():
    for offset in half_disc(10):
        assert set(straight_path(offset)) == naive_path(*offset), offset


def test_a_knights_move_passes_its_whole_rectangle_and_a_diagonal_not_its_corners():
    assert set(straight_path((2, 1))) == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)}
    assert set(straight_path((2, 2))) == {(y, x) for y in range(3) for x in range(3)} - {
        (0, 2),
        (2, 0),
    }


@pytest.mark.parametrize("grid", [(7, 6), (1, 8), (8, 1), (2, 3), (1, 1)])
@pytest.mark.parametrize("radius", [2, 5])
def test_the_highest_edge_is_that_of_a_loop_over_pairs_and_their_paths(grid, radius):
    edge = np.random.default_rng(0).random((2, 1, *grid))
    found = path_maximum(torch.from_numpy(edge), half_disc(radius)).numpy()
    for number, (dy, dx) in enumerate(half_disc(radius)):
        for image, y, x in np.ndindex(2, *grid):
            expected = 1.0
            if y + dy < grid[0] and 0 <= x + dx < grid[1]:
                expected = max(edge[image, 0, y + a, x + b] for a, b in naive_path(dy, dx))
            assert found[image, number, y, x] == expected


def test_the_gradient_reaches_the_highest_edge_of_each_path_alone():
    edge = torch.tensor([[[[0.1, 0.7, 0.2, 0.3]]]], requires_grad=True)
    path_maximum(edge, [(0, 3), (0, 1)])[0, :, 0, :].nan_to_num()[:, 0].sum().backward()
    assert edge.grad is not None
    assert edge.grad.tolist() == [[[[0.0, 2.0, 0.0, 0.0]]]]


def test_without_offsets_there_are_no_maps():
    assert path_maximum(torch.rand(2, 1, 3, 3), half_disc(1)).shape == (2, 0, 3, 3)


def test_an_edge_map_of_several_channels_is_an_error():
    with pytest.raises(InputError, match=r"expects an edge map \[B, 1, h, w\]"):
        path_maximum(torch.rand(1, 2, 3, 3), half_disc(2))


def test_the_walk_is_that_of_the_scores_off_the_edge_over_affinities_of_1_minus_the_edge():
    edge = torch.from_numpy(np.random.default_rng(0).random((1, 1, 6, 5)))
    scores = torch.from_numpy(np.random.default_rng(1).random((1, 2, 6, 5)))
    n = 30
    powered = np.eye(n)
    for i in range(n):
        for j in range(i + 1, n):
            (y, x), (v, u) = divmod(i, 5), divmod(j, 5)
            if (v - y) ** 2 + (u - x) ** 2 < 9:
                path = naive_path(v - y, u - x)
                highest = max(edge[0, 0, y + a, x + b].item() for a, b in path)
                powered[i, j] = powered[j, i] = (1 - highest) ** 2
    transition = np.linalg.matrix_power(powered / powered.sum(0), 16)
    expected = (scores * (1 - edge)).numpy().reshape(2, n) @ transition
    walked = boundary_walk(scores, edge, radius=3, beta=2, squarings=4)
    np.testing.assert_allclose(walked.numpy().reshape(2, n), expected, rtol=0, atol=1e-11)


def test_no_score_crosses_a_closed_edge():
    edge = torch.zeros(1, 1, 12, 12)
    edge[..., 6] = 1
    scores = torch.zeros(1, 1, 12, 12)
    scores[..., 2:4, 2:4] = 1
    walked = boundary_walk(scores, edge, radius=5, beta=10, squarings=8)
    assert walked[..., :6].min() > 0
    assert torch.equal(walked[..., 6:], torch.zeros(1, 1, 12, 6))
    open_walk = random_walk(scores, torch.ones(1, 34, 12, 12), beta=10, squarings=8)
    assert open_walk.min() > 0


def test_training_puts_the_edge_where_the_colours_meet_on_images_not_seen(network):
    images, labels = two_colours(7, 6)
    # Only the highest edge of a path learns. With seed 0 the light colour starts above the border
    # and stays there: the edge comes to lie beside the border (CNN) or all over the colour (ViT).
    found = trained(network, seed=1).predict(network, images, SETTINGS)
    assert found.shape == (6, 1, 16, 16)
    alike = 1 - path_maximum(found, half_disc(SETTINGS.radius))
    pairs = pair_labels(torch.from_numpy(labels), SETTINGS.radius)
    same, different = alike[pairs.background | pairs.foreground], alike[pairs.negative]
    assert same.mean() > different.mean() + 0.4
    border = torch.from_numpy(labels == 255)
    assert found[:, 0][border].mean() > found[:, 0][~border].mean() + 0.4


def test_training_is_a_function_of_its_seed_and_leaves_the_network_alone(network):
    before = copy.deepcopy(network.state_dict())
    quick = replace(SETTINGS, epochs=2)
    first, again, other = (trained(network, quick, seed) for seed in (1, 1, 0))
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.edge.weight, other.edge.weight)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_edges_of_a_mirrored_image_are_the_mirrored_edges(network):
    head = BoundaryNet.over(network, SETTINGS)
    images = two_colours(7, 2)[0]
    plain = head.predict(network, images, SETTINGS)
    mirrored = head.predict(network, images[:, :, ::-1], SETTINGS)
    assert plain.std() > 0.01
    torch.testing.assert_close(mirrored.flip(-1), plain)


def test_a_head_that_was_saved_predicts_the_same(cnn, tmp_path):
    network, images = cnn(size=SIZE), two_colours(7, 2)[0]
    head = BoundaryNet.over(network, SETTINGS)
    torch.save(head.state_dict(), tmp_path / "head.pt")
    again = BoundaryNet.over(network, SETTINGS)
    again.load_state_dict(torch.load(tmp_path / "head.pt", weights_only=True))
    expected = head.predict(network, images, SETTINGS)
    assert torch.equal(again.predict(network, images, SETTINGS), expected)


def test_widths_that_group_norm_cannot_divide_are_an_error():
    with pytest.raises(InputError, match="expected multiples of 4"):
        BoundaryNet([8], [6])
