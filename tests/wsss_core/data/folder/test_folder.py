import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.source import FolderSource
from wsss_core.data.image_set import ImageSet


def noise(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def blob(value: int = 255, height: int = 8, width: int = 8) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[2:5, 1:4] = value
    return mask


def put(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


class TestReading:
    def test_training_labels_come_from_the_folders(self, root: Path) -> None:
        train = FolderSource(root).read("train", 8)
        assert train.classes == ("smoke",)
        assert train.identifiers == ("clear/c.png", "smoke/a.png", "smoke/b.jpg")
        assert train.labels.tolist() == [[False], [True], [True]]
        assert not train.has_masks

    def test_an_image_of_the_asked_size_keeps_every_pixel(self, root: Path) -> None:
        images = FolderSource(root).read("test", 8).images
        for image, seed in zip(images, (25, 20, 21), strict=True):
            np.testing.assert_array_equal(image, noise(seed))

    def test_shrinking_weighs_every_source_pixel_under_a_triangle(self, root: Path) -> None:
        source, size, (height, width) = noise(5, 24, 18), 6, (24, 18)
        put(root / "train/clear/c.png", source)

        def weights(length: int) -> np.ndarray:
            scale = length / size
            centres = (np.arange(size) + 0.5) * scale
            distance = np.abs(np.arange(length)[None] + 0.5 - centres[:, None]) / scale
            triangle = np.clip(1 - distance, 0, None)
            return triangle / triangle.sum(axis=1, keepdims=True)

        expected = np.einsum("yh,xw,hwc->yxc", weights(height), weights(width), source)
        image = FolderSource(root).read("train", size).images[0].astype(float)
        assert np.abs(image - expected).max() <= 1.0

    def test_grey_palette_and_transparent_images_become_rgb(self, root: Path) -> None:
        grey = noise(6)[..., 0]
        put(root / "train/clear/c.png", grey)
        put(root / "train/smoke/a.png", np.dstack([noise(7), grey]))
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 10, 20, 30])
        palette.save(root / "train/smoke/e.png")
        images = FolderSource(root).read("train", 8).images
        np.testing.assert_array_equal(images[0], np.dstack([grey] * 3))
        np.testing.assert_array_equal(images[1], noise(7))
        np.testing.assert_array_equal(images[3], np.broadcast_to([10, 20, 30], (8, 8, 3)))

    @pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"])
    def test_every_usual_image_format_is_read(self, root: Path, suffix: str) -> None:
        put(root / f"train/clear/z{suffix}", np.full((8, 8, 3), 90, np.uint8))
        train = FolderSource(root).read("train", 4)
        assert train.identifiers[1] == f"clear/z{suffix}"
        assert np.abs(train.images[1].astype(int) - 90).max() <= 2

    @pytest.mark.parametrize("value", [1, 255, 17])
    def test_without_classes_every_mask_value_above_zero_is_the_class(
        self, root: Path, value: int
    ) -> None:
        put(root / "test/masks/q.png", blob(value))
        test = FolderSource(root).read("test", 4)
        assert test.identifiers == ("clear/r.png", "images/p.png", "images/q.png")
        np.testing.assert_array_equal(test.mask(2), blob(1))

    def test_masks_keep_their_own_resolution_and_clear_images_have_empty_ones(
        self, root: Path
    ) -> None:
        put(root / "test/images/q.png", noise(9, 20, 30))
        put(root / "test/masks/q.png", blob(1, 20, 30))
        put(root / "test/clear/r.png", noise(9, 5, 6))
        test = FolderSource(root).read("test", 4)
        np.testing.assert_array_equal(test.mask(0), np.zeros((5, 6)))
        np.testing.assert_array_equal(test.mask(2), blob(1, 20, 30))

    def test_labels_of_tune_and_test_come_from_the_masks(self, root: Path) -> None:
        put(root / "test/masks/p.png", blob(0))
        test = FolderSource(root).read("test", 4)
        assert test.labels.tolist() == [[False], [False], [True]]

    def test_listed_mask_values_become_class_numbers_and_255_stays_ignored(
        self, two_classes: Path
    ) -> None:
        mask = blob(7)
        mask[0, :4] = [3, 3, 255, 0]
        put(two_classes / "test/masks/q.png", mask)
        source = FolderSource(two_classes)
        test = source.read("test", 4)
        expected = blob(2)
        expected[0, :4] = [1, 1, 255, 0]
        assert source.classes == ("smoke", "steam")
        np.testing.assert_array_equal(test.mask(2), expected)
        assert test.labels.tolist() == [[False, False], [True, False], [True, True]]

    def test_several_classes_need_no_clear_images(self, two_classes: Path) -> None:
        shutil.rmtree(two_classes / "train/clear")
        train = FolderSource(two_classes).read("train", 4)
        assert train.identifiers == ("smoke/a.png", "smoke/b.jpg", "steam/d.png")
        assert train.labels.tolist() == [[True, False], [True, False], [False, True]]

    def test_palette_masks_are_read_by_index_whatever_their_colours(
        self, two_classes: Path
    ) -> None:
        mask = Image.fromarray(blob(7)).convert("P")
        mask.putdata(blob(7).ravel().tolist())
        mask.putpalette([value for index in range(256) for value in (255 - index, index, 9)])
        mask.save(two_classes / "test/masks/q.png")
        assert Image.open(two_classes / "test/masks/q.png").mode == "P"
        np.testing.assert_array_equal(FolderSource(two_classes).read("test", 4).mask(2), blob(2))

    def test_one_bit_and_sixteen_bit_masks_are_read(self, root: Path) -> None:
        Image.fromarray(blob() > 0).save(root / "test/masks/p.png")
        put(root / "test/masks/q.png", blob().astype(np.uint16) * 257)
        modes = [Image.open(root / f"test/masks/{stem}.png").mode for stem in "pq"]
        assert modes == ["1", "I;16"]
        test = FolderSource(root).read("test", 4)
        np.testing.assert_array_equal(test.mask(1), blob(1))
        np.testing.assert_array_equal(test.mask(2), blob(1))

    def test_context_masks_belong_to_images_and_clear_images_alike(self, root: Path) -> None:
        put(root / "test/context/q.png", blob(255))
        put(root / "test/context/r.png", blob(0))
        test = FolderSource(root).read("test", 4)
        np.testing.assert_array_equal(test.context(0), np.zeros((8, 8), bool))
        assert test.context(1) is None
        np.testing.assert_array_equal(test.context(2), blob() > 0)
        assert FolderSource(root).read("tune", 4).contexts is None

    def test_groups_come_from_the_list_and_default_to_the_identifier(self, root: Path) -> None:
        (root / "groups.csv").write_text(
            "file,group\ntest/images/p.png,frame 1\ntest/clear/r.png,frame 1\n"
            "train/smoke/a.png,frame 2\n"
        )
        source = FolderSource(root)
        assert source.read("test", 4).groups == ("frame 1", "frame 1", "images/q.png")
        assert source.read("train", 4).groups == ("clear/c.png", "frame 2", "smoke/b.jpg")

    def test_a_read_split_survives_saving(self, root: Path, tmp_path: Path) -> None:
        test = FolderSource(root).read("test", 4)
        test.save(tmp_path / "saved")
        loaded = ImageSet.load(tmp_path / "saved")
        np.testing.assert_array_equal(loaded.images, test.images)
        np.testing.assert_array_equal(loaded.mask(2), test.mask(2))


