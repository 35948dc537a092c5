"""Losses, representations and normalisations of maps of any scale, shape and precision.

Finite is not enough: AdamW keeps the square of a gradient in float32, so a step of it has to leave
finite numbers behind. A gradient that is 1e7 times the later ones stops learning just as well.
"""

import itertools
import math
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.wsss_core.any_scale import (
    HALVES,
    Values,
    check_alignment_survives,
    check_survives,
    grids,
    leaves_float16,
    network,
    output,
    shapes,
    values,
)
from wsss_core import evaluate
from wsss_core.backbones import Network, Output
from wsss_core.backbones.pcm import PixelCorrelation, View
from wsss_core.cams import normalise_maps
from wsss_core.refine.affinity.heads import AffinityNet, BoundaryNet
from wsss_core.refine.affinity.training import Pairs, encoder_maps, pair_labels, pair_loss
from wsss_core.transfer import (
    METRICS,
    PROJECTIONS,
    RELATIONS,
    REPRESENTATIONS,
    TRANSFER_LEVELS,
    VARIANTS,
    Alignment,
    classification_loss,
    transfer_loss,
)
from wsss_core.transfer.representations import represent

many = settings(max_examples=300, deadline=None, derandomize=True)
fewer = settings(max_examples=80, deadline=None, derandomize=True)

EVERY_LOSS = list(itertools.product(METRICS, TRANSFER_LEVELS, VARIANTS))
BOTH = ((1e-3, 0), (1e5, 1))  # scale and seed of an ordinary student's and teacher's map


@many
@given(
    shape=shapes,
    student=values,
    teacher=values,
    metric=st.sampled_from(METRICS),
    level=st.sampled_from(TRANSFER_LEVELS),
    variant=st.sampled_from(VARIANTS),
)
def test_every_loss_and_its_gradients_survive_maps_of_any_scale(
    shape, student, teacher, metric, level, variant
):
    both = [one.drawn(*shape).requires_grad_() for one in (student, teacher)]
    loss = transfer_loss(*both, metric=metric, level=level, variant=variant)
    assert loss.isfinite()
    if not leaves_float16(student, teacher):
        check_survives(loss, both)


@many
@given(
    batch=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    grid=st.tuples(grids, grids),
    student=values.filter(lambda one: one.dtype != "float16"),
    teacher=values.filter(lambda one: one.dtype != "float16"),
    metric=st.sampled_from(METRICS),
    level=st.sampled_from(TRANSFER_LEVELS),
    representation=st.sampled_from(REPRESENTATIONS),
    projection=st.sampled_from(PROJECTIONS),
)
def test_every_representation_and_projection_survives_features_of_any_scale(
    batch, channels, grid, student, teacher, metric, level, representation, projection
):
    check_alignment_survives(
        (student, teacher),
        batch,
        channels,
        grid,
        metric=metric,
        level=level,
        representation=representation,
        projection=projection,
    )


@fewer
@given(
    batch=st.integers(1, 4),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    grid=st.tuples(grids, grids),
    student=values.filter(lambda one: one.dtype != "float16"),
    teacher=values.filter(lambda one: one.dtype != "float16"),
    representation=st.sampled_from(REPRESENTATIONS),
)
@pytest.mark.parametrize(
    "relation", [name for name in RELATIONS if name not in ("ofa", "cross_attention")]
)
def test_every_relation_survives_features_of_any_scale(
    relation, batch, channels, grid, student, teacher, representation
):
    representation = "logits" if relation in ("dist", "kl_standardised") else representation
    check_alignment_survives(
        (student, teacher), batch, channels, grid, metric=relation, representation=representation
    )


@pytest.mark.parametrize("scale", [1.0, 6e4])
def test_inner_products_of_float16_do_not_overflow(scale):
    features = Values("normal", scale, "float16", 0).drawn(2, 3, 4, 5)
    found = represent("gram")(features, None)
    flat = features.double().flatten(2)
    expected = flat @ flat.transpose(1, 2) / 20
    torch.testing.assert_close(found[..., 0].double(), expected, rtol=1e-5, atol=0)


@fewer
@given(shape=shapes, student=values, level=st.sampled_from(TRANSFER_LEVELS))
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_cosines_gradient_times_the_vectors_length_is_at_most_its_share(
    variant, shape, student, level
):
    maps = student._replace(dtype="float32").drawn(*shape).requires_grad_()
    aim = Values("normal", 1.0, "float32", 1).drawn(*shape)
    transfer_loss(maps, aim, metric="cosine", level=level, variant=variant).backward()
    assert maps.grad is not None
    rows = [one.movedim(1, -1).flatten(1, -2) for one in (maps.detach(), maps.grad)]  # spatial
    if level != "spatial":
        rows = [one.flatten(2 if level == "channel" else 1) for one in (maps.detach(), maps.grad)]
    lengths, gradients = (one.double().norm(dim=-1) for one in rows)
    assert (lengths * gradients).max() <= 1.001 / lengths.numel()
    assert gradients[lengths <= 1e-8].sum() == 0


