"""Odd pixels, alone or two at once in a good set: read right, refused in a line, or warned of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from wsss_core.data.folder.findings import DataFinding, FindingKind, Severity
from wsss_core.data.folder.source import FolderSource
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.errors import InputError

DISC = np.hypot(*(np.indices((32, 32)) - 15.5)) < 10
"""The object of every mask here, of images of 32x32 pixels."""

SMALL = np.hypot(*(np.indices((32, 32)) - 15.5)) < 7

SOFT = np.clip(300 - 20 * np.hypot(*(np.indices((32, 32)) - 15.5)), 0, 255).astype(np.uint8)
"""A disc whose edge falls from 255 to 0."""

MASKED = [f"{split}/{stem}" for split in ("tune", "test") for stem in "pq"]

REFUSED, WARNING, NOTE = Severity.REFUSED, Severity.WARNING, Severity.NOTE


@pytest.fixture
def discs(root: Path) -> Path:
    """The data folder of one class, with images of 32x32 and masks 0/255 of a disc."""
    random = np.random.default_rng(1)
    for path in sorted(root.rglob("*.*")):
        pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
        image = DISC.astype(np.uint8) * 255 if path.parent.name == "masks" else pixels
        Image.fromarray(image).save(path)
    return root


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


class TestMasksWithoutClassesYaml:
    def test_void_borders_of_voc_are_refused_and_counted(self, discs: Path) -> None:
        write_masks(discs, palette(VOC, [0, 0, 0, 128, 0, 0]))
        fault = only(seen(discs), FindingKind.MASK_VALUES)
        assert (fault.severity, fault.count) == (REFUSED, 4)
        assert "`ignore: 255` in classes.yaml" in fault.text

    def test_void_borders_are_ignored_where_classes_yaml_says_so(self, discs: Path) -> None:
        write_masks(discs, palette(VOC, [0, 0, 0, 128, 0, 0]))
        say(discs, "ignore: 255\n")
        mask = FolderSource(discs).read("test", 8).mask(1)
        np.testing.assert_array_equal(mask, np.where(DISC, 1, np.where(BORDER, 255, 0)))

    @pytest.mark.parametrize("image", [np.where(SMALL, 0, 255), DISC * 0 + 255])
    def test_masks_that_are_mostly_object_are_warned_of(
        self, discs: Path, image: np.ndarray
    ) -> None:
        write_masks(discs, image.astype(np.uint8))
        write_masks(discs, DISC.astype(np.uint8), ["tune/p"])
        warned = [one for one in seen(discs) if one.kind is FindingKind.OBJECT_SHARE]
        assert sum(one.count for one in warned) >= (2 if image.min() == 0 else 3)
        assert {one.severity for one in warned} == {WARNING}

    def test_a_palette_whose_first_entry_is_the_object_is_warned_of(self, discs: Path) -> None:
        write_masks(discs, palette((~SMALL).astype(np.uint8), [255, 255, 255, 0, 0, 0]))
        warned = only(seen(discs), FindingKind.OBJECT_SHARE, "test")
        assert (warned.severity, warned.count) == (WARNING, 2)
        assert "inverted" in warned.text

    @pytest.mark.parametrize("kind", ["grey edges", "probabilities", "JPEG renamed"])
    def test_grey_values_are_refused_and_counted(self, discs: Path, kind: str) -> None:
        if kind == "JPEG renamed":
            for place in MASKED:
                disc = Image.fromarray(DISC.astype(np.uint8) * 255)
                disc.save(mask_file(discs, place), "JPEG", quality=70)
        else:
            soft = np.random.default_rng(2).integers(0, 90, (32, 32)).astype(np.uint8)
            write_masks(discs, SOFT if kind == "grey edges" else np.maximum(SOFT, soft))
        fault = only(seen(discs), FindingKind.EDGES)
        assert (fault.severity, fault.count) == (REFUSED, 4)
        assert "`threshold: 128`" in fault.text

    def test_zeros_and_ones_beside_zeros_and_255_are_read_alike_and_warned_of(
        self, discs: Path
    ) -> None:
        write_masks(discs, DISC.astype(np.uint8), ["test/p"])
        is_disc(discs)
        warned = only(seen(discs), FindingKind.MASK_VALUES)
        assert (warned.severity, warned.split, warned.count) == (WARNING, "test", 1)
        assert "different values for smoke (1 in 1, 255 in 1), all read as it" in warned.text

    def test_numbers_of_classes_one_a_mask_are_warned_of(self, discs: Path) -> None:
        for number, place in enumerate(["test/p", "test/q"], start=1):
            write_masks(discs, DISC.astype(np.uint8) * number, [place])
        warned = only(seen(discs), FindingKind.MASK_VALUES, "test")
        assert "(1 in 1, 2 in 1)" in warned.text
        assert "several classes" in warned.text

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
    def test_colour_modes_with_equal_channels_are_read(self, discs: Path, mode: str) -> None:
        write_masks(discs, Image.fromarray(DISC.astype(np.uint8) * 255).convert(mode))
        is_disc(discs)

    def test_colours_are_refused_with_the_import_command(self, discs: Path) -> None:
        write_masks(discs, np.stack([DISC * 128, DISC * 0, DISC * 0], -1).astype(np.uint8))
        fault = only(seen(discs), FindingKind.MASK_VALUES)
        assert (fault.severity, fault.count) == (REFUSED, 4)
        assert "`wsss data import` reads a list of colours (--colours)" in fault.text


class TestMasksWithClassesYaml:
    def test_half_the_masks_with_the_ignored_value_are_not_called_empty(self, discs: Path) -> None:
        write_masks(discs, DISC.astype(np.uint8), ["tune/p", "test/p"])
        say(discs, "classes: {1: smoke}\n")
        warned = only(seen(discs), FindingKind.MASK_VALUES, "test")
        assert (warned.severity, warned.count) == (WARNING, 1)
        assert "no class but ignored pixels (value 255)" in warned.text

    def test_objects_that_are_all_ignored_are_refused_by_their_value(self, discs: Path) -> None:
        say(discs, "classes: {1: smoke}\n")
        faults = [one for one in seen(discs) if one.severity is REFUSED]
        assert [one.kind for one in faults] == [FindingKind.LABELS] * 2
        assert all("all objects have the value 255, which is ignored" in f.text for f in faults)

    def test_a_mask_that_is_ignored_throughout_is_not_clear(self, discs: Path) -> None:
        write_masks(discs, DISC.astype(np.uint8))
        write_masks(discs, np.full((32, 32), 255, np.uint8), ["test/q"])
        say(discs, "classes: {1: smoke}\n")
        fault = only(seen(discs), FindingKind.MASK_VALUES)
        assert (fault.severity, fault.count, fault.examples) == (
            REFUSED,
            1,
            (f"{discs}/test/masks/q.png",),
        )
        assert "every pixel is ignored" in fault.text

    def test_grey_edges_are_called_so(self, discs: Path) -> None:
        write_masks(discs, SOFT)
        say(discs, "classes: {255: smoke}\n")
        fault = only(seen(discs), FindingKind.EDGES)
        assert (fault.severity, fault.count) == (REFUSED, 4)
        assert "`threshold: 128` cuts the masks of a single class" in fault.text

    def test_classes_may_have_the_values_0_255_and_1000(self, discs: Path) -> None:
        values = np.where(DISC, 1000, 0).astype(np.uint16)
        values[0, :4] = [11, 11, 255, 255]
        write_masks(discs, values)
        for name in ("sky", "ground"):
            (discs / "train" / name).mkdir()
            Image.new("RGB", (32, 32)).save(discs / "train" / name / "a.png")
        say(discs, "classes: {0: sky, 255: ground, 1000: smoke}\nignore: [11, 12]\n")
        test = FolderSource(discs).read("test", 8)
        assert test.classes == ("sky", "ground", "smoke")
        assert test.mask(1)[0, :5].tolist() == [255, 255, 2, 2, 1]
        assert test.mask(1)[16, 16] == 3

    def test_one_bit_masks_hold_zeros_and_ones(self, discs: Path) -> None:
        write_masks(discs, DISC)
        say(discs, "classes: {1: smoke}\n")
        is_disc(discs)


class TestImages:
    @pytest.mark.parametrize("orientation", [3, 6])
    def test_orientations_are_refused_and_counted(self, discs: Path, orientation: int) -> None:
        for place in ("train/smoke/a", "train/clear/c", "test/images/p"):
            with_exif(discs / f"{place}.png", orientation)
        faults = [one for one in seen(discs) if one.kind is FindingKind.ORIENTATION]
        assert {one.severity for one in faults} == {REFUSED}
        assert sum(one.count for one in faults) == 3
        assert all("`data: {orientation: apply}`" in one.text for one in faults)

    @pytest.mark.parametrize(("rule", "severity"), [("apply", NOTE), ("ignore", WARNING)])
    def test_orientations_that_a_key_decides_are_counted(
        self, discs: Path, rule: str, severity: Severity
    ) -> None:
        with_exif(discs / "train/smoke/a.png", 6)
        told = only(seen(discs, orientation=rule), FindingKind.ORIENTATION)
        assert (told.severity, told.split, told.count) == (severity, "train", 1)

    @pytest.mark.parametrize("orientation", [0, 9, 1])
    def test_a_tag_that_says_nothing_is_none(self, discs: Path, orientation: int) -> None:
        with_exif(discs / "train/smoke/a.png", orientation)
        assert not [one for one in seen(discs) if one.kind is FindingKind.ORIENTATION]

    def test_a_turned_mask_mentions_the_tag_of_its_image(self, discs: Path) -> None:
        wide = Image.new("RGB", (48, 32), "red")
        with_exif(discs / "test/images/p.png", 6, wide)
        Image.new("1", (32, 48)).save(discs / "test/masks/p.png")
        fault = only(seen(discs, orientation="ignore"), FindingKind.SIZES)
        assert fault.severity is REFUSED
        assert "EXIF orientation 6 is not applied" in fault.describe()

    def test_hidden_colours_are_counted(self, discs: Path) -> None:
        for name in ("smoke/a", "clear/c"):
            file = discs / f"train/{name}.png"
            image = Image.open(file).convert("RGBA")
            image.putalpha(Image.fromarray(DISC.astype(np.uint8) * 255))
            image.save(file)
        warned = only(seen(discs), FindingKind.TRANSPARENCY)
        assert (warned.severity, warned.split, warned.count) == (WARNING, "train", 2)

    @pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
    def test_animations_and_pages_are_counted(self, discs: Path, suffix: str) -> None:
        frames = [Image.new("RGB", (32, 32), (grey,) * 3) for grey in (10, 200)]
        (discs / "train/smoke/a.png").unlink()
        file = discs / f"train/smoke/a{suffix}"
        frames[0].save(file, save_all=True, append_images=frames[1:])
        warned = only(seen(discs), FindingKind.PAGES)
        assert (warned.severity, warned.count) == (WARNING, 1)
        assert warned.examples == (f"train/smoke/a{suffix}",)

    def test_nearly_black_images_are_refused_with_the_key_to_say(self, discs: Path) -> None:
        deep = np.random.default_rng(3).integers(0, 4000, (32, 32)).astype(np.uint16)
        Image.fromarray(deep).save(discs / "train/smoke/a.png")
        fault = only(seen(discs), FindingKind.BIT_DEPTH)
        assert (fault.severity, fault.count) == (REFUSED, 1)
        assert "white_level: 4095" in fault.text
        told = only(seen(discs, white_level=4095), FindingKind.BIT_DEPTH)
        assert told.severity is NOTE

    def test_an_image_of_reals_is_refused(self, discs: Path) -> None:
        (discs / "train/smoke/a.png").unlink()
        Image.fromarray(np.zeros((32, 32), np.float32)).save(discs / "train/smoke/a.tif")
        assert only(seen(discs), FindingKind.BIT_DEPTH).severity is REFUSED

    def test_a_satellite_image_is_refused_in_the_products_words(self, discs: Path) -> None:
        Image.new("1", (9000, 8000)).save(discs / "train/smoke/a.png")
        fault = only(seen(discs), FindingKind.SIZES)
        assert fault.severity is REFUSED
        assert "72 megapixels" in fault.describe()
        assert "`data: {largest_megapixels: ...}` reads it" in fault.describe()

    def test_pointers_of_git_lfs_are_counted_with_the_command(self, discs: Path) -> None:
        for name in ("smoke/a.png", "smoke/b.jpg", "clear/c.png"):
            (discs / "train" / name).write_text("version https://git-lfs.github.com/spec/v1\n")
        fault = only(seen(discs), FindingKind.UNREADABLE)
        assert fault.count == 3
        assert "git lfs pull" in fault.text


class TestTwoAtOnce:
    def test_orientation_and_16_bits(self, discs: Path) -> None:
        deep = np.random.default_rng(4).integers(0, 4096, (32, 32)).astype(np.uint16)
        with_exif(discs / "train/smoke/a.png", 6, Image.fromarray(deep))
        rules = PixelRules(orientation="apply", white_level=4095)
        read = FolderSource(discs, rules).read("train", 32)
        np.testing.assert_array_equal(read.images[1][..., 0], np.rot90(deep, -1) >> 4)

    def test_void_borders_and_grey_edges(self, discs: Path) -> None:
        values = np.where(BORDER & ~DISC, 255, np.where(SOFT == 255, 254, SOFT)).astype(np.uint8)
        grey = palette(values, [level // 3 for level in range(768)])
        write_masks(discs, grey)
        say(discs, "ignore: 255\n")
        assert only(seen(discs), FindingKind.EDGES).severity is REFUSED
        say(discs, "ignore: 255\nthreshold: 128\n")
        mask = FolderSource(discs).read("test", 8).mask(1)
        void = BORDER & ~DISC
        np.testing.assert_array_equal(mask, np.where(void, 255, SOFT >= 128))

    def test_a_threshold_and_ignored_values_of_16_bits(self, discs: Path) -> None:
        values = SOFT.astype(np.uint16) * 257
        values[0, :2] = 7
        write_masks(discs, values)
        say(discs, "ignore: 7\nthreshold: 32896\n")
        expected = (SOFT >= 128).astype(np.uint8)
        expected[0, :2] = 255
        np.testing.assert_array_equal(FolderSource(discs).read("tune", 8).mask(1), expected)

    def test_equal_channels_and_grey_edges(self, discs: Path) -> None:
        write_masks(discs, Image.fromarray(SOFT).convert("RGB"))
        assert only(seen(discs), FindingKind.EDGES).count == 4
        mask = FolderSource(discs, threshold=128).read("test", 8).mask(1)
        np.testing.assert_array_equal(mask, SOFT >= 128)

    def test_pages_and_16_bits(self, discs: Path) -> None:
        pages = [Image.fromarray(np.full((32, 32), v, np.uint16)) for v in (60_000, 5)]
        (discs / "train/smoke/a.png").unlink()
        pages[0].save(discs / "train/smoke/a.tif", save_all=True, append_images=pages[1:])
        found = seen(discs)
        assert only(found, FindingKind.PAGES).severity is WARNING
        assert only(found, FindingKind.BIT_DEPTH).severity is NOTE
        assert (FolderSource(discs).read("train", 8).images[1] == 60_000 >> 8).all()

    def test_orientation_and_transparency(self, discs: Path) -> None:
        file = discs / "train/smoke/a.png"
        image = Image.open(file).convert("RGBA")
        image.putalpha(0)
        with_exif(file, 5, image)
        assert only(seen(discs), FindingKind.ORIENTATION).severity is REFUSED
        warned = only(seen(discs, orientation="apply"), FindingKind.TRANSPARENCY)
        assert warned.count == 1
        read = FolderSource(discs, PixelRules(orientation="apply")).read("train", 32)
        expected = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        np.testing.assert_array_equal(read.images[1], np.asarray(expected))

    def test_orientation_and_a_mask_as_an_array(self, discs: Path) -> None:
        wide = np.random.default_rng(5).integers(0, 256, (20, 40, 3), np.uint8)
        drawn = np.zeros((40, 20), np.int64)
        drawn[5:9, 3:8] = 1
        for stem in "pq":
            with_exif(discs / f"test/images/{stem}.png", 8, Image.fromarray(wide))
            mask_file(discs, f"test/{stem}").unlink()
            np.save(mask_file(discs, f"test/{stem}", ".npy"), drawn)
        test = FolderSource(discs, PixelRules(orientation="apply")).read("test", 8)
        np.testing.assert_array_equal(test.mask(1), drawn)
        fault = only(seen(discs, orientation="ignore"), FindingKind.SIZES)
        assert fault.count == 2

    def test_orientation_and_cmyk(self, discs: Path) -> None:
        file = discs / "train/smoke/b.jpg"
        pixels = np.random.default_rng(6).integers(0, 256, (16, 32, 4), np.uint8)
        with_exif(file, 7, Image.fromarray(pixels, mode="CMYK"))
        read = FolderSource(discs, PixelRules(orientation="apply")).read("train", 16)
        upright = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        expected = upright.resize((16, 16), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(read.images[2], np.asarray(expected))

    def test_void_values_below_zero_in_a_tiff(self, discs: Path) -> None:
        values = np.where(DISC, 1, 0).astype(np.int32)
        values[0] = -1
        for place in MASKED:
            mask_file(discs, place).unlink()
            Image.fromarray(values).save(mask_file(discs, place, ".tif"))
        fault = only(seen(discs), FindingKind.MASK_VALUES)
        assert (fault.severity, fault.count) == (REFUSED, 4)
        assert "mask value -1" in fault.describe()

    def test_grey_edges_in_a_context_mask(self, discs: Path) -> None:
        (discs / "test/context").mkdir()
        Image.fromarray(SOFT).save(discs / "test/context/p.png")
        fault = only(seen(discs), FindingKind.EDGES)
        assert fault.examples == (f"{discs}/test/context/p.png",)

    def test_a_large_image_and_its_orientation(self, discs: Path) -> None:
        file = discs / "train/smoke/a.png"
        with_exif(file, 6, Image.new("1", (1500, 1200)))
        assert only(seen(discs, largest_megapixels=1), FindingKind.SIZES).severity is REFUSED
        assert only(seen(discs, largest_megapixels=2), FindingKind.ORIENTATION).severity is REFUSED
        found = FolderSource(discs, PixelRules("apply", 2)).examine()
        assert found.splits["train"].largest == (1200, 1500)

    def test_a_lossy_webp_mask_is_refused_whatever_the_threshold(self, discs: Path) -> None:
        for place in MASKED:
            mask_file(discs, place).unlink()
            grey = Image.fromarray(DISC.astype(np.uint8) * 255)
            grey.convert("RGB").save(mask_file(discs, place, ".webp"), quality=40)
        for threshold in (None, 128):
            faults = [one for one in seen(discs, threshold=threshold) if one.severity is REFUSED]
            assert sum(one.count for one in faults) == 4

    def test_the_same_faults_stop_a_study_in_one_line(self, discs: Path) -> None:
        write_masks(discs, SOFT)
        with_exif(discs / "train/smoke/a.png", 6)
        refused: list[str] = []
        for read in (
            lambda: FolderSource(discs).read("train", 8),
            lambda: FolderSource(discs).read("test", 8),
            lambda: FolderSource(discs).check(),
        ):
            with pytest.raises(InputError) as caught:
                read()
            refused.append(str(caught.value))
        assert all("\n" not in line for line in refused)
        assert "EXIF orientation 6" in refused[0]
        assert "grey edges" in refused[1]
        assert "more fault" in refused[2]


def test_nothing_is_found_in_a_good_set(discs: Path) -> None:
    found = FolderSource(discs).examine().findings
    kinds = {FindingKind.SMALL_OBJECTS, FindingKind.SIZES}
    assert [one.describe() for one in found if one.kind not in kinds] == []
    is_disc(discs)
