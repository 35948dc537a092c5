"""Odd pixels for tests: a set of discs, ways to change its files, and what its check found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_core.data.folder.findings import DataFinding, FindingKind, Severity
from wsss_core.data.folder.source import FolderSource
from wsss_core.data.pixel_rules import PixelRules

DISC = np.hypot(*(np.indices((32, 32)) - 15.5)) < 10
"""The object of every mask here, of images of 32x32 pixels."""

SMALL = np.hypot(*(np.indices((32, 32)) - 15.5)) < 7

SOFT = np.clip(300 - 20 * np.hypot(*(np.indices((32, 32)) - 15.5)), 0, 255).astype(np.uint8)
"""A disc whose edge falls from 255 to 0."""

MASKED = [f"{split}/{stem}" for split in ("tune", "test") for stem in "pq"]

REFUSED, WARNING, NOTE = Severity.REFUSED, Severity.WARNING, Severity.NOTE


def mask_file(root: Path, place: str, suffix: str = ".png") -> Path:
    split, stem = place.split("/")
    return root / split / "masks" / f"{stem}{suffix}"


def write_masks(root: Path, image: Image.Image | np.ndarray, places: list[str] = MASKED) -> None:
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    for place in places:
        made.save(mask_file(root, place))


def say(root: Path, text: str) -> None:
    (root / "classes.yaml").write_text(text)


def with_exif(path: Path, orientation: int, image: Image.Image | None = None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = Image.open(path) if image is None else image
    opened.save(path, exif=exif)


def seen(root: Path, **given: object) -> list[DataFinding]:
    threshold = given.pop("threshold", None)
    assert threshold is None or isinstance(threshold, int)
    return list(FolderSource(root, PixelRules(**given), threshold).examine().findings)


def only(found: list[DataFinding], kind: FindingKind, split: str | None = None) -> DataFinding:
    """Return the finding of a kind, at most one a split; its count is that of all splits."""
    chosen = [one for one in found if one.kind is kind and (split is None or one.split == split)]
    assert 0 < len(chosen) <= 3, [one.describe() for one in found]
    assert len({one.severity for one in chosen}) == 1
    assert all("\n" not in one.describe() for one in chosen)
    return replace(chosen[0], count=sum(one.count for one in chosen))


def is_disc(root: Path, **given: object) -> None:
    """Assert that every mask reads as the disc, whatever rules are given."""
    threshold = given.pop("threshold", None)
    source = FolderSource(root, PixelRules(**given), threshold)
    for split in ("tune", "test"):
        images = source.read(split, 8)
        for index, name in enumerate(images.identifiers):
            if name.startswith("images/"):
                np.testing.assert_array_equal(images.mask(index), DISC)


def palette(values: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(values)
    image.putpalette(colours + [9] * (768 - len(colours)))  # a short one is saved with fewer bits
    return image


BORDER = np.hypot(*(np.indices((32, 32)) - 15.5)) < 12
VOC = np.where(DISC, 1, np.where(BORDER, 255, 0)).astype(np.uint8)