def unguarded(student: Tensor, teacher: Tensor, metric: str, level: str, variant: str) -> Tensor:
    """The loss in PyTorch's own words, as it was before maps were bounded."""
    if metric == "kl":
        own, aim, log = student, teacher, F.logsigmoid
        there, absent = aim.sigmoid() * (log(aim) - log(own)), log(-aim) - log(-own)
        return (there + (1 - aim.sigmoid()) * absent).mean()
    if (metric, level, variant) == ("cosine", "channel", "thesis"):
        means = [F.normalize(one.flatten(2), dim=-1).mean(1) for one in (student, teacher)]
        return 1 - (means[0] * means[1]).sum(-1).mean()
    start = {"global": 1, "channel": 2, "spatial": 2}[level]
    if level == "spatial":
        student, teacher = (
            student.movedim(1, -1).flatten(1, 2),
            teacher.movedim(1, -1).flatten(1, 2),
        )
    student, teacher = (one.flatten(start).flatten(0, -2) for one in (student, teacher))
    difference, length = student - teacher, student.shape[-1]
    if metric == "cosine":
        return 1 - F.cosine_similarity(student, teacher, dim=-1).mean()
    if metric == "l1":
        summed = variant == "thesis" and level != "global"
        return difference.abs().sum(-1).mean() if summed else difference.abs().mean()
    if (level, variant) == ("global", "scaled"):
        return difference.square().mean()
    norm = difference.square().sum(-1).sqrt().mean()
    return norm if variant == "thesis" else norm / length**0.5


@pytest.mark.parametrize(("metric", "level", "variant"), EVERY_LOSS)
def test_within_the_bounds_the_loss_is_the_plain_formula_to_the_bit(metric, level, variant):
    maps = [Values("normal", scale, "float32", seed).drawn(2, 3, 4, 5) for scale, seed in BOTH]
    own, same = maps[0].clone().requires_grad_(), maps[0].clone().requires_grad_()
    transfer_loss(own, maps[1], metric=metric, level=level, variant=variant).backward()
    unguarded(same, maps[1], metric, level, variant).backward()
    assert own.grad is not None
    assert same.grad is not None
    assert torch.equal(own.grad, same.grad)


def test_a_map_whose_channels_cancel_out_gets_a_first_gradient_like_the_later_ones():
    norm = nn.LayerNorm(192)
    tokens = Values("normal", 3.0, "float32", 0).drawn(4, 49, 192)
    aim = output(Values("positive", 1.0, "float32", 1), 4, 8, (7, 7))
    alignment = Alignment(
        network(192), network(8), metric="cosine", level="global", representation="spatial_map"
    )
    optimizer = torch.optim.AdamW(norm.parameters(), lr=1e-3)
    sizes, lengths = [], []
    for _ in range(5):
        optimizer.zero_grad()
        features = norm(tokens).transpose(1, 2).unflatten(2, (7, 7))
        lengths.append(features.mean(1).norm().item())
        loss = alignment(Output(features, features[:, :2], features[:, :2, 0, 0]), aim)
        loss.backward()
        assert norm.weight.grad is not None
        sizes.append(norm.weight.grad.norm().item())
        optimizer.step()
    assert lengths[0] < 1e-5 < 1e-3 < lengths[1]  # the first map is rounding alone
    assert max(sizes) < 300 * min(sizes)


@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_the_cosine_of_an_ordinary_spatial_map_is_not_steadied(spread):
    random = torch.Generator().manual_seed(0)
    features = torch.randn(2, 192, 7, 7, generator=random) + spread
    own, plain = features.clone().requires_grad_(), features.clone().requires_grad_()
    aim = output(Values("positive", 1.0, "float32", 1), 2, 8, (7, 7))
    alignment = Alignment(
        network(192), network(8), metric="cosine", level="global", representation="spatial_map"
    )
    alignment(Output(own, own[:, :2], own[:, :2, 0, 0]), aim).backward()
    transfer_loss(
        plain.mean(1, keepdim=True),
        aim.features.mean(1, keepdim=True),
        metric="cosine",
        level="global",
    ).backward()
    assert own.grad is not None
    assert plain.grad is not None
    assert torch.equal(own.grad, plain.grad)


@fewer
@given(batch=st.integers(1, 3), classes=st.integers(1, 3), logits=values)
def test_the_classification_loss_survives_logits_of_any_scale(batch, classes, logits):
    drawn = logits.drawn(batch, classes, 1, 1).flatten(1).requires_grad_()
    labels = (torch.arange(batch * classes).view(batch, classes) % 2).float()
    check_survives(classification_loss(Output(drawn, drawn, drawn), labels), [drawn])


