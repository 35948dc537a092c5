"""Drivers as processes: two on one study, and signals to one; each with a Ray of its own."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from reports.ledger.parts import read_table
from tests.studies.ray_tune.measured_columns import MEASURED, WHERE

Raw = dict[str, Any]

pytestmark = pytest.mark.slow

COUNTED = """
import multiprocessing
import torch
from wsss_core.backbones import build_network

VERSION = 1


def small(classes, image_size, log, name):
    network = build_network("resnet18", classes=classes, image_size=image_size, output_stride=8,
                            options={"channels": [4, 8, 16, 32]})

    class Counted(type(network)):
        def train(self, mode=True):
            if mode and multiprocessing.parent_process() is None:
                with open(log, "a") as file:
                    file.write(f"{name} {torch.initial_seed()}\\n")
            return super().train(mode)

    network.__class__ = Counted
    return network
"""
"""A backbone of one's own that writes a line whenever an epoch of its training begins; not in the
child process of the preflight."""

EPOCHS = 3


@pytest.fixture
def counted(tiny: Raw, tmp_path: Path) -> Raw:
    """A teacher, two students and a network alone under two seeds, with a chain over each."""
    (tmp_path / "counted.py").write_text(COUNTED)
    for name in ("cnn", "vit"):
        options = {"log": str(tmp_path / "log.txt"), "name": name}
        tiny["backbones"][name] = {"model": "counted:small", "label": name, "options": options}
    taught = tiny["configurations"][2] | {"level": ["global", "spatial"]}
    tiny |= {
        "seeds": [0, 1],
        "data": {**tiny["data"], "train": 96},
        "training": {**tiny["training"], "epochs": EPOCHS},
        "configurations": [taught, tiny["configurations"][1]],
        "refine": {"PAR": ["par"]},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    return tiny


class Drivers:
    """`wsss run` as processes, each the first of a group as a terminal starts it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "studies.cli.main", "run", "tiny.yaml", *options]
        path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
        started = subprocess.Popen(
            command, cwd=self._folder, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled"},
        )  # fmt: skip
        self._started.append(started)
        return started

    def end(self) -> None:
        for one in self._started:
            if one.poll() is None:
                os.killpg(one.pid, signal.SIGKILL)
                one.wait()


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Drivers]:
    made = Drivers(tmp_path)
    yield made
    made.end()


def ledger(results: Path) -> dict[str, pd.DataFrame]:
    """All that does not depend on where and with what something ran."""
    tables = {}
    for table in ("plan", "trials", "scores", "history", "refinements", "refined"):
        frame = read_table(results, table)
        tables[table] = frame.drop(columns=[c for c in frame if c in MEASURED | WHERE]).astype(str)
    return tables


def assert_alike(found: Path, expected: Path) -> None:
    here, there = ledger(found), ledger(expected)
    for table, frame in there.items():
        pd.testing.assert_frame_equal(here[table], frame)
    assert len(there["trials"]) == 6
    assert len(there["refined"]) == 6


def trained(folder: Path) -> Counter[str]:
    """How many epochs each network was trained under each seed; the log is begun anew."""
    log = folder / "log.txt"
    lines = log.read_text().splitlines()
    log.unlink()
    return Counter(lines)


def test_two_drivers_on_one_study_train_everything_once_and_end_with_the_same_ledger(
    counted: Raw, tmp_path: Path, drivers: Drivers
) -> None:
    alone = drivers.start("--in-process", "--results", "alone")
    out, err = alone.communicate(timeout=300)
    assert alone.returncode == 0, out + err
    once = trained(tmp_path)
    assert set(once) == {f"{name} {seed}" for name in ("cnn", "vit") for seed in (0, 1)}
    both = [drivers.start("--results", "both") for _ in range(2)]
    said = [one.communicate(timeout=500) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert trained(tmp_path) == once
    assert_alike(tmp_path / "both", tmp_path / "alone")
    assert list((tmp_path / "both" / "store" / "leases").glob("[!.]*")) == []
    makers = {
        read["made_by"]["pid"]
        for file in (tmp_path / "both" / "store" / "train").glob("*/manifest.json")
        for read in [yaml.safe_load(file.read_text())]
    }
    assert len(makers) > 1, "one process trained it all"


def begun(results: Path, driver: subprocess.Popen[str]) -> None:
    """Wait until a training has a checkpoint."""
    deadline = time.monotonic() + 240
    while not list(results.glob("store/unfinished/*/checkpoint.pt")):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "number", "to_all"),
    [
        ([], signal.SIGINT, True),
        ([], signal.SIGTERM, False),
        (["--in-process"], signal.SIGINT, True),
    ],
)
def test_a_signal_ends_a_run_soon_and_the_command_it_names_goes_on_from_there(
    counted: Raw,
    tmp_path: Path,
    drivers: Drivers,
    options: list[str],
    number: signal.Signals,
    to_all: bool,
) -> None:
    longer = ["--set", "training.epochs=25", "--set", "seeds=[0]"]
    command = ["--results", "stopped", *longer, *options]
    first = drivers.start(*command)
    begun(tmp_path / "stopped", first)
    asked = time.monotonic()
    (os.killpg if to_all else os.kill)(first.pid, number)
    out, err = first.communicate(timeout=60)
    # Two seconds, and several more for Python to leave on a machine with much else to do.
    assert time.monotonic() - asked < 30
    assert first.returncode == 130, out + err
    done = "0 of 3 trials are done, 3 times a chain over a trial to do"
    assert f"stopped by {number.name}: {done}\n" in out
    assert f"go on with: wsss run tiny.yaml {' '.join(command)}".replace("'", "") in out.replace(
        "'", ""
    )
    assert list((tmp_path / "stopped" / "store" / "leases").glob("[!.]*")) == []
    before = trained(tmp_path)
    second = drivers.start(*command)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, out + err
    assert "3 trials, 0 done before" in out
    after = trained(tmp_path)
    # The checkpoint of the first was gone on from: an epoch at most is begun twice.
    jobs = {"cnn 0": 1 + 2, "vit 0": 3}
    for name, count in jobs.items():
        assert 25 * count <= before[name] + after[name] <= 25 * count + 2


def test_a_second_ctrl_c_ends_a_run_at_once(counted: Raw, tmp_path: Path, drivers: Drivers) -> None:
    driver = drivers.start("--results", "twice", "--set", "training.epochs=25")
    begun(tmp_path / "twice", driver)
    driver.send_signal(signal.SIGINT)
    driver.send_signal(signal.SIGINT)
    time.sleep(0.2)
    driver.send_signal(signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, out + err
    assert "Traceback" not in err
