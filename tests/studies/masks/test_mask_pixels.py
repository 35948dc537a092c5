"""Masks of images with an EXIF orientation or 16 bits: as the reader of the masks will see them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studies.masks.folder import make_missing_masks
from wsss_core.data.pixel_rules import AS_STORED, PixelRules
from wsss_core.errors import InputError

APPLY = PixelRules(orientation="apply")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo of 30x50 pixels that is shown as 50x30, the same saved upright, and a plain one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(5).integers(0, 256, (30, 50, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "phone.png", exif=exif)
    Image.fromarray(np.rot90(pixels, -1)).save(folder / "upright.png")
    Image.fromarray(pixels).save(folder / "stored.png")
    return folder


def masks_of(crops: Any, photos: Path, out: Path, rules: PixelRules) -> Any:
    job = crops.job(out, rules=rules)
    object.__setattr__(job, "images", str(photos))
    return make_missing_masks(job, in_process=True)


def read(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def test_an_applied_orientation_gives_the_mask_of_the_upright_image(
    crops: Any, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert not masks_of(crops, photos, out, APPLY).failed
    np.testing.assert_array_equal(read(out / "phone.png"), read(out / "upright.png"))
    assert read(out / "phone.png").shape == (50, 30)
    assert json.loads((out / "masks.json").read_text())["settings"]["orientation"] == "apply"


def test_an_ignored_orientation_gives_the_mask_of_the_stored_pixels(
    crops: Any, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert not masks_of(crops, photos, out, AS_STORED).failed
    np.testing.assert_array_equal(read(out / "phone.png"), read(out / "stored.png"))
    assert "orientation" not in json.loads((out / "masks.json").read_text())["settings"]


def test_without_a_decision_the_image_has_no_mask_and_is_named(
    crops: Any, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = masks_of(crops, photos, out, PixelRules())
    assert list(made.failed) == ["phone.png"]
    assert "EXIF orientation 6" in made.failed["phone.png"]
    assert sorted(path.name for path in out.glob("*.png")) == ["stored.png", "upright.png"]


def test_a_folder_of_masks_is_not_completed_by_another_rule(
    crops: Any, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    masks_of(crops, photos, out, APPLY)
    with pytest.raises(InputError, match="made with orientation 'apply', asked for is None"):
        masks_of(crops, photos, out, AS_STORED)


def test_images_of_16_bits_are_read_by_their_white_level(
    crops: Any, photos: Path, tmp_path: Path
) -> None:
    values = np.random.default_rng(6).integers(0, 4096, (20, 20)).astype(np.uint16)
    Image.fromarray(values).save(photos / "deep.png")
    Image.fromarray((values >> 4).astype(np.uint8)).save(photos / "eight.png")
    out = tmp_path / "out"
    rules = PixelRules(orientation="ignore", white_level=4095)
    assert not masks_of(crops, photos, out, rules).failed
    np.testing.assert_array_equal(read(out / "deep.png"), read(out / "eight.png"))


def test_the_command_names_the_option_that_decides(
    crops: Any, photos: Path, tmp_path: Path, wsss: Any
) -> None:
    common = ("masks", crops.ran.results, "--images", photos, "--in-process")
    chosen = ("--configuration", "CNN alone", "--seed", 0, "--store", crops.ran.store.where)
    ended = wsss(*common, *chosen, "--out", tmp_path / "refused")
    assert ended.code == 1
    assert "failed: phone.png: " in ended.err
    assert "here options decide that: --orientation" in ended.err
    ended = wsss(*common, *chosen, "--out", tmp_path / "turned", "--orientation", "apply")
    assert ended.code == 0
    assert read(tmp_path / "turned" / "phone.png").shape == (50, 30)
    ended = wsss(*common, *chosen, "--out", tmp_path / "wrong", "--white-level", 5)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "white_level 5, expected a number from 256 to 65535" in ended.err
