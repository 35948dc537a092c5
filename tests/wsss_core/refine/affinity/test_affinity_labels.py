"""Sure pixels, their pairs and the loss on them, by hand and against loops over pairs."""

import itertools
import math

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.refine.affinity.random_walk import half_disc
from wsss_core.refine.affinity.training import (
    Pairs,
    confident_labels,
    labels_at_grid,
    pair_labels,
    pair_loss,
)

Q = 255  # not sure
HAND_MADE = torch.tensor(
    [
        [0, 0, Q, Q, Q],
        [0, Q, Q, Q, Q],
        [Q, Q, Q, 1, 1],
        [Q, Q, Q, 1, 2],
        [Q, Q, Q, Q, 2],
    ],
    dtype=torch.uint8,
)


def listed(kind: torch.Tensor, radius: int) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """The pairs of one image that a kind marks, each as its two pixels."""
    offsets = half_disc(radius)
    return {
        ((y, x), (y + offsets[number][0], x + offsets[number][1]))
        for number, y, x in kind[0].nonzero().tolist()
    }


def test_the_pairs_of_a_5_x_5_case_are_those_counted_by_hand():
    pairs = pair_labels(HAND_MADE[None], 2)
    assert listed(pairs.background, 2) == {((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 0))}
    assert listed(pairs.foreground, 2) == {
        ((2, 3), (2, 4)), ((2, 3), (3, 3)), ((2, 4), (3, 3)), ((3, 4), (4, 4)),
    }  # fmt: skip
    assert listed(pairs.negative, 2) == {
        ((2, 3), (3, 4)), ((2, 4), (3, 4)), ((3, 3), (3, 4)), ((3, 3), (4, 4)),
    }  # fmt: skip


def looped(labels: np.ndarray, radius: int) -> dict[str, set]:
    """All pairs of an image's pixels less than `radius` apart, the upper or left one first."""
    kinds: dict[str, set] = {"background": set(), "foreground": set(), "negative": set()}
    pixels = list(itertools.product(*map(range, labels.shape)))
    for one, other in itertools.combinations(pixels, 2):  # in reading order
        apart = (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2
        a, b = labels[one], labels[other]
        if apart >= radius**2 or Q in (a, b):
            continue
        kinds["negative" if a != b else "foreground" if a else "background"].add((one, other))
    return kinds


@pytest.mark.parametrize("radius", [1, 2, 5, 9])
@pytest.mark.parametrize("grid", [(5, 5), (7, 4), (1, 8), (8, 1)])
def test_pairs_are_those_of_a_loop_over_all_pixels(radius, grid):
    labels = np.random.default_rng(radius).choice([0, 1, 2, Q], size=grid).astype(np.uint8)
    pairs = pair_labels(torch.from_numpy(labels[None]), radius)
    for kind, expected in looped(labels, radius).items():
        assert listed(getattr(pairs, kind), radius) == expected


def drawn_pairs(seed: int, *shape: int) -> Pairs:
    kind = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, shape))
    return Pairs(kind == 0, kind == 1, kind == 2)


def naive_loss(affinity: np.ndarray, pairs: Pairs) -> float:
    """bg / 4 + fg / 4 + neg / 2 in float64, one pair at a time, with the published 1e-5."""
    total = 0.0
    for kind, weight in zip(pairs, (0.25, 0.25, 0.5), strict=True):
        positive = kind is not pairs.negative
        costs = [
            -math.log((a if positive else 1 - a) + 1e-5)
            for a, there in zip(affinity.ravel(), kind.numpy().ravel(), strict=True)
            if there
        ]
        total += weight * math.fsum(costs) / (len(costs) + 1e-5)
    return total


def test_the_loss_is_that_of_a_loop_over_pairs():
    affinity = np.random.default_rng(0).random((2, 4, 5, 6))
    pairs = drawn_pairs(1, 2, 4, 5, 6)
    loss = pair_loss(torch.from_numpy(affinity), pairs)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(naive_loss(affinity, pairs), abs=1e-12)


def test_the_gradient_of_the_loss_is_its_derivative():
    affinity = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 0.9, (1, 2, 3, 3)))
    pairs = drawn_pairs(1, 1, 2, 3, 3)
    assert torch.autograd.gradcheck(lambda a: pair_loss(a, pairs), affinity.requires_grad_())


