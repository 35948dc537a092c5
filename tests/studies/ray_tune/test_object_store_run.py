"""A study on an S3 server, results and artifacts, with a worker killed and the server away.

Whole runs are slow. The server is moto's, on loopback.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from reports import make_report
from reports.ledger.parts import read_table
from reports.ledger.schema import SCHEMAS
from reports.storage.opening import open_folder
from reports.storage.remote import RemoteFolder
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.training import train_job
from studies.store.artifacts import ArtifactStore
from studies.store.files import CACHE
from studies.store.garbage import find_garbage
from studies.store.verification import verify
from tests.studies.ray_tune.measured_columns import MEASURED

ROOT = Path(__file__).parents[3]

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers in /proc")


def same_ledger(left: Any, right: Any) -> None:
    """Two ledgers hold the same, timings aside."""
    for table, schema in SCHEMAS.items():
        columns = [name for name in schema.names if name not in MEASURED]
        frames = [read_table(where, table, columns=columns) for where in (left, right)]
        pd.testing.assert_frame_equal(*frames, obj=table)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "studies.cli.main", *map(str, arguments)]


def workers_below(root: int) -> list[int]:
    """The processes below another that run a trial of Ray Tune, found in /proc."""
    parents: dict[int, int] = {}
    busy = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            parents[int(entry.name)] = int(status[1])
            if title.startswith(b"ray::ImplicitFunc.train"):
                busy.append(int(entry.name))

    def below(process: int) -> bool:
        while process > 1:
            process = parents.get(process, 0)
            if process == root:
                return True
        return False

    return [process for process in busy if below(process)]


@pytest.fixture
def there(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, and a node with a cache of its own."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return s3


@pytest.fixture
def small(tiny: dict[str, Any]) -> dict[str, Any]:
    """A teacher and the student it teaches, long enough to be interrupted, and a chain."""
    tiny["configurations"] = [tiny["configurations"][2]]
    tiny["data"]["train"] = 200
    tiny["training"]["epochs"] = 12
    tiny["refine"] = {"PAR": [{"par": {"iterations": 2, "dilations": [1, 2]}}]}
    return tiny


def test_a_node_goes_on_from_the_checkpoint_that_a_lost_one_left_on_the_store(
    there: Any, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["configurations"] = tiny["configurations"][1:2]
    tiny["training"]["epochs"] = 3
    plan = make_plan(Study.model_validate(tiny))
    (job,) = plan.jobs.values()
    store = ArtifactStore("s3://bucket/store")
    plan.images_of(job).decode(store)
    images = job.images.load(store, "train")
    seen: list[Any] = []

    def dies(record: Any) -> None:
        seen.append(record)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_job(job, images, store, on_epoch=dies)
    monkeypatch.setenv(CACHE, str(tmp_path / "cache of another"))
    other = ArtifactStore("s3://bucket/store")
    kept = torch.load(other.scratch("train", job.key) / "checkpoint.pt", weights_only=True)
    assert len(kept["history"]) in (1, 2), "no more than what its share of the time allows is lost"
    outcome = train_job(job, job.images.load(other, "train"), other)
    assert len(outcome.history) == 3
    # The wall time of an epoch does not come twice: these were not trained again.
    before = [record.seconds for record in seen][: len(kept["history"])]
    assert [one.seconds for one in outcome.history][: len(before)] == before
    assert open_folder("s3://bucket/store/unfinished").tree() == {}


def test_a_plan_of_many_trials_costs_a_few_listings(
    there: Any, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["seeds"] = list(range(50))
    plan = make_plan(Study.model_validate(tiny))
    store = ArtifactStore("s3://bucket/store")
    asked: list[str] = []
    for name in ("folders", "listing", "tree", "has", "read"):
        was = getattr(RemoteFolder, name)
        monkeypatch.setattr(
            RemoteFolder, name,
            lambda *given, name=name, was=was: asked.append(name) or was(*given),
        )  # fmt: skip
    assert len(plan.pending(store)) == len(plan.jobs) == 200
    assert asked == ["folders", "tree", "tree"]  # of what was quarantined, trained and scored


@pytest.mark.slow
def test_a_run_in_this_process_gives_the_ledger_of_a_local_one(
    there: Any,
    small: dict[str, Any],
    run: Callable[..., Any],
    wsss: Callable[..., Any],
    smoke_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small["training"]["epochs"] = 1
    run(small, tmp_path / "local")
    far = run(small, "s3://bucket/tiny", "s3://bucket/tiny/store")
    same_ledger(tmp_path / "local", "s3://bucket/tiny")
    files = make_report("s3://bucket/tiny", tmp_path / "report")
    here = make_report(tmp_path / "local", tmp_path / "report of local")
    for left, right in zip(files.tables, here.tables, strict=True):
        assert left.name == right.name
        if left.suffix in (".csv", ".tex") and "trials" not in left.name:  # these have timings
            assert left.read_bytes() == right.read_bytes(), left.name
    again = run(small, "s3://bucket/tiny", "s3://bucket/tiny/store")
    assert (again.result.trained, again.result.reused) == (0, 1)
    # Another node's driver has nothing of it in its cache.
    monkeypatch.setenv(CACHE, str(tmp_path / "cache of another"))
    elsewhere = run(small, "s3://bucket/tiny", "s3://bucket/tiny/store")
    assert (elsewhere.result.trained, elsewhere.result.reused) == (0, 1)
    assert verify(far.store).corrupt == {}

    said = {}
    for name, where in (("far", "s3://bucket/tiny"), ("here", tmp_path / "local")):
        listing = wsss("thresholds", where, "--out", tmp_path / name / "tables")
        masks = wsss(
            "masks", where, "--images", smoke_folder / "test" / "images", "--in-process",
            "--refinement", "PAR", "--out", tmp_path / name / "masks",
        )  # fmt: skip
        assert (listing.code, masks.code) == (0, 0), listing.err + masks.err
        said[name] = listing.out.partition("wrote ")[0]
    assert said["far"] == said["here"]
    made = sorted((tmp_path / "far" / "masks").glob("*.png"))
    assert [file.name for file in made] == ["a.png", "b.png"]
    for file in made:
        assert file.read_bytes() == (tmp_path / "here" / "masks" / file.name).read_bytes()


@pytest.mark.slow
@linux
def test_a_worker_killed_and_a_server_away_give_the_ledger_of_an_undisturbed_local_run(
    there: Any,
    small: dict[str, Any],
    write_study: Callable[[dict[str, Any]], str],
    tmp_path: Path,
) -> None:
    file = write_study(small)
    local = tmp_path / "local"
    subprocess.run(command("run", file, "--results", local), cwd=ROOT, check=True, timeout=200)

    where = "s3://bucket/tiny"
    log = (tmp_path / "log").open("w")
    driver = subprocess.Popen(
        command("run", file, "--results", where), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        unfinished = open_folder(f"{where}/store/unfinished")
        deadline = time.monotonic() + 150
        while not (kept := unfinished.tree()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert kept, (tmp_path / "log").read_text()
        killed = workers_below(driver.pid)
        for process in killed:
            os.kill(process, signal.SIGKILL)
        assert killed
        store = ArtifactStore(f"{where}/store")
        while not store.finished("train") and driver.poll() is None:
            time.sleep(0.1)
        there.stop()
        time.sleep(6)
        there.start()
        assert driver.wait(timeout=200) == 0, (tmp_path / "log").read_text()
    finally:
        driver.terminate()
        driver.wait(timeout=60)
        log.close()

    same_ledger(local, where)
    plan = make_plan(Study.model_validate(small))
    assert store.finished("train") == set(plan.jobs)
    assert verify(store).corrupt == {}
    assert make_report(where, tmp_path / "report").html.is_file()
    for one in find_garbage(store, older_than=0):
        one.delete()
    assert store.leases.owners() == []
    assert unfinished.tree() == {}
    assert find_garbage(store, older_than=0) == []
