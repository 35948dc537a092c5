"""A study on a published set: checked, planned and run in place, with the scores of its import."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reports.ledger.parts import read_table
from studies.cli.main import main

Raw = dict[str, Any]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)


@pytest.fixture
def smoke5k(tmp_path: Path) -> Path:
    """SMOKE5K's layout: eight training pairs, four to test with; a square of smoke in each."""
    root = tmp_path / "SMOKE5K"
    for split, count in (("train", 8), ("test", 4)):
        for number in range(count):
            mask = np.zeros((40, 40), np.uint8)
            mask[5 + number : 25 + number, 5:30] = 255
            image = noisy(number + 10 * count)
            image[mask > 0] //= 4
            save(root / f"{split}/img/{split}{number}.png", image)
            save(root / f"{split}/gt/{split}{number}.png", mask)
    return root


@pytest.fixture
def clear(tmp_path: Path) -> Path:
    """A data folder whose clear training images are taken."""
    root = tmp_path / "frames"
    for number in range(6):
        save(root / f"train/clear/c{number}.png", noisy(900 + number))
    save(root / "train/smoke/s.png", noisy(910))
    for split in ("tune", "test"):
        save(root / f"{split}/images/a.png", noisy(920))
        mask = np.zeros((40, 40), np.uint8)
        mask[:9, :9] = 255
        save(root / f"{split}/masks/a.png", mask)
    return root


@pytest.fixture
def in_place(smoke5k: Path, clear: Path) -> Raw:
    return {
        "source": "published",
        "size": 32,
        "tune": 2,
        "root": [str(smoke5k), {"path": str(clear), "take": {"clear": 5}}],
    }


Write = Callable[..., Path]


@pytest.mark.ci
def test_a_study_in_place_scores_as_on_its_import_and_keeps_sources_and_findings(
    tiny: Raw, write_study: Write, in_place: Raw, smoke5k: Path, clear: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "imported"
    sources = [str(smoke5k), str(clear), str(folder)]
    assert main(["data", "import", "--take=B=clear:5", "--tune=2", *sources]) == 0
    datas = {"here": in_place, "there": {"source": "folder", "root": str(folder), "size": 32}}
    scores = {}
    for name, data in datas.items():
        results = tmp_path / name
        file = write_study({**tiny, "data": data, "seeds": [0]})
        assert main(["run", str(file), "--in-process", "--results", str(results)]) == 0
        trials = read_table(results, "trials", columns=["trial_key", "configuration"])
        found = read_table(results, "scores").merge(trials, on="trial_key")
        order = ["configuration", "network", "split", "image"]
        scores[name] = found.drop(columns="trial_key").sort_values(order, ignore_index=True)
    here, there = scores["here"], scores["there"]
    assert len(here) == len(there) > 0
    assert set(here["source"]) == {"SMOKE5K"}
    for column in here:
        for one, other in zip(here[column], there[column], strict=True):
            np.testing.assert_array_equal(one, other)
    findings = read_table(tmp_path / "here", "findings")
    assert {"note", "warning"} & set(findings["severity"])


def test_the_images_of_a_study_in_place_are_checked_by_its_file(
    tiny: Raw, write_study: Write, in_place: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(write_study({**tiny, "data": in_place}))]) == 0
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if line.split()}
    assert lines["train"][:4] == ["train", "11", "6", "5"]
    assert lines["tune"][:4] == ["tune", "2", "2", "0"]
    assert lines["test"][:4] == ["test", "4", "4", "0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.tune=null", "data: no image is in tune; say e.g. `tune` 0.1 to cut it from train"),
        ("data.root=nowhere", "nowhere: no such file or folder, expected a data set"),
        ("data.classes=fire", "data: class 'fire' is not in the set, whose classes are smoke"),
        ("data.least_area=100000", "no image is left in"),
    ],
)
def test_what_cannot_be_read_in_place_is_one_line_and_exit_code_2(
    tiny: Raw,
    write_study: Write,
    in_place: Raw,
    change: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_study({**tiny, "data": in_place})
    assert main(["plan", str(file), "--set", change]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"), [("size", "64"), ("orientation", "ignore"), ("largest-megapixels", "9")]
)
def test_options_of_the_check_beside_a_study_are_refused(
    tiny: Raw,
    write_study: Write,
    in_place: Raw,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
) -> None:
    file = write_study({**tiny, "data": in_place})
    assert main(["data", "check", str(file), f"--{name}", value]) == 2
    said = f"--{name}: the study says how its images are read, as data.{name.replace('-', '_')}"
    assert said in capsys.readouterr().err


def test_scenes_have_no_files_to_check(
    tiny: Raw, write_study: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(write_study(tiny))]) == 2
    assert "data.source is scenes, which has no files to check" in capsys.readouterr().err