@fewer
@given(batch=st.integers(1, 2), grid=grids, stages=values, maps=values)
def test_the_consistency_of_pcm_survives_stages_and_maps_of_any_scale(batch, grid, stages, maps):
    torch.manual_seed(0)
    pcm = PixelCorrelation(4, 6)
    stages, maps = (one._replace(dtype="float32") for one in (stages, maps))

    def view(*size: int) -> View:
        images = Values("normal", 1.0, "float32", 2).drawn(batch, 3, *(8 * n for n in size))
        logits = maps.drawn(batch, 2, 1, 1).flatten(1)
        low = stages.drawn(batch, 4, *(2 * n for n in size))
        return View(images, low, stages.drawn(batch, 6, *size), maps.drawn(batch, 2, *size), logits)

    large, small = view(*(2 * n for n in grid)), view(*grid)
    check_survives(pcm.consistency(large, small), list(pcm.parameters()))
    refined = pcm(small.maps, *small[:3])
    assert refined.isfinite().all()


@pytest.mark.parametrize("kind", [AffinityNet, BoundaryNet])
@fewer
@given(batch=st.integers(1, 2), grid=grids, taps=values, radius=st.integers(2, 4))
def test_the_affinity_losses_survive_taps_of_any_scale(kind, batch, grid, taps, radius):
    torch.manual_seed(0)
    found = Output(*[torch.zeros(1)] * 3, (taps.drawn(batch, 5, 4, 4), taps.drawn(batch, 6, *grid)))
    maps = encoder_maps(cast(Network, lambda images, layers: found), torch.zeros(1), (0, 1))
    head = kind([5, 6], [4, 8])
    labels = torch.arange(batch * grid[0] * grid[1]).view(batch, *grid) % 3
    affinity = head.pair_affinity(maps, grid, radius)
    assert ((affinity >= 0) & (affinity <= 1)).all()
    check_survives(
        pair_loss(affinity, pair_labels(labels.to(torch.uint8), radius)), list(head.parameters())
    )


@pytest.mark.parametrize("dtype", list(HALVES.values()))
def test_pairs_that_are_sure_cost_finitely_in_every_precision(dtype):
    affinity = torch.tensor([0.0, 1.0, 1.0], dtype=dtype).view(1, 1, 1, 3).requires_grad_()
    wrong = torch.tensor([True, False, False]), torch.tensor([False, True, True])
    alike, unlike = (one.view(1, 1, 1, 3) for one in wrong)
    loss = pair_loss(affinity, Pairs(torch.zeros_like(alike), alike, unlike))
    loss.backward()
    assert loss.item() == pytest.approx(-0.75 * math.log(1e-5), rel=1e-3)
    assert affinity.grad is not None
    if dtype != torch.float16:  # the slope of 1e5 is beyond it
        assert affinity.grad.isfinite().all()


@many
@given(shape=shapes, maps=values, how=st.sampled_from(["max", "min_max"]))
def test_normalised_maps_reach_from_0_to_1_or_are_0_whatever_their_scale(shape, maps, how):
    drawn = maps.drawn(*shape)
    found = normalise_maps(drawn, how)
    assert found.dtype == drawn.dtype
    assert ((found >= 0) & (found <= 1)).all()
    highest, lowest = (f(drawn.double(), (-2, -1)) for f in (torch.amax, torch.amin))
    rounding = 64 * torch.finfo(drawn.dtype).eps * torch.maximum(highest.abs(), lowest.abs())
    contrast = highest - lowest > rounding if how == "min_max" else highest > 0
    assert torch.equal(found.amax((-2, -1)), contrast.to(found.dtype))
    if maps.dtype == "float32":
        assert torch.equal(
            torch.from_numpy(evaluate.normalise(drawn.numpy(), how)).amax((-2, -1)),
            contrast.float(),
        )


@fewer
@given(shape=shapes, maps=values, how=st.sampled_from(["max", "min_max"]))
def test_the_gradient_through_a_normalisation_is_finite(shape, maps, how):
    drawn = maps._replace(dtype="float32", scale=max(maps.scale, 1e-20)).drawn(*shape)
    drawn.requires_grad_()
    normalise_maps(drawn, how).sum().backward()
    assert drawn.grad is not None
    assert drawn.grad.isfinite().all()


@fewer
@given(shape=shapes, maps=values)
def test_a_sigmoid_of_maps_of_any_scale_is_that_of_float64(shape, maps):
    drawn = maps._replace(dtype="float32").drawn(*shape)
    found = evaluate.normalise(drawn.numpy(), "sigmoid")
    np.testing.assert_allclose(found, drawn.double().sigmoid().numpy(), rtol=1e-6, atol=1e-37)
