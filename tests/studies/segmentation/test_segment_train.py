"""`wsss segment train`: one more segmenter on the results of a study."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.results.segments import read_segments

pytestmark = pytest.mark.ci


@pytest.fixture
def study(ran_segments: Any, shared_tiny: Any, tmp_path: Path) -> Path:
    """The file of the finished study without its section `segment`, and a copy of its results."""
    raw = {**shared_tiny, "configurations": shared_tiny["configurations"][:1]}
    raw["chains"] = {"PAR": [{"par": {"iterations": 2}}]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
    shutil.copytree(ran_segments.results, tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "ledger" / "segments")
    return tmp_path / "study.yaml"


SMALL = [
    "--set", "segment.model.model=unet", "--set", "segment.model.encoder=resnet18",
    "--set", "segment.model.encoder_options={channels: [4, 4, 8, 8]}",
    "--set", "segment.model.options={decoder_channels: [8, 8, 8, 4, 4]}",
    "--set", "segment.training={batch_size: 4, optimizer: adamw, learning_rate: 0.002}",
]  # fmt: skip


def test_an_entry_is_trained_and_those_that_were_added_before_stay(
    study: Path, wsss: Any, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    common = [*SMALL, "--steps", 3, "--results", results, "--in-process"]
    first = wsss("segment", "train", study, "three", "--masks", 3, *common)
    assert (first.code, first.err) == (0, "")
    second = wsss(
        "segment", "train", study, "cut", "--configuration", "CNN alone", "--chain", "PAR",
        "--rule", "otsu", *common,
    )  # fmt: skip
    assert (second.code, second.err) == (0, "")
    records = {one.entry: one for one in read_segments(results, "tiny")}
    assert set(records) == {"three", "cut"}
    assert (records["three"].masks, records["three"].steps) == ("3", 3)
    about = records["cut"]
    assert (about.configuration, about.refinement, about.rule) == ("CNN alone", "PAR", "otsu")
    for entry, ended in (("three", first), ("cut", second)):
        (figure,) = records[entry].by_seed("per_image_iou").values()
        assert f"{entry}: IoU of {100 * figure:.2f} % (per image, of 1 run)" in ended.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a.b", "--masks", 3], "NAME 'a.b': expected a name without '.' and '='"),
        (["x", "--masks", "none"], "expected a number of masks, or all, got 'none'"),
        (["x"], "expected masks, or the configuration whose maps become pseudo masks"),
        (["x", "--encoder", "resnet18", "--configuration", "CNN aloen"], "nearest: 'CNN alone'"),
    ],
)
def test_a_slip_is_said_in_a_line(
    options: list[Any], said: str, study: Path, wsss: Any, tmp_path: Path
) -> None:
    ended = wsss("segment", "train", study, *options, "--results", tmp_path / "results")
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
