"""Several sources that make one set, a choice of some of their images, and twins across splits."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder import FolderSource
from wsss_core.data.formats import FormatOptions, Picture
from wsss_core.data.importing import (
    ImportSettings,
    SourceSettings,
    import_data,
    parse_splits,
    parse_take,
)
from wsss_core.data.importing.twins import thumbnails
from wsss_core.data.thumbnails import find_twins
from wsss_core.errors import InputError


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    """A data folder of this product: 3 + 4 to train on, two masked images in tune and in test."""
    root = tmp_path / "cameras"
    for number in range(3):
        save(root / f"train/smoke/a{number}.png", noisy(500 + number))
    for number in range(4):
        save(root / f"train/clear/b{number}.png", noisy(510 + number))
    for seed, split in enumerate(("tune", "test")):
        for number in range(2):
            save(root / f"{split}/images/p{number}.png", noisy(520 + 10 * seed + number))
            mask = np.zeros((20, 30), np.uint8)
            mask[2:9, 3:14] = 255
            save(root / f"{split}/masks/p{number}.png", mask)
    return root


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "images.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


def mixture(cameras: Path, smoke5k: Path, tmp_path: Path, take: dict[str, int]) -> ImportSettings:
    return ImportSettings(
        (
            SourceSettings(cameras, "cameras"),
            SourceSettings(smoke5k, "smoke5k", take=take),
        ),
        tmp_path / "data",
    )


def test_images_of_a_second_source_are_taken_for_training_alone(cameras, smoke5k, tmp_path):
    record = import_data(mixture(cameras, smoke5k, tmp_path, {"smoke": 5}))
    assert {s: (c["images"], c["smoke"], c["clear"]) for s, c in record.counts.items()} == {
        "train": (12, 8, 4),
        "tune": (2, 2, 0),
        "test": (2, 2, 0),
    }
    found = [row for row in rows(tmp_path / "data") if row["source"] == "smoke5k"]
    assert len(found) == 5
    assert {row["source_split"] for row in found} == {"train"}
    assert all(row["file"].startswith("train/images/smoke5k__") for row in found)
    assert all(row["group"].startswith("smoke5k/") for row in found)
    summary = FolderSource(tmp_path / "data").check()
    assert summary.splits["train"].with_class == {"smoke": 8}


def test_the_same_seed_takes_the_same_images_and_another_others(cameras, smoke5k, tmp_path):
    taken = []
    for number, seed in enumerate((0, 0, 1)):
        made = replace(
            mixture(cameras, smoke5k, tmp_path, {"smoke": 3}),
            destination=tmp_path / f"data{number}",
            seed=seed,
        )
        import_data(made)
        taken.append({r["original"] for r in rows(made.destination) if r["source"] == "smoke5k"})
    assert taken[0] == taken[1]
    assert taken[0] != taken[2]


def test_more_than_there_are_cannot_be_taken(cameras, smoke5k, tmp_path):
    with pytest.raises(InputError, match=r"9 images of 'smoke' to take, 8 are there .* 8 of smoke"):
        import_data(mixture(cameras, smoke5k, tmp_path, {"smoke": 9}))
    with pytest.raises(InputError, match="1 images of 'clear' to take, 0 are there"):
        import_data(mixture(cameras, smoke5k, tmp_path, {"clear": 1}))


def test_a_class_of_which_a_source_says_nothing_is_not_taken_as_absent_unasked(
    cameras, numbered, tmp_path
):
    options = FormatOptions(values={1: "smoke", 2: "steam"})
    made = ImportSettings(
        (
            SourceSettings(cameras, "cameras"),
            SourceSettings(numbered, "numbered", options=options, take={"steam": 2}),
        ),
        tmp_path / "data",
    )
    with pytest.raises(InputError, match=r"source cameras .* says nothing of steam"):
        import_data(made)
    record = import_data(replace(made, assume_absent=True))
    assert record.counts["train"]["steam"] == 2


@pytest.mark.parametrize("text", ["B", "B=smoke", "B=smoke:x", "=smoke:1", "B=:1", "B=smoke:0"])
def test_a_wrong_take_is_refused(text):
    with pytest.raises(InputError, match=r"^take "):
        parse_take([text])


def smooth(seed: int, size: tuple[int, int]) -> Image.Image:
    """A picture of few details, so that resizing keeps its content."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def test_resaved_and_resized_copies_are_twins_and_others_are_not(tmp_path):
    smooth(1, (320, 240)).save(tmp_path / "a.png")
    smooth(1, (320, 240)).save(tmp_path / "b.jpg", quality=80)
    smooth(1, (320, 240)).resize((160, 120), Image.Resampling.BOX).save(tmp_path / "c.png")
    smooth(2, (320, 240)).save(tmp_path / "d.png")
    small = thumbnails([Picture(tmp_path / name) for name in ("a.png", "b.jpg", "c.png", "d.png")])
    assert find_twins(small[1:], small[:1]).tolist() == [0, 0, -1]


