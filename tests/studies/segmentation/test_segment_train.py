"""`wsss segment train`: one more segmenter on the results of a study."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.ledger.parts import read_arrow
from reports.results.segments import read_segments
from wsss_core.errors import InputError

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


KILLED = """
import os, sys
import studies.runner
from studies.cli.main import main

studies.runner._run_work = lambda *_: os._exit(9)  # as a process that is killed: nothing unwinds
main(sys.argv[1:])
"""


def test_entries_that_were_added_before_stay_when_the_training_is_killed(
    study: Path, wsss: Any, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    common = [*SMALL, "--steps", 3, "--results", results, "--in-process"]
    assert wsss("segment", "train", study, "three", "--masks", 3, *common).code == 0
    again = ["segment", "train", study, "four", "--masks", 4, *common]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, again)])
    assert killed.returncode == 9
    rows = read_arrow(results, "segments", columns=["entry"]).to_pylist()
    assert [row["entry"] for row in rows] == ["four", "three"]
    records = {one.entry: one for one in read_segments(results, "tiny")}
    assert records["three"].by_seed("per_image_iou")
    assert not records["four"].by_seed("per_image_iou")


def test_entries_stay_once_when_the_study_cannot_be_run(
    study: Path, wsss: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    common = [*SMALL, "--steps", 3, "--results", results, "--in-process"]
    assert wsss("segment", "train", study, "three", "--masks", 3, *common).code == 0

    def refuse(*_: Any) -> None:
        raise InputError("no")

    monkeypatch.setattr("studies.preflight.preflight", refuse)
    assert wsss("segment", "train", study, "four", "--masks", 4, *common).code == 2
    rows = read_arrow(results, "segments", columns=["entry"]).to_pylist()
    assert [row["entry"] for row in rows] == ["three"]


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