def test_a_kind_without_pairs_costs_nothing():
    affinity = torch.full((1, 4, 3, 3), 0.5, dtype=torch.float64)
    none, every = torch.zeros(1, 4, 3, 3, dtype=torch.bool), torch.ones(1, 4, 3, 3).bool()
    half = math.log(2)
    for kind, weight in enumerate((0.25, 0.25, 0.5)):
        kinds = [none, none, none]
        kinds[kind] = every
        assert pair_loss(affinity, Pairs(*kinds)).item() == pytest.approx(weight * half, abs=1e-4)


def test_no_sure_pair_at_all_is_a_loss_of_exactly_0_with_a_gradient_of_0():
    affinity = torch.rand(1, 34, 6, 6, requires_grad=True)
    loss = pair_loss(affinity, pair_labels(torch.full((1, 6, 6), Q, dtype=torch.uint8), 5))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(affinity.grad, torch.zeros_like(affinity))


def test_sure_but_wrong_affinities_have_a_finite_loss_and_gradient():
    affinity = torch.tensor([[[[0.0, 1.0]]]], requires_grad=True)
    alike, unlike = torch.tensor([[[[True, False]]]]), torch.tensor([[[[False, True]]]])
    loss = pair_loss(affinity, Pairs(alike, torch.zeros_like(alike), unlike))
    loss.backward()
    assert loss.item() == pytest.approx(0.75 * -math.log(1e-5), rel=1e-3)
    assert affinity.grad is not None
    assert affinity.grad.isfinite().all()


# Scores of background and two classes: what the CRF of the low alpha and of the high one say.
BACKGROUND, FIRST, SECOND = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)


@pytest.mark.parametrize(
    ("low", "high", "label"),
    [
        (BACKGROUND, BACKGROUND, 0),
        (BACKGROUND, FIRST, 255),
        (FIRST, FIRST, 1),
        (SECOND, SECOND, 2),
        (FIRST, SECOND, 1),  # foreground either way; the strong background's CRF names it
        (FIRST, BACKGROUND, 0),  # each sure of its own side
    ],
)
def test_a_pixel_is_sure_where_the_harder_of_two_backgrounds_leaves_its_side(low, high, label):
    low_alpha, high_alpha = (torch.tensor(scores).view(3, 1, 1) for scores in (low, high))
    labels = confident_labels(low_alpha, high_alpha)
    assert labels.dtype == torch.uint8
    assert labels.tolist() == [[label]]


def test_labels_come_for_a_whole_batch_in_its_shape():
    low, high = (
        torch.from_numpy(np.random.default_rng(seed).random((2, 3, 4, 5))) for seed in (0, 1)
    )
    labels = confident_labels(low, high)
    assert labels.shape == (2, 4, 5)
    assert set(labels.unique().tolist()) == {0, 1, 2, 255}
    assert torch.equal(labels[1], confident_labels(low[1], high[1]))


def test_labels_are_read_at_the_centres_of_the_cells():
    labels = torch.zeros(1, 6, 6, dtype=torch.uint8)
    labels[0, 1, 1], labels[0, 4, 4], labels[0, 0, 0] = 7, Q, 9
    assert labels_at_grid(labels, (2, 2)).tolist() == [[[7, 0], [0, Q]]]
    assert labels_at_grid(labels, (6, 6)) is labels


@pytest.mark.parametrize(
    ("low", "high"),
    [((2, 4, 4), (3, 4, 4)), ((1, 4, 4), (1, 4, 4)), ((256, 1, 1), (256, 1, 1)), ((2, 4), (2, 4))],
)
def test_crf_results_that_do_not_fit_are_an_error(low, high):
    with pytest.raises(InputError, match="confident_labels expects"):
        confident_labels(torch.zeros(low), torch.zeros(high))


def test_scores_that_are_not_finite_are_an_error():
    scores = torch.zeros(2, 3, 3)
    with pytest.raises(InputError, match="not finite"):
        confident_labels(scores, scores.index_fill(0, torch.tensor([1]), float("nan")))


def test_labels_of_another_type_and_pairs_of_another_shape_are_errors():
    with pytest.raises(InputError, match=r"expected labels uint8 \[B, h, w\]; got torch.int64"):
        pair_labels(torch.zeros(1, 4, 4, dtype=torch.int64), 2)
    with pytest.raises(InputError, match="pairs of the affinity's shape"):
        pair_loss(torch.zeros(1, 4, 4, 4), pair_labels(HAND_MADE[None], 2))
