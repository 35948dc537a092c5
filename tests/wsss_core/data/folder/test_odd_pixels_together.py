"""Two kinds of odd pixels at once: read right, refused in a line, or warned of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.wsss_core.data.folder.odd_pixels import (
    BORDER,
    DISC,
    MASKED,
    NOTE,
    REFUSED,
    SOFT,
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
from wsss_core.data.folder.findings import FindingKind
from wsss_core.data.folder.source import FolderSource
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.errors import InputError


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
