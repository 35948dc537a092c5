"""A study over four simulated nodes with GPUs that are counted alone, one of which is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from reports.ledger.parts import read_table
from tests.studies.ray_tune.measured_columns import MEASURED, WHERE

Raw = dict[str, Any]

pytestmark = pytest.mark.slow

NODES = 4

DRIVER = """
import json
import os
import sys
import time
import uuid

import studies.ray_tune.runner
from studies.cli.main import main

LOG = sys.argv.pop(1)


def logged(config, **given):
    import ray
    import studies.ray_tune.runner

    about = ray.get_runtime_context()
    line = {
        "attempt": uuid.uuid4().hex, "job": config["job"].key, "node": about.get_node_id(),
        "gpus": ray.get_gpu_ids(), "share": about.get_assigned_resources().get("GPU", 0.0),
    }

    def write(**more):
        with open(LOG, "a") as file:
            file.write(json.dumps({**line, **more}) + "\\n")

    write(start=time.time())
    try:
        studies.ray_tune.runner._tune_trial(config, **given)
    finally:
        write(end=time.time())


if __name__ == "__main__":
    studies.ray_tune.runner._tune_trial = logged
    # It would say, rightly, that PyTorch sees none of the GPUs that Ray lends.
    studies.ray_tune.runner.check_nodes = lambda *_, **__: None
    sys.exit(main(sys.argv[1:]))
"""
"""`wsss` whose trials log where they ran: node, GPU, share of it, start and end."""


@dataclass
class Attempt:
    """A trial's process, from start to end; the end of one that was lost is not known."""

    job: str
    node: str
    gpus: list[str]
    share: float
    start: float
    end: float | None = None


def attempts(log: Path) -> list[Attempt]:
    found: dict[str, Attempt] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        about = json.loads(line)
        if "start" in about:
            gpus = [str(gpu) for gpu in about["gpus"]]
            place = about["job"], about["node"], gpus, about["share"], about["start"]
            found[about["attempt"]] = Attempt(*place)
        else:
            found[about["attempt"]].end = about["end"]
    return list(found.values())


def most_lent(ran: list[Attempt], lost_at: float) -> float:
    """The largest sum of shares that one GPU was lent at a time."""

    def holds(one: Attempt, moment: float) -> bool:
        return one.start <= moment < (lost_at if one.end is None else one.end)

    most = 0.0
    for gpu in {(one.node, *one.gpus) for one in ran}:
        here = [one for one in ran if (one.node, *one.gpus) == gpu]
        for moment in (one.start for one in here):
            most = max(most, sum(one.share for one in here if holds(one, moment)))
    return most


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    node = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
    started = Cluster(
        initialize_head=True,
        head_node_args={**node, "num_cpus": 0, "num_gpus": 0, "include_dashboard": False},
    )
    started.join = lambda: started.add_node(num_cpus=2, num_gpus=1, **node)
    started.workers = [started.join() for _ in range(NODES)]
    yield started
    started.shutdown()


def until(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ledger(results: Path, table: str) -> pd.DataFrame:
    frame = read_table(results, table)
    return frame.drop(columns=[name for name in frame if name in MEASURED | WHERE]).map(repr)


def test_a_study_whose_node_is_lost_while_another_joins_ends_as_an_undisturbed_one(
    cluster: Any, tiny: Raw, run: Callable[..., Any], tmp_path: Path
) -> None:
    """Co-training asks for a whole GPU, all else for half of one."""
    tiny["seeds"] = [0, 1]
    tiny["data"]["train"] = 96
    tiny["training"]["epochs"] = 12
    tiny["resources"] |= {"gpus": 0.5, "co-training": {"gpus": 1}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    (tmp_path / "driver.py").write_text(DRIVER)
    log, results = tmp_path / "log.jsonl", tmp_path / "results"
    driver = subprocess.Popen(
        [sys.executable, "driver.py", str(log), "run", "tiny.yaml", "--results", str(results),
         "--address", cluster.address],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "WSSS_SIMULATED_GPUS": "1",
             # Joins at 127.0.0.1 itself and not at this machine's address beyond it.
             "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled",
             "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    try:
        # A node with a trial that is in the middle of its epochs.
        until(lambda: bool(list(results.glob("store/unfinished/*/checkpoint.pt"))), driver)
        begun = {
            file.parent.name.removeprefix("train-")
            for file in results.glob("store/unfinished/*/checkpoint.pt")
        }
        busy = {one.node for one in attempts(log) if one.job in begun and one.end is None}
        assert busy
        lost = next(node for node in cluster.workers if node.node_id in busy)
        cluster.remove_node(lost, allow_graceful=False)
        lost_at = time.time()
        joined = cluster.join()
        out, err = driver.communicate(timeout=400)
    finally:
        if driver.poll() is None:
            driver.send_signal(signal.SIGKILL)
    assert driver.returncode == 0, out + err
    assert "its node was lost; it is started again" in out

    ran = attempts(log)
    broken_off = [one for one in ran if one.end is None]
    assert {one.node for one in broken_off} == {lost.node_id}
    assert {one.job for one in broken_off} <= {one.job for one in ran if one.end is not None}
    assert len({one.node for one in ran}) > 1
    assert all(one.node != lost.node_id or one.start < lost_at for one in ran)
    assert joined.node_id != lost.node_id
    assert most_lent(ran, lost_at) <= 1.0
    assert {one.share for one in ran} == {0.5, 1.0}

    undisturbed = run(tiny, tmp_path / "undisturbed")
    for table in ("plan", "trials", "scores", "history"):
        expected = ledger(undisturbed.results, table)
        pd.testing.assert_frame_equal(ledger(results, table), expected)
    assert len(read_table(results, "trials")) == 8
