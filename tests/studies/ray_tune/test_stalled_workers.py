"""Workers that stand still are ended by the driver, stopped processes of this machine included."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import studies.ray_tune.callbacks
from studies.ray_tune.callbacks import ScheduleCallback
from studies.scheduling.stopping import Stop
from studies.store.lease_owner import LeaseOwner
from studies.store.processes import process_of

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="knows processes by /proc")


def owner_of(process: subprocess.Popen[bytes], host: str, identity: str) -> LeaseOwner:
    return LeaseOwner("train", "a", "t", host, process.pid, identity, "2026-01-01T12:00:00+00:00")


@LINUX
def test_a_stopped_worker_is_ended_by_ray_and_killed_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(studies.ray_tune.callbacks, "kill_actor", killed.append)
    nothing: Any = None
    callback = ScheduleCallback(nothing, nothing, Stop(), [])
    for number, key in ((1, "a"), (2, "b")):
        state = SimpleNamespace(ray_actor=f"worker {number}")
        config = {"job": SimpleNamespace(key=key)}
        trial = SimpleNamespace(trial_id=str(number), temporary_state=state, config=config)
        callback.on_trial_start(0, [], trial)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        os.kill(process.pid, signal.SIGSTOP)
        here, identity = socket.gethostname(), process_of(process.pid)
        callback.end_worker(owner_of(process, "another", identity))
        callback.end_worker(owner_of(process, here, "another process of this number"))
        assert process.poll() is None
        callback.end_worker(owner_of(process, here, identity))
        assert process.wait(timeout=10) == -signal.SIGKILL
    finally:
        process.kill()
    assert killed == ["worker 1"] * 3
