"""A data folder as a source of an import: its masks mean what its own classes.yaml says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.formats.common.contents import FormatOptions
from wsss_core.data.formats.own_folder import read_own_folder
from wsss_core.errors import InputError

GREY = np.tile(np.arange(0, 256, 32, dtype=np.uint8), (8, 1))


def masks_of(root: Path, **options: int) -> list[np.ndarray]:
    content = read_own_folder(root, FormatOptions(**options))
    return [
        image.mask.read()
        for image in content.images
        if image.mask is not None and image.split == "test" and "images" in image.name
    ]


@pytest.fixture
def grey(root: Path) -> Path:
    for split in ("tune", "test"):
        for stem in "pq":
            Image.fromarray(GREY).save(root / split / "masks" / f"{stem}.png")
    return root


def test_a_threshold_of_the_folder_is_kept(grey: Path) -> None:
    (grey / "classes.yaml").write_text("threshold: 128\nignore: 224\n")
    expected = np.where(GREY == 224, 255, GREY >= 128)
    for mask in masks_of(grey):
        np.testing.assert_array_equal(mask, expected)


def test_a_threshold_of_the_command_is_applied(grey: Path) -> None:
    for mask in masks_of(grey, threshold=100):
        np.testing.assert_array_equal(mask, GREY >= 100)


def test_grey_masks_are_not_taken_for_objects(grey: Path) -> None:
    with pytest.raises(InputError, match=r"p\.png: 7 values from 32 to 224|values 32, 64"):
        masks_of(grey)


def test_values_0_and_255_may_be_classes(two_classes: Path) -> None:
    values = np.tile(np.array([0, 255, 3, 9], np.uint8), (8, 2))
    for split in ("tune", "test"):
        for stem in "pq":
            Image.fromarray(values).save(two_classes / split / "masks" / f"{stem}.png")
    (two_classes / "classes.yaml").write_text("classes: {0: smoke, 255: steam}\nignore: [3, 9]\n")
    assert masks_of(two_classes)[0][0, :4].tolist() == [1, 2, 255, 255]
