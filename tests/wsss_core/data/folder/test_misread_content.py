"""Mistakes in the masks, copies and groups of a data folder, each refused in a line or warned of.

Each test begins with a good folder, of which nothing is found, and changes what its name says.
"""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.folder.misread_folder import (
    SIDE,
    SPLITS,
    found,
    lines,
    mask,
    only,
    picture,
    put,
    refusal,
)
from wsss_core.data.folder import Severity


class TestMasks:
    def test_empty_masks_are_counted(self, good):
        for number in range(2):
            put(mask(0), good / f"test/masks/test{number}.png")
        assert only(good)[:3] == ("warning", "test", 2)
        assert "empty, so their images count as clear: test/images/test0.jpg" in only(good)[3]

    def test_masks_of_255_beside_masks_of_1_are_not_called_empty(self, good):
        (good / "classes.yaml").write_text("classes: {1: smoke}")
        for split in ("tune", "test"):
            for number in range(4):
                put(mask(1 if number else 255), good / f"{split}/masks/{split}{number}.png")
        assert [line[:3] for line in lines(good)] == [
            ("warning", "tune", 1),
            ("warning", "test", 1),
        ]
        assert "no class but ignored pixels (value 255)" in lines(good)[0][3]

    def test_masks_whose_objects_are_all_ignored_are_refused_as_that(self, good):
        (good / "classes.yaml").write_text("classes: {1: smoke}")
        assert "all objects have the value 255, which is ignored (4 of 4 masks)" in refusal(good)

    def test_inverted_masks_are_asked_about(self, good):
        for number in range(3):
            pixels = 255 - np.asarray(mask())
            put(Image.fromarray(pixels), good / f"test/masks/test{number}.png")
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", "test", 3)
        assert "most of 4; are they inverted" in text

    def test_classes_that_share_all_pixels_are_no_inverted_mask(self, good):
        for name in ("smoke", "clear"):
            for file in (good / "train" / name).iterdir():
                file.rename(good / "train" / f"{name}_{file.name}")
            (good / "train" / name).rmdir()
        images = sorted((good / "train").glob("*.jpg"))
        (good / "train/images").mkdir()
        rows = []
        for number, file in enumerate(images):
            file.rename(good / "train/images" / file.name)
            rows.append(f"{file.name},{('sky', 'road', '')[number % 3]}")
        (good / "train/labels.csv").write_text("\n".join(["file,classes", *rows]) + "\n")
        (good / "classes.yaml").write_text("classes: {1: sky, 2: road}\n")
        halves = np.ones((SIDE, SIDE), np.uint8)
        halves[SIDE // 2 :] = 2
        for number in range(4):
            put(Image.fromarray(halves), good / f"tune/masks/tune{number}.png")
            put(Image.fromarray(halves), good / f"test/masks/test{number}.png")
        assert found(good) == []
        for number in range(3):
            put(Image.fromarray(np.ones_like(halves)), good / f"test/masks/test{number}.png")
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", "test", 3)
        assert "masks are of one class in more than 80% of their pixels, which is most of 4" in text

    def test_one_object_from_edge_to_edge_is_counted(self, good):
        put(mask(255, side=SIDE), good / "test/masks/test0.png")
        put(Image.new("L", (SIDE, SIDE), 255), good / "test/masks/test0.png")
        assert only(good)[2:] == (
            1,
            "masks are object throughout, from edge to edge: test/images/test0.jpg",
        )

    def test_objects_of_few_pixels_are_counted(self, good):
        for number in range(2):
            put(mask(side=5), good / f"test/masks/test{number}.png")
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", "test", 2)
        assert "less than 50 pixels of smoke, of 4 with it" in text

    def test_objects_that_are_small_at_the_size_of_the_study_are_said_with_their_median(self, good):
        assert found(good, size=48) == []
        found_at = [text for *_, text in lines(good, size=16)]
        # 14 x 14 of 48 x 48 pixels are 21.8 of 16 x 16.
        assert len(found_at) == 2
        assert all("small at 16x16 pixels: its median is 22 pixels, and 4 of 4" in text
                   for text in found_at)  # fmt: skip


class TestCopies:
    def test_tune_that_is_test_is_one_line(self, good):
        shutil.rmtree(good / "tune")
        shutil.copytree(good / "test", good / "tune")
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", "test", 8)
        assert text.startswith("of 8 images are those of tune: test is tune: test/clear/c0.jpg = ")

    def test_linked_images_are_the_same_images(self, good):
        shutil.rmtree(good / "tune")
        (good / "tune").symlink_to(good / "test")
        assert "test is tune" in only(good)[3]

    def test_images_in_two_splits_are_counted_with_both_names(self, good):
        for number in range(2):
            shutil.copy(good / f"train/smoke/smoke{number}.jpg", good / f"test/clear/z{number}.jpg")
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", "test", 2)
        assert "of 10 images are in train too, byte by byte" in text
        assert "test/clear/z0.jpg = train/smoke/smoke0.jpg" in text

    def test_an_image_under_images_and_clear_of_one_split_is_found(self, good):
        shutil.copy(good / "test/images/test0.jpg", good / "test/clear/again.jpg")
        assert only(good)[2:] == (
            1,
            "images are there twice under several labels: "
            "test/clear/again.jpg = test/images/test0.jpg",
        )

    def test_an_image_under_two_training_labels_is_found(self, good):
        shutil.copy(good / "train/smoke/smoke0.jpg", good / "train/clear/again.jpg")
        assert "twice under several labels: train/clear/again.jpg = train/smoke" in only(good)[3]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda i: (i, {"quality": 70}), id="re-saved"),
            pytest.param(lambda i: (i.resize((900, 700), 3), {"quality": 90}), id="enlarged"),
            pytest.param(lambda i: (i.resize((160, 120), 5), {"quality": 95}), id="shrunk"),
            pytest.param(lambda i: (i.resize((400, 200), 3), {"quality": 85}), id="stretched"),
        ],
    )
    def test_near_twins_in_another_split_are_found(self, good, change):
        for number in range(2):
            image = picture(950 + number, (320, 240))
            put(image, good / f"test/clear/c{number}.jpg", quality=95)
            copy, how = change(image)
            put(copy, good / f"train/smoke/copy{number}.jpg", **how)
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", "test", 2)
        assert "of 8 images have a near twin in train" in text
        assert "test/clear/c0.jpg ~ train/smoke/copy0.jpg" in text

    def test_a_copy_byte_by_byte_is_not_counted_as_a_twin_as_well(self, good):
        shutil.copy(good / "test/images/test0.jpg", good / "train/smoke/same.jpg")
        put(picture(960, (320, 240)), good / "test/clear/c0.jpg", quality=95)
        put(picture(960, (320, 240)), good / "train/smoke/near.jpg", quality=80)
        assert [(one.kind, one.count) for one in found(good)] == [
            ("duplicates", 1),
            ("near twins", 1),
        ]


