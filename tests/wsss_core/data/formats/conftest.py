"""Data sets in the layouts in which they are published, made of noise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.formats import FormatContent, FormatImage, FormatOptions, recognise

Put = Callable[..., Path]
Read = Callable[..., FormatContent]


def write_picture(path: Path, pixels: np.ndarray | None = None, *, seed: int = 0) -> Path:
    """Write an image or mask; without pixels 20x30 of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def put() -> Put:
    return write_picture


@pytest.fixture
def put_json() -> Callable[[Path, Any], Path]:
    def write(path: Path, content: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def read() -> Read:
    """Recognise a folder and read it with some options."""

    def reader(path: Path, format: str | None = None, **options: Any) -> FormatContent:
        found = recognise(path, format)
        return found.format.read(found.path, FormatOptions(**options))

    return reader


@pytest.fixture
def image_of() -> Callable[[FormatContent, str], FormatImage]:
    def find(content: FormatContent, name: str) -> FormatImage:
        return next(image for image in content.images if image.name == name)

    return find
