"""What is compared: each representation against its definition, and layers, projections, errors."""

import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wsss_core.backbones import Output
from wsss_core.errors import InputError
from wsss_core.transfer import Alignment, transfer_loss
from wsss_core.transfer.representations import gram, represent, spatial_map

GLOBAL_L2 = {"metric": "l2", "level": "global"}


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def output(seed: int) -> Output:
    maps, logits = features(seed + 1, 2, 3, 4, 5), features(seed + 2, 2, 3)
    return Output(features(seed, 2, 6, 4, 5), maps, logits)


def defined(name: str, given_features: np.ndarray, said: Output) -> np.ndarray:
    """The table of the module's docstring, one number at a time."""
    batch, channels, height, width = given_features.shape
    if name == "feature":
        return given_features
    if name == "spatial_map":
        found = np.zeros((batch, 1, height, width))
        for b, y, x in np.ndindex(batch, height, width):
            found[b, 0, y, x] = sum(given_features[b, :, y, x]) / channels
        return found
    if name == "gram":
        found = np.zeros((batch, channels, channels, 1))
        for b, i, j in np.ndindex(batch, channels, channels):
            products = given_features[b, i].ravel() * given_features[b, j].ravel()
            found[b, i, j, 0] = sum(products) / (height * width)
        return found
    if name == "activation_map":
        return said.activation_maps.numpy()
    return said.logits.numpy().reshape(batch, -1, 1, 1)


@pytest.mark.parametrize("name", ["feature", "spatial_map", "gram", "activation_map", "logits"])
def test_a_representation_is_what_its_definition_says(name):
    said = output(0)
    found = represent(name)(said.features, said)
    expected = defined(name, said.features.numpy(), said)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("of", [spatial_map, gram])
def test_the_gradient_of_a_representation_is_its_derivative(of):
    assert torch.autograd.gradcheck(of, (features(3, 2, 3, 2, 4).requires_grad_(),))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_a_gram_matrix_knows_no_places_and_is_symmetric(seed):
    maps = features(seed, 2, 3, 4, 5)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(20))
    shuffled = maps.flatten(2)[:, :, order].unflatten(2, (4, 5))
    torch.testing.assert_close(gram(maps), gram(shuffled))
    torch.testing.assert_close(gram(maps), gram(maps).transpose(1, 2))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_a_spatial_map_knows_no_channels(seed):
    maps = features(seed, 2, 5, 4, 3)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(5))
    torch.testing.assert_close(spatial_map(maps), spatial_map(maps[:, order]))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_gram_matrices_of_different_grids_meet_without_resizing(vit, cnn, images):
    student, teacher = vit(size=32).eval(), cnn(size=32, output_stride=16).eval()
    alignment = Alignment(student, teacher, representation="gram", **GLOBAL_L2)
    ours, theirs = student(images), teacher(images)
    assert ours.features.shape[-2:] != theirs.features.shape[-2:]
    projected = alignment.projections[0](ours.features)
    expected = transfer_loss(gram(projected), gram(theirs.features), **GLOBAL_L2)
    torch.testing.assert_close(alignment(ours, theirs), expected)


def test_spatial_maps_meet_whatever_the_channels_are(vit, cnn, images):
    student, teacher = vit(size=32).eval(), cnn(size=32).eval()
    alignment = Alignment(student, teacher, representation="spatial_map", **GLOBAL_L2)
    ours, theirs = student(images), teacher(images)
    assert list(alignment.parameters()) == []
    expected = transfer_loss(spatial_map(ours.features), spatial_map(theirs.features), **GLOBAL_L2)
    assert alignment(ours, theirs) == expected


def test_several_layers_are_the_weighted_sum_of_each_alone(vit, cnn, images):
    student, teacher = vit(size=32).eval(), cnn(size=32).eval()
    layers = [
        {"student": 0, "teacher": "layer2", "weight": 0.5},
        {"student": None, "teacher": "layer3", "weight": 2.0},
        {"student": -1, "teacher": None},
    ]
    alignment = Alignment(student, teacher, layers=layers, **GLOBAL_L2)
    ours = student(images, alignment.student_taps)
    theirs = teacher(images, alignment.teacher_taps)
    assert (alignment.student_taps, alignment.teacher_taps) == ((0, -1), ("layer2", "layer3"))
    pairs = [
        (ours.taps[0], theirs.taps[0], 0.5),
        (ours.features, theirs.taps[1], 2.0),
        (ours.taps[1], theirs.features, 1.0),
    ]
    expected = sum(
        weight * transfer_loss(projection(s), t, **GLOBAL_L2)
        for (s, t, weight), projection in zip(pairs, alignment.projections, strict=True)
    )
    torch.testing.assert_close(alignment(ours, theirs), expected)