def group(root: Path, names: Callable[[str], str], splits: tuple[str, ...] = SPLITS) -> None:
    """Write a group for each image of some splits."""
    rows = ["file,group"]
    for split in splits:
        for path in sorted((root / split).rglob("*.jpg")):
            rows.append(f"{split}/{path.parent.name}/{path.name},{names(path.stem)}")
    (root / "groups.csv").write_text("\n".join(rows) + "\n")


class TestGroups:
    def test_groups_in_two_splits_are_counted(self, good):
        group(good, lambda stem: f"camera {stem[-1]}")
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", None, 4)
        assert "groups lie in several splits" in text
        assert "camera 0, camera 1, camera 2 and 1 more" in text

    def test_images_that_no_group_names_are_counted_where_others_have_one(self, good):
        group(good, lambda stem: "one", ("test",))
        with (good / "groups.csv").open("a") as table:
            table.write("tune/images/tune0.jpg,two\n")
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", "tune", 7)
        assert "without a line in groups.csv, where 1 others have one" in text

    def test_twins_in_one_split_need_a_group_that_joins_them(self, good):
        put(picture(970, (320, 240)), good / "test/clear/c0.jpg", quality=95)
        put(picture(970, (320, 240)), good / "test/clear/next_frame.jpg", quality=80)
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", "test", 2)
        assert "that no group joins" in text
        group(good, lambda stem: "video" if stem in ("c0", "next_frame") else stem, ("test",))
        assert found(good) == []


