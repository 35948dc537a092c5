"""RISE's lists, label states and clips."""

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from wsss_core.data.formats.common.clips import frame_times, read_frame
from wsss_core.data.formats.rise import clip_state
from wsss_core.errors import InputError


def clip(seed: int, frames: int = 36) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 16, 16, 3), np.uint8)


def write_video(path: Path, frames: np.ndarray, stamps: list[int]) -> Path:
    """Write frames without loss, each shown at its stamp in milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "bgr0"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for pixels, stamp in zip(frames, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = stamp
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def listed(name: str, citizen: int, admin: int, **more: Any) -> dict[str, Any]:
    return {
        "file_name": name,
        "label_state": citizen,
        "label_state_admin": admin,
        "camera_id": 0,
        "view_id": 7,
        **more,
    }


@pytest.fixture
def rise(tmp_path: Path, put_json: Callable[[Path, Any], Path]) -> Path:
    """Six listed clips, five decoded ones."""
    root = tmp_path / "rise"
    rows = {
        "train": [listed("gold", 16, 47, label=1), listed("none", 23, 32), listed("bad", 23, -2)],
        "validation": [listed("weak", 19, -1, label=1, weight=0.66), listed("maybe", 5, -1)],
        "test": [listed("clear", 20, -1, label=1), listed("absent", 23, -1)],
    }
    for split, listing in rows.items():
        put_json(root / f"split/metadata_{split}_split_0_by_camera.json", listing)
    (root / "rgb").mkdir()
    for seed, name in enumerate(("gold", "none", "bad", "weak", "maybe", "clear")):
        np.save(root / f"rgb/{name}.npy", clip(seed))
    return root


@pytest.mark.parametrize(
    ("citizen", "admin", "state"),
    [
        (16, 47, "smoke"),
        (16, 23, "smoke"),
        (23, 32, "clear"),
        (23, 16, "clear"),
        (23, -1, "smoke"),
        (19, -1, "smoke"),
        (16, -1, "clear"),
        (20, -1, "clear"),
        (23, -2, "bad"),
        (-2, -1, "bad"),
        (5, -1, "undecided"),
        (-1, -1, "undecided"),
    ],
)
def test_the_states_of_researchers_go_before_those_of_citizens(citizen, admin, state):
    assert clip_state(citizen, admin) == state


def test_two_frames_of_each_decided_clip_are_taken_by_position(rise, read):
    content = read(rise)
    assert [(i.name, i.split, sorted(i.labels.present)) for i in content.images] == [
        ("clear_frame27", "test", []),
        ("clear_frame9", "test", []),
        ("gold_frame27", "train", ["smoke"]),
        ("gold_frame9", "train", ["smoke"]),
        ("none_frame27", "train", []),
        ("none_frame9", "train", []),
        ("weak_frame27", "validation", ["smoke"]),
        ("weak_frame9", "validation", ["smoke"]),
    ]
    np.testing.assert_array_equal(content.images[2].picture.read(), clip(0)[27])
    assert {image.group for image in content.images} == {"gold", "none", "weak", "clear"}
    assert {image.camera for image in content.images} == {"0-7"}
    assert content.images[-1].flags == ("weak",)


def test_a_clip_without_smoke_has_an_empty_mask_and_one_with_smoke_none(rise, read, image_of):
    content = read(rise)
    empty = image_of(content, "clear_frame9").mask.read()
    assert empty.shape == (16, 16)
    assert not empty.any()
    assert image_of(content, "gold_frame9").mask is None


def test_what_is_left_out_is_counted(rise, read):
    assert sorted(read(rise).notes) == [
        "1 clips are bad and left out (first: bad)",
        "1 clips are not there and left out (first: absent)",
        "1 clips are undecided and left out (first: maybe)",
        "1 clips state a label that their states do not (first: clear)",
    ]


def test_of_several_lists_of_splits_one_has_to_be_chosen(rise, read, put_json):
    put_json(rise / "split/metadata_train_split_1_by_camera.json", [listed("clear", 20, -1)])
    with pytest.raises(InputError, match=r"split_0_by_camera, split_1_by_camera; choose by"):
        read(rise)
    content = read(rise, scheme="split_1_by_camera")
    assert {(image.group, image.split) for image in content.images} == {("clear", "train")}


def test_lists_without_any_clip_are_refused_with_the_name_of_one(rise, read):
    for file in (rise / "rgb").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"none of the 7 clips .*expected e\.g\. .*\.mp4 or \.npy"):
        read(rise)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_frames_of_a_video_are_those_that_were_written_whatever_their_times(tmp_path, suffix):
    frames = clip(5, 12)
    uneven = [0, 33, 66, 266, 466, 500, 533, 566, 766, 800, 833, 866]
    even = [int(1000 * n / 30) for n in range(12)]
    stamps = uneven if suffix == ".mkv" else even
    path = write_video(tmp_path / f"clip{suffix}", frames, stamps)
    times = frame_times(path)
    assert len(times) == 12
    for position in (0, 3, 4, 11):
        np.testing.assert_array_equal(read_frame(path, position), frames[position])
    if suffix == ".mkv":
        np.testing.assert_allclose(times, np.array(stamps) / 1000, atol=1e-3)
    with pytest.raises(InputError, match="12 frames, expected at least 13"):
        read_frame(path, 12)


def test_the_time_of_a_frame_is_kept_beside_it(rise, read, image_of):
    (rise / "rgb/gold.npy").unlink()
    stamps = [40 * n for n in range(36)]
    write_video(rise / "rgb/gold.mkv", clip(0), stamps)
    image = image_of(read(rise), "gold_frame9")
    assert image.time == pytest.approx(0.36, abs=1e-3)
    np.testing.assert_array_equal(image.picture.read(), clip(0)[9])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: np.save(path, np.zeros((2, 4, 4, 3))), "expected uint8"),
        (lambda path: np.save(path, np.zeros((4, 4, 3), np.uint8)), "expected frames"),
        (lambda path: path.write_bytes(b"nothing"), "expected a NumPy array"),
        (lambda path: np.save(path, np.array({}, object), allow_pickle=True), "NumPy array"),
    ],
)
def test_an_array_that_is_no_clip_is_refused(rise, read, make, said):
    make(rise / "rgb/gold.npy")
    with pytest.raises(InputError, match=said):
        read(rise)


def test_a_broken_video_is_refused_in_one_line(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video at all")
    with pytest.raises(InputError, match=r"clip\.mp4: expected a readable video"):
        frame_times(path)


def test_without_pyav_one_line_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'wsss-studies\[formats\]'"):
        frame_times(path)
