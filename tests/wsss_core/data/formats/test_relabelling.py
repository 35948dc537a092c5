"""Classes that are chosen and merged, and labels from a table."""

import numpy as np
import pytest

from wsss_core.data.formats import (
    FormatContent,
    FormatImage,
    Labels,
    Picture,
    choose_classes,
    label_by_table,
    parse_classes,
    without_labels,
)
from wsss_core.errors import InputError


class Drawn:
    """A mask of the codes 0, 1, 2, 3 and 255."""

    def read(self) -> np.ndarray:
        return np.array([[0, 1, 2, 3, 255]], np.uint8)


@pytest.fixture
def content(tmp_path) -> FormatContent:
    images = tuple(
        FormatImage(f"train/{stem}", Picture(tmp_path / f"{stem}.jpg"), labels=labels, mask=Drawn())
        for stem, labels in (("a", Labels(frozenset({"low"}))), ("b", None), ("c", Labels()))
    )
    return FormatContent(("high", "low", "steam"), images)


def test_classes_are_merged_renamed_and_ordered_and_the_others_are_background(content):
    chosen = choose_classes(content, parse_classes("steam,smoke=high|low"))
    assert chosen.classes == ("steam", "smoke")
    assert chosen.images[0].mask.read().tolist() == [[0, 2, 2, 1, 255]]
    assert chosen.images[0].labels.present == {"smoke"}
    only = choose_classes(content, {"smoke": ("high",)})
    assert only.images[0].mask.read().tolist() == [[0, 1, 0, 0, 255]]
    assert only.images[0].labels.present == set()
    assert only.notes == ("classes low, steam are read as background",)


def test_an_unknown_class_is_refused_with_the_nearest(content):
    with pytest.raises(InputError, match=r"'stem' is not in the set, .* nearest: 'steam'"):
        choose_classes(content, {"stem": ("stem",)})


def test_masks_alone_say_the_labels_where_that_is_wanted(content):
    assert [image.labels for image in without_labels(content).images] == [None, None, None]


def test_a_table_with_a_column_for_each_class_knows_present_absent_and_unknown(content, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("filename,high,steam,group\na.jpg,1,0,g1\ntrain/b,,1,\n")
    found = label_by_table(content, table)
    assert [image.name for image in found.images] == ["train/a", "train/b"]
    assert found.images[0].labels == Labels(frozenset({"high"}))
    assert found.images[0].group == "g1"
    assert found.images[1].labels == Labels(frozenset({"steam"}), frozenset({"high"}))
    assert found.notes == ("1 images have no line in labels.csv and are left out (first: train/c)",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,classes\nz.jpg,low\n", "'z.jpg' is no image of the set"),
        ('file,classes\na.jpg,"low,high"\n', "expected ';' between"),
        ("file,low\na.jpg,2\n", "'2' in column 'low'"),
        ("file,classes\na.jpg,low\na.jpg,low\n", "listed twice"),
        ("picture,classes\na.jpg,low\n", "expected one named file"),
        ("file,classes\n", "no line below"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(content, tmp_path, text, said):
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(InputError) as caught:
        label_by_table(content, table)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "smoke=", "=a", "a,a", "smoke=a||b"])
def test_a_wrong_list_of_classes_is_refused(text):
    with pytest.raises(InputError, match=r"expected e.g. smoke=high"):
        parse_classes(text)


def test_a_chosen_class_that_is_not_there_is_told_with_those_that_are() -> None:
    content = FormatContent(("smoke", "steam"), ())
    with pytest.raises(InputError, match="whose classes are smoke, steam; nearest: 'smoke'"):
        choose_classes(content, {"smok": ("smok",)})
    with pytest.raises(InputError, match="class 'smoke' is chosen for 'a' and 'b'"):
        choose_classes(content, {"a": ("smoke",), "b": ("smoke",)})
