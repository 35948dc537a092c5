"""Losses, representations and normalisations of maps of any scale, shape and precision.

Finite is not enough: AdamW keeps the square of a gradient in float32, so a step of it has to leave
finite numbers behind. A gradient that is 1e7 times the later ones stops learning just as well.
"""

import itertools
import math
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wsss_core import evaluate
from wsss_core.backbones import Network, Output
from wsss_core.backbones.pcm import PixelCorrelation, View
from wsss_core.cams import normalise_maps
from wsss_core.errors import InputError
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

ADAM_KEEPS = math.sqrt(torch.finfo(torch.float32).max)
"""The greatest gradient whose square fits float32."""

SCALES = (1e-44, 1e-40, 1e-20, 1e-10, 1e-7, 1e-3, 1.0, 300.0, 6e4, 1e8, 4e14, 1e17, 1e20)
KINDS = ("normal", "positive", "zero", "constant", "one-hot", "dead channel", "wide")
HALVES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

shapes = st.tuples(*(st.integers(1, top) for top in (3, 4, 5, 4)))
grids = st.tuples(st.integers(1, 5), st.integers(1, 4))


class Values(NamedTuple):
    """How the numbers of a map are drawn."""

    kind: str
    scale: float
    dtype: str
    seed: int

    def drawn(self, *shape: int) -> Tensor:
        """Return such a map, with numbers that its precision holds."""
        random = torch.Generator().manual_seed(self.seed)
        maps = torch.randn(shape, generator=random)
        if self.kind == "positive":
            maps = maps.relu()
        elif self.kind == "zero":
            maps = torch.zeros(shape)
        elif self.kind == "constant":
            maps = torch.ones(shape)
        elif self.kind == "one-hot":
            maps = torch.zeros(shape)
            maps.view(-1)[self.seed % maps.numel()] = 1
        elif self.kind == "dead channel":
            maps[:, 0] = 0
        elif self.kind == "wide":
            maps = maps * 10.0 ** torch.empty(shape).uniform_(-6, 0, generator=random)
        dtype = HALVES[self.dtype]
        most = torch.finfo(dtype).max
        return (maps * self.scale).clamp(-most, most).to(dtype)


values = st.builds(
    Values,
    st.sampled_from(KINDS),
    st.sampled_from(SCALES),
    st.sampled_from(list(HALVES)),
    st.integers(0, 2**16),
)


def check_survives(loss: Tensor, moved: list[Tensor]) -> None:
    """Fail unless the loss is finite and its gradients are such that AdamW can go on."""
    assert loss.isfinite()
    loss.backward()
    reached = [tensor for tensor in moved if tensor.grad is not None]
    assert reached
    for tensor in reached:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.float().abs().max() < ADAM_KEEPS


def output(values: Values, batch: int, channels: int, grid: tuple[int, int]) -> Output:
    """A network's output of such features, whose two classes have such maps and logits too."""
    features = values.drawn(batch, channels, *grid).requires_grad_()
    maps = values.drawn(batch, 2, *grid).requires_grad_()
    logits = values.drawn(batch, 2, 1, 1).flatten(1).requires_grad_()
    return Output(features, maps, logits)


def network(channels: int) -> Any:
    """What an alignment asks of a network."""
    return SimpleNamespace(channels_at=lambda layer: channels, classes=2)


def leaves_float16(*both: Values) -> bool:
    """Whether a gradient may be beyond float16, in which nothing here is trained."""
    return any(one.dtype == "float16" for one in both) and any(one.scale > 60 for one in both)


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
    torch.manual_seed(0)
    sides = zip((student, teacher), channels, grid, strict=True)
    outputs = [output(one, batch, count, size) for one, count, size in sides]
    mixed = "bfloat16" in (student.dtype, teacher.dtype)
    try:
        alignment = Alignment(
            *map(network, channels),
            metric=metric,
            level=level,
            representation=representation,
            projection=projection,
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = alignment(*outputs)
    except InputError:
        assume(False)  # shapes that do not meet are refused, see the tests of alignments
        raise
    moved = [one for found in outputs for one in (found.features, found.activation_maps)]
    logits = [found.logits for found in outputs]
    check_survives(loss, [*moved, *logits, *alignment.parameters()])


@fewer
@given(
    batch=st.integers(1, 4),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    grid=st.tuples(grids, grids),
    student=values.filter(lambda one: one.dtype != "float16"),
    teacher=values.filter(lambda one: one.dtype != "float16"),
    representation=st.sampled_from(REPRESENTATIONS),
)
@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_survives_features_of_any_scale(
    relation, batch, channels, grid, student, teacher, representation
):
    torch.manual_seed(0)
    representation = "logits" if relation in ("dist", "kl_standardised") else representation
    sides = zip((student, teacher), channels, grid, strict=True)
    outputs = [output(one, batch, count, size) for one, count, size in sides]
    mixed = "bfloat16" in (student.dtype, teacher.dtype)
    try:
        alignment = Alignment(
            *map(network, channels), metric=relation, representation=representation
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = alignment(*outputs)
    except InputError:
        assume(False)  # attention of logits or of single locations
        raise
    moved = [one for found in outputs for one in (found.features, found.activation_maps)]
    logits = [found.logits for found in outputs]
    check_survives(loss, [*moved, *logits, *alignment.parameters()])


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
