"""Masks in other files than PNG, and which of several files is the mask."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.source import FolderSource
from wsss_core.errors import InputError

SHAPE = np.zeros((8, 8), np.uint8)
SHAPE[2:5, 1:4] = 1


def written(path: Path, values: np.ndarray = SHAPE) -> None:
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values * 255).save(path, **({"quality": 100} if "j" in path.suffix else {}))


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".bmp", ".npy"])
def test_masks_of_other_suffixes_are_read_where_png_files_are_missing(
    root: Path, suffix: str
) -> None:
    (root / "test/masks/q.png").unlink()
    (root / "test/masks/p.png").unlink()
    for stem in "pq":
        written(root / f"test/masks/{stem}{suffix}")
    test = FolderSource(root).read("test", 4)
    for index in (1, 2):
        np.testing.assert_array_equal(test.mask(index), SHAPE)


def test_masks_of_two_suffixes_are_read_together(root: Path) -> None:
    (root / "test/masks/q.png").unlink()
    written(root / "test/masks/q.npy")
    np.testing.assert_array_equal(FolderSource(root).read("test", 4).mask(2), SHAPE)


def test_where_png_files_suffice_others_beside_them_are_no_masks(root: Path) -> None:
    before = FolderSource(root)
    fingerprint, mask = before.fingerprint("test"), before.read("test", 4).mask(2)
    written(root / "test/masks/q.npy", 1 - SHAPE)
    written(root / "test/masks/overview.jpg", 1 - SHAPE)
    after = FolderSource(root)
    assert after.fingerprint("test") == fingerprint
    np.testing.assert_array_equal(after.read("test", 4).mask(2), mask)


def test_jpeg_masks_are_refused_for_their_edges_until_a_threshold_is_said(root: Path) -> None:
    big = (np.hypot(*(np.indices((64, 64)) - 31.5)) < 20).astype(np.uint8)
    for stem in "pq":
        Image.new("RGB", (64, 64)).save(root / f"test/images/{stem}.png")
        (root / f"test/masks/{stem}.png").unlink()
        Image.fromarray(big * 255).save(root / f"test/masks/{stem}.jpg", quality=50)
    with pytest.raises(InputError, match=r"masks/p\.jpg: .* look like grey edges"):
        FolderSource(root).read("test", 4)
    np.testing.assert_array_equal(FolderSource(root, threshold=128).read("test", 4).mask(1), big)


@pytest.mark.parametrize("naming", ["{}_mask", "mask_{}", "{}_gt"])
def test_masks_of_other_names_are_counted_with_their_pattern_and_the_command(
    root: Path, naming: str
) -> None:
    for number in range(5):
        stem = f"frame{number}"
        Image.new("RGB", (8, 8)).save(root / f"test/images/{stem}.png")
        written(root / f"test/masks/{naming.format(stem)}.png")
    with pytest.raises(InputError) as caught:
        FolderSource(root).read("test", 4)
    said = str(caught.value)
    assert f"masks are called {naming.format('{stem}')}.png" in said
    assert "frame0.png" in said
    assert "4 more" in said
    assert "wsss data import" in said
    assert "\n" not in said


def test_context_masks_of_other_suffixes_are_read(root: Path) -> None:
    (root / "test/context").mkdir()
    written(root / "test/context/q.tif")
    np.testing.assert_array_equal(FolderSource(root).read("test", 4).context(2), SHAPE > 0)
