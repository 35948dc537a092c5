"""What each level and metric is blind to, what it sees, and how it scales."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_core.transfer import METRICS, TRANSFER_LEVELS, VARIANTS, transfer_loss

shapes = st.tuples(*(st.integers(1, top) for top in (3, 5, 4, 4)))
seeds = st.integers(0, 2**16)
names = {
    "metric": st.sampled_from(METRICS),
    "level": st.sampled_from(TRANSFER_LEVELS),
    "variant": st.sampled_from(VARIANTS),
}
few = settings(max_examples=60, deadline=None, derandomize=True)


def normal_pair(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64, generator=random)
    return student, teacher


def shuffle_locations(maps: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return maps.flatten(2)[..., order].reshape(maps.shape)


@few
@given(shape=shapes, seed=seeds, **names)
def test_every_loss_of_matched_vectors_is_zero_at_agreement(shape, seed, metric, level, variant):
    if (metric, level, variant) == ("cosine", "channel", "thesis"):
        shape = (shape[0], 1, *shape[2:])  # all pairs of channels: zero only if there is one
    maps, _ = normal_pair(shape, seed)
    loss = transfer_loss(maps, maps.clone(), metric=metric, level=level, variant=variant)
    assert loss.item() == pytest.approx(0, abs=1e-12)


@few
@given(shape=shapes, seed=seeds, **names)
def test_every_loss_but_kl_is_symmetric(shape, seed, metric, level, variant):
    if metric == "kl":
        return
    student, teacher = normal_pair(shape, seed)
    one = transfer_loss(student, teacher, metric=metric, level=level, variant=variant)
    other = transfer_loss(teacher, student, metric=metric, level=level, variant=variant)
    assert one.item() == pytest.approx(other.item(), abs=1e-12)


@few
@given(
    shape=shapes,
    seed=seeds,
    level=names["level"],
    variant=names["variant"],
    scales=st.tuples(*[st.floats(1e-2, 1e3)] * 2),
)
def test_cosine_is_blind_to_the_positive_scale_of_either_side(shape, seed, level, variant, scales):
    student, teacher = normal_pair(shape, seed)
    names_of_loss = {"metric": "cosine", "level": level, "variant": variant}
    plain = transfer_loss(student, teacher, **names_of_loss)
    scaled = transfer_loss(scales[0] * student, scales[1] * teacher, **names_of_loss)
    assert scaled.item() == pytest.approx(plain.item(), abs=1e-6)


@few
@given(shape=shapes, seed=seeds, level=names["level"], variant=names["variant"])
def test_cosine_stays_between_0_and_2(shape, seed, level, variant):
    student, teacher = normal_pair(shape, seed)
    loss = transfer_loss(student, teacher, metric="cosine", level=level, variant=variant)
    assert -1e-12 <= loss.item() <= 2 + 1e-12


@few
@given(shape=shapes, seed=seeds, **names)
def test_every_loss_is_blind_to_a_joint_permutation_of_locations(
    shape, seed, metric, level, variant
):
    student, teacher = normal_pair(shape, seed)
    order = torch.randperm(shape[2] * shape[3], generator=torch.Generator().manual_seed(seed))
    names_of_loss = {"metric": metric, "level": level, "variant": variant}
    shuffled = transfer_loss(
        shuffle_locations(student, order), shuffle_locations(teacher, order), **names_of_loss
    )
    plain = transfer_loss(student, teacher, **names_of_loss)
    assert shuffled.item() == pytest.approx(plain.item(), abs=1e-12)


@few
@given(shape=shapes, seed=seeds, **names)
def test_every_loss_is_blind_to_a_joint_permutation_of_channels(
    shape, seed, metric, level, variant
):
    student, teacher = normal_pair(shape, seed)
    order = torch.randperm(shape[1], generator=torch.Generator().manual_seed(seed))
    names_of_loss = {"metric": metric, "level": level, "variant": variant}
    shuffled = transfer_loss(student[:, order], teacher[:, order], **names_of_loss)
    plain = transfer_loss(student, teacher, **names_of_loss)
    assert shuffled.item() == pytest.approx(plain.item(), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("level", TRANSFER_LEVELS)
def test_no_loss_of_matched_vectors_is_blind_to_a_permutation_of_one_side(metric, level):
    maps, _ = normal_pair((2, 4, 3, 3), 0)
    for moved in (maps.roll(1, dims=1), maps.roll(1, dims=3)):
        assert transfer_loss(moved, maps, metric=metric, level=level).item() > 0.1


def test_channel_cosine_alone_forgives_each_channel_its_scale_and_spatial_each_location():
    maps, _ = normal_pair((2, 4, 3, 3), 1)
    by_channel = maps * torch.tensor([1.0, 2, 3, 4]).double().view(1, 4, 1, 1)
    by_location = maps * torch.arange(1, 10).double().view(1, 1, 3, 3)
    seen = {
        (level, name): transfer_loss(moved, maps, metric="cosine", level=level).item()
        for level in TRANSFER_LEVELS
        for name, moved in (("channel", by_channel), ("spatial", by_location))
    }
    forgiven = {key for key, loss in seen.items() if loss < 1e-12}
    assert forgiven == {("channel", "channel"), ("spatial", "spatial")}


@few
@given(shape=shapes, seed=seeds)
def test_scaled_l1_is_one_number_at_all_levels(shape, seed):
    student, teacher = normal_pair(shape, seed)
    losses = [
        transfer_loss(student, teacher, metric="l1", level=level).item()
        for level in TRANSFER_LEVELS
    ]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-12)


@few
@given(shape=shapes, seed=seeds, gap=st.floats(0.01, 10))
def test_a_constant_gap_costs_the_thesis_l2_the_gap_times_the_root_of_the_vectors_length(
    shape, seed, gap
):
    _, channels, height, width = shape
    maps, _ = normal_pair(shape, seed)
    lengths = {"global": channels * height * width, "channel": height * width, "spatial": channels}
    for level, length in lengths.items():
        loss = transfer_loss(maps + gap, maps, metric="l2", level=level, variant="thesis")
        assert loss.item() == pytest.approx(gap * math.sqrt(length))


@few
@given(shape=shapes, seed=seeds, gap=st.floats(0.01, 10))
def test_a_constant_gap_costs_the_scaled_losses_the_same_at_every_size(shape, seed, gap):
    maps, _ = normal_pair(shape, seed)
    for level in TRANSFER_LEVELS:
        l1 = transfer_loss(maps - gap, maps, metric="l1", level=level)
        l2 = transfer_loss(maps - gap, maps, metric="l2", level=level)
        assert l1.item() == pytest.approx(gap)
        assert l2.item() == pytest.approx(gap**2 if level == "global" else gap)
