"""Real files in their published layouts, where WSSS_DATA names a folder that holds some."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder import FolderSource
from wsss_core.data.formats import FormatOptions, recognise
from wsss_core.data.formats.rise import clip_lists, row_state
from wsss_core.data.importing import (
    ImportSettings,
    SourceSettings,
    check_imported,
    import_data,
    parse_splits,
)

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        "WSSS_DATA" not in os.environ, reason="WSSS_DATA names no folder of real images"
    ),
]


@pytest.fixture
def samples() -> Path:
    return Path(os.environ["WSSS_DATA"]) / "samples"


def test_smoke5k_and_clear_frames_of_a_data_folder_make_one_set(samples, tmp_path):
    """SMOKE5K has no clear image, so its smoke is mixed with frames without."""
    settings = ImportSettings(
        (
            SourceSettings(samples / "smoke5k", "smoke5k"),
            SourceSettings(samples.parent / "smoke_crops", "crops", take={"clear": 10}),
        ),
        tmp_path / "data",
        split=parse_splits([], "test:1"),
    )
    record = import_data(settings)
    pairs = {
        split: len(list((samples / f"smoke5k/{split}/img").iterdir()))
        for split in ("train", "test")
    }
    assert {s: (c["images"], c["clear"]) for s, c in record.counts.items()} == {
        "train": (pairs["train"] + 10, 10),
        "tune": (1, 0),
        "test": (pairs["test"] - 1, 0),
    }
    assert check_imported(tmp_path / "data") == record
    assert FolderSource(tmp_path / "data").check().splits["test"].images == pairs["test"] - 1


def test_masks_of_smoke5k_are_pillows_to_the_pixel(samples):
    found = recognise(samples / "smoke5k")
    for image in found.format.read(found.path, FormatOptions()).images:
        file = samples / "smoke5k" / image.split / "gt" / f"{Path(image.name).name}.png"
        with Image.open(file) as opened:
            np.testing.assert_array_equal(image.mask.read(), np.array(opened) > 0)


def test_soft_masks_of_ijmonds_regions_are_cut_at_128(samples):
    found = recognise(samples / "ijmond_regions")
    assert found.format.name == "ijmond"
    content = found.format.read(found.path, FormatOptions())
    masks = sorted((samples / "ijmond_regions").rglob("mask.png"))
    assert len(content.images) == len(masks) > 0
    for image, file in zip(content.images, masks, strict=True):
        with Image.open(file) as opened:
            np.testing.assert_array_equal(image.mask.read(), np.array(opened) >= 128)


@pytest.mark.parametrize("folder", ["rise", "ijmond_clips"])
def test_the_states_of_real_lists_agree_with_the_labels_that_they_state(samples, folder):
    lists = clip_lists(samples / folder)
    assert sum(map(len, lists.values())) == sum(
        len(json.loads(file.read_text())) for file in (samples / folder).rglob("*.json")
    )
    for file, rows in lists.items():
        for row in rows:
            _, state = row_state(row, file)
            if "label" in row:
                assert state == ("smoke" if row["label"] else "clear")
