"""Maps whose cells stand for other pixels are compared over the pixels they stand for."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.backbones import Output, build_network
from wsss_core.transfer import Alignment, CoTraining, TeacherStudent


class Averages(torch.nn.Module):
    """A network whose cells hold the image's red at their middle; its cells may reach beyond it."""

    classes = channels = 1

    def __init__(self, side: int, pixels: int) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))
        self.cells = -(-pixels // side)
        self.middles = (np.arange(self.cells) + 0.5) * side
        stages = [{"reduction": side}]
        extractor = SimpleNamespace(feature_info=stages)
        self.encoder: Any = SimpleNamespace(extractor=extractor, layer_number=lambda layer: 0)

    def channels_at(self, layer: str | int | None) -> int:
        assert layer is None
        return 1

    def forward(self, images: Tensor, taps: Any = ()) -> Output:
        row = torch.from_numpy(self.middles).float()
        maps = self.factor * row.expand(len(images), 1, self.cells, self.cells)
        return Output(maps, maps, maps.mean((-2, -1)))


def aligned(student: Any, teacher: Any, **more: Any) -> Alignment:
    settings = {"metric": "l1", "representation": "activation_map", **more}
    return Alignment(student, teacher, **settings)


@pytest.mark.parametrize(
    ("sides", "pixels"),
    [((32, 10), 100), ((10, 32), 100), ((32, 16), 134), ((16, 30), 134), ((7, 20), 128)],
)
def test_cells_meet_where_their_middles_lie(sides, pixels):
    student, teacher = (Averages(side, pixels) for side in sides)
    images = torch.zeros(2, 3, pixels, pixels)
    loss = TeacherStudent(student, teacher, aligned(student, teacher), 1.0).losses(
        images, torch.zeros(2, 1)
    )
    coarse, fine = sorted((student, teacher), key=lambda network: network.cells)
    read = np.interp(fine.middles, coarse.middles, coarse.middles)
    expected = np.abs(read - fine.middles).mean()
    assert loss.transfer.item() == pytest.approx(expected, rel=1e-5)
    # Stretched over each other they differed by more.
    stretched = aligned(student, teacher)(student(images), teacher(images))
    assert stretched.item() > 1.5 * expected


def test_both_networks_learn_from_maps_that_are_read_elsewhere():
    student, teacher = Averages(32, 100), Averages(10, 100)
    loss = CoTraining(student, teacher, aligned(student, teacher, metric="l2"), 1.0).losses(
        torch.zeros(2, 3, 100, 100), torch.zeros(2, 1)
    )
    loss.transfer.backward()
    assert float(student.factor.grad) != 0
    assert float(teacher.factor.grad) != 0


@pytest.mark.parametrize("representation", ["feature", "spatial_map", "gram", "logits"])
@pytest.mark.parametrize("size", [64, 96])
def test_maps_that_share_the_image_are_compared_as_ever_to_the_bit(representation, size):
    torch.manual_seed(0)
    cnn = build_network(
        "resnet18", classes=2, image_size=size, options={"channels": (8, 8, 8, 16)}
    ).eval()
    vit = build_network(
        "vit_tiny_patch16_224",
        classes=2,
        image_size=size,
        options={"embed_dim": 24, "depth": 1, "num_heads": 3},
    ).eval()
    alignment = aligned(cnn, vit, representation=representation, metric="l2")
    images = torch.rand(2, 3, size, size)
    outputs = cnn(images), vit(images)
    assert torch.equal(alignment(*outputs, (size, size)), alignment(*outputs))


@pytest.mark.parametrize("representation", ["gram", "logits"])
def test_what_has_no_places_is_compared_as_ever_at_any_size(representation):
    torch.manual_seed(0)
    networks = [
        build_network(
            "resnet18", classes=2, image_size=100, options={"channels": (8, 8, 8, 16)}, **more
        ).eval()
        for more in ({}, {"output_stride": 8})
    ]
    alignment = aligned(*networks, representation=representation, metric="l2")
    images = torch.rand(2, 3, 100, 100)
    outputs = [network(images) for network in networks]
    assert torch.equal(alignment(*outputs, (100, 100)), alignment(*outputs))


def test_inner_layers_meet_by_their_own_cells():
    torch.manual_seed(0)
    options = {"channels": (8, 8, 8, 8)}
    network = build_network("resnet18", classes=1, image_size=100, options=options).eval()
    layers = [{"student": "layer2", "teacher": "layer4"}]
    alignment = aligned(
        network, network, representation="feature", projection="none", layers=layers
    )
    images = torch.rand(1, 3, 100, 100)
    student, teacher = network(images, ["layer2"]), network(images, ["layer4"])
    fine, coarse = student.taps[0], teacher.taps[0]
    assert (fine.shape[-1], coarse.shape[-1]) == (13, 4)  # for 104 px and for 128
    # torch's own sampling, told where in the 128 px the middles of the cells of 8 px lie.
    at = ((torch.arange(13) + 0.5) * 8 / 128 * 2 - 1).expand(13, 13)
    grid = torch.stack([at, at.T], -1)[None]
    read = F.grid_sample(coarse, grid, padding_mode="border", align_corners=False)
    expected = (fine - read).abs().mean()
    torch.testing.assert_close(alignment(student, teacher, (100, 100)), expected)


def test_in_half_precision_maps_are_read_in_single_precision():
    student, teacher = Averages(32, 100), Averages(10, 100)
    alignment = aligned(student, teacher)
    images = torch.zeros(2, 3, 100, 100)
    outputs = student(images), teacher(images)
    whole = alignment(*outputs, (100, 100))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(alignment(*outputs, (100, 100)), whole)
    halves = [Output(*(map_.bfloat16() for map_ in output[:3])) for output in outputs]
    assert alignment(*halves, (100, 100)).dtype == torch.float32
