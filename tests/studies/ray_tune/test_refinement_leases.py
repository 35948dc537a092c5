"""The leases on tasks of refinement, by which their driver sees whether they hang."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.storage import StorageError, open_folder
from reports.storage.retry import TIMEOUT
from studies.planning import make_plan
from studies.ray_tune.refinement import _at_work
from studies.scheduling.stall_watch import StallWatch
from studies.spec.study import Study
from studies.stages import RunContext
from studies.store import SHARD_STAGE, ArtifactStore, Leases


def test_each_of_two_drivers_that_make_the_same_watches_its_own_task(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """A driver that stood still finds its work taken over, and its task goes on meanwhile."""
    plan = make_plan(Study.model_validate(tiny))
    store = ArtifactStore(tmp_path / "store")
    store.make()
    open_folder(tmp_path, make=True)
    here = RunContext.of(plan, store, tmp_path)
    there = replace(here, run_id="f" * 32)
    key = next(iter(plan.jobs))
    clock = [0.0]
    with _at_work(here, key, "tune-0-8"), _at_work(there, key, "tune-0-8"):
        owners = [owner for owner in store.leases.owners() if owner.stage == SHARD_STAGE]
        assert {owner.run for owner in owners} == {here.run_id, there.run_id}
        for context in (here, there):
            leases = Leases(store.folder, clock=lambda: clock[0])
            watch = StallWatch(leases, context.run_id, plan.jobs, clock=lambda: clock[0])
            assert [owner.run for owner, _ in leases.of_run(context.run_id)] == [context.run_id]
            watch.look()
            assert not watch.stalled
    assert not [owner for owner in store.leases.owners() if owner.stage == SHARD_STAGE]


def test_a_task_whose_results_folder_is_away_does_not_make_it(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts processes at any time; a new one has never seen the folder's mark."""
    plan = make_plan(Study.model_validate(tiny))
    store = ArtifactStore(tmp_path / "store")
    store.make()
    context = RunContext.of(plan, store, tmp_path / "results")
    monkeypatch.setenv(TIMEOUT, "0.1")
    with (
        pytest.raises(StorageError, match="results: the storage stays out of reach"),
        _at_work(context, next(iter(plan.jobs)), "scores"),
    ):
        pass
    assert not (tmp_path / "results").exists()