def test_training_images_with_a_twin_in_test_are_left_out_where_that_is_wanted(
    smoke5k, settings, tmp_path
):
    (smoke5k / "train/img/s1.png").write_bytes((smoke5k / "test/img/s20.png").read_bytes())
    made = settings(smoke5k, tune="test:1", drop_twins=True)
    record = import_data(made)
    left = {row["original"] for row in rows(tmp_path / "data") if row["file"].startswith("train")}
    assert str(smoke5k / "train/img/s1.png") not in left
    assert len(left) == 7
    assert any("1 images of train are left out, as they have a twin" in n for n in record.notes)


def test_splits_of_two_sources_are_joined(cameras, smoke5k, tmp_path):
    made = ImportSettings(
        (SourceSettings(cameras, "cameras"), SourceSettings(smoke5k, "smoke5k")),
        tmp_path / "data",
        split=parse_splits([]),
    )
    record = import_data(made)
    assert {split: counts["images"] for split, counts in record.counts.items()} == {
        "train": 7 + 8,
        "tune": 2,
        "test": 2 + 4,
    }
    assert [source["imported"] for source in record.sources] == [11, 12]


def test_what_is_taken_for_training_is_not_cut_off_for_tuning(cameras, smoke5k, tmp_path):
    settings = ImportSettings(
        (SourceSettings(smoke5k, "smoke5k"), SourceSettings(cameras, "cameras", take={"clear": 4})),
        tmp_path / "data",
        split=parse_splits([], "7"),
    )
    record = import_data(settings)
    assert record.counts["train"] == {"images": 5, "smoke": 1, "clear": 4}
    assert record.counts["tune"] == {"images": 7, "smoke": 7, "clear": 0}


def test_sources_cameras_and_flags_of_a_data_folder_stay_with_what_is_imported_of_it(
    cameras, tmp_path
):
    (cameras / "groups.csv").write_text(
        "file,group,source,camera\ntrain/smoke/a0.png,g,north,c1\ntest/images/p0.png,h,south,\n"
    )
    (cameras / "attributes.csv").write_text("file,flags\ntrain/smoke/a0.png,night;rain\n")
    settings = ImportSettings((SourceSettings(cameras, "all"),), tmp_path / "data")
    import_data(settings)
    with (tmp_path / "data/images.csv").open() as table:
        rows = {Path(row["original"]).stem: row for row in csv.DictReader(table)}
    assert [rows["a0"][key] for key in ("source", "camera", "flags")] == [
        "north",
        "c1",
        "night;rain",
    ]
    assert rows["a1"]["source"] == "all"
    outline = FolderSource(tmp_path / "data").outline("train")
    assert sorted(set(outline.sources)) == ["all", "north"]


def test_cameras_that_nobody_names_cannot_be_kept_together(cameras, tmp_path):
    settings = ImportSettings(
        (SourceSettings(cameras, "all"),), tmp_path / "data", group_by="camera"
    )
    with pytest.raises(InputError, match="no image names its camera"):
        import_data(settings)
    (cameras / "groups.csv").write_text("file,group,camera\ntrain/smoke/a0.png,g,c1\n")
    record = import_data(settings)
    assert any("10 images have no camera" in note for note in record.notes)
