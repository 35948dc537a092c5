"""train/labels.csv: images that hold several classes, or none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.source import FolderSource
from wsss_core.errors import InputError

Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """A data folder of three training images with the given table and classes."""

    def write(table: str, classes: str | None = "classes: {1: smoke, 7: steam}") -> Path:
        root = tmp_path / "data"
        for name in ("a.png", "b.png", "c.png"):
            place = root / "train" / "images"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(place / name)
        (root / "train" / "labels.csv").write_text(table)
        if classes is not None:
            (root / "classes.yaml").write_text(classes + "\n")
        for split in ("tune", "test"):
            for folder in ("images", "masks", "context"):
                (root / split / folder).mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / split / "images" / "x.png")
            mask = np.array([[0, 1, 7, 255]] * 4, np.uint8)
            Image.fromarray(mask).save(root / split / "masks" / "x.png")
            context = np.array([[1, 0, 0, 7]] * 4, np.uint8)
            Image.fromarray(context).save(root / split / "context" / "x.png")
        return root

    return write


def test_an_image_holds_the_classes_of_its_line(lay: Lay) -> None:
    source = FolderSource(lay("file,classes\na.png,smoke; steam\nb.png,\nc.png,steam\n"))
    train = source.read("train", 4)
    assert source.classes == ("smoke", "steam")
    assert train.identifiers == ("images/a.png", "images/b.png", "images/c.png")
    assert train.labels.tolist() == [[True, True], [False, False], [False, True]]


def test_context_masks_hold_the_values_of_their_classes(lay: Lay) -> None:
    tune = FolderSource(lay("file,classes\na.png,smoke\nb.png,\nc.png,steam\n")).read("tune", 4)
    smoke, steam = tune.context(0, 0), tune.context(0, 1)
    assert smoke is not None
    assert steam is not None
    assert smoke[0].tolist() == [True, False, False, False]
    assert steam[0].tolist() == [False, False, False, True]
    assert tune.mask(0)[0].tolist() == [0, 1, 2, 255]


def test_a_single_class_needs_no_list_of_classes(lay: Lay) -> None:
    source = FolderSource(lay("file,classes\na.png,smoke\nb.png,\nc.png,smoke\n", None))
    assert source.classes == ("smoke",)


def test_other_labels_are_another_fingerprint(lay: Lay) -> None:
    root = lay("file,classes\na.png,smoke\nb.png,\nc.png,steam\n")
    before = FolderSource(root).fingerprint("train")
    (root / "train" / "labels.csv").write_text(
        "file,classes\na.png,smoke\nb.png,smoke\nc.png,steam\n"
    )
    assert FolderSource(root).fingerprint("train") != before


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,classes\na.png,smoke\nb.png,\n", r"c.png: training image without a line in"),
        ("file,classes\na.png,smoke\nb.pgn,\nc.png,\n",
         r"labels.csv, line 3: file 'b.pgn' is no image of .*; nearest: 'b.png'"),
        ("file,classes\na.png,smok\nb.png,\nc.png,\n",
         r"line 2: class 'smok', expected smoke, steam; nearest: 'smoke'"),
        ("file,classes\na.png,\na.png,\nb.png,\n", r"line 3: file 'a.png' is listed twice"),
        ("file,label\na.png,smoke\n",
         r"columns \['file', 'label'\], expected CSV with columns file, classes"),
        ("file,classes\na.png,smoke,steam\nb.png,\nc.png,\n",
         r"labels.csv, line 2: 3 fields, expected 2"),
        ('file,classes\na.png,"smoke,steam"\nb.png,\nc.png,\n',
         r"labels.csv, line 2: classes 'smoke,steam', expected ';' between classes"),
        ("file,classes\na.png,smoke\nb.png\nc.png,\n",
         r"labels.csv, line 3: 1 fields, expected 2"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_an_error_that_names_the_line(
    lay: Lay, table: str, said: str
) -> None:
    root = lay(table)

    def read() -> None:
        FolderSource(root).images("train")

    with pytest.raises(InputError, match=said):
        read()


def test_class_folders_beside_the_table_are_an_error(lay: Lay) -> None:
    root = lay("file,classes\na.png,smoke\nb.png,\nc.png,steam\n")
    (root / "train" / "steam").mkdir()
    with pytest.raises(InputError, match="a class folder 'steam' besides; expected one of the two"):
        FolderSource(root)


def test_several_classes_need_their_mask_values(lay: Lay) -> None:
    with pytest.raises(InputError, match=r"classes smoke, steam; .*classes.yaml .* mask value"):
        FolderSource(lay("file,classes\na.png,smoke\nb.png,steam\nc.png,\n", None))


@pytest.mark.parametrize(
    "table",
    [
        "File,Classes\na.png,smoke\nb.png,\nc.png,steam\n",
        " file , classes \na.png,smoke\nb.png,\nc.png,steam\n",
        "FILE,note,CLASSES\n a.png ,x,smoke\nb.png,,\nc.png,,steam\n",
        "file,classes\na,smoke\nb,\nc,steam\n",
        "file,classes\nimages/a.png,smoke\n./images/b.png,\ntrain/images/c.png,steam\n",
        "file,classes\ntrain\\images\\a.png,smoke\nimages\\b,\nc,steam\n",
    ],
)
def test_headers_paths_and_missing_endings_are_read_as_people_write_them(
    lay: Lay, table: str
) -> None:
    plain = FolderSource(lay("file,classes\na.png,smoke\nb.png,\nc.png,steam\n"))
    fingerprint = plain.fingerprint("train")
    (plain.root / "train" / "labels.csv").write_text(table)
    train = FolderSource(plain.root).read("train", 4)
    assert train.labels.tolist() == [[True, False], [False, False], [False, True]]
    assert FolderSource(plain.root).fingerprint("train") == fingerprint


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,classes\na,smoke\na.png,\nb.png,\nc.png,\n", "'a.png' is listed twice"),
        ("file,classes\nimages/a.png,\na.png,\nb.png,\nc.png,\n", "'a.png' is listed twice"),
        ("file,File,classes\na.png,a.png,\n", "a column is named twice"),
        ("file,classes\nother/a.png,\nb.png,\nc.png,\n", "file 'other/a.png' is no image of"),
    ],
)
def test_two_ways_to_write_one_image_are_not_two_images(lay: Lay, table: str, said: str) -> None:
    root = lay(table)
    with pytest.raises(InputError) as caught:
        FolderSource(root).images("train")
    assert said in str(caught.value)
