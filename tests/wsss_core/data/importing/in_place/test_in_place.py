"""Published sets read where they lie equal their import, split by split."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder import FolderSource
from wsss_core.data.formats import FORMATS, recognise
from wsss_core.data.image_set import SPLITS, ImageSet
from wsss_core.data.importing import ImportSettings, PublishedSource, SourceSettings, import_data
from wsss_core.errors import InputError

Sets = Mapping[str, Callable[[Path], ImportSettings]]

NAMES = (
    *("coco", "ijmond", "smoke5k", "rise", "voc", "camvid", "cityscapes", "ade20k", "pairs"),
    *("folder", "yolo", "rle"),
)


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)


def half(left: int, right: int) -> np.ndarray:
    return np.repeat(np.array([left, right], np.uint8), 15)[None].repeat(20, axis=0)


def assert_equal(one: ImageSet, other: ImageSet) -> None:
    for name in ("classes", "identifiers", "groups", "sources", "cameras"):
        assert getattr(one, name) == getattr(other, name), name
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.has_masks == other.has_masks
    if one.masks is not None and other.masks is not None:
        np.testing.assert_array_equal(one.masks.shapes, other.masks.shapes)
        np.testing.assert_array_equal(one.masks.starts, other.masks.starts)
        np.testing.assert_array_equal(one.masks.pixels, other.masks.pixels)


def fingerprints(source: PublishedSource) -> dict[str, str]:
    return {split: source.fingerprint(split) for split in SPLITS}


def test_there_is_a_sample_of_every_format(sets: Sets) -> None:
    assert set(NAMES) == set(sets) == {known.name for known in FORMATS}


@pytest.mark.parametrize("name", NAMES)
def test_each_split_read_in_place_equals_that_of_the_import(
    name: str, sets: Sets, tmp_path: Path
) -> None:
    settings = sets[name](tmp_path / name)
    assert recognise(settings.sources[0].path, settings.sources[0].format).format.name == name
    import_data(replace(settings, destination=tmp_path / "imported"))
    imported, in_place = FolderSource(tmp_path / "imported"), PublishedSource(settings)
    for split in SPLITS:
        in_place.fingerprint(split)
        expected = imported.read(split, 8)
        assert len(expected) > 0
        assert set(expected.sources) <= {source.name for source in settings.sources}
        assert_equal(in_place.read(split, 8), expected)


def mixture(sets: Sets, tmp_path: Path) -> ImportSettings:
    """IJmond's windows, some of SMOKE5K and some clear frames of RISE, as the thesis trains on."""
    of_ijmond = sets["ijmond"](tmp_path / "ijmond").sources[0]
    of_smoke = sets["smoke5k"](tmp_path / "smoke5k").sources[0]
    of_rise = sets["rise"](tmp_path / "rise").sources[0]
    return ImportSettings(
        (of_ijmond, replace(of_smoke, take={"smoke": 3}), replace(of_rise, take={"clear": 2})),
        seed=5,
    )


def test_a_mixture_of_sources_equals_its_import_and_names_each_source(
    sets: Sets, tmp_path: Path
) -> None:
    settings = mixture(sets, tmp_path)
    import_data(replace(settings, destination=tmp_path / "imported"))
    imported, in_place = FolderSource(tmp_path / "imported"), PublishedSource(settings)
    for split in SPLITS:
        assert_equal(in_place.read(split, 8), imported.read(split, 8))
    train = in_place.read("train", 8)
    assert {name: train.sources.count(name) for name in set(train.sources)} == {
        "ijmond": len(train) - 5,
        "smoke5k": 3,
        "RISE": 2,
    }
    assert all(g.startswith(f"{s}/") for g, s in zip(train.groups, train.sources, strict=True))


