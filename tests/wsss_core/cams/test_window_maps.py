"""CAMs of windows: raw ones as of images, merged ones normalised over a whole picture."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_core.backbones import build_network
from wsss_core.cams import CamSettings, cams, window_cams
from wsss_core.data import to_input
from wsss_core.tiling import PictureWindows, normalise_windows, tile_boxes

SHAPES = [(24, 40), (16, 16)]
WINDOWS = PictureWindows.of(SHAPES, [tile_boxes(shape, 16, 8) for shape in SHAPES])
PIXELS = np.random.default_rng(0).integers(0, 256, (len(WINDOWS), 16, 16, 3), np.uint8)
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network("vit_tiny_patch16_224", classes=2, image_size=16, options=TINY)


def batches(at_once):
    return (PIXELS[start : start + at_once] for start in range(0, len(PIXELS), at_once))


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_raw_maps_are_those_of_images(network, at_once):
    found, expected = window_cams(network, batches(at_once), WINDOWS), cams(network, PIXELS)
    assert found.maps == pytest.approx(expected.maps, abs=1e-3)
    assert found.logits == pytest.approx(expected.logits, abs=1e-5)
    assert np.array_equal(found.factors, expected.factors)


@pytest.mark.parametrize("merge", ["normalised_mean", "sum_max"])
@pytest.mark.parametrize("at_once", [3, 100])
def test_scales_are_merged_after_the_windows_of_a_picture_were_scaled_together(merge, at_once):
    torch.manual_seed(0)
    options = {"channels": [4, 8, 16, 32]}
    cnn = build_network("resnet18", classes=2, image_size=16, output_stride=8, options=options)
    found = window_cams(cnn, batches(at_once), WINDOWS, CamSettings(scales=(1.0, 2.0), merge=merge))
    views = []
    for side in (16, 32):
        pixels = to_input(PIXELS)
        with torch.no_grad():
            larger = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False)
            views.append(cnn.eval()(larger).activation_maps)
    merged = np.empty(found.maps.shape)
    for part in (WINDOWS.part(0), WINDOWS.part(1)):
        for channel in range(2):
            scaled = []
            for view in views:
                own = view[part, channel]
                own = own.clamp(min=0) if merge == "sum_max" else own - own.min()
                own = own if merge == "sum_max" else own / own.max()
                scaled.append(F.interpolate(own[:, None], found.maps.shape[-2:], mode="bilinear"))
            total = sum(scaled)[:, 0]
            merged[part, channel] = total / (float(total.max()) or 1 if merge == "sum_max" else 2)
    assert found.maps == pytest.approx(merged, abs=5e-3)


@pytest.mark.parametrize("merge", ["normalised_mean", "sum_max"])
def test_flips_at_one_scale_are_merged_exactly(network, merge):
    settings = CamSettings(flip=True, merge=merge)
    found = window_cams(network, batches(5), WINDOWS, settings)
    raw = [cams(network, PIXELS), cams(network, np.ascontiguousarray(PIXELS[:, :, ::-1]))]
    views = [one.maps.astype(np.float32) * one.factors[..., None, None] for one in raw]
    views[1] = views[1][..., ::-1]
    of_picture = [WINDOWS.part(number) for number in range(2)]
    for part in of_picture:
        for channel in range(2):
            own = [view[part, channel].astype(np.float64) for view in views]
            if merge == "sum_max":
                total = np.maximum(own[0], 0) + np.maximum(own[1], 0)
                expected = total / total.max() if total.max() > 0 else total
            else:
                scaled = [(one - one.min()) / (one.max() - one.min()) for one in own]
                expected = (scaled[0] + scaled[1]) / 2
            assert found.maps[part, channel] == pytest.approx(expected, abs=5e-3)


def test_of_a_picture_with_one_window_merged_maps_are_those_of_the_image(network):
    settings = CamSettings(scales=(0.5, 1.0), flip=True)
    windows = PictureWindows.of([(16, 16)] * 3, [tile_boxes((16, 16), 16, 16)] * 3)
    found = window_cams(network, [PIXELS[:3]], windows, settings)
    assert found.maps == pytest.approx(cams(network, PIXELS[:3], settings).maps, abs=2e-3)


def test_layers_are_fused_over_a_picture(network):
    settings = CamSettings(method="grad_cam", layers=(0, 1))
    found = window_cams(network, batches(4), WINDOWS, settings)
    members = []
    for layer in (0, 1):
        raw = cams(network, PIXELS, CamSettings(method="grad_cam", layers=(layer,)))
        maps = raw.maps.astype(np.float32) * raw.factors[..., None, None]
        members.append(normalise_windows(maps, WINDOWS, "min_max"))
    expected = normalise_windows(np.mean(members, axis=0), WINDOWS, "min_max")
    assert found.maps == pytest.approx(expected, abs=5e-3)
