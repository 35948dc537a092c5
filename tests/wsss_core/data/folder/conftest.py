"""Data folders of which nothing is found, for tests that change them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.folder.misread_folder import mask, picture, put
from tests.wsss_core.data.folder.odd_pixels import DISC


@pytest.fixture
def good(tmp_path: Path) -> Path:
    root, seed = tmp_path / "data", iter(range(1000))
    for number in range(4):
        for name in ("smoke", "clear"):
            put(picture(next(seed)), root / f"train/{name}/{name}{number}.jpg", quality=95)
        for split in ("tune", "test"):
            put(picture(next(seed)), root / f"{split}/images/{split}{number}.jpg", quality=95)
            put(mask(), root / f"{split}/masks/{split}{number}.png")
            put(picture(next(seed)), root / f"{split}/clear/c{number}.jpg", quality=95)
    return root


@pytest.fixture
def discs(root: Path) -> Path:
    """The data folder of one class, with images of 32x32 and masks 0/255 of a disc."""
    random = np.random.default_rng(1)
    for path in sorted(root.rglob("*.*")):
        pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
        image = DISC.astype(np.uint8) * 255 if path.parent.name == "masks" else pixels
        Image.fromarray(image).save(path)
    return root
