"""Running a study: Ray Tune schedules its units over whatever cluster there is.

Tune's own state is scratch. What is done is what the store holds, so resuming is running again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.ledger.parts import write_part
from reports.storage.errors import StorageError
from reports.storage.locations import Location, is_uri, local_path
from studies.planning.plan import Plan
from studies.scheduling.progress import Progress
from studies.scheduling.stopping import Stop
from studies.stages.job import recorded_failure
from studies.stages.preflight import preflight
from studies.stages.publishing import publish_all
from studies.store.artifacts import ArtifactStore, CorruptArtifactError


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        trials: of the plan.
        trained: training runs that ended, however they ended.
        scored: trained networks of an earlier run that were only scored.
        reused: trials that were done before.
        failed: "configuration, seed" -> error, teachers that no row reports included.
        unrefined: "configuration, seed, chain" -> error.
        collapsed: likewise.
        remaining: trials without a result: failed, or the run was broken off.
        seconds: all in all.
        stopped: the signal that ended the run before its end.

    """

    trials: int
    trained: int
    scored: int
    reused: int
    failed: dict[str, str]
    unrefined: dict[str, str]
    collapsed: dict[str, str]
    remaining: int
    seconds: float
    stopped: str | None = None


def run_study(
    plan: Plan,
    results: Location,
    store: ArtifactStore,
    *,
    address: str | None = None,
    in_process: bool = False,
    say: Callable[[str], None] = print,
) -> RunResult:
    """Run what is missing of a plan and bring its ledger up to date.

    Args:
        plan: see `studies.planning.planner.make_plan`.
        results: the folder of the ledger.
        store: where finished stages are looked up and kept.
        address: of a running Ray cluster; None starts Ray on this machine.
        in_process: no Ray, one unit after another in this process (for a debugger).
        say: where progress lines go.

    Raises:
        InputError: anything `studies.stages.preflight` or reading the images finds.
        StorageError: a storage that stays away or is full; what is finished is kept.

    """
    started = time.perf_counter()
    results = results if is_uri(results) else local_path(results)
    pending = plan.pending(store)
    if pending:
        preflight(plan, pending, store, results, say)
        pending = plan.pending(store)  # what was found damaged has to be made again
    write_part(results, "plan", plan.study.file_name, plan.ledger_rows())
    if plan.chains:
        write_part(results, "refinements", plan.study.file_name, plan.chain_rows())
    if _published(plan, store, results, say):
        pending = plan.pending(store)
        preflight(plan, pending, store, results, say)
    has = store.seen()
    done = [trial for trial in plan.trials if has("scores", trial.key)]
    untrained = {unit.key for unit in pending if not has("train", unit.key)}
    unscored = [u for u in pending if any(not has("scores", t.key) for t in u.trials)]
    to_score = sum(unit.key not in untrained for unit in unscored)
    to_refine = sum(not has("scores", key) for trial in plan.trials for key in trial.chain_keys)
    say(
        f"{plan.study.study}: {len(plan.trials)} trials, {len(done)} done before"
        + (f", {len(untrained)} training runs to go" if untrained else "; nothing to train")
        + (f", {to_score} trained before to be scored" if to_score else "")
        + (f", {to_refine} times a chain over a trial" if to_refine else "")
    )
    for chain in plan.chains:
        if chain.lacks is not None:
            say(f"  refinement {chain.name} is not run: {chain.lacks}")
    outcomes: dict[str, dict[str, Any]] = {}
    stop = Stop()
    if pending:
        trained = {unit.key for unit in pending}.difference(untrained)
        progress = Progress(pending, say, only_scored=trained)
        context = run_context(plan, store, results)
        if in_process:
            from studies.scheduling.in_process import run_in_process

            outcomes = run_in_process(plan, pending, context, progress, stop)
        else:
            from studies.ray_tune.runner import run_with_tune

            outcomes = run_with_tune(plan, pending, context, address, progress, stop)
        for key, outcome in outcomes.items():
            if outcome.get("unrecorded"):
                recorded_failure(plan.units[key].as_config(), context, outcome["error"])
        if stop.storage is not None:
            ended = [key for key, o in outcomes.items() if o["status"] in ("ok", "collapsed")]
            finished = {trial.key for key in ended for trial in plan.units[key].trials}
            finished |= {trial.key for trial in done}
            raise StorageError(
                f"{stop.storage}; {len(finished)} of {len(plan.trials)} trials are finished"
            )

    def named(status: str) -> dict[str, str]:
        return {
            f"{name}, seed {unit.seed}": str(outcomes[unit.key]["error"])
            for unit in plan.units.values()
            if unit.key in outcomes and outcomes[unit.key]["status"] == status
            for name in [trial.configuration for trial in unit.trials] or [unit.name]
        }

    scores = store.finished("scores")
    return RunResult(
        trials=len(plan.trials),
        trained=len(outcomes.keys() & untrained),
        scored=len(outcomes.keys() & {u.key for u in unscored} - set(untrained)),
        reused=len(done),
        failed=named("failed"),
        unrefined=progress.unrefined if pending else {},
        collapsed=named("collapsed"),
        remaining=sum(
            not scores.issuperset((trial.key, *trial.chain_keys)) for trial in plan.trials
        ),
        seconds=time.perf_counter() - started,
        stopped=stop.signal,
    )


def _published(
    plan: Plan, store: ArtifactStore, results: Location, say: Callable[[str], None]
) -> bool:
    """Bring the ledger up to date with the store; whether something there was damaged."""
    keys = [key for trial in plan.trials for key in (trial.key, *trial.chain_keys)]
    damaged = False
    while True:
        try:
            publish_all(store, keys, results)
            return damaged
        except CorruptArtifactError as error:
            # It was set aside, so the next round does not meet it.
            say(f"  {error}")
            damaged = True


def run_context(plan: Plan, store: ArtifactStore, results: Location) -> dict[str, Any]:
    """What every unit needs besides its own settings; plain values, sent to each worker."""
    return {
        "run": uuid.uuid4().hex,
        "store": store.where,
        "results": str(results),
        "device": "cpu",
        # Where the driver found a plug-in that is no installed package, its workers look too.
        "import_path": str(Path.cwd()),
        "cam": plan.cam_settings,
        "chains": [chain.as_config() for chain in plan.runnable_chains],
    }
