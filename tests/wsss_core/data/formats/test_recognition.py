"""Which format a path is taken for, and what is said where that is not clear."""

import numpy as np
import pytest

from wsss_core.data.formats import FORMATS, recognise
from wsss_core.errors import InputError


def test_the_name_of_a_format_that_is_nearly_right_is_suggested(tmp_path):
    with pytest.raises(InputError, match="nearest: 'smoke5k'"):
        recognise(tmp_path, "smok5k")


def test_a_folder_that_fits_two_formats_lists_both(tmp_path, put):
    for folder in ("JPEGImages", "SegmentationClass", "leftImg8bit", "gtFine"):
        put(tmp_path / f"set/{folder}/a.png")
    with pytest.raises(InputError, match=r"may be voc, by .*; cityscapes, by .*choose by --format"):
        recognise(tmp_path / "set")
    assert recognise(tmp_path / "set", "voc").format.name == "voc"


def test_a_specific_format_goes_before_pairs(tmp_path, put):
    for split in ("train", "test"):
        put(tmp_path / f"set/{split}/img/a.png")
        put(tmp_path / f"set/{split}/gt/a.png", np.zeros((20, 30), np.uint8))
    assert recognise(tmp_path / "set").format.name == "smoke5k"


def test_an_unknown_layout_says_what_it_holds_and_what_is_known(tmp_path, put):
    put(tmp_path / "set/pictures/a.png")
    put(tmp_path / "set/drawings/a.png")
    with pytest.raises(InputError) as caught:
        recognise(tmp_path / "set")
    said = str(caught.value)
    assert "folders drawings, pictures" in said
    assert all(known.name in said for known in FORMATS)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "said"), [("set.zip", "unpack it"), ("a.json", "no annotation file"), ("b", "no such")]
)
def test_a_path_that_is_no_set_is_refused(tmp_path, name, said):
    if name != "b":
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=said):
        recognise(tmp_path / name)


def test_a_data_folder_of_this_product_is_recognised(tmp_path, put):
    root = tmp_path / "set"
    put(root / "train/smoke/a.png")
    put(root / "train/clear/b.png")
    for split in ("tune", "test"):
        put(root / f"{split}/images/p.png")
        put(root / f"{split}/masks/p.png", np.full((20, 30), 255, np.uint8))
        put(root / f"{split}/clear/q.png")
    found = recognise(root)
    assert found.format.name == "folder"
