"""`wsss data import`: what it prints, its options for one of several sources, and a study on it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., Any]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)


@pytest.fixture
def smoke5k(tmp_path: Path) -> Path:
    """SMOKE5K's layout: four training pairs, three to test with."""
    root = tmp_path / "SMOKE5K"
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 5:30] = 255
    for split, count in (("train", 4), ("test", 3)):
        for number in range(count):
            save(root / f"{split}/img/{split}{number}.png", noisy(number + 10 * count))
            save(root / f"{split}/gt/{split}{number}.png", mask)
    return root


@pytest.fixture
def rise(tmp_path: Path) -> Path:
    """RISE's layout: three clips without smoke, one with."""
    root = tmp_path / "RISE"
    (root / "split").mkdir(parents=True)
    (root / "rgb").mkdir()
    rows = []
    for number, state in enumerate((16, 16, 20, 23)):
        clip = np.random.default_rng(number).integers(0, 256, (6, 40, 40, 3), np.uint8)
        np.save(root / f"rgb/clip{number}.npy", clip)
        rows.append({"file_name": f"clip{number}", "label_state": state, "label_state_admin": -1})
    (root / "split/metadata_train_split_0_by_camera.json").write_text(json.dumps(rows))
    return root


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A COCO export: two images to train on, one of them clear, and two in valid and in test."""
    root = tmp_path / "export"
    for base, (split, count) in enumerate((("train", 4), ("valid", 2), ("test", 2))):
        images, annotations = [], []
        for number in range(count):
            save(root / f"{split}/{number}.png", noisy(50 + 10 * base + number))
            images.append({"id": number, "file_name": f"{number}.png", "height": 40, "width": 40})
            if number % 2 == 0:
                polygon = [5.0, 5.0, 30.0, 5.0, 30.0, 20.0, 5.0, 20.0]
                annotations.append(
                    {"id": number, "image_id": number, "category_id": 0, "segmentation": [polygon]}
                )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 0, "name": "plume"}],
        }
        (root / f"{split}/_annotations.coco.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def ijmond(tmp_path: Path) -> Path:
    """IJmond's manual frames, two of each label, beside three frames with polygons of opacity."""
    root = tmp_path / "IJmond"
    for number in range(2):
        save(root / f"frames/manual_positive/clip{number}-0_frame1.png", noisy(70 + number))
        save(root / f"frames/manual_negative/none{number}-0_frame1.png", noisy(80 + number))
    images, annotations = [], []
    for number in range(3):
        name = f"kooks_1__2023-01-0{number + 1}_frame_5_png.rf.{number}abc.png"
        save(root / "test" / name, noisy(90 + number))
        images.append({"id": number, "file_name": name, "height": 40, "width": 40})
        polygon = [5.0, 5.0, 30.0, 5.0, 30.0, 20.0, 5.0, 20.0]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1 + number % 2, "iscrowd": 0,
             "bbox": [5, 5, 25, 15], "segmentation": [polygon], "area": 375}
        )  # fmt: skip
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 0, "name": "smoke", "supercategory": "none"},
            {"id": 1, "name": "high-opacity-smoke", "supercategory": "smoke"},
            {"id": 2, "name": "low-opacity-smoke", "supercategory": "smoke"},
        ],
    }
    (root / "test/_annotations.coco.json").write_text(json.dumps(content))
    return root


def test_it_says_what_it_took_and_what_came_of_it(wsss: Command, smoke5k: Path, tmp_path: Path):
    ended = wsss("data", "import", smoke5k, tmp_path / "data", "--tune", 1)
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"SMOKE5K: {smoke5k}: smoke5k, by train and test with img and gt",
        "split  images  smoke  clear",
        "train  3       3      0",
        "tune   1       1      0",
        "test   3       3      0",
        "note: every image of train holds a class, none is clear",
        f"written to {tmp_path / 'data'}; next: wsss data check {tmp_path / 'data'}",
    ]
    assert wsss("data", "check", tmp_path / "data").code == 0


def test_the_mixture_of_the_thesis_in_one_command(
    wsss: Command, coco: Path, smoke5k: Path, rise: Path, tmp_path: Path
):
    ended = wsss(
        *("data", "import", coco, smoke5k, rise, tmp_path / "data"),
        *("--classes", "A:smoke=plume", "--take", "B=smoke:2", "--take", "RISE=clear:3"),
    )
    assert ended.code == 0, ended.err
    with (tmp_path / "data/images.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    train = [row for row in rows if row["file"].startswith("train")]
    found = [
        (name, [r["classes"] for r in train if r["source"] == name])
        for name in ("export", "SMOKE5K", "RISE")
    ]
    assert {name: sorted(classes) for name, classes in found} == {
        "export": ["", "", "smoke", "smoke"],
        "SMOKE5K": ["smoke", "smoke"],
        "RISE": ["", "", ""],
    }
    assert {row["source"] for row in rows if not row["file"].startswith("train")} == {"export"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "smok5k"), "nearest: 'smoke5k'"),
        (("--values", "1:smoke"), "expected e.g. 0=sky,11=ignore"),
        (("--threshold", "half"), "expected a whole number from 1 to 65535"),
        (("--crops", "some"), "expected none or thesis"),
        (("--take", "C=smoke:1"), "source 'C'"),
        (("--take", "smoke:1"), "expected e.g. B=smoke:19"),
        (("--split", "train=0.5"), "expected a sum of 1"),
        (("--labels", "missing.csv"), "missing.csv: cannot be read"),
    ],
)
def test_a_wrong_option_is_one_line_and_writes_nothing(
    wsss: Command, smoke5k: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
):
    ended = wsss("data", "import", smoke5k, tmp_path / "data", "--tune", 1, *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not list(tmp_path.glob("data*"))


@pytest.mark.ci
@pytest.mark.parametrize("made_of", ["smoke5k", "coco", "ijmond"])
def test_an_imported_set_is_checked_planned_and_run(
    wsss: Command,
    made_of: str,
    request: pytest.FixtureRequest,
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], str],
    tmp_path: Path,
    rise: Path,
):
    source = request.getfixturevalue(made_of)
    more = {
        "smoke5k": ("--tune", 1, "--take", "RISE=clear:3"),
        "coco": (),
        "ijmond": ("--tune", "test:1"),
    }[made_of]
    sources = (source, rise) if made_of == "smoke5k" else (source,)
    data = tmp_path / "data"
    assert wsss("data", "import", *sources, data, *more).code == 0
    assert wsss("data", "check", data).code == 0
    tiny["data"] = {"source": "folder", "root": str(data), "size": 32}
    study = write_study(tiny)
    assert wsss("plan", study).code == 0
    ended = wsss("run", study, "--in-process", "--results", tmp_path / "results")
    assert ended.code == 0, ended.err
