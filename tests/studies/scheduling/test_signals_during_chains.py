"""A run that a signal ends while chains run: `run`, `status`, `plan` and `masks` say the same."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

OWN_STEP = """
import os
import signal
import time

VERSION = 1


def ended(images, scores):
    "End the process by the signal that is asked for; without one, wait to be ended."
    if name := os.environ.get("ENDS_WITH"):
        os.kill(os.getpid(), getattr(signal, name))
    time.sleep(float(os.environ.get("WAITS", "0")))
    return scores
"""


@pytest.fixture
def chained(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study of two trials with a chain whose step ends its process."""
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["seeds"] = [0, 1]
    tiny["refine"] = {"own": [{"own_step:ended": {}}]}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    (tmp_path / "own_step.py").write_text(OWN_STEP)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"never opened")
    path = os.pathsep.join([str(Path(__file__).parents[3]), str(tmp_path)])
    for name, value in (("PYTHONPATH", path), ("RAY_AUTH_MODE", "disabled")):
        monkeypatch.setenv(name, value)
    return tmp_path


def command(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "studies.cli.main", *words],
        cwd=folder, text=True, capture_output=True, timeout=200, check=False,
        env={**os.environ, **more},
        # A test run that ignores the end of its terminal (nohup) hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )  # fmt: skip


def assert_all_say(folder: Path, said: str, *, done: int, refined: int) -> None:
    """Assert that a run that was stopped and the other commands name these counts of two."""
    left = 2 - refined
    assert f": {done} of 2 trials are done, {left} times a chain over a trial to do\n" in said
    assert re.search(rf"{left} times a chain over a trial remain; go on with: wsss run", said)
    status = command(folder, "status", "results").stdout
    assert f"2 trials: {done} done, 0 running, 0 failed, 0 collapsed, {2 - done} to do" in status
    assert f"own  {refined} done, {left} to do" in status
    plan = command(folder, "plan", "tiny.yaml", "--results", "results").stdout
    assert f"own: done over {refined} of 2 trials" in plan
    assert f"{left} times a chain over a trial, which no trial has measured yet" in plan
    masks = ("masks", "results", "--images", "images", "--out", "masks", "--in-process")
    refused = command(folder, *masks, "--chain", "own")
    assert refused.returncode == 2
    assert f"chain own: no trial ended well ({left} to do), so none makes masks" in refused.stderr


@pytest.mark.ci
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_after_a_signal_during_a_chain_in_process_every_command_names_the_same_counts(
    chained: Path, name: str
) -> None:
    run = ("run", "tiny.yaml", "--results", "results", "--in-process")
    ended = command(chained, *run, ENDS_WITH=name)
    assert ended.returncode == 130, ended.stdout + ended.stderr
    assert f"stopped by {name}: " in ended.stdout
    assert "Traceback" not in ended.stderr
    assert_all_say(chained, ended.stdout, done=1, refined=0)
    again = command(chained, *run)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "own  2 done\n" in command(chained, "status", "results").stdout


@pytest.mark.ci
def test_nohup_keeps_a_run_from_ending_with_its_terminal(chained: Path) -> None:
    run = (sys.executable, "-m", "studies.cli.main", "run", "tiny.yaml", "--in-process")
    ended = subprocess.run(
        ["nohup", *run], cwd=chained, text=True, capture_output=True, timeout=200, check=False,
        env={**os.environ, "ENDS_WITH": "SIGHUP"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_after_a_signal_during_chains_through_ray_every_command_names_the_same_counts(
    chained: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "studies.cli.main", "run", "tiny.yaml", "--results", "results"],
        cwd=chained, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "WAITS": "100"},
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        said = ""
        while "[2/2]" not in said:
            line = driver.stdout.readline()
            assert line, said
            said += line
        time.sleep(2)  # the chains' tasks have begun, or are about to
        driver.send_signal(number)
        said += driver.communicate(timeout=100)[0]
    assert driver.returncode == 130, said
    assert f"stopped by {number.name}: " in said
    assert_all_say(chained, said, done=2, refined=0)
