"""YOLO's labels as Ultralytics, Roboflow and CVAT write them; Pillow draws the same polygons."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from wsss_core.data.formats import FormatContent, recognise
from wsss_core.errors import InputError

HEIGHT, WIDTH = 40, 60
TRIANGLE = [(6.0, 4.0), (50.0, 10.0), (20.0, 36.0)]
STAR = [
    (30.0, 2.0),
    (36.0, 16.0),
    (55.0, 18.0),
    (40.0, 26.0),
    (46.0, 38.0),
    (30.0, 30.0),
    (8.0, 37.0),
]
BLOCK = [(12.0, 8.0), (42.0, 8.0), (42.0, 30.0), (12.0, 30.0)]


def line(number: int, corners: list[tuple[float, float]]) -> str:
    shares = [f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in corners]
    return " ".join([str(number), *shares])


def box(number: int, left: int, top: int, width: int, height: int) -> str:
    middle = (left + width / 2) / WIDTH, (top + height / 2) / HEIGHT
    return f"{number} {middle[0]} {middle[1]} {width / WIDTH} {height / HEIGHT}"


def drawn(corners: list[tuple[float, float]]) -> np.ndarray:
    """Draw a polygon by Pillow at eight times the size; a pixel is in it if half of it is."""
    times = 8
    large = Image.new("L", (WIDTH * times, HEIGHT * times))
    ImageDraw.Draw(large).polygon([(x * times, y * times) for x, y in corners], fill=1)
    return np.array(large).reshape(HEIGHT, times, WIDTH, times).mean(axis=(1, 3)) >= 0.5


def near_border(mask: np.ndarray) -> np.ndarray:
    """The pixels beside which the mask changes."""
    padded = np.pad(mask, 1, mode="edge")
    shifts = [
        padded[1 + y : 1 + y + HEIGHT, 1 + x : 1 + x + WIDTH]
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    ]
    return np.max(shifts, axis=0) != np.min(shifts, axis=0)


@pytest.fixture
def yolo(tmp_path: Path, put: Any) -> Any:
    """Write images and their labels: path below images -> lines, or None for no label file."""

    def write(labels: dict[str, list[str] | None], settings: str | None = None) -> Path:
        root = tmp_path / "set"
        for seed, (name, lines) in enumerate(labels.items()):
            pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            put(root / f"images/{name}.jpg", pixels)
            if lines is not None:
                text = root / f"labels/{name}.txt"
                text.parent.mkdir(parents=True, exist_ok=True)
                text.write_text("\n".join([*lines, ""]))
        names = "names:\n  0: smoke\n  1: fire\n"
        (root / "data.yaml").write_text(settings if settings is not None else names)
        return root

    return write


def by_name(content: FormatContent) -> dict[str, Any]:
    return {image.name: image for image in content.images}


@pytest.mark.parametrize("corners", [TRIANGLE, STAR, BLOCK])
def test_polygons_cover_what_pillow_draws_but_for_the_pixels_of_their_border(yolo, read, corners):
    root = yolo({"train/a": [line(0, corners)], "val/b": []})
    mask = by_name(read(root))["images/train/a"].mask.read()
    truth = drawn(corners)
    differing = (mask == 1) != truth
    assert not (differing & ~near_border(truth)).any()
    assert differing.sum() <= 0.1 * truth.sum()


def test_a_polygon_of_whole_pixels_is_equal_to_the_pixel(yolo, read):
    mask = by_name(read(yolo({"train/a": [line(1, BLOCK)]})))["images/train/a"].mask.read()
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[8:30, 12:42] = 2
    np.testing.assert_array_equal(mask, expected)


def test_counts_of_classes_are_those_of_the_label_files(yolo, read):
    labels = {
        "train/a": [line(0, TRIANGLE), line(0, STAR)],
        "train/b": [line(1, STAR)],
        "train/c": [],
        "val/d": [line(0, BLOCK), line(1, TRIANGLE)],
        "val/e": None,
    }
    content = read(yolo(labels))
    assert content.classes == ("smoke", "fire")
    words = {"0": "smoke", "1": "fire"}
    for name, lines in labels.items():
        image = by_name(content)[f"images/{name}"]
        assert image.labels.present == {words[text[0]] for text in lines or ()}
        assert image.split == name.split("/")[0]
    assert content.notes == ("1 images have no label file and are clear (first: images/val/e.jpg)",)


def test_boxes_alone_give_labels_and_no_mask_unless_they_are_the_object(yolo, read):
    root = yolo({"train/a": [box(1, 6, 4, 20, 10)], "val/b": [line(0, BLOCK), box(1, 0, 0, 6, 8)]})
    content = read(root)
    alone, mixed = (by_name(content)[f"images/{n}"] for n in ("train/a", "val/b"))
    assert alone.labels.present == {"fire"}
    assert alone.mask is None
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[8:30, 12:42] = 1
    np.testing.assert_array_equal(mixed.mask.read() % 255, expected)
    assert (mixed.mask.read()[:8, :6] == 255).all()
    assert any("1 images have boxes alone" in note for note in content.notes)
    assert any("1 images have boxes beside polygons" in note for note in content.notes)
    painted = by_name(read(root, boxes="object"))["images/train/a"].mask.read()
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[4:14, 6:26] = 2
    np.testing.assert_array_equal(painted, truth)


@pytest.mark.parametrize(
    ("settings", "splits"),
    [
        ("train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['smoke']\n", "train valid"),
        (
            "path: /content/set\ntrain: train/images\nval: valid/images\nnames: [smoke]\n",
            "train val",
        ),
    ],
)
def test_roboflows_folders_are_found_wherever_the_file_says_they_lie(
    tmp_path, put, read, settings, splits
):
    root = tmp_path / "set"
    for split, name in (("train", "a_jpg.rf.01"), ("train", "a_jpg.rf.02"), ("valid", "b")):
        put(root / f"{split}/images/{name}.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        text = root / f"{split}/labels/{name}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(line(0, BLOCK))
    (root / "data.yaml").write_text(settings)
    found = recognise(tmp_path / "set")
    assert found.format.name == "yolo"
    assert "data.yaml" in found.describe()
    content = read(root)
    assert [(image.group, image.split) for image in content.images] == [
        ("a_jpg", "train"),
        ("a_jpg", "train"),
        (None, "val"),
    ]


def test_lists_of_images_and_the_labels_of_darknet_lie_beside_them(tmp_path, put, read):
    root = tmp_path / "set"
    for name in ("a", "b"):
        put(root / f"obj_train_data/{name}.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        (root / f"obj_train_data/{name}.txt").write_text(box(0, 2, 2, 8, 8))
    (root / "obj.names").write_text("smoke\n")
    (root / "obj.data").write_text("classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\n")
    (root / "train.txt").write_text("data/obj_train_data/a.jpg\n")
    (root / "valid.txt").write_text("data/obj_train_data/b.jpg\n")
    content = read(root)
    assert content.classes == ("smoke",)
    assert [(image.split, set(image.labels.present)) for image in content.images] == [
        ("train", {"smoke"}),
        ("val", {"smoke"}),
    ]


def test_images_that_two_splits_name_stay_in_the_first(yolo, read):
    root = yolo({"a": [line(0, BLOCK)]}, "train: images\nval: images\nnames: [smoke]\n")
    content = read(root)
    assert content.images[0].split == "train"
    assert any(note.startswith("1 images of val are in another split") for note in content.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 0.5 0.5 0.2 0.2", "class 2, which is not named"),
        ("0 0.5 0.5 0.2", "3 numbers behind the class"),
        ("0 0.5 0.5 0.2 0.2 0.9", "5 numbers behind the class"),
        ("0 120 40 30 30", "expected shares of the image from 0 to 1"),
        ("0 0.1 nan 0.2 0.3", "expected shares of the image from 0 to 1"),
        ("smoke 0.5 0.5 0.2 0.2", "expected numbers"),
    ],
)
def test_a_line_that_is_no_shape_is_refused_with_its_place(yolo, read, text, said):
    root = yolo({"train/a": [line(0, BLOCK), text]})
    with pytest.raises(InputError, match=r"a\.txt, line 2: ") as caught:
        read(root)
    assert said in str(caught.value)


def test_without_names_one_line_says_how_to_give_them(yolo, read):
    root = yolo({"train/a": [line(0, BLOCK)]})
    (root / "data.yaml").unlink()
    with pytest.raises(InputError, match=r"--values 0=smoke,1=fire"):
        read(root)
    assert read(root, values={0: "plume"}).classes == ("plume",)
    (root / "classes.txt").write_text("steam\n")
    assert read(root).classes == ("steam",)


def test_keypoints_are_refused(yolo, read):
    root = yolo({"train/a": [line(0, BLOCK)]}, "names: [smoke]\nkpt_shape: [17, 3]\n")
    with pytest.raises(InputError, match="labels of keypoints"):
        read(root)


def test_a_photograph_is_turned_upright_as_it_was_annotated(yolo, read):
    root = yolo({"train/a": [line(0, BLOCK)]})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(root / "images/train/a.jpg", exif=exif)
    image = read(root).images[0]
    assert image.picture.read().shape == (HEIGHT, WIDTH, 3)
    assert (image.mask.read() == 1).sum() == 30 * 22


def test_a_polygon_far_larger_than_the_text_limit_is_refused(yolo, read):
    root = yolo({"train/a": [line(0, BLOCK)]})
    with (root / "labels/train/a.txt").open("w") as opened:
        opened.truncate(2**24 + 1)
    with pytest.raises(InputError, match="expected at most"):
        read(root)
