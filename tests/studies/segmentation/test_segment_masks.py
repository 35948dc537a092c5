"""`wsss masks RESULTS --segmenter NAME`: masks by a segmenter that a study trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reports.results.segments import read_segments
from wsss_core.segmentation import PredictionSettings, load_segmenter, predict_masks

pytestmark = pytest.mark.ci


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(3):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((50 - 5 * number, 30 + number), Image.Resampling.BICUBIC).save(
            folder / f"{number}.png"
        )
    return folder


@pytest.mark.parametrize("entry", ["4 masks", "pseudo masks, views"])
def test_masks_are_those_that_the_study_s_entry_predicts(
    entry: str, ran_segments: Any, images: Path, wsss: Any, tmp_path: Path
) -> None:
    ended = wsss(
        "masks", ran_segments.results, "--segmenter", entry, "--images", images,
        "--out", tmp_path / "out", "--in-process",
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    (record,) = (one for one in read_segments(ran_segments.results, "tiny") if one.entry == entry)
    (run,) = record.runs
    artifact = ran_segments.results / "store" / "segment" / run.segment_key
    segmenter = load_segmenter(artifact / "segmenter.safetensors")
    assert segmenter.names == ("smoke",)
    views = PredictionSettings(scales=(1.0, 2.0), flip=True, crf="psa")
    settings = views if entry.endswith("views") else None
    for image in sorted(images.iterdir()):
        with Image.open(image) as opened:
            small = np.asarray(opened.resize((32, 32), Image.Resampling.BILINEAR))
            size = opened.size[::-1]
        (expected,) = predict_masks(segmenter, small[np.newaxis], [size], settings)
        with Image.open(tmp_path / "out" / image.name) as opened:
            np.testing.assert_array_equal(np.array(opened), expected)
    settings_there = json.loads((tmp_path / "out" / "masks.json").read_text())["settings"]
    assert (settings_there["entry"], settings_there["study"]) == (entry, "tiny")
    assert settings_there["segment_key"] == run.segment_key


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--segmenter", "5 masks"], "--segmenter '5 masks': no segmenter of "),
        (["--segmenter", "4 masks", "--seed", "7"], "--seed 7: expected one of 0"),
        (["--segmenter", "4 masks", "--fold", "1"], "--fold 1: the study of '4 masks' has no"),
        (["--segmenter", "4 masks", "--study", "tidy"], "--study 'tidy': nearest: 'tiny'; "),
        (["--segmenter", "4 masks", "--rule", "otsu"], "--rule: chooses nothing of a segmenter"),
        (["--segmenter", "4 masks", "--store", "STORE"], "does not hold the segmenter "),
    ],
)
def test_a_slip_is_said_in_a_line(
    options: list[str], said: str, ran_segments: Any, images: Path, wsss: Any, tmp_path: Path
) -> None:
    words = [str(tmp_path / "store") if word == "STORE" else word for word in options]
    ended = wsss(
        "masks", ran_segments.results, *words, "--images", images, "--out", tmp_path / "out",
        "--in-process",
    )  # fmt: skip
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
