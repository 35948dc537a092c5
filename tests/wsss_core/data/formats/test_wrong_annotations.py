"""Annotation files in which any value is replaced: they are read, or refused in one line."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wsss_core.data.formats import FormatOptions, recognise
from wsss_core.errors import InputError

SQUARE = [5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0]
COCO_FILE: dict[str, Any] = {
    "images": [{"id": 0, "file_name": "a.png", "height": 20, "width": 30}],
    "categories": [{"id": 0, "name": "smoke", "supercategory": "none"}, {"id": 1, "name": "steam"}],
    "annotations": [
        {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [SQUARE], "area": 100,
         "bbox": [5, 5, 10, 10], "iscrowd": 0},
        {"id": 1, "image_id": 0, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 30, 20],
         "segmentation": {"size": [20, 30], "counts": [100, 400, 100]}},
    ],
}  # fmt: skip
CLIPS: list[dict[str, Any]] = [
    {"file_name": "clip", "label_state": 23, "label_state_admin": -1, "camera_id": 0,
     "view_id": 1, "label": 1, "weight": 0.66, "start_time": 5},
]  # fmt: skip

WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 10**400, 1e308, 0.5, -(2**70), 2**32, 255]),
    st.text(max_size=6),
    st.sampled_from(["../a.png", "/etc/passwd", "\x00", "5X6", "a\nb"]),
    st.lists(st.one_of(st.integers(), st.text(max_size=2)), max_size=4),
    st.dictionaries(st.sampled_from(["size", "counts", "x"]), st.integers(), max_size=2),
    st.just([[]]),
    st.just({"size": [20, 30], "counts": "5X6"}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def replaced(content: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    changed = copy.deepcopy(content)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    return changed


def read_or_refuse(path: Path, name: str) -> None:
    """Read a set with all its masks; anything but a line of InputError is a failure."""
    said = ""
    try:
        read_all(path, name)
    except InputError as error:
        said = str(error)
    assert "\n" not in said


def read_all(path: Path, name: str | None = None) -> None:
    found = recognise(path, name)
    for image in found.format.read(found.path, FormatOptions()).images:
        if image.mask is not None:
            assert image.mask.read().shape == image.picture.shape()


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    return tmp_path


@pytest.fixture
def rise_folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "clip.npy", np.zeros((4, 8, 8, 3), np.uint8))
    return tmp_path


RELAXED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@RELAXED
@given(path=st.sampled_from(list(places(COCO_FILE))), wrong=WRONG)
def test_a_coco_file_with_any_value_replaced_is_read_or_refused(coco_folder, path, wrong):
    content = json.dumps(replaced(COCO_FILE, path, wrong))
    (coco_folder / "a.json").write_text(content, encoding="utf-8")
    read_or_refuse(coco_folder, "coco")


@RELAXED
@given(path=st.sampled_from(list(places(CLIPS))), wrong=WRONG)
def test_a_list_of_clips_with_any_value_replaced_is_read_or_refused(rise_folder, path, wrong):
    content = json.dumps(replaced(CLIPS, path, wrong))
    (rise_folder / "a.json").write_text(content, encoding="utf-8")
    read_or_refuse(rise_folder, "rise")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"images": NaN, "annotations": [], "categories": []}',
        '{"images": [], "annotations": [], "categories": []}',
        '{"images": {}, "annotations": [], "categories": []}',
        "\ufeff{}",
        '{"a": 1',
        "",
    ],
)
def test_a_text_that_is_no_coco_file_is_refused_in_one_line(coco_folder, text):
    (coco_folder / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_all(coco_folder / "a.json")
    assert "\n" not in str(caught.value)
