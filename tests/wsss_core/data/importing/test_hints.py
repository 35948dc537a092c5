"""A folder that is no data folder is told its layout and the command that imports it."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.importing import (
    ImportSettings,
    SourceSettings,
    import_data,
    import_hint,
    parse_splits,
)


def save(path, value=90, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), value).save(path)


def test_smoke5k_is_named_with_the_command_that_cuts_a_tune_split(smoke5k):
    hint = import_hint(smoke5k)
    assert hint.startswith("; its layout is smoke5k (")
    assert hint.endswith(f"`wsss data import {smoke5k} DATA --tune 0.1` makes a data folder")


def test_a_coco_file_and_its_folder_are_named(tmp_path):
    save(tmp_path / "train/a.jpg")
    content = {
        "images": [{"id": 0, "file_name": "a.jpg", "width": 8, "height": 8}],
        "annotations": [],
        "categories": [{"id": 1, "name": "smoke"}],
    }
    file = tmp_path / "train/_annotations.coco.json"
    file.write_text(json.dumps(content))
    assert "its layout is coco" in import_hint(file)
    assert "its layout is coco" in import_hint(tmp_path)


def test_voc_is_named(tmp_path):
    root = tmp_path / "VOC2012"
    save(root / "JPEGImages/a.jpg")
    save(root / "SegmentationClass/a.png", 1, "P")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("a\n")
    assert "its layout is voc" in import_hint(root)


def test_a_path_with_blanks_can_be_typed_as_it_is_printed(smoke5k, tmp_path):
    moved = tmp_path / "my smoke"
    shutil.copytree(smoke5k, moved)
    assert f"`wsss data import '{moved}' DATA" in import_hint(moved)


@pytest.mark.parametrize("what", ["nothing", "a data folder", "no such folder"])
def test_where_nothing_is_recognised_nothing_is_said(tmp_path, what):
    root = tmp_path / "data"
    if what != "no such folder":
        root.mkdir()
    if what == "a data folder":
        save(root / "train/smoke/a.png")
        save(root / "train/clear/b.png", 10)
        for split in ("tune", "test"):
            save(root / split / "images/a.png")
            (root / split / "masks").mkdir()
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(root / split / "masks/a.png")
    assert import_hint(root) == ""


def data_folder(root, *splits):
    for number in range(3):
        save(root / f"train/smoke/a{number}.png", 40 + number)
        save(root / f"train/clear/b{number}.png", 10 + number)
        for split in splits:
            save(root / f"{split}/images/{split}{number}.png", 100 + number)
            mask = np.zeros((8, 8), np.uint8)
            mask[2:6, number : number + 4] = 255
            (root / f"{split}/masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / f"{split}/masks/{split}{number}.png")
    return root


def test_a_data_folder_without_tune_is_told_the_command_that_cuts_it_from_test(tmp_path):
    root = data_folder(tmp_path / "data", "test")
    assert f"`wsss data import {root} DATA --tune test:0.3`" in import_hint(root)
    settings = ImportSettings(
        (SourceSettings(root, "data"),), tmp_path / "DATA", parse_splits((), "test:0.3")
    )
    counts = import_data(settings).counts
    assert {split: count["images"] for split, count in counts.items()} == {
        "train": 6,
        "tune": 1,
        "test": 2,
    }


def test_a_data_folder_whose_tune_is_called_val_is_no_set_of_pairs(tmp_path):
    assert import_hint(data_folder(tmp_path / "data", "val", "test")) == ""


def test_pairs_in_splits_of_our_names_are_pairs_as_their_training_images_have_no_labels(tmp_path):
    root = data_folder(tmp_path / "data", "tune", "test")
    shutil.rmtree(root / "train")
    shutil.copytree(root / "tune", root / "train")
    assert "its layout is pairs" in import_hint(root)
    settings = ImportSettings(
        (SourceSettings(root, "data"),), tmp_path / "DATA", parse_splits((), None)
    )
    counts = import_data(settings).counts
    assert [counts[split]["images"] for split in ("train", "tune", "test")] == [3, 3, 3]
