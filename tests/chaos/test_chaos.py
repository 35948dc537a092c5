"""The chaos run as a test: 25 rounds, and two short ones in CI."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="finds what it kills in /proc"
)


def chaos(*options: str, minutes: float) -> None:
    script = Path(__file__).with_name("chaos.py")
    ran = subprocess.run(
        [sys.executable, str(script), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 * minutes,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


@pytest.mark.slow
def test_a_study_disturbed_25_times_ends_as_one_that_was_left_in_peace() -> None:
    chaos("--rounds", "25", minutes=60)


@pytest.mark.ci
def test_a_study_whose_driver_and_worker_are_killed_ends_as_one_left_in_peace() -> None:
    kinds = "worker,driver"
    chaos("--rounds", "2", "--kinds", kinds, "--in-turn", "--short", "--no-cluster", minutes=10)
