"""Running a search: its teachers first, then its trials, in the end the study of its best."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

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
from studies.runner import run_context
from studies.scheduling.progress import Progress
from studies.scheduling.stopping import Stop
from studies.search.candidates import confirmation, first_units, parts_prefix, tried
from studies.spec.study import Study
from studies.stages.preflight import preflight
from studies.store.artifacts import ArtifactStore
from wsss_core.errors import InputError


def run_search(
    study: Study,
    results: Location,
    store: ArtifactStore,
    *,
    address: str | None = None,
    say: Callable[[str], None] = print,
) -> Study:
    """Search, and return the study that confirms the best: its rows and theirs, fresh seeds.

    Args:
        study: with a `search` section.
        results: the folder of the ledger.
        store: where trained networks are looked up and kept.
        address: of a running Ray cluster; None starts Ray on this machine.
        say: where progress lines go.

    Raises:
        InputError: anything `studies.stages.preflight` finds, or no trial of the search ended well.

    """
    search = study.search
    assert search is not None
    results = results if is_uri(results) else local_path(results)
    planner, plan = first_units(study)
    prefix = parts_prefix(planner)
    done = tried(results, prefix)
    left = search.trials - done["number"].nunique()
    if left > 0:
        units = list(plan.units.values())
        preflight(plan, units, store, results, say)
        if part_name(study.file_name) not in table_folder(results, "plan").listing():
            # For `wsss status`; the study that confirms the best writes it anew.
            write_part(
                results, "plan", study.file_name, make_plan(study, planner.images).ledger_rows()
            )
        context = run_context(plan, store, results)
        stop = Stop()
        started_here = start_ray(address)
        try:
            check_nodes(plan, units, context, say)
            _train_teachers(plan, store, context, address, stop, say)
            say(f"{study.study}: search, {left} of {search.trials} configurations to try")
            # After Ray has started: it takes SIGTERM for itself.
            with stop.listening():
                run_trials(plan, planner, done, prefix, left, results, context, stop, say)
        finally:
            if started_here:
                ray.shutdown()
            with contextlib.suppress(OSError, StorageError):
                store.leases.drop_run(context["run"])
        stop.raise_reason()
    return confirmation(study, tried(results, prefix), say)


def _train_teachers(
    plan: Plan, store: ArtifactStore, context: dict[str, Any], address: str | None, stop: Stop,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Teachers first: two search trials would otherwise train one and the same at once."""
    awaited = {unit.parent for unit in plan.units.values()}
    missing = [
        unit for key, unit in plan.units.items() if key in awaited and not store.has("train", key)
    ]
    if missing:
        outcomes = run_with_tune(
            plan, missing, context, address, Progress(missing, say), stop, checked=True
        )
        stop.raise_reason()
        bad = [o["error"] for o in outcomes.values() if o["status"] != "ok"]
        if bad or len(outcomes) < len(missing):
            raise InputError(f"a teacher of the search was not trained: {(bad or ['stopped'])[0]}")
