"""Maps whose cells do not share the image evenly, beside the pixels that they stand for."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.convmixer import ConvMixer
from torch import Tensor

from wsss_core.backbones import Output, build_network, cell_side, cells_span
from wsss_core.cams import CamSettings, cams
from wsss_core.cams.grids import over_image
from wsss_core.evaluate import resize


class OneStage:
    """What `cell_side` asks of an encoder that has one stage."""

    def __init__(self, extractor: Any) -> None:
        self.extractor = extractor

    def layer_number(self, layer: int) -> int:
        """Return the number of the only stage."""
        assert layer == -1
        return 0


class Ramp(torch.nn.Module):
    """A network whose cells hold the mean of the image's red over the pixels they stand for."""

    def __init__(self, side: int, *, ceil: bool, margin: int = 0) -> None:
        super().__init__()
        self.side, self.ceil, self.margin = side, ceil, margin
        self.encoder: Any = OneStage(SimpleNamespace(feature_info=[{"reduction": side}]))

    def forward(self, images: Tensor) -> Output:
        end = images.shape[-1] - self.margin
        inner = images[:, :1, self.margin : end, self.margin : end]
        maps = F.avg_pool2d(inner, self.side, ceil_mode=self.ceil)
        return Output(maps, maps, maps.mean((-2, -1)))


def ramp(pixels: int) -> np.ndarray:
    """An image whose red grows by 1 from column to column, from 20 on."""
    image = np.zeros((pixels, pixels, 3), np.uint8)
    image[..., 0] = 20 + np.arange(pixels)
    return image


@pytest.mark.parametrize(
    ("pixels", "network"),
    [
        (134, Ramp(32, ceil=True)),  # 5 cells for 160 px, as a ResNet's
        (134, Ramp(32, ceil=False)),  # 4 for 128
        (128, Ramp(7, ceil=False)),  # 18 for 126, as ConvMixer's
        (171, Ramp(32, ceil=False, margin=37)),  # 3 for the 96 in the middle, as an Inception's
        (128, Ramp(32, ceil=False)),  # 4 for all
    ],
)
def test_a_map_stretched_over_the_image_lies_on_the_pixels_it_stands_for(pixels, network):
    found = cams(network, ramp(pixels)[None])
    stretched = resize(found.maps[0, 0], (pixels, pixels)) * 255
    # Away from the first and the last whole cell, linear interpolation is exact.
    inner = slice(network.margin + network.side, pixels - network.margin - 2 * network.side)
    expected = 20 + np.arange(pixels)[inner]
    error = np.abs(stretched[:, inner] - expected)
    assert error.max() < 1.0, error.max()


@pytest.mark.parametrize("settings", [{"flip": True}, {"scales": (0.6, 1.0)}])
def test_views_whose_cells_stand_for_other_pixels_lie_on_each_other(settings):
    bump = np.zeros((1, 134, 134, 3), np.uint8)
    at = np.arange(134)
    bump[..., 0] = 250 * np.exp(-(((at[:, None] - 90) / 20) ** 2) - ((at - 50) / 20) ** 2)
    found = cams(Ramp(16, ceil=True), bump, CamSettings(**settings)).maps[0, 0]
    peak = np.unravel_index(resize(found, (134, 134)).argmax(), (134, 134))
    assert np.abs(np.subtract(peak, (90, 50))).max() <= 6


def test_maps_that_share_the_image_evenly_are_not_touched():
    maps = torch.rand(2, 3, 7, 7)
    for size, side in (((224, 224), 32), ((224, 224), None), ((400, 400), 8)):
        assert over_image(maps, size, side) is maps


def test_a_constant_map_stays_constant_and_nothing_exceeds_the_range():
    maps = torch.rand(2, 3, 5, 5)
    maps[0] = 0.3
    found = over_image(maps, (134, 134), 32)
    assert found.shape == (2, 3, 20, 20)
    torch.testing.assert_close(found[0], torch.full_like(found[0], 0.3))
    assert found.amax() <= maps.amax()
    assert found.amin() >= maps.amin()


@pytest.mark.parametrize(
    ("more", "cell", "cells", "span"),
    [
        ({}, 32, 5, (0, 160)),
        ({"output_stride": 8}, 8, 17, (0, 136)),
        ({"feature_stage": "layer2"}, 8, 17, (0, 136)),
    ],
)
def test_a_resnet_says_how_large_its_cells_are(more, cell, cells, span):
    options = {"channels": (8, 8, 8, 8)}
    network = build_network("resnet18", classes=1, image_size=134, options=options, **more).eval()
    with torch.no_grad():
        maps = network(torch.zeros(1, 3, 134, 134)).activation_maps
    assert cell_side(network.encoder) == cell
    assert maps.shape[-1] == cells
    assert cells_span(134, cells, cell) == span
    layers = list(network.encoder.layers)
    assert cell_side(network.encoder, layers[0]) == 2


def test_layers_are_laid_over_the_image_each_by_its_own_cells(cnn):
    network = cnn(size=134, output_stride=None)
    image = np.random.default_rng(0).integers(0, 256, (1, 134, 134, 3), np.uint8)
    shapes = {
        layer: cams(network, image, CamSettings("layer_cam", layers=(layer,))).maps.shape[-2:]
        for layer in ("layer4", "layer3", "layer2")
    }
    assert shapes == {"layer4": (20, 20), "layer3": (18, 18), "layer2": (34, 34)}


def test_timm_says_how_large_the_cells_of_a_patchify_network_are():
    extractor: Any = ConvMixer(dim=8, depth=1, kernel_size=3, patch_size=7, num_classes=0).eval()
    with torch.no_grad():
        maps = extractor.forward_features(torch.zeros(1, 3, 128, 128))
    assert cell_side(OneStage(extractor)) == 7
    assert maps.shape[-1] == 18


def test_crossvit_resizes_images_itself():
    extractor = timm.create_model("crossvit_tiny_240", num_classes=0)
    assert cell_side(OneStage(extractor)) is None