def fingerprints(root: Path) -> dict[str, str]:
    source = FolderSource(root)
    return {split: source.fingerprint(split) for split in ("train", "tune", "test")}


class TestFingerprint:
    @pytest.mark.parametrize(
        "change",
        [
            lambda root: put(root / "test/images/p.png", noise(99)),
            lambda root: put(root / "test/masks/p.png", blob(1)),
            lambda root: put(root / "test/clear/s.png", noise(99)),
            lambda root: (root / "test/clear/r.png").unlink(),
            lambda root: (root / "test/clear/r.png").rename(root / "test/clear/s.png"),
            lambda root: put(root / "test/context/p.png", blob()),
            lambda root: (root / "groups.csv").write_text("file,group\ntest/images/p.png,f\n"),
        ],
    )
    def test_what_matters_for_a_split_changes_its_digest_and_no_other(
        self, root: Path, change: Callable[[Path], object]
    ) -> None:
        before = fingerprints(root)
        change(root)
        after = fingerprints(root)
        assert after.pop("test") != before.pop("test")
        assert after == before

    def test_moving_an_image_to_another_class_changes_the_digest(self, root: Path) -> None:
        before = fingerprints(root)["train"]
        (root / "train/smoke/a.png").rename(root / "train/clear/a.png")
        assert fingerprints(root)["train"] != before

    def test_exchanging_two_masks_changes_the_digest(self, root: Path) -> None:
        put(root / "test/masks/q.png", blob(9))
        before = fingerprints(root)["test"]
        put(root / "test/masks/p.png", blob(9))
        put(root / "test/masks/q.png", blob())
        assert fingerprints(root)["test"] != before

    def test_other_mask_values_change_the_digests_of_the_masked_splits_alone(
        self, two_classes: Path
    ) -> None:
        before = fingerprints(two_classes)
        (two_classes / "classes.yaml").write_text("classes: {3: smoke, 8: steam}\n")
        after = fingerprints(two_classes)
        assert after["train"] == before["train"]
        assert after["test"] != before["test"]
        assert after["tune"] != before["tune"]

    def test_unrelated_files_dates_and_the_place_do_not_matter(
        self, root: Path, tmp_path: Path
    ) -> None:
        before = fingerprints(root)
        for name in (".DS_Store", "Thumbs.db", "notes.txt", "._a.png"):
            for folder in ("train/smoke", "test/images", "test/masks", "test/clear"):
                (root / folder / name).write_text("nothing")
        (root / "train/.cache").mkdir()
        (root / "README.md").write_text("about")
        os.utime(root / "test/images/p.png", (0, 0))
        assert fingerprints(root) == before
        assert fingerprints(root.rename(tmp_path / "elsewhere")) == before


@pytest.mark.data
@pytest.mark.skipif(
    "WSSS_DATA" not in os.environ, reason="WSSS_DATA names no folder of real images"
)
class TestRealCrops:
    def test_a_real_mask_is_the_files_own_pixels(self) -> None:
        root = Path(os.environ["WSSS_DATA"]) / "smoke_crops"
        test = FolderSource(root).read("test", 32)
        for index in (60, 100, 209):
            stem = Path(test.identifiers[index]).stem
            with Image.open(root / "test/masks" / f"{stem}.png") as image:
                np.testing.assert_array_equal(test.mask(index) == 1, np.asarray(image) == 255)