class TestTogether:
    def test_an_inverted_and_tiny_object_are_two_findings(self, good):
        for number in range(3):
            put(Image.fromarray(255 - np.asarray(mask())), good / f"test/masks/test{number}.png")
        put(mask(side=3), good / "test/masks/test3.png")
        assert [one.kind for one in found(good)] == ["object share", "small objects"]

    def test_a_class_whose_images_all_have_another_suffix_is_refused_and_they_are_counted(
        self, good
    ):
        for path in (good / "train/clear").iterdir():
            path.rename(path.with_suffix(".jfif"))
        assert [(one.severity, one.kind, one.count) for one in found(good)] == [
            ("refused", "layout", 1),
            ("warning", "labels", 1),
            ("warning", "passed over", 4),
        ]

    def test_a_missing_split_does_not_hide_what_is_wrong_in_another(self, good):
        shutil.rmtree(good / "tune")
        (good / "test/masks/test0.png").write_bytes(b"")
        refused = [one.kind for one in found(good) if one.severity is Severity.REFUSED]
        assert refused == ["layout", "unreadable"]

    def test_a_name_that_is_not_utf8_and_a_suffix_that_is_passed_over_are_both_named(self, good):
        for ending in (b"\xe9.jpg", b"\xe9.gif"):
            latin = os.fsencode(good / "train/smoke") + b"/" + ending
            shutil.copy(good / "train/smoke/smoke0.jpg", os.fsdecode(latin))
        assert [(one.kind, one.severity) for one in found(good)] == [
            ("names", "refused"),
            ("passed over", "warning"),
        ]
        assert all(one.describe().isprintable() for one in found(good))

    def test_a_twin_in_test_of_an_image_that_is_in_tune_too_is_counted_once_a_pair(self, good):
        put(picture(980, (320, 240)), good / "tune/clear/c0.jpg", quality=95)
        shutil.copy(good / "tune/clear/c0.jpg", good / "train/clear/same.jpg")
        put(picture(980, (320, 240)), good / "test/clear/near.jpg", quality=80)
        assert sorted((one.kind, one.split or "", one.text.split(" in ")[1][:5])
                      for one in found(good)) == [
            ("duplicates", "tune", "train"),
            ("near twins", "test", "train"),
            ("near twins", "test", "tune "),
        ]  # fmt: skip

    def test_an_image_of_another_unicode_form_without_a_mask_is_named_as_it_is_written(self, good):
        name = unicodedata.normalize("NFD", "übergang.jpg")
        put(picture(8), good / "test/images" / name)
        assert refusal(good).startswith(f"{good}/test/images/{name}: image without its mask")

    def test_groups_that_name_an_image_which_is_refused_are_not_blamed(self, good):
        group(good, lambda stem: stem, ("test",))
        (good / "test/masks/test0.png").unlink()
        refused = [one for one in found(good) if one.severity is Severity.REFUSED]
        assert [one.kind for one in refused] == ["image and mask"]

    def test_a_grey_copy_of_half_the_size_is_a_twin_of_a_grey_image(self, good):
        grey = picture(900, (320, 240)).convert("L")
        put(grey, good / "train/clear/grey.png")
        put(grey.resize((160, 120), 5).convert("RGB"), good / "test/clear/half.jpg", quality=95)
        assert [(one.kind, one.count) for one in found(good)] == [("near twins", 1)]

    def test_a_mask_that_is_empty_for_one_class_and_full_for_another_is_no_empty_mask(self, good):
        put(picture(1), good / "train/fire/f.jpg")
        (good / "classes.yaml").write_text("classes: {255: smoke, 7: fire}")
        for split in ("tune", "test"):
            put(Image.new("L", (SIDE, SIDE), 7), good / f"{split}/masks/{split}0.png")
        assert {(one.kind, one.count) for one in found(good)} == {("object share", 1)}
