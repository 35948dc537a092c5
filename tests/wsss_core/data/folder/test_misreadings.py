"""Mistakes in a data folder: each is refused in a line, or warned of with count and names.

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

from wsss_core.data.folder import DataFinding, FolderSource, Severity
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.errors import InputError

SIDE = 48


def picture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """A picture without details, so that saving it again or resizing it keeps its content."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def mask(value: int = 255, side: int = 14) -> Image.Image:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[5 : 5 + side, 7 : 7 + side] = value
    return Image.fromarray(pixels)


def put(image: Image.Image, path: Path, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    root, seed = tmp_path / "data", iter(range(1000))
    for number in range(4):
        for name in ("smoke", "clear"):
            put(picture(next(seed)), root / f"train/{name}/{name}{number}.jpg", quality=95)
        for split in ("tune", "test"):
            put(picture(next(seed)), root / f"{split}/images/{split}{number}.jpg", quality=95)
            put(mask(), root / f"{split}/masks/{split}{number}.png")
            put(picture(next(seed)), root / f"{split}/clear/c{number}.jpg", quality=95)
    return root


def found(root: Path, rules: PixelRules | None = None, size: int = 224) -> list[DataFinding]:
    source = FolderSource(root, rules) if rules else FolderSource(root)
    return list(source.examine(size).findings)


def lines(root: Path, size: int = 224) -> list[tuple[str, str | None, int, str]]:
    return [(one.severity, one.split, one.count, one.describe()) for one in found(root, size=size)]


def only(root: Path, size: int = 224) -> tuple[str, str | None, int, str]:
    listed = lines(root, size)
    assert len(listed) == 1, listed
    return listed[0]


def refusal(root: Path) -> str:
    """The one line with which a study ends, which the check ends with too."""
    said = []
    for act in (lambda s: s.check(), lambda s: [s.read(split, 8) for split in SPLITS]):
        with pytest.raises(InputError) as caught:
            act(FolderSource(root))
        said.append(str(caught.value))
    assert "\n" not in said[0]
    assert said[0].split(";")[0] == said[1].split(";")[0]
    return said[0]


SPLITS = ("train", "tune", "test")


def test_of_a_good_folder_nothing_is_found(good):
    assert found(good) == []


class TestNames:
    @pytest.mark.parametrize("suffix", [".gif", ".avif", ".jfif", ".heic", ""])
    @pytest.mark.parametrize("folder", ["train/smoke", "train/clear", "test/clear"])
    def test_images_of_another_suffix_are_counted(self, good, suffix, folder):
        for number in range(3):
            put(picture(2000 + number), good / folder / f"x{number}{suffix}", format="GIF")
        severity, split, count, text = only(good)
        assert (severity, split, count) == ("warning", folder.split("/")[0], 3)
        assert (repr(suffix) if suffix else "without a suffix") in text
        assert f"{folder}/x0{suffix}" in text

    def test_suffixes_are_counted_apart(self, good):
        for name in ("a.gif", "b.avif", "c.avif"):
            (good / "train/smoke" / name).write_bytes(b"x")
        assert [(count, "avif" in text) for _, _, count, text in lines(good)] == [
            (1, False),
            (2, True),
        ]

    def test_what_lies_beside_images_on_purpose_is_a_note_and_system_files_are_none(self, good):
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._a.jpg"):
            (good / "test/images" / name).write_bytes(b"x")
        assert found(good) == []
        (good / "test/images/readme.txt").write_text("about")
        assert only(good)[:3] == ("note", "test", 1)

    def test_a_file_of_classes_with_another_spelling_is_named(self, good):
        (good / "Classes.yaml").write_text("classes: {255: smoke}")
        (good / "train/Labels.csv").write_text("file,classes")
        assert [text for *_, text in lines(good)] == [
            "passed over; rename it if it is meant as classes.yaml: Classes.yaml",
            "passed over; rename it if it is meant as labels.csv: train/Labels.csv",
        ]

    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    def test_names_of_two_unicode_forms_belong_together(self, good, form):
        other = {"NFC": "NFD", "NFD": "NFC"}[form]
        written, paired = (unicodedata.normalize(f, "Köln é") for f in (form, other))
        assert written != paired
        (good / "test/images/test0.jpg").rename(good / f"test/images/{written}.jpg")
        (good / "test/masks/test0.png").rename(good / f"test/masks/{paired}.png")
        (good / "groups.csv").write_text(
            "".join(
                ["file,group\n", f"test/images/{paired}.jpg,a\n"]
                + [f"test/images/test{number}.jpg,a\n" for number in (1, 2, 3)]
                + [f"test/clear/c{number}.jpg,b\n" for number in range(4)]
            )
        )
        assert found(good) == []
        read = FolderSource(good).read("test", 8)
        assert dict(zip(read.identifiers, read.groups, strict=True))[f"images/{written}.jpg"] == "a"
        assert read.mask(read.identifiers.index(f"images/{written}.jpg")).sum() == 14 * 14

    def test_a_line_of_labels_in_another_unicode_form_is_that_of_its_image(self, good):
        shutil.rmtree(good / "train")
        names = [unicodedata.normalize("NFD", f"ö{number}.jpg") for number in range(2)]
        for seed, name in enumerate(names):
            put(picture(3000 + seed), good / "train/images" / name)
        (good / "train/labels.csv").write_text("file,classes\nö0.jpg,smoke\nö1.jpg,\n")
        assert found(good) == []
        assert FolderSource(good).read("train", 8).labels.tolist() == [[True], [False]]

    def test_two_files_of_one_name_in_two_forms_are_refused(self, good):
        for form in ("NFC", "NFD"):
            put(picture(9), good / f"train/smoke/{unicodedata.normalize(form, 'é')}.jpg")
        assert "in another Unicode form; rename or remove one of them" in refusal(good)

    def test_names_that_are_not_utf8_are_refused_when_they_are_listed(self, good):
        for number in range(2):
            latin = os.fsencode(good / "train/smoke") + b"/caf\xe9" + str(number).encode() + b".jpg"
            shutil.copy(good / "train/smoke/smoke0.jpg", os.fsdecode(latin))
        source = FolderSource(good)
        with pytest.raises(InputError, match=r"caf\\xe90\.jpg: the name .* is not UTF-8"):
            source.fingerprint("train")
        assert sum(one.count for one in found(good) if one.severity is Severity.REFUSED) == 2

    @pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev"])
    def test_a_split_that_others_call_so_is_said_to_be_meant(self, good, name):
        (good / "tune").rename(good / name)
        assert f"'{name}' may be meant, rename it to 'tune'" in refusal(good)
        assert all("as there is 'tune' too" not in one[3] for one in lines(good))

    @pytest.mark.parametrize("name", ["negative", "good", "OK", "normal", "no_smoke", "Negatives"])
    def test_images_of_no_class_that_others_call_so_are_said_to_be_meant(self, good, name):
        (good / "train/clear").rename(good / "train" / name)
        with pytest.raises(InputError, match=f"if '{name}' means no class, rename it to 'clear'"):
            FolderSource(good)
        (good / "train" / name).rename(good / "train/clear")
        (good / "test/clear").rename(good / "test" / name)
        assert (
            *("warning", "test", 1),
            f"folder passed over; rename it if it is meant as 'clear': test/{name}",
        ) in lines(good)

    def test_clear_with_a_capital_is_said_to_be_meant(self, good):
        (good / "test/clear").rename(good / "test/Clear")
        assert "meant as 'clear': test/Clear" in lines(good)[0][3]

    def test_a_class_called_normal_beside_clear_is_asked_about(self, good):
        put(picture(77), good / "train/normal/n.jpg")
        (good / "classes.yaml").write_text("classes: {255: smoke, 7: normal}")
        for split in ("tune", "test"):
            put(mask(7), good / f"{split}/masks/{split}0.png")
        assert [text for *_, text in lines(good)] == [
            "a class of this name; if it means no class, call the folder 'clear': train/normal"
        ]

    def test_training_images_beside_their_masks_are_told_of_the_table_of_labels(self, good):
        shutil.move(good / "train/smoke", good / "train/images")
        shutil.rmtree(good / "train/clear")
        shutil.copytree(good / "test/masks", good / "train/masks")
        with pytest.raises(InputError, match=r"train/images: no class folder; .*train/labels.csv"):
            FolderSource(good)


class TestFiles:
    def test_pointers_of_git_lfs_are_counted_with_the_command_that_fetches_them(self, good):
        for number in range(3):
            (good / f"test/images/test{number}.jpg").write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
            )
        assert (first := refusal(good)).startswith(f"{good}/test/images/test0.jpg: ")
        assert "git lfs pull" in first
        assert "(and 2 more, all test*.jpg)" in first

    def test_a_web_page_in_an_images_place_is_refused(self, good):
        (good / "train/smoke/smoke0.jpg").write_text("<!DOCTYPE html><title>404</title>")
        assert f"{good}/train/smoke/smoke0.jpg: not an image" in refusal(good)

    def test_every_fault_of_every_split_is_counted(self, good):
        for number in range(3):
            (good / f"train/smoke/smoke{number}.jpg").write_bytes(b"")
        (good / "test/masks/test0.png").unlink()
        (good / "test/masks/test1.png").unlink()
        put(mask().resize((20, 20), 0), good / "tune/masks/tune2.png")
        refused = [one for one in found(good) if one.severity is Severity.REFUSED]
        assert sorted((one.kind, one.count) for one in refused) == [
            ("image and mask", 2),
            ("sizes", 1),
            ("unreadable", 3),
        ]
        with pytest.raises(InputError, match="and 2 more faults, see wsss data check "):
            FolderSource(good).check()

    def test_an_image_and_its_mask_that_are_both_broken_are_two_faults(self, good):
        for name in ("images/test0.jpg", "masks/test0.png"):
            (good / "test" / name).write_bytes(b"broken")
        refused = [one for one in found(good) if one.severity is Severity.REFUSED]
        assert sum(one.count for one in refused) == 2

    @pytest.mark.parametrize("size", [(1, 1), (300, 7)])
    def test_images_of_less_than_eight_pixels_a_side_are_counted(self, good, size):
        put(picture(5, size), good / "train/smoke/tiny.png")
        assert only(good)[:3] == ("warning", "train", 1)
        assert "side of less than 8 pixels: train/smoke/tiny.png" in only(good)[3]

    @pytest.mark.parametrize("kind", [".png", ".tif", ".webp"])
    def test_files_of_several_pictures_are_counted(self, good, kind):
        pages = [picture(seed) for seed in (501, 502)]
        put(pages[0], good / f"train/clear/two{kind}", save_all=True, append_images=pages[1:])
        assert only(good)[:3] == ("warning", "train", 1)
        assert "of which the first is read" in only(good)[3]

    def test_hidden_colours_are_counted(self, good):
        image = picture(503).convert("RGBA")
        image.putalpha(Image.new("L", image.size, 100))
        put(image, good / "train/clear/seen_through.png")
        assert "hidden colours are read: train/clear/seen_through.png" in only(good)[3]

    @pytest.mark.parametrize(("rule", "severity"), [("ignore", "warning"), ("apply", "note")])
    def test_turned_images_are_counted_whatever_the_rule_says(self, good, rule, severity):
        exif = Image.Exif()
        exif[0x0112] = 3
        for number in range(2):
            put(picture(600 + number), good / f"train/smoke/turned{number}.jpg", exif=exif)
        (one,) = found(good, PixelRules(orientation=rule))
        assert (one.severity, one.count) == (severity, 2)


