"""A data folder that changes between its fingerprint and its decoding is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder import examination
from wsss_core.data.folder.source import FolderSource
from wsss_core.data.image_decoding import DecodedImage, PictureFile
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.errors import InputError


def repaint(file: Path) -> None:
    with Image.open(file) as image:
        pixels = 255 - np.asarray(image)
    Image.fromarray(pixels).save(file)


def add(file: Path) -> None:
    Image.new("RGB", (8, 8)).save(file)


def frames(file: Path) -> None:
    file.write_text("file,group\ntest/images/p.png,one\ntest/images/q.png,one\n")


CHANGES: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("train", "train/smoke/a.png", repaint, "train/smoke/a.png"),
    ("test", "test/images/p.png", repaint, "test/images/p.png"),
    ("test", "test/masks/q.png", repaint, "test/masks/q.png"),
    ("tune", "tune/clear/r.png", Path.unlink, "tune/clear/r.png"),
    ("train", "train/clear/z.png", add, "train/clear/z.png"),
    ("test", "groups.csv", frames, "test"),
]


@pytest.mark.parametrize(("split", "file", "change", "named"), CHANGES)
def test_a_change_after_the_fingerprint_is_refused_and_named(
    root: Path, split: str, file: str, change: Callable[[Path], None], named: str
) -> None:
    source = FolderSource(root)
    source.fingerprint(split)
    change(root / file)
    with pytest.raises(InputError, match=rf"^{re.escape(str(root / named))}: changed while it was"):
        source.read(split, 4)
    # With a fingerprint of what is there now, it is read.
    source.fingerprint(split)
    source.read(split, 4)


def test_a_file_that_changes_between_its_bytes_and_its_pixels_is_of_its_bytes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = FolderSource(root).read("train", 8)
    source = FolderSource(root)
    source.fingerprint("train")
    decode = examination.decode_image

    def later(file: PictureFile, size: int, rules: PixelRules) -> DecodedImage:
        repaint(file.path)
        return decode(file, size, rules)

    monkeypatch.setattr(examination, "decode_image", later)
    np.testing.assert_array_equal(source.read("train", 8).images, expected.images)


def test_a_mask_whose_size_changes_before_it_is_read_is_named_as_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, mask = FolderSource(root), root / "test/masks/p.png"
    source.fingerprint("test")
    decode = examination.decode_image

    def then_larger(file: PictureFile, size: int, rules: PixelRules) -> DecodedImage:
        if file.path.stem == "p":
            Image.new("L", (16, 16), 255).save(mask)
        return decode(file, size, rules)

    monkeypatch.setattr(examination, "decode_image", then_larger)
    with pytest.raises(InputError, match=rf"^{re.escape(str(mask))}: changed while it was read"):
        source.read("test", 8)


def test_an_unchanged_folder_keeps_the_fingerprints_of_earlier_releases(tmp_path: Path) -> None:
    names = ["train/smoke/a.png", "train/smoke/b.png", "train/clear/c.png"]
    for split in ("tune", "test"):
        files = ("images/p.png", "images/q.png", "masks/p.png", "masks/q.png", "clear/r.png")
        names += [f"{split}/{file}" for file in files]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes([number]))
    source = FolderSource(tmp_path)
    assert [source.fingerprint(split) for split in ("train", "tune", "test")] == [
        "046a6bc82eebcf047a76991ea719de05",
        "de85ae7ebdee1a2ad97c67063dc4a059",
        "abfc67d67f568dc239080530fbdd69d2",
    ]
