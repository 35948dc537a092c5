"""EXIF orientations: refused unless the user says whether masks fit the stored or turned pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from wsss_core.data.folder.source import FolderSource
from wsss_core.data.image_decoding import PictureFile, decode_image, image_shape
from wsss_core.data.picture_facts import PictureError, PictureFault
from wsss_core.data.pixel_rules import AS_STORED, USUAL_RULES, PixelRules
from wsss_core.errors import InputError

APPLY = PixelRules(orientation="apply")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)


def tagged(path: Path, orientation: int, pixels: np.ndarray = PIXELS) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def as_viewers_show(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_an_applied_orientation_shows_the_image_as_viewers_do(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    file = tagged(tmp_path / f"a{suffix}", orientation)
    decoded = decode_image(file, None, APPLY)
    np.testing.assert_array_equal(decoded.pixels, as_viewers_show(file))
    assert decoded.facts.orientation == orientation
    assert decoded.facts.shape == image_shape(file, APPLY) == decoded.pixels.shape[:2]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_an_ignored_orientation_leaves_the_stored_pixels(tmp_path: Path, suffix: str) -> None:
    plain, turned = tmp_path / f"plain{suffix}", tagged(tmp_path / f"a{suffix}", 6)
    Image.fromarray(PIXELS).save(plain)
    read = decode_image(turned, None, AS_STORED)
    np.testing.assert_array_equal(read.pixels, decode_image(plain, None, AS_STORED).pixels)
    assert (read.facts.orientation, read.facts.shape) == (6, (6, 10))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_an_orientation_is_refused_unless_a_key_decides(tmp_path: Path, suffix: str) -> None:
    file = tagged(tmp_path / f"a{suffix}", 3)
    for read in (image_shape, lambda path, rules: decode_image(path, 4, rules)):
        with pytest.raises(PictureError) as caught:
            read(file, USUAL_RULES)
        assert caught.value.fault is PictureFault.ORIENTATION
        assert str(caught.value) == (
            f"{file}: EXIF orientation 3, so viewers turn it; say `data: {{orientation:"
            " apply}` if masks fit the image as viewers show it, `ignore` if they fit it as it is "
            "stored"
        )


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_is_turned_as_its_format_demands_and_is_never_refused(
    tmp_path: Path, orientation: int
) -> None:
    file = tagged(tmp_path / "a.tif", orientation)
    for rules in (USUAL_RULES, APPLY, AS_STORED):
        read = decode_image(file, None, rules)
        np.testing.assert_array_equal(read.pixels, as_viewers_show(file))
        assert image_shape(file, rules) == read.pixels.shape[:2]
        assert read.facts.orientation == 1


def test_a_tag_after_the_pixels_of_a_png_is_refused_too(tmp_path: Path) -> None:
    file = tagged(tmp_path / "a.png", 6)
    content = file.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    last = content.index(b"IEND") - 4
    file.write_bytes(content[:start] + content[end:last] + content[start:end] + content[last:])
    with Image.open(file) as image:
        assert image.getexif()[0x0112] == 6
    for rules in (USUAL_RULES, APPLY):
        with pytest.raises(InputError, match=r"a\.png: .*EXIF orientation"):
            decode_image(file, None, rules)


class TestFolder:
    def test_training_images_are_turned_and_shrunk_like_upright_ones(self, root: Path) -> None:
        tagged(root / "train/smoke/a.png", 8)
        upright = Image.fromarray(as_viewers_show(root / "train/smoke/a.png"))
        turned = FolderSource(root, APPLY).read("train", 4)
        upright.save(root / "train/smoke/a.png")
        expected = FolderSource(root).read("train", 4)
        np.testing.assert_array_equal(turned.images, expected.images)

    def test_a_mask_drawn_on_the_turned_image_fits_it(self, root: Path) -> None:
        tagged(root / "test/images/q.png", 6)
        drawn = np.zeros((10, 6), np.uint8)
        drawn[1:4, 2:5] = 255
        Image.fromarray(drawn).save(root / "test/masks/q.png")
        test = FolderSource(root, APPLY).read("test", 8)
        np.testing.assert_array_equal(test.mask(2), drawn > 0)
        with pytest.raises(InputError) as caught:
            FolderSource(root, AS_STORED).read("test", 8)
        assert str(caught.value) == (
            f"{root}/test/masks/q.png: 6x10 pixels, expected 10x6 as its image "
            f"{root}/test/images/q.png (its EXIF orientation 6 is not applied; "
            "`data: {orientation: apply}` turns it upright)"
        )

    def test_a_mask_drawn_on_the_stored_pixels_does_not_fit_the_turned_image(
        self, root: Path
    ) -> None:
        tagged(root / "test/images/q.png", 6)
        Image.fromarray(PIXELS[..., 0] // 128 * 255).save(root / "test/masks/q.png")
        FolderSource(root, AS_STORED).read("test", 8)
        with pytest.raises(InputError, match=r"expected 6x10 .*orientation 6 is turned upright"):
            FolderSource(root, APPLY).read("test", 8)

    def test_a_mask_with_a_tag_of_its_own_is_turned_like_its_image(self, root: Path) -> None:
        mask = (PIXELS[..., 0] > 99).astype(np.uint8)
        tagged(root / "test/images/q.png", 6)
        tagged(root / "test/masks/q.png", 6, mask)
        with Image.open(root / "test/masks/q.png") as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(FolderSource(root, APPLY).read("test", 8).mask(2), expected)

    def test_a_square_image_is_refused_when_it_is_read(self, root: Path) -> None:
        tagged(root / "test/images/q.png", 6, PIXELS[:, :6])
        Image.fromarray(PIXELS[:, :6, 0] // 128).save(root / "test/masks/q.png")
        with pytest.raises(InputError, match=r"images/q\.png: EXIF orientation 6"):
            FolderSource(root).read("test", 8)

    def test_only_what_is_turned_changes_a_fingerprint(self, root: Path) -> None:
        splits = ("train", "tune", "test")
        tagged(root / "test/images/q.png", 6, PIXELS[:, :6])
        tagged(root / "tune/images/q.png", 1, PIXELS[:, :6])

        def taken(rules: PixelRules) -> dict[str, str]:
            source = FolderSource(root, rules)
            return {split: source.fingerprint(split) for split in splits}

        stored, turned = taken(AS_STORED), taken(APPLY)
        assert taken(USUAL_RULES) == stored
        assert [split for split in splits if turned[split] != stored[split]] == ["test"]


def test_pixels_and_tag_come_from_the_bytes_that_were_read(tmp_path: Path) -> None:
    file = tagged(tmp_path / "a.jpg", 5)
    read = PictureFile.read(file)
    expected = as_viewers_show(file)
    buffer = io.BytesIO()
    Image.new("RGB", (3, 3)).save(buffer, "JPEG")
    file.write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(decode_image(read, None, APPLY).pixels, expected)