class TestLabels:
    def test_a_class_that_every_image_holds_has_no_counterexample(self, good):
        for split in ("tune", "test"):
            shutil.rmtree(good / split / "clear")
        assert [line[:2] for line in lines(good)] == [("warning", "tune"), ("warning", "test")]
        assert "none lacks it" in lines(good)[0][3]

    def test_training_labels_that_are_all_empty_are_refused(self, good):
        shutil.rmtree(good / "train")
        put(picture(1), good / "train/images/a.jpg")
        (good / "train/labels.csv").write_text("file,classes\na.jpg,\n")
        (good / "classes.yaml").write_text("classes: {255: smoke}")
        with pytest.raises(InputError, match="train: no image holds class 'smoke'"):
            FolderSource(good).check()

    def test_a_class_without_a_mask_to_tune_on_is_refused(self, good):
        put(picture(1), good / "train/fire/f.jpg")
        (good / "classes.yaml").write_text("classes: {255: smoke, 7: fire}")
        put(mask(7), good / "test/masks/test0.png")
        with pytest.raises(InputError, match=r"^tune: no image holds class 'fire', expected"):
            FolderSource(good).check()

    def test_commas_between_classes_are_refused_with_the_line(self, good):
        shutil.rmtree(good / "train")
        put(picture(1), good / "train/images/a.jpg")
        (good / "train/labels.csv").write_text("file,classes\na.jpg,smoke,fire\n")
        with pytest.raises(InputError, match="line 2"):
            FolderSource(good)


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
