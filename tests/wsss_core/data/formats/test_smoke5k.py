"""SMOKE5K as its archive unpacks, and masks whose meaning is not clear."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.formats import recognise
from wsss_core.errors import InputError


def blob(value: int = 255) -> np.ndarray:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 4:20] = value
    return mask


@pytest.fixture
def smoke5k(tmp_path: Path, put: Callable[..., Path]) -> Path:
    """Three training pairs, one synthetic, and two to test with, in a doubled folder."""
    root = tmp_path / "SMOKE5K"
    for split, stems in (("train", ("1_23", "cka1", "cka2")), ("test", ("cka2", "cka3"))):
        for seed, stem in enumerate(stems):
            put(root / f"SMOKE5K/{split}/img/{stem}.jpg", seed=seed)
            put(root / f"SMOKE5K/{split}/gt/{stem}.png", blob())
    return root


def test_a_doubled_folder_is_looked_into(smoke5k):
    found = recognise(smoke5k)
    assert found.format.name == "smoke5k"
    assert found.path == smoke5k / "SMOKE5K"
    assert "img and gt" in found.describe()


def test_all_images_are_smoke_and_synthetic_ones_bear_a_flag(smoke5k, read):
    content = read(smoke5k)
    assert content.classes == ("smoke",)
    assert [image.name for image in content.images] == [
        "test/cka2",
        "test/cka3",
        "train/1_23",
        "train/cka1",
        "train/cka2",
    ]
    assert {tuple(image.labels.present) for image in content.images} == {("smoke",)}
    assert [image.flags for image in content.images[2:4]] == [("synthetic",), ()]


def test_masks_are_those_of_pillow_above_zero(smoke5k, read):
    for image in read(smoke5k).images:
        with Image.open(image.mask.path) as opened:
            np.testing.assert_array_equal(image.mask.read(), np.array(opened) > 0)


def test_masks_of_0_and_1_beside_0_and_255_are_both_object_and_said(smoke5k, read, put, image_of):
    put(smoke5k / "SMOKE5K/test/gt/cka3.png", blob(1))
    content = read(smoke5k)
    np.testing.assert_array_equal(image_of(content, "test/cka3").mask.read(), blob(1))
    assert content.notes == ("1 masks hold 1 and 4 hold 255; each is read as object",)


def test_grey_edges_are_counted_and_refused_until_a_threshold_is_given(
    smoke5k, read, put, image_of
):
    soft = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))
    for stem in ("cka2", "cka3"):
        put(smoke5k / f"SMOKE5K/test/gt/{stem}.png", soft)
    with pytest.raises(InputError, match=r"^2 masks have grey edges .*--threshold 128"):
        read(smoke5k)
    mask = image_of(read(smoke5k, threshold=128), "test/cka2").mask.read()
    np.testing.assert_array_equal(mask, soft >= 128)


def test_several_values_are_refused_until_they_are_told(smoke5k, read, put):
    both = blob(255)
    both[0:3] = 1
    put(smoke5k / "SMOKE5K/test/gt/cka3.png", both)
    with pytest.raises(
        InputError, match=r"values 1 in 1, 255 in 5; .*--values 1=class1,255=ignore"
    ):
        read(smoke5k)


def test_images_without_a_mask_are_counted(smoke5k, read, put):
    put(smoke5k / "SMOKE5K/train/img/x.jpg")
    put(smoke5k / "SMOKE5K/train/img/y.jpg")
    with pytest.raises(InputError, match=r"^2 images have no mask in .*first: .*x\.jpg"):
        read(smoke5k)
