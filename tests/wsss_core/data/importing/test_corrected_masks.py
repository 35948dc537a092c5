"""Masks that went to people's tools, were corrected there, and come back to the pixel."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.annotations.odd_masks import CLASSES, odd_masks
from tests.wsss_core.data.importing.conftest import save
from wsss_core.data.annotations import (
    VOC_BOXES,
    VOC_LIST,
    VOC_MASKS,
    AnnotatedImage,
    coco_annotations,
    label_map,
    mask_parts,
    open_coco_file,
    voc_annotation,
    voc_name,
)
from wsss_core.data.importing import import_data
from wsss_core.data.importing.writing import mask_palette
from wsss_core.errors import InputError

SHARES = "train=0.4,tune=0.3,test=0.3"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """An image for each mask."""
    for number, (name, mask) in enumerate(odd_masks().items()):
        pixels = np.random.default_rng(number).integers(0, 256, (*mask.shape, 3), np.uint8)
        save(tmp_path / "frames" / name, pixels)
    return tmp_path / "frames"


def corrected() -> dict[str, np.ndarray]:
    """The masks after a person's work: an object is moved, one is drawn, one is erased."""
    masks = odd_masks()
    masks["hole.png"] = np.roll(masks["hole.png"], 3, axis=1)
    masks["empty.png"][5:9, 5:9] = 2
    masks["several parts.png"][0:4, 0:5] = 0
    return masks


def stem_of(name: str) -> str:
    return Path(name).stem


def masks_of(data: Path) -> dict[str, np.ndarray]:
    """Stem -> the mask of every image of a data folder; None where it is clear without one."""
    found: dict[str, np.ndarray] = {}
    for split in ("train", "tune", "test"):
        for image in (data / split).glob("*/*.png"):
            if image.parent.name in ("images", "clear"):
                mask = data / split / "masks" / image.name
                with Image.open(image) as opened:
                    found[image.stem] = np.zeros(opened.size[::-1], np.uint8)
                if mask.is_file():
                    with Image.open(mask) as opened:
                        found[image.stem] = np.array(opened)
    return found


def assert_equal(data: Path, masks: dict[str, np.ndarray]) -> None:
    found = masks_of(data)
    assert set(found) == {stem_of(name) for name in masks}
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[stem_of(name)], mask, err_msg=name)


def sent_as_coco(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    file = folder / "annotations" / "instances_default.json"
    with open_coco_file(file, CLASSES, folder) as opened:
        for name, mask in masks.items():
            image = AnnotatedImage(name, mask.shape, mask_parts(mask))
            opened.add(image, coco_annotations(image, polygons=False))
    return folder


def sent_back_by_cvat(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    """A file as CVAT exports masks: uncompressed run lengths, iscrowd 1, attributes, own ids."""
    named = {1: ("smoke", 2), 2: ("steam", 3), 255: ("ignore", 1)}
    annotations: list[dict[str, Any]] = []
    images = []
    for number, (name, mask) in enumerate(masks.items(), 1):
        height, width = mask.shape
        images.append(
            {"id": number, "width": width, "height": height, "file_name": name, "license": 0}
        )
        for code in sorted(set(np.unique(mask).tolist()) - {0}):
            flat = (mask == code).ravel(order="F").astype(int)
            ends = [*(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
            counts = np.diff([0, *ends]).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": named[code][1],
                    "segmentation": {
                        "counts": [0, *counts] if flat[0] else counts,
                        "size": [height, width],
                    },
                    "area": float(flat.sum()),
                    "bbox": [0.0, 0.0, float(width), float(height)],
                    "iscrowd": 1,
                    "attributes": {"occluded": False},
                }
            )
    content = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"description": "", "year": ""},
        "categories": [{"id": i, "name": name, "supercategory": ""} for name, i in named.values()],
        "images": images,
        "annotations": annotations,
    }
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "instances_default.json").write_text(json.dumps(content))
    return folder


def sent_as_voc(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    for name, mask in masks.items():
        picture = Image.fromarray(mask)
        picture.putpalette(mask_palette())
        file = folder / VOC_MASKS / f"{voc_name(name)}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file)
        boxes = folder / VOC_BOXES / f"{voc_name(name)}.xml"
        boxes.parent.mkdir(parents=True, exist_ok=True)
        image = AnnotatedImage(name, mask.shape, mask_parts(mask))
        boxes.write_bytes(voc_annotation(image, CLASSES))
    (folder / VOC_LIST).parent.mkdir(parents=True)
    (folder / VOC_LIST).write_text("".join(f"{voc_name(name)}\n" for name in masks))
    (folder / "labelmap.txt").write_bytes(label_map(CLASSES, mask_palette(), undecided=True))
    return folder


def sent_back_as_colours(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    """Masks as CVAT exports them: no images, no boxes, colours in the place of a palette."""
    sent_as_voc(folder, masks)
    shutil.rmtree(folder / VOC_BOXES)
    for file in (folder / VOC_MASKS).rglob("*.png"):
        with Image.open(file) as opened:
            opened.convert("RGB").save(file)
    return folder


@pytest.mark.parametrize("tool", [sent_as_coco, sent_back_by_cvat, sent_as_voc])
def test_masks_come_back_to_the_pixel(tool: Callable[..., Path], frames, settings, tmp_path):
    source = tool(tmp_path / "sent", odd_masks())
    import_data(settings(source, SHARES, options={"images": str(frames)}, seed=1))
    assert_equal(tmp_path / "data", odd_masks())


@pytest.mark.parametrize("tool", [sent_back_by_cvat, sent_back_as_colours])
def test_corrected_masks_are_the_true_masks_of_training_images_too(
    tool: Callable[..., Path], frames, settings, tmp_path
):
    source = tool(tmp_path / "sent", corrected())
    record = import_data(settings(source, SHARES, options={"images": str(frames)}, seed=1))
    data = tmp_path / "data"
    assert_equal(data, corrected())
    assert record.counts["train"]["smoke"] > 0
    assert list((data / "train" / "masks").glob("*.png"))


def test_classes_are_those_of_the_study_and_undecided_pixels_are_none(frames, settings, tmp_path):
    source = sent_back_by_cvat(tmp_path / "sent", odd_masks())
    import_data(settings(source, SHARES, options={"images": str(frames)}))
    assert "ignore" not in (tmp_path / "data" / "classes.yaml").read_text()


def test_a_folder_of_images_that_is_not_there_is_named(frames, settings, tmp_path):
    source = sent_as_coco(tmp_path / "sent", odd_masks())
    one = settings(source, SHARES, options={"images": str(tmp_path / "other")})
    with pytest.raises(InputError, match=r"other: no such folder, expected that of the images of"):
        import_data(one)


def test_masks_of_voc_without_images_ask_for_their_folder(settings, tmp_path):
    source = sent_back_as_colours(tmp_path / "sent", odd_masks())
    with pytest.raises(InputError, match="holds no JPEGImages; say where the images are"):
        import_data(settings(source, SHARES))