def test_nothing_is_written(sets: Sets, tmp_path: Path) -> None:
    settings = mixture(sets, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    source = PublishedSource(settings)
    for split in SPLITS:
        source.fingerprint(split)
        source.read(split, 8)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_fingerprint_stays_where_the_set_is_moved_or_touched(
    sets: Sets, tmp_path: Path
) -> None:
    before = fingerprints(PublishedSource(sets["smoke5k"](tmp_path / "here/smoke5k")))
    (tmp_path / "there").mkdir()
    (tmp_path / "here/smoke5k").rename(tmp_path / "there/smoke5k")
    moved = tmp_path / "there/smoke5k"
    for file in moved.rglob("*.png"):
        os.utime(file, (1, 1))
    (moved / "readme.txt").write_text("unrelated")
    source = SourceSettings(moved, "smoke5k")
    again = replace(sets["smoke5k"](tmp_path / "other"), sources=(source,))
    assert fingerprints(PublishedSource(again)) == before


@pytest.mark.parametrize(
    ("file", "value", "changed"),
    [
        ("test/img/100_0.png", None, {"test"}),
        ("test/gt/100_0.png", 255, {"test"}),
        ("train/gt/0_1.png", 255, set()),
    ],
)
def test_what_a_split_is_read_from_changes_its_fingerprint_alone(
    sets: Sets, tmp_path: Path, file: str, value: int | None, changed: set[str]
) -> None:
    settings = sets["smoke5k"](tmp_path / "set")
    before = fingerprints(PublishedSource(settings))
    assert "0_1" not in [Path(t.file).stem for t in PublishedSource(settings).images("tune")]
    save(tmp_path / "set" / file, noisy(999) if value is None else half(value, 0))
    after = fingerprints(PublishedSource(settings))
    assert {split for split in SPLITS if after[split] != before[split]} == changed


@pytest.mark.parametrize("file", ["test/img/100_0.png", "test/gt/100_0.png"])
def test_a_file_that_changes_after_the_fingerprint_is_refused_by_name(
    sets: Sets, tmp_path: Path, file: str
) -> None:
    source = PublishedSource(sets["smoke5k"](tmp_path / "set"))
    source.fingerprint("test")
    save(tmp_path / "set" / file, noisy(999) if "img" in file else half(0, 255))
    said = rf"^{re.escape(str(tmp_path))}/set/test/img/100_0.png: it or its mask changed while"
    with pytest.raises(InputError, match=said):
        source.read("test", 8)


def test_errors_name_keys_of_a_study_in_place_of_options(sets: Sets, tmp_path: Path) -> None:
    settings = replace(sets["smoke5k"](tmp_path / "set"), split=ImportSettings(()).split)
    with pytest.raises(
        InputError, match=r"no image is in tune; say e.g. `tune` 0.1 .*`split` tune=val"
    ):
        PublishedSource(settings)


def test_what_is_left_out_is_noted_with_counts(sets: Sets, tmp_path: Path) -> None:
    source = PublishedSource(sets["smoke5k"](tmp_path / "set"))
    assert source.notes == ("every image of train holds a class, none is clear",)
    assert source.plan.counts["test"] == {"images": 4, "smoke": 4, "clear": 0}


@pytest.mark.parametrize("name", ["coco", "ijmond", "smoke5k"])
def test_the_check_finds_what_it_finds_in_the_imported_folder(
    name: str, sets: Sets, tmp_path: Path
) -> None:
    settings = sets[name](tmp_path / name)
    import_data(replace(settings, destination=tmp_path / "imported"))
    in_place, imported = PublishedSource(settings), FolderSource(tmp_path / "imported")
    here, there = in_place.check(64), imported.check(64)
    assert here.classes == there.classes
    for split in SPLITS:
        one, other = here.splits[split], there.splits[split]
        assert replace(one, fingerprint="") == replace(other, fingerprint="")
        assert one.fingerprint == in_place.fingerprint(split)
    notes = {finding.text for finding in here.findings} - set(in_place.notes)
    assert notes == {finding.text for finding in there.findings}


def test_the_check_names_the_same_image_in_two_splits_and_each_note(
    sets: Sets, tmp_path: Path
) -> None:
    settings = sets["smoke5k"](tmp_path / "set")
    for split in ("train", "test"):
        save(tmp_path / f"set/{split}/img/grey.jpg", noisy(3))
    summary = PublishedSource(settings).check()
    lines = summary.describe()
    assert re.search(r"byte by byte: test/images/grey.jpg = \w+/images/grey.jpg", lines)
    assert "every image of train holds a class, none is clear" in lines


def test_a_picture_that_cannot_be_decoded_is_refused_by_the_check_and_by_reading(
    sets: Sets, tmp_path: Path
) -> None:
    settings = sets["smoke5k"](tmp_path / "set")
    broken = tmp_path / "set/train/img/grey.jpg"
    broken.write_bytes(broken.read_bytes()[:-100])  # its header is whole
    source = PublishedSource(settings)
    split = next(s for s in SPLITS if any(t.file.endswith("grey.jpg") for t in source.images(s)))
    for refuse in (source.check, lambda: source.read(split, 8)):
        with pytest.raises(InputError, match=re.escape(str(broken))) as caught:
            refuse()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["coco", "smoke5k", "voc", "folder"])
def test_outlines_and_masks_of_training_images_are_those_of_the_imported_folder(
    name: str, sets: Sets, tmp_path: Path
) -> None:
    settings = sets[name](tmp_path / name)
    import_data(replace(settings, destination=tmp_path / "imported"))
    in_place, imported = PublishedSource(settings), FolderSource(tmp_path / "imported")
    for split in SPLITS:
        here, read = in_place.outline(split), imported.read(split, 8)
        for part in ("identifiers", "groups", "sources", "cameras"):
            assert getattr(here, part) == getattr(read, part)
        np.testing.assert_array_equal(here.labels, read.labels)
    for size in (None, 16):
        here, there = in_place.training_masks(size), imported.training_masks(size)
        assert list(here) == list(there)
        for identifier, mask in there.items():
            np.testing.assert_array_equal(here[identifier].read(), mask.read())
    assert bool(in_place.training_masks()) == (name != "folder")


def test_the_check_in_place_advises_keys_of_a_study_and_no_file_of_a_data_folder(
    sets: Sets, tmp_path: Path
) -> None:
    settings = sets["smoke5k"](tmp_path / "smoke5k")
    images = sorted((tmp_path / "smoke5k/test/img").iterdir())
    with Image.open(images[0]) as opened:
        opened.save(images[1], compress_level=1)  # a near twin, in other bytes
    found = [one.text for one in PublishedSource(settings).examine(8).findings]
    (twins,) = [text for text in found if "near twin in the same split" in text]
    assert "the key `labels` of `data:`" in twins
    assert not any("groups.csv" in text or "classes.yaml" in text for text in found)
