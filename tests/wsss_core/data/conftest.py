"""Data folders for the tests of folder sources, written file by file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def noise(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def blob(value: int = 255, height: int = 8, width: int = 8) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[2:5, 1:4] = value
    return mask


def put(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One class: 2 + 1 training images; tune and test with two masked images and a clear one."""
    folder = tmp_path / "plumes"
    put(folder / "train/smoke/a.png", noise(1))
    put(folder / "train/smoke/b.jpg", noise(2))
    put(folder / "train/clear/c.png", noise(3))
    for number, split in enumerate(("tune", "test")):
        for position, stem in enumerate(("p", "q")):
            put(folder / split / f"images/{stem}.png", noise(10 + 10 * number + position))
            put(folder / split / f"masks/{stem}.png", blob())
        put(folder / split / "clear/r.png", noise(15 + 10 * number))
    return folder


@pytest.fixture
def two_classes(root: Path) -> Path:
    """Mask value 3 is smoke, 7 is steam."""
    put(root / "train/steam/d.png", noise(4))
    (root / "classes.yaml").write_text("classes: {7: steam, 3: smoke}\n")
    for split in ("tune", "test"):
        put(root / split / "masks/p.png", blob(3))
        put(root / split / "masks/q.png", blob(7))
    return root
