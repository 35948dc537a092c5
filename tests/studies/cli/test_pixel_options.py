"""Options of `wsss data check` that decide how pixels are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def phone_folder(smoke_folder: Path) -> Path:
    """The data folder with a photo that phones store lying down."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = smoke_folder / "train/smoke/a.png"
    with Image.open(file) as image:
        image.load()
    image.save(file, exif=exif)
    return smoke_folder


def test_an_orientation_is_refused_in_a_line_until_the_option_decides(
    wsss: Any, phone_folder: Path
) -> None:
    ended = wsss("data", "check", phone_folder)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "train/smoke/a.png: EXIF orientation 6" in ended.err
    for rule, word in (("apply", "turned upright"), ("ignore", "read as stored")):
        ended = wsss("data", "check", phone_folder, "--orientation", rule)
        assert (ended.code, ended.err) == (0, "")
        assert word in ended.out


def test_grey_masks_need_the_threshold(wsss: Any, smoke_folder: Path) -> None:
    grey = np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))
    for split in ("tune", "test"):
        for name in ("a", "b"):
            Image.fromarray(grey).save(smoke_folder / split / "masks" / f"{name}.png")
    ended = wsss("data", "check", smoke_folder)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "`threshold: 128`" in ended.err
    assert wsss("data", "check", smoke_folder, "--threshold", 128).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--threshold", "0"), "threshold 0, expected a whole number from 1 to 65535"),
        (("--white-level", "12"), "white_level 12, expected a number from 256 to 65535"),
        (("--largest-megapixels", "0"), "largest_megapixels 0, expected a number from 1 to 4096"),
        (("--orientation", "upright"), "invalid choice: 'upright'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(
    wsss: Any, smoke_folder: Path, options: tuple[str, ...], said: str
) -> None:
    ended = wsss("data", "check", smoke_folder, *options)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err
