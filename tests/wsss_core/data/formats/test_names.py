"""Names that differ in their bytes alone, masks named in two ways, files that are absent."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from wsss_core.data.formats import label_by_table
from wsss_core.errors import InputError

NAME = "Küste_é"
COMPOSED, APART = (unicodedata.normalize(form, NAME) for form in ("NFC", "NFD"))


def block(value: int = 255) -> np.ndarray:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 4:20] = value
    return mask


def test_the_two_forms_of_a_name_differ():
    assert COMPOSED != APART


@pytest.mark.parametrize(("image", "mask"), [(COMPOSED, APART), (APART, COMPOSED)])
@pytest.mark.parametrize(
    ("images", "masks"),
    [("train/img", "train/gt"), ("images", "masks"), ("JPEGImages", "SegmentationClass")],
)
def test_an_image_finds_its_mask_in_either_form_of_its_name(
    tmp_path, put, read, images, masks, image, mask
):
    put(tmp_path / f"set/{images}/{image}.jpg")
    put(tmp_path / f"set/{masks}/{mask}.png", block(1))
    content = read(tmp_path / "set")
    assert len(content.images) == 1
    np.testing.assert_array_equal(content.images[0].mask.read() > 0, block(1) > 0)


def test_coco_files_lists_and_tables_find_images_in_either_form(tmp_path, put, put_json, read):
    put(tmp_path / f"set/images/{APART}.jpg")
    content = {
        "images": [{"id": 1, "file_name": f"{COMPOSED}.jpg", "height": 20, "width": 30}],
        "annotations": [],
        "categories": [{"id": 1, "name": "smoke"}],
    }
    put_json(tmp_path / "set/annotations/instances_train.json", content)
    found = read(tmp_path / "set")
    table = tmp_path / "labels.csv"
    table.write_text(f"file,classes\n{COMPOSED},smoke\n", encoding="utf-8")
    assert label_by_table(found, table).images[0].labels.present == {"smoke"}


def test_masks_that_are_named_in_two_ways_are_all_read_and_counted(tmp_path, put, read, image_of):
    for number in range(5):
        put(tmp_path / f"set/images/a{number}.jpg")
        name = f"a{number}_mask" if number < 2 else f"a{number}"
        mask = block()
        mask[0, number] = 255
        put(tmp_path / f"set/masks/{name}.png", mask)
    content = read(tmp_path / "set")
    for number in range(5):
        mask = block(1)
        mask[0, number] = 1
        np.testing.assert_array_equal(image_of(content, f"images/a{number}").mask.read(), mask)
    assert content.notes == (
        "masks are named in 2 ways, all are read: 3 as masks/{stem}.*, 2 as masks/{stem}_mask.*",
    )


def test_two_masks_of_one_image_are_refused_with_both_names(tmp_path, put, read):
    for number in range(3):
        put(tmp_path / f"set/images/a{number}.jpg")
        put(tmp_path / f"set/masks/a{number}.png", block())
    put(tmp_path / "set/masks/a1_mask.png", block())
    with pytest.raises(InputError, match=r"a1_mask\.png: same stem as a1\.png; expected one mask"):
        read(tmp_path / "set")


def test_listed_images_that_are_absent_are_counted(tmp_path, put, put_json, read):
    put(tmp_path / "set/0.jpg")
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 20, "width": 30} for n in range(5)],
        "annotations": [],
        "categories": [{"id": 1, "name": "smoke"}],
    }
    put_json(tmp_path / "set/_annotations.coco.json", content)
    with pytest.raises(InputError, match=r"image '1\.jpg' is not in .*4 of the 5 listed images"):
        read(tmp_path / "set")


@pytest.fixture
def own(tmp_path: Path, put) -> Path:
    put(tmp_path / "set/train/smoke/a.jpg")
    put(tmp_path / "set/train/clear/b.jpg")
    for split in ("tune", "test"):
        put(tmp_path / f"set/{split}/images/p.jpg")
        put(tmp_path / f"set/{split}/masks/p.png", block())
    return tmp_path / "set"


def test_soft_masks_of_a_data_folder_are_refused_until_a_threshold_is_given(own, put, read):
    soft = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))
    put(own / "test/masks/p.png", soft)
    mask = next(image for image in read(own).images if image.split == "test").mask
    with pytest.raises(InputError, match="look like grey edges or a probability map"):
        mask.read()
    mask = next(i for i in read(own, threshold=100).images if i.split == "test").mask
    np.testing.assert_array_equal(mask.read(), soft >= 100)


def test_values_of_a_data_folder_may_be_told_but_not_without_its_classes(own, put, read):
    both = block()
    both[0] = 7
    put(own / "test/masks/p.png", both)
    mask = next(image for image in read(own).images if image.split == "test").mask
    with pytest.raises(InputError, match="values 7 and 255 beside 0"):
        mask.read()
    content = read(own, values={7: "ignore", 255: "smoke"})
    mask = next(image for image in content.images if image.split == "test").mask.read()
    np.testing.assert_array_equal(mask, np.where(both == 7, 255, block(1)))
    with pytest.raises(InputError, match="names no mask value of class smoke"):
        read(own, values={7: "fire"})


def test_what_classes_yaml_says_of_a_data_folder_holds_for_its_import(own, put, read):
    both = block()
    both[0] = 7
    put(own / "test/masks/p.png", both)
    (own / "classes.yaml").write_text("classes: {255: smoke}\nignore: 7\n")
    mask = next(image for image in read(own).images if image.split == "test").mask.read()
    np.testing.assert_array_equal(mask, np.where(both == 7, 255, block(1)))


def test_masks_of_the_training_images_of_a_data_folder_are_read_too(own, put, read, image_of):
    put(own / "train/masks/smoke/a.png", block())
    content = read(own)
    image = image_of(content, "train/smoke/a")
    assert image.labels.present == {"smoke"}
    np.testing.assert_array_equal(image.mask.read(), block(1))
    assert not image_of(content, "train/clear/b").mask.read().any()
