"""Sources of imports, made of noise and rectangles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.formats import FormatOptions
from wsss_core.data.importing import ImportSettings, SourceSettings, parse_splits


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)


def rectangle(value: int, seed: int) -> np.ndarray:
    top, left = np.random.default_rng(seed).integers(0, 10, 2)
    mask = np.zeros((20, 30), np.uint8)
    mask[top : top + 8, left : left + 12] = value
    return mask


@pytest.fixture
def smoke5k(tmp_path: Path) -> Path:
    """Eight training pairs and four to test with."""
    root = tmp_path / "SMOKE5K"
    for split, stems, base in (("train", range(8), 0), ("test", range(20, 24), 100)):
        for stem in stems:
            save(root / f"{split}/img/s{stem}.png", noisy(base + stem))
            save(root / f"{split}/gt/s{stem}.png", rectangle(255, base + stem))
    return root


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Twelve pairs in images/ and masks/: of three videos, with values 1 and 2, or none."""
    root = tmp_path / "numbered"
    for number in range(12):
        name = f"video{number % 3}_{number}"
        save(root / f"images/{name}.png", noisy(200 + number))
        save(root / f"masks/{name}.png", rectangle(number % 4 % 3, 200 + number))
    return root


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., ImportSettings]:
    """Return the settings of an import of one source into tmp_path/data."""

    def make(
        path: Path, split: str | None = None, tune: str | None = None, **more: Any
    ) -> ImportSettings:
        options = FormatOptions(**more.pop("options", {}))
        source = SourceSettings(path, path.name, options=options, **more.pop("source", {}))
        splits = parse_splits([split] if split else [], tune)
        destination = more.pop("destination", tmp_path / "data")
        return ImportSettings((source,), destination, split=splits, **more)

    return make
