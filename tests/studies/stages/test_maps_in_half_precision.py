"""Raw maps beyond float16 on their way through the store."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from studies.stages import cams as stage
from studies.store import ArtifactStore
from wsss_core.backbones import Output
from wsss_core.cams import CamSettings
from wsss_core.data.image_set import ImageSet
from wsss_core.evaluate import normalise

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
RAW = IMAGES.transpose(0, 3, 1, 2).astype(np.float32) / 255 - np.float32(0.4)


class Channels(torch.nn.Module):
    """A network whose maps are the image's channels, times a number for each."""

    def __init__(self, scales: list[float]) -> None:
        super().__init__()
        self.register_buffer("scales", torch.tensor(scales).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Output:
        maps = (images - 0.4) * self.scales
        return Output(images, maps, maps.mean((-2, -1)))


@pytest.fixture
def maps_of(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(scales: list[float]) -> stage.NetworkMaps:
        monkeypatch.setattr(stage, "load_network", lambda *_: Channels(scales))
        splits = SimpleNamespace(fingerprints={"test": "0" * 20})
        job: Any = SimpleNamespace(
            key="".join(f"{n:g}" for n in scales),
            image_size=8,
            images=splits,
            settings={"student": {}},
        )
        names = tuple("abcdef")
        images = ImageSet(("smoke",), IMAGES, np.ones((6, 1), bool), names, names)
        return stage.network_maps(job, "student", "test", images, ArtifactStore(tmp_path), "cpu")

    return made


@pytest.mark.parametrize("how", ["min_max", "max", "sigmoid"])
def test_a_network_of_any_scale_is_scored_as_in_float32(maps_of: Any, how: Any) -> None:
    scales = [4e14, 1.0, 5e-11]
    maps = maps_of(scales)
    assert maps.maps.dtype == np.float16
    raw = RAW * np.array(scales, np.float32).reshape(1, 3, 1, 1)
    whole = stage.normalised_maps(maps, CamSettings(), how)
    np.testing.assert_allclose(whole, normalise(raw, how), rtol=0, atol=1e-3)
    part = stage.normalised_maps(maps.part(2, 5), CamSettings(), how)
    np.testing.assert_array_equal(part, whole[2:5])


def test_the_store_holds_a_factor_only_where_one_is_needed(maps_of: Any, tmp_path: Any) -> None:
    assert maps_of([1.0, 2.0, 3.0]).factors is None
    assert not list(tmp_path.rglob("factors.npy"))
    assert maps_of([1.0, 2.0, 3e9]).factors is not None
    assert len(list(tmp_path.rglob("factors.npy"))) == 1
