"""Nothing is left on the CPU when the work is on a GPU: shown without a GPU, by fake tensors.

A fake tensor has a shape, a type and a device but no values, and an operation on tensors of two
devices fails as it would on a real GPU. What depends on values (a check of a range) is told that
they are in order. Gradients need a real device and are not made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from wsss_core.cams import CamSettings
from wsss_core.cams.multi_scale import merged_views, raw_views
from wsss_core.data.network_input import to_input
from wsss_core.refine.affinity.heads import AffinityNet, BoundaryNet, feature_affinity, path_maximum
from wsss_core.refine.affinity.random_walk import half_disc, random_walk
from wsss_core.refine.affinity.settings import AFFINITY_PRESETS
from wsss_core.refine.affinity.training import (
    confident_labels,
    encoder_maps,
    labels_at_grid,
    pair_labels,
    pair_loss,
    tapped_layers,
)
from wsss_core.refine.crf.dense_crf import dense_crf, unary_probabilities
from wsss_core.refine.crf.mean_field import gaussian_kernel
from wsss_core.refine.crf.permutohedral import SparseRows
from wsss_core.refine.pixel_adaptive import par
from wsss_core.transfer.alignment import Alignment
from wsss_core.transfer.paradigms import CoTraining, Paradigm, Single, TeacherStudent


class _InOrder(TorchDispatchMode):
    """Whoever asks a tensor without values for one is told 1, or True."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else args[0].dtype == torch.bool or 1
        return func(*args, **(kwargs or {}))


class Gpu:
    """Moves tensors and modules to a GPU that is not there."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self._mode = mode

    def tensor(self, tensor: Tensor) -> Tensor:
        fake = tensor if isinstance(tensor, FakeTensor) else self._mode.from_tensor(tensor.detach())
        return fake.to("cuda")

    def module(self, module: Any) -> Any:
        # Module.to cannot exchange a real parameter for a fake one.
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = nn.Parameter(
                        self.tensor(parameter), requires_grad=parameter.requires_grad
                    )
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = self.tensor(buffer)
        return module

    def random(self, *shape: int) -> Tensor:
        return torch.rand(*shape, device="cuda")


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    with ExitStack() as stack:
        mode = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(_InOrder())
        yield Gpu(mode)


@pytest.fixture
def networks(cnn, vit):
    def build(**more):
        with unset_fake_temporarily():
            return vit(classes=2, depth=2, size=32), cnn(classes=2, head="pcm", size=32, **more)

    return build


def on_gpu(*tensors: Tensor) -> bool:
    return all(tensor.device.type == "cuda" for tensor in tensors)


def test_a_tensor_left_behind_is_found(gpu):
    with pytest.raises(RuntimeError, match="same device"):
        gpu.random(3) + torch.ones(3)


def test_images_cross_as_bytes(gpu):
    assert on_gpu(to_input(np.zeros((2, 8, 8, 3), np.uint8), "cuda"))


def losses_of(paradigm: Paradigm, gpu: Gpu) -> Tensor:
    gpu.module(paradigm).train()
    labels = torch.ones(4, 2, device="cuda")
    found = paradigm.losses(gpu.random(4, 3, 32, 32), labels, 0.3)
    paradigm.after_step()
    return found.total


@pytest.mark.parametrize(
    "alignment",
    [
        {"metric": metric, "level": level, "variant": variant}
        for metric in ("cosine", "l1", "l2")
        for level in ("global", "channel", "spatial")
        for variant in ("scaled", "thesis")
    ]
    + [
        {"metric": "cosine", "representation": "spatial_map"},
        {"metric": "l2", "representation": "gram"},
        {"metric": "cosine", "representation": "activation_map", "projection": "mlp"},
        {"metric": "kl", "representation": "logits", "temperature": 2.0},
        {"metric": "l1", "layers": [{"student": 0, "teacher": "layer2"}, {"weight": 0.5}]},
    ],
)
def test_teaching(gpu, networks, alignment):
    student, teacher = networks()
    paradigm = TeacherStudent(student, teacher, Alignment(student, teacher, **alignment), 1.0, 0.5)
    assert on_gpu(losses_of(paradigm, gpu))


@pytest.mark.parametrize("more", [{}, {"gradient": "teacher"}, {"gradient": "student", "ema": 0.9}])
def test_co_training(gpu, networks, more):
    student, teacher = networks()
    with unset_fake_temporarily():
        alignment = Alignment(student, teacher, metric="cosine")
        paradigm = CoTraining(student, teacher, alignment, 1.0, **more)
    assert on_gpu(losses_of(paradigm, gpu))


def test_alone(gpu, networks):
    for network in networks():
        assert on_gpu(losses_of(Single(network), gpu))


@pytest.mark.parametrize(
    ("method", "merge"),
    [("class_weight", "normalised_mean"), ("class_weight", "sum_max"), ("attention", "sum_max")],
)
def test_cams_at_several_scales(gpu, networks, method, merge):
    settings = CamSettings(method, scales=(0.5, 1.0), flip=True, merge=merge)
    for network in networks()[: 1 if method == "attention" else 2]:
        gpu.module(network).eval()
        with torch.no_grad():
            views, grid, logits = raw_views(network, gpu.random(3, 3, 32, 32), settings, 2)
            assert on_gpu(merged_views(views, grid, settings), logits)


def test_par(gpu):
    assert on_gpu(par(gpu.random(2, 3, 32, 32), gpu.random(2, 1, 32, 32)))


def test_the_walk(gpu):
    affinity = gpu.random(2, len(half_disc(3)), 8, 8)
    assert on_gpu(random_walk(gpu.random(2, 3, 8, 8), affinity, beta=8, squarings=4))


@pytest.mark.parametrize("kind", [AffinityNet, BoundaryNet])
def test_a_learnt_affinity(gpu, networks, kind):
    settings = AFFINITY_PRESETS["psa"]
    for network in networks():
        head = gpu.module(kind.over(network, settings)).train()
        layers = tapped_layers(network, settings)
        maps = encoder_maps(gpu.module(network).eval(), gpu.random(2, 3, 32, 32), layers)
        found = head(maps, (8, 8))
        if kind is AffinityNet:
            found = feature_affinity(found, 3)
        else:
            found = 1 - path_maximum(found.sigmoid(), half_disc(3))
        low, high = gpu.random(2, 3, 32, 32), gpu.random(2, 3, 32, 32)
        labels = labels_at_grid(confident_labels(low, high), (8, 8))
        assert on_gpu(labels, pair_loss(found, pair_labels(labels, 3)))


@pytest.mark.parametrize("preset", ["thesis", "irn", "afa"])
def test_the_unaries_of_a_crf(gpu, preset):
    assert on_gpu(unary_probabilities(gpu.random(2, 3, 8, 8), preset=preset))


class _NoDuplicates(TorchDispatchMode):
    """How many different values there are depends on them: all."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.unique_consecutive.default:
            places = torch.zeros_like(args[0])
            return args[0].clone(), places, torch.ones_like(places)
        return func(*args, **(kwargs or {}))


def test_a_crf(gpu, monkeypatch):
    # Fake tensors know no product with a sparse matrix; the other way of multiplying is taken.
    monkeypatch.setattr(SparseRows, "_matrix", None)
    gaussian_kernel.cache_clear()
    images = torch.zeros(2, 8, 9, 3, dtype=torch.uint8, device="cuda")
    with _NoDuplicates():
        assert on_gpu(dense_crf(images, gpu.random(2, 3, 8, 9)))
    gaussian_kernel.cache_clear()