def test_an_mlp_projects_by_two_convolutions_with_a_gelu_between(vit, cnn, images):
    student, teacher = vit(size=32).eval(), cnn(size=32).eval()
    alignment = Alignment(student, teacher, projection="mlp", **GLOBAL_L2)
    first, between, second = alignment.projections[0]
    assert isinstance(between, nn.GELU)
    assert (first.in_channels, first.out_channels) == (24, 32)
    assert (second.in_channels, second.out_channels, second.kernel_size) == (32, 32, (1, 1))
    ours, theirs = student(images), teacher(images)
    hidden = nn.functional.gelu(first(ours.features))
    expected = transfer_loss(second(hidden), theirs.features, **GLOBAL_L2)
    torch.testing.assert_close(alignment(ours, theirs), expected)


def test_logits_are_compared_as_one_vector_an_image(vit, cnn, images):
    student, teacher = vit(classes=3, size=32).eval(), cnn(classes=3, size=32).eval()
    ours, theirs = student(images), teacher(images)
    cosine = Alignment(student, teacher, representation="logits", metric="cosine")
    each = torch.nn.functional.cosine_similarity(ours.logits, theirs.logits, dim=1)
    torch.testing.assert_close(cosine(ours, theirs), 1 - each.mean())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"representation": "logits", "metric": "cosine"}, "vectors of length 1"),
        ({"representation": "activation_map", "metric": "cosine", "level": "spatial"},
         "vectors of length 1"),
        ({"representation": "logits", "metric": "l2", "level": "spatial"}, "use global"),
        ({"representation": "logits", "metric": "l2", "projection": "mlp"}, "need none"),
        ({"metric": "kl"}, "metric 'kl' compares logits; feature needs one of cosine, l1, l2"),
        ({"representation": "logits", "metric": "kl", "layers": [{"student": 0}]},
         "logits is of the whole network, not of layers"),
        ({"metric": "l2", "layers": [{"student": 7}]}, "no layer 7; it has blocks 0 to 1"),
        ({"metric": "l2", "layers": [{"teacher": "layer9"}]}, "no layer 'layer9'; it has .*layer4"),
        ({"metric": "l2", "projection": "none", "layers": [{"student": 0, "teacher": "layer2"}]},
         r"24 channels of the student with 8 of the teacher \(feature, layers 0 with 'layer2'\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_aligned_is_an_error_that_says_what_met(vit, cnn, images, asked, said):
    student, teacher = vit(size=32), cnn(size=32)

    def align() -> None:
        alignment = Alignment(student, teacher, **asked)
        alignment(student(images, alignment.student_taps), teacher(images, alignment.teacher_taps))

    with pytest.raises(InputError, match=said):
        align()


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A researcher's module."""
    module = types.ModuleType("mine")
    module.VERSION = 1
    module.largest = lambda student, teacher, *, level: (student - teacher).abs().max()
    module.squared = lambda features, output: features.square()
    module.doubled = lambda channels, target: nn.Conv2d(channels, target, 1, bias=False)
    module.no_scalar = lambda student, teacher, *, level: student
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def test_a_metric_a_representation_and_a_projection_can_be_ones_own(vit, cnn, images, mine):
    student, teacher = vit(size=32).eval(), cnn(size=32).eval()
    alignment = Alignment(
        student,
        teacher,
        metric="mine:largest",
        representation="mine:squared",
        projection="mine:doubled",
    )
    ours, theirs = student(images), teacher(images)
    projected = alignment.projections[0](ours.features)
    expected = (projected.square() - theirs.features.square()).abs().max()
    torch.testing.assert_close(alignment(ours, theirs), expected)


def test_a_metric_of_ones_own_that_gives_no_scalar_is_an_error(mine):
    maps = torch.zeros(2, 3, 4, 4)
    with pytest.raises(InputError, match=r"expected a scalar tensor, got a tensor \[2, 3, 4, 4\]"):
        transfer_loss(maps, maps, metric="mine:no_scalar", level="global")
