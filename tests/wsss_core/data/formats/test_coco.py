"""COCO files as several tools write them; pycocotools' own reader is the oracle of masks."""

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image
from pycocotools.coco import COCO

from wsss_core.errors import InputError

HEIGHT, WIDTH = 20, 30
TRIANGLE = [2.0, 2.0, 12.5, 3.0, 6.0, 15.5]
SQUARE = [15.0, 5.0, 25.0, 5.0, 25.0, 14.0, 15.0, 14.0]


def ring() -> np.ndarray:
    """A shape with a hole, which polygons cannot say."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:17, 4:24] = 1
    mask[7:12, 10:18] = 0
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed run lengths over columns, beginning with those of 0."""
    flat = mask.ravel(order="F")
    ends = [*(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    lengths = np.diff([0, *ends]).tolist()
    return [0, *lengths] if flat[0] else lengths


def row(number: int, image: int, category: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": 0,
        **more,
    }


def coco_file(*annotations: dict[str, Any], images: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH}
            for n in range(images)
        ],
        "categories": [{"id": 0, "name": "smoke"}, {"id": 7, "name": "steam"}],
        "annotations": list(annotations),
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path, put: Callable[..., Path], put_json: Any) -> Callable[..., Path]:
    """Write images 0.jpg, 1.jpg ... and a COCO file beside them."""

    def write(content: dict[str, Any], file: str = "_annotations.coco.json") -> Path:
        for number in range(len(content["images"])):
            put(tmp_path / "set" / f"{number}.jpg", seed=number)
        put_json(tmp_path / "set" / file, content)
        return tmp_path / "set"

    return write


