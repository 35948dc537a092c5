import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.source import FolderSource
from wsss_core.errors import InputError


def drawn(path: Path, mode: str, size: tuple[int, int] = (8, 8), value: int = 1) -> Path:
    """Write an image of one value, or of grey noise (which does not compress to a few bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "noise":
        pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        Image.fromarray(pixels).save(path)
    else:
        Image.new(mode, size, value).save(path)
    return path


def read_all(root: Path) -> None:
    source = FolderSource(root)
    for split in ("train", "tune", "test"):
        source.read(split, 4)


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def rewritten(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def remove_train(root: Path) -> None:
    shutil.rmtree(root / "train")


def misname_images(root: Path) -> None:
    (root / "test/images").rename(root / "test/image")


def truncate_jpeg(root: Path) -> None:
    path = drawn(root / "train/smoke/b.jpg", "noise", (64, 64))
    path.write_bytes(path.read_bytes()[:1500])


def nest_images(root: Path) -> None:
    (root / "train/smoke/camera_1").mkdir()


BAD_FOLDERS: list[tuple[str, Callable[[Path], object], str]] = [
    ("no train", remove_train, "{root}/train: no such folder"),
    ("no test", lambda root: shutil.rmtree(root / "test"), "{root}/test: no such folder"),
    ("misnamed", misname_images, "{root}/test/images: no such folder.*nearest: 'image'"),
    (
        "no masks",
        lambda root: shutil.rmtree(root / "test/masks"),
        "{root}/test/masks: no such folder.*.png masks",
    ),
    (
        "no mask",
        lambda root: (root / "test/masks/q.png").unlink(),
        "{root}/test/images/q.png: image without its mask, expected {root}/test/masks/q.png",
    ),
    (
        "no image",
        lambda root: (root / "test/images/q.png").unlink(),
        "{root}/test/masks/q.png: mask without its image, expected {root}/test/images/q.jpg",
    ),
    (
        "mask size",
        lambda root: drawn(root / "test/masks/q.png", "L", (9, 8)),
        "{root}/test/masks/q.png: 9x8 pixels, expected 8x8 .*{root}/test/images/q.png",
    ),
    (
        "context size",
        lambda root: drawn(root / "test/context/r.png", "L", (8, 7)),
        "{root}/test/context/r.png: 8x7 pixels, expected 8x8 .*{root}/test/clear/r.png",
    ),
    (
        "context alone",
        lambda root: drawn(root / "test/context/s.png", "L"),
        "{root}/test/context/s.png: context mask without its image",
    ),
    (
        "not an image",
        lambda root: (root / "train/smoke/b.jpg").write_text("hello"),
        "{root}/train/smoke/b.jpg: not an image",
    ),
    (
        "truncated",
        truncate_jpeg,
        "{root}/train/smoke/b.jpg: expected a readable image: .*truncated",
    ),
    (
        "broken link",
        lambda root: os.symlink(root / "nowhere", root / "train/smoke/z.jpg"),
        "{root}/train/smoke/z.jpg: expected a readable image: No such file",
    ),
    (
        "GIF by another name",
        lambda root: Image.new("RGB", (8, 8)).save(root / "train/smoke/b.jpg", "GIF"),
        "{root}/train/smoke/b.jpg: not an image, expected JPEG, PNG, WEBP, BMP or TIFF",
    ),
    (
        "mask that is a GIF",
        lambda root: Image.new("L", (8, 8)).save(root / "test/masks/q.png", "GIF"),
        "{root}/test/masks/q.png: not an image, expected JPEG, PNG, WEBP, BMP or TIFF",
    ),
    (
        "pipe",
        lambda root: os.mkfifo(root / "train/smoke/z.png"),
        "{root}/train/smoke/z.png: expected a regular file",
    ),
    (
        "too many pixels",
        lambda root: drawn(root / "train/smoke/b.jpg", "L", (8001, 8000)),
        "{root}/train/smoke/b.jpg: 8001x8000 pixels .65 megapixels., expected at most 64 "
        "megapixels; a larger `data: .largest_megapixels: ....` reads it",
    ),
    (
        "16-bit image",
        lambda root: drawn(root / "train/clear/c.png", "I;16"),
        "{root}/train/clear/c.png: image of 16 bits without a value above 4095, which would be "
        "nearly black; say `data: .white_level: 4095.`",
    ),
    (
        "colour mask",
        lambda root: drawn(root / "test/masks/q.png", "RGB"),
        "{root}/test/masks/q.png: mask of mode RGB with colours, expected one number per pixel",
    ),
    (
        "no clear image",
        lambda root: (root / "train/clear/c.png").unlink(),
        "{root}/train/clear: no training image, expected at least one",
    ),
    (
        "no clear folder",
        lambda root: shutil.rmtree(root / "train/clear"),
        "{root}/train/clear: no such folder",
    ),
    (
        "same stem in a folder",
        lambda root: drawn(root / "train/smoke/a.jpg", "RGB"),
        "{root}/train/smoke/a.png: same stem as a.jpg",
    ),
    (
        "same stem in two folders",
        lambda root: drawn(root / "test/clear/q.png", "RGB"),
        "{root}/test/clear/q.png: same stem as {root}/test/images/q.png",
    ),
    (
        "empty images",
        lambda root: emptied(root / "tune/images"),
        "{root}/tune/images: no image, expected at least one",
    ),
    (
        "empty masks",
        lambda root: [drawn(path, "L", value=0) for path in (root / "tune/masks").iterdir()],
        "{root}/tune/masks: every mask is empty, expected at least one with smoke",
    ),
    ("nested", nest_images, "{root}/train/smoke/camera_1: folder among the images"),
    (
        "groups without columns",
        lambda root: (root / "groups.csv").write_text("test/images/p.png,1\n"),
        "{root}/groups.csv: columns .* expected CSV with columns file, group",
    ),
    (
        "group of a missing image",
        lambda root: (root / "groups.csv").write_text("file,group\ntest/images/pp.png,1\n"),
        "{root}/groups.csv, line 2: file 'test/images/pp.png' .*nearest: 'images/p.png'",
    ),
    (
        "group outside the splits",
        lambda root: (root / "groups.csv").write_text("file,group\nimages/p.png,1\n"),
        "{root}/groups.csv, line 2: file 'images/p.png' .*expected a path such as",
    ),
    (
        "two groups",
        lambda root: (root / "groups.csv").write_text(
            "file,group\ntest/images/p.png,1\ntest/images/p.png,2\n"
        ),
        "{root}/groups.csv, line 3: file 'test/images/p.png' has two groups",
    ),
]

BAD_CLASSES: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "unlisted value",
        lambda root: drawn(root / "test/masks/q.png", "L", value=4),
        "{root}/test/masks/q.png: mask value 4, expected one of 0, 3, 7, 255",
    ),
    (
        "16-bit value",
        lambda root: drawn(root / "test/masks/q.png", "I;16", value=300),
        "{root}/test/masks/q.png: mask value 300, expected one of 0, 3, 7, 255",
    ),
    (
        "class without images",
        lambda root: (root / "train/steam/d.png").unlink(),
        "{root}/train/steam: no training image",
    ),
    (
        "class without folder",
        lambda root: rewritten(root / "classes.yaml", "steam", "stem"),
        "{root}/classes.yaml: class 'stem' has no folder {root}/train/stem; nearest: 'steam'",
    ),
    (
        "folder without class",
        lambda root: drawn(root / "train/smokes/e.png", "RGB"),
        "{root}/train/smokes: class folder that .*; nearest: 'smoke'",
    ),
    (
        "two folders, no list",
        lambda root: (root / "classes.yaml").unlink(),
        "{root}/train: expected one class folder beside 'clear', or classes.yaml.*: smoke, steam",
    ),
    (
        "a value of more than 16 bits",
        lambda root: rewritten(root / "classes.yaml", "7", "65536"),
        "{root}/classes.yaml: mask value 65536 of class 'steam', expected a whole number from 0 to "
        "65535",
    ),
    (
        "a value below 0",
        lambda root: rewritten(root / "classes.yaml", "7", "-1"),
        "{root}/classes.yaml: mask value -1 of class 'steam', expected",
    ),
    (
        "name first",
        lambda root: (root / "classes.yaml").write_text("classes: {smoke: 1}"),
        "{root}/classes.yaml: mask value 'smoke' of class 1, expected",
    ),
    (
        "clear as class",
        lambda root: rewritten(root / "classes.yaml", "steam", "clear"),
        "{root}/classes.yaml: class name 'clear'",
    ),
    (
        "twice",
        lambda root: rewritten(root / "classes.yaml", "steam", "smoke"),
        "{root}/classes.yaml: a class is listed twice",
    ),
    (
        "no mapping",
        lambda root: (root / "classes.yaml").write_text("[smoke, steam]"),
        "{root}/classes.yaml: no mapping of mask values to class names",
    ),
    (
        "no classes",
        lambda root: (root / "classes.yaml").write_text("classes: {}"),
        "{root}/classes.yaml: no class listed",
    ),
    (
        "unknown key",
        lambda root: (root / "classes.yaml").write_text("classes: {1: smoke}\nvoid: 9\n"),
        "{root}/classes.yaml: unknown key 'void', expected classes, ignore, threshold",
    ),
    (
        "no YAML",
        lambda root: (root / "classes.yaml").write_text("classes: {1: smoke\nx: ["),
        "{root}/classes.yaml: not valid YAML",
    ),
]


class TestBadInput:
    def assert_refused(self, root: Path, damage: Callable[[Path], object], expected: str) -> None:
        damage(root)
        pattern = expected.replace("{root}", re.escape(str(root)))
        with pytest.raises(InputError, match=f"^{pattern}") as caught:
            read_all(root)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("damage", "expected"),
        [pytest.param(*case, id=name) for name, *case in BAD_FOLDERS],
    )
    def test_a_bad_folder_is_one_line_that_names_the_path(
        self, root: Path, damage: Callable[[Path], object], expected: str
    ) -> None:
        self.assert_refused(root, damage, expected)

    @pytest.mark.parametrize(
        ("damage", "expected"),
        [pytest.param(*case, id=name) for name, *case in BAD_CLASSES],
    )
    def test_bad_classes_are_one_line_that_names_the_path(
        self, two_classes: Path, damage: Callable[[Path], object], expected: str
    ) -> None:
        self.assert_refused(two_classes, damage, expected)

    def test_a_missing_data_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="nowhere: no such folder, expected a data folder"):
            FolderSource(tmp_path / "nowhere")

    def test_of_several_bad_files_the_first_by_name_is_always_the_one_reported(
        self, root: Path
    ) -> None:
        for number in range(40):
            drawn(root / f"train/smoke/n{number:02}.png", "noise", (64, 64))
        for number in (37, 12, 25):
            path = root / f"train/smoke/n{number}.png"
            path.write_bytes(path.read_bytes()[:1000])
        source = FolderSource(root)
        for _ in range(10):
            with pytest.raises(InputError, match=r"n12\.png"):
                source.read("train", 4)

    @pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, on damaged TIFF
    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
    def test_damaged_bytes_never_end_in_anything_but_a_named_error(
        self, root: Path, suffix: str
    ) -> None:
        path = drawn(root / f"train/clear/z{suffix}", "noise", (16, 16))
        whole, rng = path.read_bytes(), np.random.default_rng(0)
        source, messages = FolderSource(root), []
        for _ in range(60):
            damaged = bytearray(whole[: rng.integers(1, len(whole))])
            for position in rng.integers(0, len(damaged), 3):
                damaged[position] ^= int(rng.integers(1, 256))
            path.write_bytes(damaged)
            try:
                source.read("train", 4)
            except InputError as error:
                messages.append(str(error))
        assert len(messages) >= 50
        assert all(line.startswith(f"{path}: ") and "\n" not in line for line in messages)

    def test_an_unknown_split_is_refused(self, root: Path) -> None:
        with pytest.raises(ValueError, match="split 'validation', expected one of train"):
            FolderSource(root).read("validation", 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("threshold: 300\n", "no mask reaches the threshold 300, the largest value is 255"),
        (
            "threshold: 128\nignore: 255\n",
            "all objects have the value 255, which is ignored (2 of 2 masks), expected at least "
            "one with smoke; leave it out of `ignore` in classes.yaml if it is a class",
        ),
    ],
)
def test_thresholds_that_leave_no_object_are_named(root: Path, text: str, said: str) -> None:
    (root / "classes.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        FolderSource(root).read("tune", 4)
    assert said in str(caught.value)
