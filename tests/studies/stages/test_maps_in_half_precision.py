"""Raw maps beyond float16 on their way through the store."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from studies.planning import MapScaling
from studies.stages import cams as stage
from studies.store import ArtifactStore
from wsss_core.backbones import Output
from wsss_core.cams import CamSettings
from wsss_core.data.image_set import ImageSet
from wsss_core.evaluate import normalise
from wsss_core.tiling import PictureWindows, normalise_windows
from wsss_core.tiling.windows import tile_boxes

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


@pytest.mark.parametrize("how", ["min_max", "max", "sigmoid"])
@pytest.mark.parametrize("factor", [None, 1.0, 4096.0])
def test_a_shard_of_windows_has_the_scores_of_the_whole_to_the_bit(
    how: Any, factor: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [(40, 70), (20, 20), (90, 33), (64, 64)]
    windows = PictureWindows.of(shapes, [tile_boxes(shape, 32, 24) for shape in shapes])
    random = np.random.default_rng(1)
    maps = random.normal(size=(len(windows), 2, 5, 7)).astype(np.float16)
    factors = None if factor is None else np.ones((len(windows), 2), np.float32)
    if factors is not None:
        factors[-1] = factor  # of the last picture alone, but it decides the type of all maps
    logits = random.normal(size=(len(windows), 2)).astype(np.float32)
    raw = stage.NetworkMaps(maps, logits, factors, windows=windows)
    scaling = MapScaling(how, "predicted")
    scaled = factors is not None and factor != 1
    expected = maps * factors[..., np.newaxis, np.newaxis] if scaled else maps
    whole = stage.normalised_maps(raw, CamSettings(), how)
    np.testing.assert_array_equal(whole, normalise_windows(expected, windows, how))
    based = stage.base_scores(raw, CamSettings(), scaling)
    seen: list[int] = []

    def counted(maps: Any, *more: Any) -> Any:
        seen.append(len(maps))
        return normalise_windows(maps, *more)

    monkeypatch.setattr(stage, "normalise_windows", counted)
    for start in range(len(windows)):
        for stop in range(start + 1, len(windows) + 1):
            bounds = start, stop
            part = stage.normalised_maps(raw, CamSettings(), how, bounds)
            assert part.tobytes() == whole[start:stop].tobytes()
            touched = np.unique(windows.picture[start:stop])
            assert seen[-1] == np.isin(windows.picture, touched).sum()
            part = stage.base_scores(raw, CamSettings(), scaling, bounds)
            assert part.tobytes() == based[start:stop].tobytes()
