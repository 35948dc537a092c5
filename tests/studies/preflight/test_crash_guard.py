"""The process that tries networks: it ends, hangs, cannot fork, has no memory or no storage."""

import errno
import logging
import multiprocessing
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from reports.storage import StorageError
from studies.preflight import crash_guard, network_check
from studies.store import SCRATCH
from studies.store.artifacts import ArtifactStore
from tests.studies.preflight.conftest import Raw, Try, alone, pairs_passed, refused


@pytest.mark.parametrize(
    ("model", "how"), [("killed", "SIGKILL"), ("aborting", "SIGABRT"), ("leaving", "exit code 3")]
)
def test_a_network_that_ends_its_process_is_named_and_the_others_are_tried(
    tiny: Raw, attempt: Try, tmp_path: Path, model: str, how: str
) -> None:
    study = alone(tiny, model)
    study["configurations"].append({"paradigm": "single", "student": "vit"})
    said = refused(attempt, study)
    assert said.startswith(f"cnn alone (odd_networks:{model}): the process")
    assert how in said
    assert pairs_passed(ArtifactStore(tmp_path / "results" / "store")) == 1
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    "model", ["sleeping", pytest.param("standing_still", marks=pytest.mark.ci)]
)
def test_a_network_that_hangs_is_named_and_the_others_are_tried(
    tiny: Raw, attempt: Try, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv(crash_guard.STEP_LIMIT, "4")
    study = alone(tiny, model)
    study["configurations"].append({"paradigm": "single", "student": "vit"})
    said = refused(attempt, study)
    assert said.startswith(f"cnn alone (odd_networks:{model}): its networks were not built")
    assert "within 4 s" in said
    assert "WSSS_PREFLIGHT_TIMEOUT" in said
    assert pairs_passed(ArtifactStore(tmp_path / "results" / "store")) == 1
    assert multiprocessing.active_children() == []


def test_a_time_limit_that_is_no_number_is_refused(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(crash_guard.STEP_LIMIT, "4 min")
    assert "WSSS_PREFLIGHT_TIMEOUT=4 min: expected a number" in refused(attempt, tiny)


def test_a_slow_pair_is_named_in_the_log(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(crash_guard, "SLOW_S", 0.01)
    assert pairs_passed(attempt(alone(tiny, "narrow"))) == 1
    assert "networks: cnn alone (odd_networks:narrow) is tried for 0 s by now" in caplog.text


def test_a_thread_that_a_network_leaves_behind_is_not_waited_for(tiny: Raw, attempt: Try) -> None:
    began = time.monotonic()
    assert pairs_passed(attempt(alone(tiny, "with_a_thread_that_stays"))) == 1
    assert time.monotonic() - began < 60


NO_SPACE = "Error while serializing: I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SafetensorError(NO_SPACE), "no space left on the storage"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left on the storage"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (SafetensorError("I/O error: Read-only file system (os error 30)"), "Read-only file"),
    ],
)
@pytest.mark.parametrize("step", ["save_network", "restore_network"])
def test_a_storage_that_fails_is_no_fault_of_a_network(
    tiny: Raw,
    attempt: Try,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: Exception,
    expected: str,
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(network_check, step, fails)
    with pytest.raises(StorageError, match=expected) as raised:
        attempt(alone(tiny, "narrow"))
    assert str(raised.value).startswith(f"{tmp_path}/results/store/{SCRATCH}")
    assert "\n" not in str(raised.value)


def test_a_process_without_memory_is_no_fault_of_the_storage(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(network_check, "save_network", fails)
    assert "its student cannot be saved" in refused(attempt, alone(tiny, "narrow"))


def test_no_space_for_the_folder_of_the_trial_is_said_as_such(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_inodes(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(crash_guard.tempfile, "TemporaryDirectory", no_inodes)
    with pytest.raises(StorageError, match="no space left on the storage"):
        attempt(alone(tiny, "narrow"))


def test_threads_that_this_process_has_used_do_not_stop_its_child(
    tiny: Raw, attempt: Try, torch_threads: Callable[[int], None]
) -> None:
    torch_threads(2)
    large = torch.rand(600, 600, requires_grad=True)
    (large @ large).sum().backward()
    assert pairs_passed(attempt(tiny)) == 4


@pytest.mark.ci
def test_a_process_that_cannot_fork_any_more_tries_in_a_fresh_one(tiny: Raw, attempt: Try) -> None:
    assert pairs_passed(attempt(alone(tiny, "trained_beside_a_gpu"))) == 1


def gpu_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)


def ray_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = types.ModuleType("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "ray", ray)


@pytest.mark.ci
@pytest.mark.parametrize("state", [gpu_in_use, ray_joined])
def test_a_process_whose_fork_would_disturb_it_tries_in_a_fresh_one(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch, state: Callable[..., None]
) -> None:
    state(monkeypatch)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a fork"))
    assert pairs_passed(attempt(alone(tiny, "narrow"))) == 1
    assert "SIGKILL" in refused(attempt, alone(tiny, "killed"))
