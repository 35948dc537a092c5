"""Odd pixels in a good set: read right, refused in a line, or warned of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.folder.odd_pixels import (
    BORDER,
    DISC,
    MASKED,
    NOTE,
    REFUSED,
    SMALL,
    SOFT,
    VOC,
    WARNING,
    is_disc,
    mask_file,
    only,
    palette,
    say,
    seen,
    with_exif,
    write_masks,
)
from wsss_core.data.folder.findings import FindingKind, Severity
from wsss_core.data.folder.source import FolderSource


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