def by_pycocotools(file: Path, image: int, values: dict[int, int]) -> np.ndarray:
    """Paint the annotations of an image as pycocotools reads them, later over earlier."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for annotation in coco.imgToAnns[image]:
        mask[coco.annToMask(annotation) > 0] = values[annotation["category_id"]]
    return mask


def test_masks_of_every_kind_of_shape_are_those_of_pycocotools_to_the_pixel(folder, read):
    compressed = pycocotools.mask.encode(np.asfortranarray(ring()))
    root = folder(
        coco_file(
            row(1, 0, 0, [TRIANGLE, SQUARE]),
            row(2, 0, 7, {"size": [HEIGHT, WIDTH], "counts": runs(ring())}, iscrowd=1),
            row(3, 1, 7, {"size": [HEIGHT, WIDTH], "counts": compressed["counts"].decode()}),
            row(4, 1, 0, [SQUARE]),
        )
    )
    content = read(root)
    assert content.classes == ("smoke", "steam")
    for number in (0, 1):
        expected = by_pycocotools(root / "_annotations.coco.json", number, {0: 1, 7: 2})
        assert {1, 2} <= set(expected.ravel())
        np.testing.assert_array_equal(content.images[number].mask.read(), expected)


def test_a_hole_in_run_lengths_stays_a_hole(folder, read):
    root = folder(coco_file(row(1, 0, 0, {"size": [HEIGHT, WIDTH], "counts": runs(ring())})))
    np.testing.assert_array_equal(read(root).images[0].mask.read(), ring())


def test_ids_may_begin_at_zero_and_an_image_without_annotations_is_clear(folder, read):
    content = read(folder(coco_file(row(0, 0, 0, [SQUARE]))))
    assert [sorted(image.labels.present) for image in content.images] == [["smoke"], []]
    assert not content.images[1].mask.read().any()


def test_classes_go_by_name_where_two_files_number_them_differently(
    tmp_path, put, put_json, read, image_of
):
    for split, numbers in (
        ("train", {"smoke": 1, "steam": 2}),
        ("valid", {"steam": 1, "smoke": 2}),
    ):
        put(tmp_path / f"set/{split}/0.jpg")
        content = coco_file(row(1, 0, numbers["smoke"], [SQUARE]), images=1)
        content["categories"] = [{"id": n, "name": name} for name, n in numbers.items()]
        put_json(tmp_path / f"set/{split}/_annotations.coco.json", content)
    content = read(tmp_path / "set")
    assert content.classes == ("smoke", "steam")
    for name, split in (("train/0", "train"), ("valid/0", "valid")):
        image = image_of(content, name)
        assert image.split == split
        assert image.labels.present == {"smoke"}
        assert set(np.unique(image.mask.read())) == {0, 1}


def test_the_row_of_roboflow_that_only_heads_the_others_is_no_class(folder, read):
    content = coco_file(row(1, 0, 1, [SQUARE]))
    content["categories"] = [
        {"id": 0, "name": "smoke-types", "supercategory": "none"},
        {"id": 1, "name": "high", "supercategory": "smoke-types"},
        {"id": 2, "name": "low", "supercategory": "smoke-types"},
    ]
    found = read(folder(content))
    assert found.classes == ("high", "low")
    assert any("smoke-types" in note for note in found.notes)


def test_copies_that_roboflow_augmented_share_a_group(tmp_path, put, put_json, read):
    content = coco_file(row(1, 0, 0, [SQUARE]), images=3)
    names = ["a_jpg.rf.0123.jpg", "a_jpg.rf.4567.jpg", "b_jpg.rf.89ab.jpg"]
    for image, name in zip(content["images"], names, strict=True):
        image["file_name"] = name
        put(tmp_path / "set" / name)
    put_json(tmp_path / "set/_annotations.coco.json", content)
    assert [image.group for image in read(tmp_path / "set").images] == ["a_jpg", "a_jpg", "b_jpg"]


def test_the_layout_of_coco_itself_is_read_with_images_in_folders_of_the_years(
    tmp_path, put, put_json, read
):
    for split in ("train", "val"):
        put(tmp_path / f"coco/{split}2017/0.jpg")
        put_json(
            tmp_path / f"coco/annotations/instances_{split}2017.json",
            coco_file(row(1, 0, 0, [SQUARE]), images=1),
        )
    put_json(tmp_path / "coco/annotations/captions_val2017.json", coco_file(images=1))
    content = read(tmp_path / "coco")
    assert [(image.name, image.split) for image in content.images] == [
        ("train2017/0", "train"),
        ("val2017/0", "val"),
    ]


def test_a_box_without_a_shape_is_ignored_in_its_place_and_counted(folder, read):
    root = folder(coco_file(row(1, 0, 0, [], bbox=[3, 4, 10, 5], area=50), row(2, 0, 7, [SQUARE])))
    content = read(root)
    mask = content.images[0].mask.read()
    assert (mask[4:9, 3:13] == 255).all()
    assert (mask == 255).sum() == 50
    assert content.images[0].labels.present == {"smoke", "steam"}
    assert any(note.startswith("1 annotations have no shape") for note in content.notes)
    as_object = read(root, boxes="object").images[0].mask.read()
    assert (as_object == 1).sum() == 50


def test_a_polygon_of_two_points_is_no_object_and_counted(folder, read):
    content = read(folder(coco_file(row(1, 0, 0, [[1.0, 1.0, 9.0, 9.0]]))))
    assert content.images[0].labels.present == set()
    assert not content.images[0].mask.read().any()
    assert any("without shape and box" in note for note in content.notes)


def test_areas_that_disagree_with_their_mask_are_counted_where_the_border_does_not_explain_them(
    folder, read
):
    square = [5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0]
    root = folder(coco_file(row(1, 0, 0, [square], area=121), row(2, 1, 0, [square], area=400)))
    notes = [note for note in read(root).notes if "area" in note]
    assert notes == [
        "1 annotations state an area that differs from their mask "
        f"(first: {root / '_annotations.coco.json'}: annotation 2)"
    ]


def test_crowds_are_objects_or_ignored_as_told(folder, read):
    root = folder(
        coco_file(row(1, 0, 0, {"size": [HEIGHT, WIDTH], "counts": runs(ring())}, iscrowd=1))
    )
    np.testing.assert_array_equal(read(root).images[0].mask.read(), ring())
    ignored = read(root, crowd="ignore").images[0]
    np.testing.assert_array_equal(ignored.mask.read(), ring() * 255)
    assert ignored.labels.present == set()


def test_a_photograph_annotated_upright_is_turned(tmp_path, put_json, read):
    pixels = np.zeros((WIDTH, HEIGHT, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "set").mkdir()
    Image.fromarray(pixels).save(tmp_path / "set/0.jpg", exif=exif)
    put_json(tmp_path / "set/a.json", coco_file(row(1, 0, 0, [SQUARE]), images=1))
    image = read(tmp_path / "set").images[0]
    assert image.picture.shape() == image.mask.read().shape == (HEIGHT, WIDTH)
    assert image.picture.read().shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"segmentation": [[1.0, 2.0, 3.0, 4.0, 5.0]]}, "expected x, y, x, y"),
        ({"segmentation": [[1.0, 2.0, 1e9, 4.0, 5.0, 6.0]]}, "far outside its image"),
        ({"segmentation": [["a", 2.0, 3.0, 4.0, 5.0, 6.0]]}, "expected numbers"),
        ({"segmentation": {"size": [20, 30], "counts": [5, 5]}}, "run lengths of 10 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": [-1, 601]}}, "run length -1"),
        ({"segmentation": {"size": [20, 30], "counts": "55"}}, "run lengths of 10 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": "\x00"}}, "not COCO's text"),
        ({"segmentation": {"size": [10, 30], "counts": [300]}}, "expected [20, 30]"),
        ({"category_id": 3}, "category 3, which is not listed"),
    ],
)
def test_a_wrong_annotation_is_refused_in_one_line_that_names_it(folder, read, change, said):
    root = folder(coco_file(row(41, 0, 0, [SQUARE]) | change))
    with pytest.raises(InputError) as caught:
        read(root)
    assert said in str(caught.value)
    assert "annotation 41" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../0.jpg", "/etc/passwd", "a/../../0.jpg", "C:\\0.jpg", "", 5])
def test_a_file_name_that_leads_elsewhere_is_refused(folder, read, name):
    content = coco_file(row(1, 0, 0, [SQUARE]))
    content["images"][0]["file_name"] = name
    with pytest.raises(InputError, match="file name"):
        read(folder(content))


def test_an_image_of_another_size_than_stated_is_refused(folder, read):
    content = coco_file(row(1, 0, 0, [SQUARE]))
    content["images"][1]["width"] = 31
    with pytest.raises(InputError, match=r"1\.jpg: 30x20 pixels, but .* says 31x20"):
        read(folder(content))


def test_a_listed_image_that_is_not_there_is_refused(folder, read):
    root = folder(coco_file(row(1, 0, 0, [SQUARE])))
    (root / "1.jpg").unlink()
    with pytest.raises(InputError, match=r"image '1\.jpg' is not in"):
        read(root)


def test_images_that_no_file_lists_are_counted(folder, read, put):
    root = folder(coco_file(row(1, 0, 0, [SQUARE])))
    put(root / "spare1.jpg")
    put(root / "spare2.jpg")
    assert any(note.startswith("2 image files that no") for note in read(root).notes)


def test_without_pycocotools_one_line_names_the_extra(folder, read, monkeypatch):
    root = folder(coco_file(row(1, 0, 0, [SQUARE])))
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(InputError, match=r"pip install 'wsss-studies\[formats\]'"):
        read(root)
