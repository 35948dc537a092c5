"""The chaos run as a test: 25 rounds, and two short ones in CI."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="finds what it kills in /proc"
)


SCRIPT = Path(__file__).with_name("chaos.py")


@pytest.mark.slow
def test_a_study_disturbed_25_times_ends_as_one_that_was_left_in_peace(
    passes: Callable[..., None],
) -> None:
    passes(SCRIPT, "--rounds", "25", minutes=60)


@pytest.mark.ci
def test_a_study_whose_driver_and_worker_are_killed_ends_as_one_left_in_peace(
    passes: Callable[..., None],
) -> None:
    kinds = "worker,driver"
    passes(
        SCRIPT,
        "--rounds",
        "2",
        "--kinds",
        kinds,
        "--in-turn",
        "--short",
        "--no-cluster",
        minutes=10,
    )
