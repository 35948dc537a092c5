"""Pascal VOC's layout, with its palette's indices, void borders, lists and annotations."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.formats import label_by_table
from wsss_core.errors import InputError


def palette_mask(path: Path, values: np.ndarray) -> np.ndarray:
    """Write a mask of palette indices with arbitrary colours; return the indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(values)
    mask.putpalette([(7 * n) % 256 for n in range(768)])
    mask.save(path)
    with Image.open(path) as again:
        assert again.mode == "P"
        return np.array(again)


def shape(value: int) -> np.ndarray:
    values = np.zeros((20, 30), np.uint8)
    values[4:12, 5:15] = 255
    values[5:11, 6:14] = value
    return values


def annotation(*names: str) -> str:
    objects = "".join(f"<object><name>{n}</name><difficult>0</difficult></object>" for n in names)
    return f"<annotation><filename>x.jpg</filename>{objects}</annotation>"


@pytest.fixture
def voc(tmp_path: Path, put: Callable[..., Path]) -> Path:
    """Two training images (bird, cat) and one to validate with (bird), in VOCdevkit/VOC2012."""
    root = tmp_path / "VOCdevkit/VOC2012"
    for stem, value in (("2007_01", 3), ("2007_02", 8), ("2008_03", 3)):
        put(root / f"JPEGImages/{stem}.jpg")
        palette_mask(root / f"SegmentationClass/{stem}.png", shape(value))
    put(root / "JPEGImages/2009_unsegmented.jpg")
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_01\n2007_02\n")
    (lists / "val.txt").write_text("2008_03\n")
    (lists / "trainval.txt").write_text("2007_01\n2007_02\n2008_03\n")
    return root


def test_splits_come_from_the_lists_and_masks_are_the_indices_with_255_ignored(voc, read, image_of):
    content = read(voc.parents[1])
    assert [(image.name, image.split) for image in content.images] == [
        ("2007_01", "train"),
        ("2007_02", "train"),
        ("2008_03", "val"),
    ]
    assert content.classes[2] == "bird"
    assert len(content.classes) == 20
    for stem in ("2007_01", "2007_02", "2008_03"):
        with Image.open(voc / f"SegmentationClass/{stem}.png") as opened:
            np.testing.assert_array_equal(image_of(content, stem).mask.read(), np.array(opened))


def test_labels_come_from_the_annotations_where_there_are_some(voc, read, image_of):
    (voc / "Annotations").mkdir()
    (voc / "Annotations/2007_01.xml").write_text(annotation("bird", "person", "hand"))
    content = read(voc)
    assert image_of(content, "2007_01").labels.present == {"bird", "person"}
    assert image_of(content, "2007_02").labels is None
    assert any("hand in 2007_01.xml" in note for note in content.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "defines entities"),
        ("<annotation><object>", "not valid XML"),
    ],
)
def test_an_annotation_that_is_not_plain_is_refused(voc, read, text, said):
    (voc / "Annotations").mkdir()
    (voc / "Annotations/2007_01.xml").write_text(text)
    with pytest.raises(InputError, match=said):
        read(voc)


def test_a_list_that_names_an_unknown_image_is_refused(voc, read):
    (voc / "ImageSets/Segmentation/val.txt").write_text("2008_99\n")
    with pytest.raises(InputError, match="no image '2008_99'"):
        read(voc)


def test_masks_of_colours_are_read_by_the_label_map_of_cvat(voc, read, put, image_of):
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[2:8, 3:9] = (128, 0, 0)
    for stem in ("2007_01", "2007_02", "2008_03"):
        put(voc / f"SegmentationClass/{stem}.png", colours)
    (voc / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nplume:128,0,0::\n"
    )
    content = read(voc)
    assert content.classes == ("plume",)
    expected = np.zeros((20, 30), np.uint8)
    expected[2:8, 3:9] = 1
    np.testing.assert_array_equal(image_of(content, "2007_01").mask.read(), expected)


def test_labels_of_a_table_replace_those_of_the_format(voc, read, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,classes,flags\n2007_01.jpg,cat;bird,foggy\n2007_02,,\n2008_03,bird,\n")
    content = label_by_table(read(voc), table)
    assert [sorted(image.labels.present) for image in content.images] == [
        ["bird", "cat"],
        [],
        ["bird"],
    ]
    assert content.images[0].flags == ("foggy",)
