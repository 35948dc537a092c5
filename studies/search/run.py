"""Running a search: its teachers first, then its trials, in the end the study of its best."""

from __future__ import annotations

import contextlib
import logging

from studies.cluster.ray_start import start_ray
from studies.ray_tune.runner import run_with_tune
from studies.search.trials import run_trials

# ruff: isort: split
import ray

from reports.ledger.parts import part_name, table_folder, write_part
from reports.storage.errors import StorageError
from reports.storage.locations import Location, is_uri, local_path
from studies.cluster.check import check_nodes
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.scheduling.progress import Progress
from studies.scheduling.stopping import Stop
from studies.search.candidates import confirmation, first_jobs, parts_prefix, tried
from studies.spec.study import Study
from studies.stages.context import RunContext
from studies.stages.outcome import JobStatus
from studies.stages.preflight import preflight
from studies.store.artifacts import ArtifactStore
from wsss_core.errors import InputError

logger = logging.getLogger(__name__)


def run_search(
    study: Study,
    results: Location,
    store: ArtifactStore,
    *,
    address: str | None = None,
) -> Study:
    """Search, and return the study that confirms the best: its rows and theirs, fresh seeds.

    Args:
        study: with a `search` section.
        results: the folder of the ledger.
        store: where trained networks are looked up and kept.
        address: of a running Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: anything `studies.stages.preflight` finds, or no trial of the search ended well.

    """
    search = study.search
    assert search is not None
    results = results if is_uri(results) else local_path(results)
    planner, plan = first_jobs(study)
    prefix = parts_prefix(planner)
    done = tried(results, prefix)
    left = search.trials - done["number"].nunique()
    if left > 0:
        jobs = list(plan.jobs.values())
        preflight(plan, jobs, store, results)
        if part_name(study.file_name) not in table_folder(results, "plan").listing():
            # For `wsss status`; the study that confirms the best writes it anew.
            write_part(
                results, "plan", study.file_name, make_plan(study, planner.images).ledger_rows()
            )
        context = RunContext.of(plan, store, results)
        stop = Stop()
        started_here = start_ray(address)
        try:
            check_nodes(plan, jobs, context)
            _train_teachers(plan, store, context, address, stop)
            logger.info(
                "%s: search, %d of %d configurations to try", study.study, left, search.trials
            )
            # After Ray has started: it takes SIGTERM for itself.
            with stop.listening():
                run_trials(plan, planner, done, prefix, left, results, context, stop)
        finally:
            if started_here:
                ray.shutdown()
            with contextlib.suppress(OSError, StorageError):
                store.leases.drop_run(context.run_id)
        stop.raise_reason()
    return confirmation(study, tried(results, prefix))


def _train_teachers(
    plan: Plan, store: ArtifactStore, context: RunContext, address: str | None, stop: Stop
) -> None:
    """Teachers first: two search trials would otherwise train one and the same at once."""
    awaited = {job.parent for job in plan.jobs.values()}
    missing = [
        job for key, job in plan.jobs.items() if key in awaited and not store.has("train", key)
    ]
    if missing:
        outcomes = run_with_tune(
            plan, missing, context, address, Progress(missing), stop, checked=True
        )
        stop.raise_reason()
        bad = [o.error for o in outcomes.values() if o.status is not JobStatus.OK]
        if bad or len(outcomes) < len(missing):
            raise InputError(f"a teacher of the search was not trained: {(bad or ['stopped'])[0]}")
