"""Raw maps as float16, whatever their size: they neither overflow nor vanish."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss_core.backbones import Output
from wsss_core.cams import cams, normalise_maps
from wsss_core.cams.multi_scale import as_float16
from wsss_core.evaluate import normalise

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)


class Scaled(torch.nn.Module):
    """A network whose maps are the image's channels, times a number for each class."""

    def __init__(self, *scales: float) -> None:
        super().__init__()
        self.register_buffer("scales", torch.tensor(scales).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Output:
        maps = (images - 0.4) * self.scales
        return Output(images, maps, maps.mean((-2, -1)))


@pytest.mark.parametrize("scale", [4e14, 1e8, 7e4, 1e-5, 5e-11, 1e-38])
@pytest.mark.parametrize("how", ["min_max", "max", "sigmoid"])
def test_maps_of_any_scale_keep_their_shape(scale, how):
    found = cams(Scaled(scale, scale, scale), IMAGES)
    raw = (IMAGES.transpose(0, 3, 1, 2).astype(np.float32) / 255 - np.float32(0.4)) * scale
    assert found.maps.dtype == np.float16
    back = found.maps * found.factors[..., None, None]
    np.testing.assert_allclose(back, raw, rtol=1e-3, atol=1e-6 * scale)
    np.testing.assert_allclose(normalise(back, how), normalise(raw, how), rtol=0, atol=2e-3)


def test_maps_that_fit_are_kept_as_they_were():
    maps = torch.randn(4, 3, 7, 7) * torch.tensor([1e-3, 1.0, 5e3]).view(1, 3, 1, 1)
    maps[0, 0] = 0
    kept, factors = as_float16(maps)
    assert (factors == 1).all()
    assert torch.equal(kept, maps.to(torch.float16))


def test_each_map_has_a_factor_of_its_own_which_is_a_power_of_two():
    maps = torch.full((1, 4, 2, 2), 3.0)
    maps[0, 1] *= 2.0**20
    maps[0, 2] *= 2.0**-30
    maps[0, 3, 0, 0] = float("inf")
    kept, factors = as_float16(maps)
    assert factors.tolist() == [[1.0, 2.0**21, 2.0**-29, 1.0]]
    assert kept[0, :3].unique().tolist() == [1.5, 3.0]
    assert not kept[0, 3].isfinite().all()


def test_a_map_that_is_constant_but_for_rounding_is_flat_on_the_device_too():
    maps = torch.full((1, 2, 4, 4), 0.1)
    maps[..., 1, 1] += 2e-8
    maps[0, 1, 2, 2] = 0.11
    found = normalise_maps(maps, "min_max")
    assert not found[0, 0].any()
    assert found[0, 1].amax() == 1
