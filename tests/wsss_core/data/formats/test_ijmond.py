"""IJmond's parts: the COCO export of opacity, manual frames, listed clips, regions, crops."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.formats import (
    CropRule,
    EmptyMask,
    FormatContent,
    FormatImage,
    FormatOptions,
    Picture,
    crop_windows,
    cut_windows,
    recognise,
)
from wsss_core.data.importing import SourceSettings
from wsss_core.data.importing.candidates import read_source
from wsss_core.errors import InputError

FRAME = "kooks_1__2023-01-01T00-00-00Z_frame_5_jpg.rf.0123abcd.jpg"


@pytest.fixture
def pixel_set(tmp_path: Path, put: Callable[..., Path], put_json: Any) -> Path:
    """A frame of 40x50 pixels with one region of each opacity."""
    root = tmp_path / "smoke-segmentation.v5i"
    put(root / "test" / FRAME, np.zeros((40, 50, 3), np.uint8))
    boxes = {1: (5, 5, 15, 12), 2: (20, 20, 35, 30)}
    put_json(
        root / "test/_annotations.coco.json",
        {
            "categories": [
                {"id": 0, "name": "smoke", "supercategory": "none"},
                {"id": 1, "name": "high-opacity-smoke", "supercategory": "smoke"},
                {"id": 2, "name": "low-opacity-smoke", "supercategory": "smoke"},
            ],
            "images": [{"id": 0, "file_name": FRAME, "height": 40, "width": 50}],
            "annotations": [
                {
                    "id": n,
                    "image_id": 0,
                    "category_id": n,
                    "segmentation": [[a, b, c, b, c, d, a, d]],
                    "bbox": [a, b, c - a, d - b],
                    "area": (c - a) * (d - b),
                    "iscrowd": 0,
                }
                for n, (a, b, c, d) in boxes.items()
            ],
        },
    )
    return root


def test_smoke_of_high_and_of_low_opacity_is_smoke(pixel_set, read):
    assert recognise(pixel_set).format.name == "ijmond"
    content = read(pixel_set)
    assert content.classes == ("smoke",)
    expected = np.zeros((40, 50), np.uint8)
    expected[5:12, 5:15] = expected[20:30, 20:35] = 1
    np.testing.assert_array_equal(content.images[0].mask.read(), expected)
    assert content.images[0].camera == "kooks_1"
    assert content.images[0].group == FRAME.partition(".rf.")[0]
    assert any("are read as smoke" in note for note in content.notes)


def test_as_plain_coco_the_two_opacities_are_two_classes(pixel_set, read):
    assert read(pixel_set, "coco").classes == ("high-opacity-smoke", "low-opacity-smoke")


def test_manual_frames_are_labelled_by_their_folder_and_grouped_by_clip(
    tmp_path, put, put_json, read
):
    root = tmp_path / "ijmond"
    for name in ("manual_positive/A-B-3_frame1", "manual_positive/A-B-3_frame2"):
        put(root / f"frames/{name}.jpg")
    put(root / "frames/manual_negative/x-0_frame1.jpg")
    row = {"file_name": "A-B-3", "label_state": 23, "label_state_admin": 23, "id": 1}
    put_json(root / "metadata_ijmond_jan.json", [{**row, "camera_id": 1, "view_id": 3}])
    content = read(root)
    assert [(i.split, i.group, i.camera, sorted(i.labels.present)) for i in content.images] == [
        ("train", "x-0", None, []),
        ("train", "A-B-3", "1-3", ["smoke"]),
        ("train", "A-B-3", "1-3", ["smoke"]),
    ]
    assert not content.images[0].mask.read().any()


def test_frames_of_listed_clips_are_labelled_by_the_states_of_their_clip(
    tmp_path, put, put_json, read
):
    root = tmp_path / "ijmond"
    rows = [("a-1", 16, 47), ("b-2", 16, -1), ("c-3", 23, -2)]
    put_json(
        root / "metadata_ijmond.json",
        [
            {"file_name": n, "label_state": c, "label_state_admin": a, "camera_id": 0, "view_id": 1}
            for n, c, a in rows
        ],
    )
    for name, _, _ in rows:
        put(root / f"frames/{name}_frame1.jpg")
    content = read(root)
    assert {i.group: sorted(i.labels.present) for i in content.images} == {
        "a-1": ["smoke"],
        "b-2": [],
    }
    assert content.notes == (
        "1 frames are of bad or undecided clips and left out (first: c-3_frame1.jpg)",
    )


def test_soft_masks_of_regions_are_cut_at_half_of_255_unless_told(tmp_path, put, put_json, read):
    soft = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))
    region = tmp_path / "regions/clip-0/29/clip-0-29-0"
    put(region / "crop.png")
    put(region / "mask.png", soft)
    put_json(tmp_path / "regions/clip-0/video.json", {"camera_id": 2, "view_id": 0})
    content = read(tmp_path / "regions")
    np.testing.assert_array_equal(content.images[0].mask.read(), soft >= 128)
    assert (content.images[0].group, content.images[0].camera) == ("clip-0", "2-0")
    assert content.images[0].flags == ("made by a model",)
    low = read(tmp_path / "regions", threshold=10).images[0].mask.read()
    np.testing.assert_array_equal(low, soft >= 10)


def best_windows(mask: np.ndarray, rule: CropRule) -> list[tuple[int, int]]:
    """Count every window pixel by pixel, and return the corners of the best."""
    height, width = mask.shape
    found = []
    for top in range(int(height * rule.top), height - rule.size + 1, rule.stride):
        for left in range(int(width * rule.left), width - rule.size + 1, rule.stride):
            part = mask[top : top + rule.size, left : left + rule.size]
            area = int(((part > 0) & (part < 255)).sum())
            if area >= rule.least_share * rule.size**2:
                found.append((-area, top, left))
    return [(top, left) for _, top, left in sorted(found)[: rule.most]]


@pytest.mark.parametrize("seed", range(4))
def test_crop_windows_are_those_with_most_object_by_counting_each(seed):
    random = np.random.default_rng(seed)
    mask = np.zeros((120, 200), np.uint8)
    for _ in range(3):
        top, left = random.integers(0, 100), random.integers(0, 180)
        mask[top : top + 18, left : left + 15] = random.choice([1, 2, 255])
    rule = CropRule(size=48, stride=8)
    found = [(window.top, window.left) for window in crop_windows(mask, rule)]
    assert found == best_windows(mask, rule)


def test_windows_of_the_thesis_lie_below_and_right_of_logo_and_time():
    mask = np.ones((1280, 1920), np.uint8)
    windows = crop_windows(mask, CropRule())
    assert [(window.top, window.left) for window in windows] == [(153, 460), (153, 524), (153, 588)]
    assert {(window.height, window.width) for window in windows} == {(512, 512)}


def test_crops_of_a_frame_share_its_group_and_cut_image_and_mask_alike(pixel_set, read):
    content = cut_windows(read(pixel_set), CropRule(size=16, stride=4))
    assert len(content.images) == 3
    assert {image.group for image in content.images} == {FRAME.partition(".rf.")[0]}
    whole = read(pixel_set).images[0].mask.read()
    for image in content.images:
        window = image.picture.window
        expected = whole[window.top : window.top + 16, window.left : window.left + 16]
        np.testing.assert_array_equal(image.mask.read(), expected)
        assert image.picture.read().shape == (16, 16, 3)


def test_an_image_without_a_window_is_left_out_and_counted(pixel_set, read):
    content = cut_windows(read(pixel_set), CropRule())
    assert content.images == ()
    assert any("have no window of 512 px" in note for note in content.notes)


def test_a_folder_that_is_no_part_of_ijmond_is_refused_as_such(tmp_path, read):
    (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match="not of format ijmond"):
        read(tmp_path / "set", "ijmond")


def test_images_that_are_smaller_than_a_window_are_told(tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(small)
    picture = Picture(small)
    one = FormatImage("small", picture, mask=EmptyMask(picture))
    said = "1 images have no window of 512 px, as they are smaller"
    lone = FormatImage("lone", picture)
    found = cut_windows(FormatContent(("smoke",), (one, lone)))
    assert [image.name for image in found.images] == ["lone"]
    assert found.notes[0].startswith(said)
    assert found.notes[0].endswith("are left out (first: small)")


def test_windows_that_fit_in_no_image_are_refused_with_the_reason(pixel_set) -> None:
    settings = SourceSettings(pixel_set, "small", options=FormatOptions(crops="thesis"))
    with pytest.raises(InputError, match=r"--crops thesis leaves nothing: .* they are smaller"):
        read_source(settings)
