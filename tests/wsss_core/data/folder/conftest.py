"""A data folder of larger images than those of `root`."""

from pathlib import Path

import numpy as np
import pytest
from odd_pixels import DISC
from PIL import Image


@pytest.fixture
def discs(root: Path) -> Path:
    """The data folder of one class, with images of 32x32 and masks 0/255 of a disc."""
    random = np.random.default_rng(1)
    for path in sorted(root.rglob("*.*")):
        pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
        image = DISC.astype(np.uint8) * 255 if path.parent.name == "masks" else pixels
        Image.fromarray(image).save(path)
    return root
