"""What is tried of every pair of networks before anything is trained, and how it is refused."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from studies.preflight import crash_guard
from studies.preflight.network_check import last_batch, other_batch_size
from studies.store import SCRATCH, TRIED
from tests.studies.preflight.conftest import (
    Raw,
    Try,
    alone,
    at_one_location,
    pairs_passed,
    refused,
)


def test_a_last_batch_of_one_image_at_one_location_names_the_ways_out(
    tiny: Raw, attempt: Try
) -> None:
    said = refused(attempt, at_one_location(tiny, 17, 16))
    assert said.startswith(
        "CNN alone: 17 training images in batches of batch_size 16 leave a last batch of 1 image"
    )
    for way in ("another batch_size (15)", "one training image more or less", "data.size"):
        assert way in said


def test_batches_of_one_image_are_refused_where_batchnorm_cannot_train(
    tiny: Raw, attempt: Try
) -> None:
    said = refused(attempt, at_one_location(tiny, 4, 1))
    assert "batch_size 1 makes steps of a single one of 4 training images" in said
    assert "batch_size 2 or more" in said


@pytest.mark.parametrize(("train", "batch_size"), [(18, 16), (17, 15), (16, 16)])
def test_a_last_batch_of_more_images_passes(
    tiny: Raw, attempt: Try, train: int, batch_size: int
) -> None:
    assert pairs_passed(attempt(at_one_location(tiny, train, batch_size))) == 1


def test_a_last_image_passes_where_its_map_is_larger(tiny: Raw, attempt: Try) -> None:
    study = at_one_location(tiny, 17, 16)
    study["backbones"]["cnn"]["output_stride"] = 8
    assert pairs_passed(attempt(study)) == 1


def test_the_half_size_pass_of_pcm_is_tried_too(tiny: Raw, attempt: Try) -> None:
    study = at_one_location(tiny, 17, 16)
    study["data"]["size"] = 64
    assert pairs_passed(attempt(study)) == 1
    study["backbones"]["cnn"]["head"] = "pcm"
    assert "17 training images in batches of batch_size 16" in refused(attempt, study)


@pytest.mark.parametrize("count", range(2, 40))
@pytest.mark.parametrize("batch_size", [2, 3, 16, 50])
def test_the_size_that_is_advised_leaves_no_image_alone(count: int, batch_size: int) -> None:
    other = other_batch_size(count, batch_size)
    sizes = [len(range(start, min(start + other, count))) for start in range(0, count, other)]
    assert min(sizes) > 1
    assert last_batch(count, other) == sizes[-1]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("not_a_number", "its first training step fails: the loss became nan"),
        ("unsaveable", "its student cannot be saved"),
        ("forgetful", "its student makes other maps after it was saved and read back"),
        ("greedy", "runs out of memory even with one image at a time"),
        ("faulty", "its first training step on images of 32 px fails: KeyError: 'gamma'"),
    ],
)
def test_what_fails_in_the_first_step_is_one_line(
    tiny: Raw, attempt: Try, model: str, expected: str
) -> None:
    assert expected in refused(attempt, alone(tiny, model))


def test_a_network_that_draws_in_training_alone_passes(tiny: Raw, attempt: Try) -> None:
    assert pairs_passed(attempt(alone(tiny, "drawing"))) == 1


def test_what_passed_is_not_tried_again_and_what_is_new_is(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert pairs_passed(attempt(tiny)) == 4
    assert "networks: 4 pairs tried" in caplog.text
    caplog.clear()
    tiny["seeds"] = [0, 1]
    tiny["training"]["learning_rate"] = 1e-4
    with monkeypatch.context() as patched:
        patched.setattr(crash_guard, "_run_in_child", None)
        assert pairs_passed(attempt(tiny)) == 4
    assert caplog.text == ""
    tiny["configurations"].append({**tiny["configurations"][2], "level": "channel"})
    assert pairs_passed(attempt(tiny)) == 5
    assert "networks: 1 pairs tried" in caplog.text


@pytest.mark.parametrize("change", [{"batch_size": 5}, {"precision": "bf16"}])
def test_another_first_step_is_tried(tiny: Raw, attempt: Try, change: Raw) -> None:
    attempt(tiny)
    tiny["training"] |= change
    assert pairs_passed(attempt(tiny)) == 8


def test_other_code_of_a_network_is_tried(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(tiny)
    monkeypatch.setattr("studies.store.origin.method_digest", lambda: "another")
    assert pairs_passed(attempt(tiny)) == 8


def test_the_random_numbers_of_what_follows_stay_as_they_were(tiny: Raw, attempt: Try) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    attempt(tiny)
    assert torch.equal(torch.get_rng_state(), before)


def test_warnings_of_networks_reach_the_run(
    tiny: Raw, attempt: Try, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(alone(tiny, "warning"))
    assert ("wsss_core.own", logging.WARNING, "149 of 150 at random") in caplog.record_tuples


def test_nothing_but_names_is_left_in_the_store(tiny: Raw, attempt: Try) -> None:
    store = attempt(tiny)
    there = {path.name for path in store.root.iterdir()} - {".wsss"}
    assert there == {"images", "files", SCRATCH, TRIED}
    assert not any((store.root / SCRATCH).iterdir())


def test_a_run_is_refused_before_it_trains(
    tiny: Raw, wsss: Any, write_study: Any, tmp_path: Path
) -> None:
    file = write_study(at_one_location(tiny, 17, 16))
    ended = wsss("run", file, "--in-process", "--results", tmp_path / "results")
    assert ended.code == 2
    assert ended.err.startswith("wsss: CNN alone: 17 training images in batches of")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "results" / "store" / "train").exists()
