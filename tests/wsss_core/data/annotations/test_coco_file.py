"""COCO files of masks, read by pycocotools."""

import contextlib
import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
from pycocotools.coco import COCO
from scipy import ndimage

from tests.wsss_core.data.annotations.odd_masks import CLASSES, odd_masks
from wsss_core.data.annotations import (
    LEAST_IOU,
    AnnotatedImage,
    coco_annotations,
    mask_parts,
    open_coco_file,
)
from wsss_core.data.annotations.rings import rings_of


def write(folder: Path, masks: dict[str, np.ndarray], *, polygons: bool = False) -> Path:
    file = folder / "annotations" / "instances_default.json"
    with open_coco_file(file, CLASSES, folder) as opened:
        for name, mask in masks.items():
            image = AnnotatedImage(name, mask.shape, mask_parts(mask))
            opened.add(image, coco_annotations(image, polygons=polygons))
    return file


def read(file: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(file))


def painted(coco: COCO, image: dict, shape: tuple[int, int]) -> np.ndarray:
    """The mask that pycocotools decodes the annotations of an image to."""
    mask = np.zeros(shape, np.uint8)
    for annotation in coco.imgToAnns[image["id"]]:
        mask[coco.annToMask(annotation).astype(bool)] = annotation["category_id"]
    return mask


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> COCO:
    return read(write(tmp_path_factory.mktemp("coco"), odd_masks()))


def test_run_lengths_decode_to_the_mask_itself(exact):
    for image in exact.dataset["images"]:
        mask = odd_masks()[image["file_name"]]
        assert (image["height"], image["width"]) == mask.shape
        np.testing.assert_array_equal(painted(exact, image, mask.shape), mask)


def test_an_annotation_is_one_connected_part_with_its_area_and_box(exact):
    for annotation in exact.dataset["annotations"]:
        pixels = exact.annToMask(annotation)
        assert ndimage.label(pixels, np.ones((3, 3)))[1] == 1
        assert annotation["area"] == pixels.sum()
        rows, columns = np.nonzero(pixels)
        left, top, width, height = annotation["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
        runs = exact.annToRLE(annotation)
        assert pycocotools.mask.toBbox(runs).tolist() == annotation["bbox"]


def test_ids_count_from_1_and_categories_have_the_numbers_of_the_mask(exact):
    annotations = exact.dataset["annotations"]
    assert [one["id"] for one in annotations] == list(range(1, len(annotations) + 1))
    assert [one["id"] for one in exact.dataset["images"]] == list(range(1, len(odd_masks()) + 1))
    named = [(one["id"], one["name"]) for one in exact.dataset["categories"]]
    assert named == [(1, "smoke"), (2, "steam"), (255, "ignore")]
    assert {one["iscrowd"] for one in annotations} == {0}


def test_undecided_pixels_are_a_category_only_where_there_are_any(tmp_path):
    masks = {name: mask for name, mask in odd_masks().items() if not (mask == 255).any()}
    categories = json.loads(write(tmp_path, masks).read_text())["categories"]
    assert [one["name"] for one in categories] == list(CLASSES)


def test_polygons_keep_the_stated_iou_and_fall_back_to_exact_outlines(tmp_path):
    coco = read(write(tmp_path, odd_masks(), polygons=True))
    for image in coco.dataset["images"]:
        mask = odd_masks()[image["file_name"]]
        parts = {(p.code, p.box): p for p in mask_parts(mask)}
        annotations = coco.imgToAnns[image["id"]]
        assert len(annotations) == len(parts)
        for annotation in annotations:
            assert len(annotation["segmentation"]) == 1
            part = parts[annotation["category_id"], tuple(annotation["bbox"])]
            true = np.zeros(mask.shape, bool)
            height, width = part.pixels.shape
            true[part.top : part.top + height, part.left : part.left + width] = part.pixels
            found = coco.annToMask(annotation).astype(bool)
            assert (found & true).sum() / (found | true).sum() >= LEAST_IOU


def test_a_polygon_of_a_smooth_object_has_few_points_and_loses_little(tmp_path):
    rows, columns = np.mgrid[:300, :400]
    mask = ((columns - 200) ** 2 / 150**2 + (rows - 150) ** 2 / 100**2 < 1).astype(np.uint8)
    mask[130:170, 190:230] = 0
    coco = read(write(tmp_path, {"a.jpg": mask}, polygons=True))
    annotation = coco.dataset["annotations"][0]
    found = coco.annToMask(annotation)
    assert (found & mask).sum() / (found | mask).sum() > 0.99
    corners = sum(map(len, rings_of(mask.astype(bool))))
    assert len(annotation["segmentation"][0]) / 2 < corners / 4
    assert not found[140:160, 200:220].any()


def test_a_file_without_objects_is_valid(tmp_path):
    coco = read(write(tmp_path, {"a.jpg": np.zeros((3, 3), np.uint8)}))
    assert (coco.getImgIds(), coco.getAnnIds()) == ([1], [])


def test_a_file_without_images_is_valid(tmp_path):
    coco = read(write(tmp_path, {}))
    assert (coco.getImgIds(), coco.getCatIds()) == ([], [1, 2])


def broken_off(file: Path, aside: Path) -> None:
    with open_coco_file(file, CLASSES, aside) as opened:
        opened.add(AnnotatedImage("a.jpg", (3, 3), ()), [])
        raise KeyboardInterrupt


def test_a_writer_that_is_broken_off_leaves_the_file_as_it_was(tmp_path):
    file = write(tmp_path, odd_masks())
    before = file.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        broken_off(file, tmp_path)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations"]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    mask = odd_masks()["full.png"]
    image = AnnotatedImage("a.jpg", mask.shape, mask_parts(mask))
    annotations = coco_annotations(image, polygons=False)
    peaks = []
    for count in (300, 1500):
        tracemalloc.start()
        with open_coco_file(tmp_path / "x.json", CLASSES, tmp_path) as opened:
            for _ in range(count):
                opened.add(image, annotations)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / "x.json").stat().st_size > 300_000
    assert peaks[1] < peaks[0] + 100_000
