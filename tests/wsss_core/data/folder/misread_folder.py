"""A good data folder's pictures and masks, and what its check found, for tests that change it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder import DataFinding, FolderSource
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.errors import InputError

SIDE = 48


def picture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """A picture without details, so that saving it again or resizing it keeps its content."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def mask(value: int = 255, side: int = 14) -> Image.Image:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[5 : 5 + side, 7 : 7 + side] = value
    return Image.fromarray(pixels)


def put(image: Image.Image, path: Path, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path


def found(root: Path, rules: PixelRules | None = None, size: int = 224) -> list[DataFinding]:
    source = FolderSource(root, rules) if rules else FolderSource(root)
    return list(source.examine(size).findings)


def lines(root: Path, size: int = 224) -> list[tuple[str, str | None, int, str]]:
    return [(one.severity, one.split, one.count, one.describe()) for one in found(root, size=size)]


def only(root: Path, size: int = 224) -> tuple[str, str | None, int, str]:
    listed = lines(root, size)
    assert len(listed) == 1, listed
    return listed[0]


def refusal(root: Path) -> str:
    """The one line with which a study ends, which the check ends with too."""
    said = []
    for act in (lambda s: s.check(), lambda s: [s.read(split, 8) for split in SPLITS]):
        with pytest.raises(InputError) as caught:
            act(FolderSource(root))
        said.append(str(caught.value))
    assert "\n" not in said[0]
    assert said[0].split(";")[0] == said[1].split(";")[0]
    return said[0]


SPLITS = ("train", "tune", "test")
