"""Affinity of cells: labels of a 6 x 6 case by hand, the loss, one step of propagation."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from wsss_core.backbones import Network
from wsss_core.backbones.attending import listening
from wsss_core.errors import InputError
from wsss_core.single_stage import (
    AttentionAffinity,
    affinity_labels,
    affinity_loss,
    near_pairs,
    propagate,
)

CASE = [
    [0, 0, 0, 255, 1, 1],
    [0, 0, 0, 255, 1, 1],
    [0, 0, 0, 255, 255, 255],
    [2, 2, 255, 0, 0, 0],
    [2, 2, 255, 0, 0, 0],
    [2, 2, 255, 0, 0, 0],
]


def test_the_affinity_labels_of_a_6_by_6_case_are_those_worked_out_by_hand() -> None:
    found = affinity_labels(torch.tensor(CASE)[None], 2)[0].reshape(6, 6, 6, 6)
    # The cell of row 1, column 1 is background. Near it are rows 0 to 3 and columns 0 to 3.
    assert found[1, 1].tolist() == [
        [1, 1, 1, 255, 255, 255],
        [1, 1, 1, 255, 255, 255],
        [1, 1, 1, 255, 255, 255],
        [0, 0, 255, 1, 255, 255],
        [255, 255, 255, 255, 255, 255],
        [255, 255, 255, 255, 255, 255],
    ]
    # The corner of class 1 has no near cell of another label but unknown ones.
    assert found[0, 5].tolist()[:2] == [[255, 255, 255, 255, 1, 1], [255, 255, 255, 255, 1, 1]]
    assert (found[0, 3] == 255).all()  # unknown itself


def test_affinity_labels_are_those_of_a_loop_over_all_pairs() -> None:
    labels = np.array(CASE)
    found = affinity_labels(torch.tensor(CASE)[None], 3)[0]
    cells = list(itertools.product(range(6), range(6)))
    for (i, one), (j, other) in itertools.product(enumerate(cells), enumerate(cells)):
        far = max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 3
        a, b = labels[one], labels[other]
        expected = 255 if far or 255 in (a, b) else int(a == b)
        assert found[i, j] == expected


def test_the_loss_is_half_the_mean_of_each_kind_of_pair_with_one_more_in_the_count() -> None:
    affinity = torch.tensor([[[0.9, 0.2], [0.3, 0.8]]])
    labels = torch.tensor([[[1, 0], [255, 1]]])
    assert float(affinity_loss(affinity, labels)) == pytest.approx((0.3 / 3 + 0.2 / 2) / 2)
    assert float(affinity_loss(affinity, torch.full_like(labels, 255))) == 0


def test_scores_move_once_along_squared_affinities_of_near_cells() -> None:
    rng = np.random.default_rng(0)
    affinity, scores = rng.random((2, 6, 6)), rng.random((2, 3, 2, 3))
    found = propagate(torch.from_numpy(scores), torch.from_numpy(affinity), 1).numpy()
    for image, channel, j in itertools.product(range(2), range(3), range(6)):
        near = [i for i in range(6) if abs(i // 3 - j // 3) <= 1 and abs(i % 3 - j % 3) <= 1]
        weights = {i: affinity[image, i, j] ** 2 for i in near}
        total = sum(w * scores[image, channel].flat[i] for i, w in weights.items())
        expected = total / (sum(weights.values()) + 0.1)
        assert found[image, channel].flat[j] == pytest.approx(expected)


def test_near_cells_are_a_square() -> None:
    near = near_pairs(5, 7, 2)
    assert near.sum(1).reshape(5, 7)[2, 3] == 25
    assert near.sum(1).reshape(5, 7)[0, 0] == 9
    assert torch.equal(near, near.T)


def test_the_affinity_is_a_sigmoid_of_products_of_queries_and_keys_both_ways(
    vit: Callable[..., Network],
) -> None:
    network = vit(size=32, depth=3).eval()
    affinity = AttentionAffinity.over(network.encoder, 2, 32)
    assert affinity.join.in_channels == 6  # three heads in each of two blocks
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        with listening(network.encoder) as heard:
            network(images)
        found = affinity(heard, 16)
        products = []
        for block in network.encoder.vit.blocks[-2:]:
            kept: list[torch.Tensor] = []
            handle = block.attn.register_forward_hook(lambda m, i, o, kept=kept: kept.append(i[0]))
            network(images)
            handle.remove()
            queries, keys, _ = (
                block.attn.qkv(kept[0]).reshape(2, 17, 3, 3, 8).permute(2, 0, 3, 1, 4)
            )
            products.append((queries @ keys.transpose(-1, -2))[:, :, 1:, 1:])
        both = torch.cat(products, 1)
        both = both + both.transpose(-1, -2)
        weights = affinity.join.weight[0, :, 0, 0]
        expected = torch.einsum("h,bhij->bij", weights, both) + affinity.join.bias
    torch.testing.assert_close(found, expected.sigmoid(), atol=1e-5, rtol=1e-4)


def test_a_cnn_and_a_shallow_vit_are_refused(
    cnn: Callable[..., Network], vit: Callable[..., Network]
) -> None:
    with pytest.raises(InputError):
        AttentionAffinity.over(cnn().encoder, 2, 16)
    with pytest.raises(InputError, match="last 3 blocks"):
        AttentionAffinity.over(vit(depth=2).encoder, 3, 16)
