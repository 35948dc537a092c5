"""Segmenters through Ray: the same numbers as in process, and a driver that is killed meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.results.segments import read_segments, segment_frame

Raw = dict[str, Any]
pytestmark = pytest.mark.slow


def frame_of(results: Path) -> Any:
    frame = segment_frame([("tiny", None, read_segments(results, "tiny"))])
    # The file that the driver reads has its entries in another order.
    return frame.drop(columns=["seconds_training"]).sort_values("entry", ignore_index=True)


def test_a_driver_that_is_killed_goes_on_and_ends_with_the_numbers_of_a_run_in_process(
    run: Callable[..., Any], segmented: Raw, write_study: Callable[[Raw], str], tmp_path: Path
) -> None:
    segmented["segment"]["training"] |= {"steps": 60, "record_every": 2}
    entries = segmented["segment"]["entries"]
    names = ("of the chain", "4 masks + pseudo masks")
    segmented["segment"]["entries"] = {name: entries[name] for name in names}
    in_process = run(segmented, tmp_path / "in_process")
    file, results = write_study(segmented), tmp_path / "results"
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "studies.cli.main", "run", file, "--results", str(results)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    began = time.monotonic()
    driver = subprocess.Popen(command, env=environment, start_new_session=True)
    scratch = results / "store" / "unfinished"
    while not list(scratch.glob("segment-*/checkpoint.pt")):
        assert driver.poll() is None, "the study ended before it could be broken off"
        assert time.monotonic() - began < 300
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not list((results / "store").glob("segment/*/manifest.json"))
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    expected, found = frame_of(in_process.results), frame_of(results)
    assert found.equals(expected)
