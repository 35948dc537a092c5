"""Mistakes in the names, files and labels of a data folder, each refused in a line or warned of.

Each test begins with a good folder, of which nothing is found, and changes what its name says.
"""

import os
import shutil
import unicodedata

import pytest
from PIL import Image

from tests.wsss_core.data.folder.misread_folder import (
    found,
    lines,
    mask,
    only,
    picture,
    put,
    refusal,
)
from wsss_core.data.folder import FolderSource, Severity
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.errors import InputError


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
