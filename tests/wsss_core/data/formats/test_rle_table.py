"""Tables of run lengths; an own decoder, pixel by pixel, and pycocotools' are the oracles."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest

from wsss_core.data.formats import recognise
from wsss_core.errors import InputError

HEIGHT, WIDTH = 20, 30


def painted(text: str) -> np.ndarray:
    """Walk through the runs pixel by pixel: down the columns, from 1."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    numbers = [int(word) for word in text.split()]
    for at in range(0, len(numbers), 2):
        for step in range(numbers[at + 1]):
            pixel = numbers[at] - 1 + step
            mask[pixel % HEIGHT, pixel // HEIGHT] = 1
    return mask


def encoded(mask: np.ndarray, order: str = "F") -> str:
    flat = np.concatenate([[0], mask.ravel(order=order), [0]])
    edges = np.flatnonzero(np.diff(flat)) + 1
    return " ".join(f"{start} {end - start}" for start, end in edges.reshape(-1, 2))


def shape(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


@pytest.fixture
def table(tmp_path: Path, put: Any) -> Any:
    """Write images a, b, c ... in train_images and a table of lines."""

    def write(header: str, *lines: list[str], images: str = "abc") -> Path:
        for seed, name in enumerate(images):
            pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            put(tmp_path / f"set/train_images/{name}.jpg", pixels)
        with (tmp_path / "set/train.csv").open("w", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(header.split(","))
            writer.writerows(lines)
        return tmp_path / "set"

    return write


ONE, TWO = shape(3, 4, 7, 9), shape(12, 16, 6, 11)


def test_lines_of_one_image_are_united_and_images_without_runs_are_clear(table, read):
    root = table(
        "ImageId,EncodedPixels",
        ["a.jpg", encoded(ONE)],
        ["a.jpg", encoded(TWO)],
        ["b.jpg", encoded(ONE)],
        ["c.jpg", ""],
    )
    assert recognise(root).describe().endswith("rle, by train.csv with the column EncodedPixels")
    content = read(root)
    assert content.classes == ("object",)
    first, second, third = content.images
    np.testing.assert_array_equal(first.mask.read(), painted(encoded(ONE)) | painted(encoded(TWO)))
    np.testing.assert_array_equal(second.mask.read(), painted(encoded(ONE)))
    assert [sorted(image.labels.present) for image in content.images] == [
        ["object"],
        ["object"],
        [],
    ]
    assert not third.mask.read().any()
    assert {image.split for image in content.images} == {"train"}


def test_pixel_counts_are_the_sums_of_the_lengths_in_the_table(table, read):
    random = np.random.default_rng(5)
    blobs = {name: (random.random((HEIGHT, WIDTH)) < 0.3).astype(np.uint8) for name in "abc"}
    # Each pixel twice as high and wide, so that columns and rows tell the order.
    large = {n: np.kron(b[:10, :15], np.ones((2, 2), np.uint8)) for n, b in blobs.items()}
    root = table("ImageId,EncodedPixels", *([f"{n}.jpg", encoded(m)] for n, m in large.items()))
    for image in read(root).images:
        with (root / "train.csv").open(newline="") as opened:
            texts = [
                row["EncodedPixels"]
                for row in csv.DictReader(opened)
                if row["ImageId"] == image.picture.path.name
            ]
        counted = sum(int(number) for text in texts for number in text.split()[1::2])
        mask = image.mask.read()
        assert (mask > 0).sum() == counted
        runs = np.diff([0, *np.flatnonzero(np.diff(mask.ravel(order="F"))) + 1, mask.size]).tolist()
        runs = [0, *runs] if mask[0, 0] else runs
        made = pycocotools.mask.frPyObjects(
            {"size": [HEIGHT, WIDTH], "counts": runs}, HEIGHT, WIDTH
        )
        assert pycocotools.mask.area(made) == counted
        np.testing.assert_array_equal(mask, large[image.picture.path.stem])


@pytest.mark.parametrize(
    ("header", "lines"),
    [
        ("ImageId,ClassId,EncodedPixels", [["a.jpg", "2", "{one}"], ["a.jpg", "10", "{two}"]]),
        (
            "ImageId_ClassId,EncodedPixels",
            [["a.jpg_2", "{one}"], ["a.jpg_10", "{two}"], ["a.jpg_3", ""]],
        ),
        ("EncodedPixels,id,class", [["{one}", "a", "2.0"], ["{two}", "a", "10.0"]]),
    ],
)
def test_classes_are_numbers_of_a_column_or_behind_the_name(table, read, header, lines):
    filled = [[cell.format(one=encoded(ONE), two=encoded(TWO)) for cell in row] for row in lines]
    root = table(header, *filled, images="a")
    content = read(root)
    two, ten = content.classes.index("class 2") + 1, content.classes.index("class 10") + 1
    assert two < ten
    np.testing.assert_array_equal(
        content.images[0].mask.read(),
        painted(encoded(ONE)) * two + painted(encoded(TWO)) * ten,
    )
    named = read(root, values={2: "scratch", 3: "patch", 10: "crack"})
    assert named.images[0].labels.present == {"scratch", "crack"}
    with pytest.raises(InputError, match="class 10, which --values does not name"):
        read(root, values={2: "scratch", 3: "patch"})


def test_classes_may_be_words(table, read):
    root = table("Image_Label,EncodedPixels", ["a.jpg_Fish", encoded(ONE)], ["a.jpg_Gravel", ""])
    content = read(root)
    assert content.classes == ("Fish", "Gravel")
    assert content.images[0].labels.present == {"Fish"}


def test_images_that_no_line_names_are_unknown(table, read):
    content = read(table("ImageId,EncodedPixels", ["a.jpg", encoded(ONE)]))
    assert [set(image.labels.unknown) for image in content.images] == [
        set(),
        {"object"},
        {"object"},
    ]
    assert content.notes[0].startswith(
        "2 images are not in train.csv; they are unknown, or clear by"
    )


def test_templates_of_answers_are_passed_over_and_two_tables_are_refused(table, read):
    root = table("ImageId,EncodedPixels", ["a.jpg", encoded(ONE)], images="a")
    text = (root / "train.csv").read_text()
    (root / "sample_submission.csv").write_text("ImageId,EncodedPixels\nx.jpg,1 1\n")
    assert len(read(root).images) == 1
    (root / "train_v2.csv").write_text(text)
    with pytest.raises(InputError, match=r"train\.csv, train_v2\.csv; expected one"):
        read(root)
    assert len(read(root / "train_v2.csv").images) == 1


def test_runs_along_the_rows_are_noticed_and_read_when_told(table, read):
    root = table("ImageId,EncodedPixels", ["a.jpg", encoded(ONE, "C")], images="a")
    with pytest.raises(InputError, match="along the rows they do not; say --runs rows"):
        read(root)
    np.testing.assert_array_equal(read(root, runs="rows").images[0].mask.read(), ONE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 3 2 5", "expected runs in ascending order"),
        ("0 3", "expected runs in ascending order"),
        ("7 0", "expected runs in ascending order"),
        ("1 3 9", "expected a start and a length"),
        ("1.5 3", "expected a start and a length"),
        ("590 12", "run that ends at pixel 601, expected at most 600"),
    ],
)
def test_runs_that_do_not_fit_are_refused_with_their_line(table, read, text, said):
    root = table("ImageId,EncodedPixels", ["a.jpg", encoded(ONE)], ["b.jpg", text])
    with pytest.raises(InputError, match=r"train\.csv, line 3: ") as caught:
        read(root)
    assert said in str(caught.value)


def test_listed_images_that_are_absent_are_counted(table, read):
    root = table("ImageId,EncodedPixels", *([f"{n}.jpg", encoded(ONE)] for n in "abxyz"))
    with pytest.raises(InputError, match=r"image 'x\.jpg' is not in .*3 of the 5 listed images"):
        read(root)


def test_a_field_longer_than_the_limit_of_csv_is_read(table, read, put):
    height, width = 400, 602
    mask = np.zeros((height, width), np.uint8)
    mask[::2, ::2] = 1
    root = table("ImageId,EncodedPixels", ["a.jpg", encoded(mask)], images="a")
    put(root / "train_images/a.jpg", np.zeros((height, width, 3), np.uint8))
    before = csv.field_size_limit()
    assert len(encoded(mask)) > before
    np.testing.assert_array_equal(read(root).images[0].mask.read(), mask)
    assert csv.field_size_limit() == before
