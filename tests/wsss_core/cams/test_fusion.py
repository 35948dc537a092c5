"""Fusion of maps and both orders of merging scales, by hand and beside NumPy."""

import numpy as np
import pytest
import torch

from wsss_core import evaluate
from wsss_core.cams import fuse, merge
from wsss_core.errors import InputError


def one_map(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows)[None, None]


def drawn(seed: int, side: int) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_fused_maps_are_stretched_averaged_and_stretched_again():
    first = one_map([0.0, 10.0], [5.0, 10.0])  # 0, 1, 0.5, 1
    second = one_map([-1.0, 1.0], [-1.0, 0.0])  # 0, 1, 0, 0.5
    # Means 0, 1, 0.25, 0.75.
    assert fuse([first, second]).flatten().tolist() == [0, 1, 0.25, 0.75]
    third = one_map([10.0, 0.0], [0.0, 0.0])  # 1, 0, 0, 0: the means are 0.5, 0.5, 0.25, 0.5
    assert fuse([first, third]).flatten().tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("how", ["min_max", "max"])
def test_members_of_other_grids_meet_at_the_largest(how):
    members = [drawn(0, 4), drawn(1, 8)]
    expected = evaluate.normalise(
        np.mean(
            [evaluate.resize(evaluate.normalise(m.numpy(), how), (8, 8)) for m in members], axis=0
        ),
        how,
    )
    np.testing.assert_allclose(fuse(members, how=how).numpy(), expected, atol=1e-6)


def test_the_order_of_members_does_not_matter():
    members = [drawn(seed, 4) for seed in range(3)]
    torch.testing.assert_close(fuse(members), fuse(members[::-1]))


def test_members_of_other_classes_are_an_error():
    with pytest.raises(InputError, match="expected the same N and K"):
        fuse([drawn(0, 4), drawn(0, 4)[:, :1]])


def test_the_thesis_normalises_each_scale_then_averages():
    weak, strong = one_map([0.0, 0.5], [1.0, 1.0]), one_map([100.0, 0.0], [0.0, 0.0])
    # Each counts alike: (0, .5, 1, 1) and (1, 0, 0, 0).
    found = merge([weak, strong], (2, 2), "normalised_mean")
    assert found.flatten().tolist() == [0.5, 0.25, 0.5, 0.5]


def test_psa_sums_positive_scores_then_divides_by_the_maximum():
    weak, strong = one_map([-9.0, 0.5], [1.0, 1.0]), one_map([3.0, 0.0], [0.0, -5.0])
    # Sums 3, .5, 1, 1: the strong scale dominates.
    found = merge([weak, strong], (2, 2), "sum_max")
    np.testing.assert_allclose(found.flatten().numpy(), [1, 0.5 / 3, 1 / 3, 1 / 3])


def test_scales_are_resized_after_they_were_normalised():
    views = [drawn(0, 2), drawn(1, 4), drawn(2, 6)]
    scaled = [evaluate.resize(evaluate.normalise(v.numpy(), "min_max"), (4, 4)) for v in views]
    positive = [evaluate.resize(np.maximum(v.numpy(), 0), (4, 4)) for v in views]
    np.testing.assert_allclose(
        merge(views, (4, 4), "normalised_mean").numpy(), np.mean(scaled, axis=0), atol=1e-6
    )
    np.testing.assert_allclose(
        merge(views, (4, 4), "sum_max").numpy(),
        evaluate.normalise(np.sum(positive, axis=0), "max"),
        atol=1e-6,
    )
