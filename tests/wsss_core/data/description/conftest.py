"""Data sets with a correlation that is known, because the tests put it there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.scenes import SceneSettings, render_scene

CAMERAS = {"hill": SceneSettings(size=32, seed=1), "roof": SceneSettings(size=32, seed=2)}
"""Scenes of two kinds: another seed, another landscape, another light."""


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def scenes(camera: str, smoke: bool, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image and mask of one scene after another, of one camera, with smoke or without."""
    for index in range(start, start + 10_000):
        scene = render_scene(CAMERAS[camera], index, smoke=smoke)
        if not smoke or scene.smoke_mask.any():
            yield scene.image, scene.smoke_mask


@pytest.fixture
def two_cameras(tmp_path: Path) -> Callable[..., Path]:
    """Write a data folder of two cameras: how many images with and without smoke each has."""

    def write(train: dict[str, tuple[int, int]], scored: int = 4) -> Path:
        root = tmp_path / "two_cameras"
        lines = ["file,group,source,camera"]
        for camera, numbers in train.items():
            for place, smoke, count in zip(("smoke", "clear"), (True, False), numbers, strict=True):
                for n, (image, _) in zip(range(count), scenes(camera, smoke), strict=False):
                    name = f"train/{place}/{camera}_{n:03d}.png"
                    save(root / name, image)
                    # Two frames of a clip make a group.
                    lines.append(f"{name},{camera}_{place}_{n // 2},{camera},{camera} north")
        for split in ("tune", "test"):
            for camera in train:
                for n, (image, mask) in zip(range(scored), scenes(camera, True, 500), strict=False):
                    name = f"{split}/images/{camera}_{n}.png"
                    save(root / name, image)
                    save(root / split / f"masks/{camera}_{n}.png", mask.astype(np.uint8) * 255)
                    lines.append(f"{name},{split}_{camera}_{n},{camera},{camera} north")
                for n, (image, _) in zip(range(scored), scenes(camera, False, 700), strict=False):
                    name = f"{split}/clear/{camera}_clear_{n}.png"
                    save(root / name, image)
                    lines.append(f"{name},{split}_{camera}_clear_{n},{camera},{camera} north")
        (root / "groups.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return root

    return write
