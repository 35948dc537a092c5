"""Running a study: Ray Tune schedules its units over whatever cluster there is.

Tune's own state is scratch. What is done is what the store holds, so resuming is running again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.ledger import write_part
from studies.artifacts import ArtifactStore
from studies.plan import Plan
from studies.preflight import preflight
from studies.progress import Progress
from studies.publishing import publish
from studies.refining import describe_all, refine_unit, shards_of
from studies.trial import record_failure, run_unit


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        trained: training runs that ended, however they ended.
        scored: trained networks of an earlier run that were only scored.
        reused: trials that were done before.
        failed: "configuration, seed" -> error, teachers that no row reports included.
        unrefined: "configuration, seed, chain" -> error.
        collapsed: likewise.
        remaining: trials without a result: failed, or the run was broken off.
        seconds: all in all.

    """

    trained: int
    scored: int
    reused: int
    failed: dict[str, str]
    unrefined: dict[str, str]
    collapsed: dict[str, str]
    remaining: int
    seconds: float


def run_study(
    plan: Plan,
    results: Path,
    store: ArtifactStore,
    *,
    address: str | None = None,
    in_process: bool = False,
    say: Callable[[str], None] = print,
) -> RunResult:
    """Run what is missing of a plan and bring its ledger up to date.

    Args:
        plan: see `studies.plan.make_plan`.
        results: the folder of the ledger.
        store: where finished stages are looked up and kept.
        address: of a running Ray cluster; None starts Ray on this machine.
        in_process: no Ray, one unit after another in this process (for a debugger).
        say: where progress lines go.

    Raises:
        InputError: anything `studies.preflight` or reading the images finds.

    """
    started = time.perf_counter()
    results = Path(results).expanduser().absolute()
    pending = plan.pending(store)
    if pending:
        preflight(plan, pending, store, results, say)
    write_part(results, "plan", plan.study.file_name, plan.ledger_rows())
    if plan.chains:
        write_part(results, "refinements", plan.study.file_name, plan.chain_rows())
    done = [trial for trial in plan.trials if store.has("scores", trial.key)]
    for key in (key for trial in plan.trials for key in (trial.key, *trial.chain_keys)):
        if store.has("scores", key):
            publish(store, key, results)
    untrained = [unit.key for unit in pending if not store.has("train", unit.key)]
    unscored = [u for u in pending if any(not store.has("scores", t.key) for t in u.trials)]
    to_score = sum(unit.key not in untrained for unit in unscored)
    to_refine = sum(
        not store.has("scores", key) for trial in plan.trials for key in trial.chain_keys
    )
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
    if pending:
        progress = Progress(pending, say)
        context = run_context(plan, store, results)
        if in_process:
            describe_all(plan, store, context["device"], say)
            bounds = shards_of(plan, store) if context["chains"] else {}
            for unit in pending:
                outcomes[unit.key] = run_unit(unit.as_config(), context)
                progress.ended(unit, outcomes[unit.key])
                if context["chains"] and unit.trials and outcomes[unit.key]["status"] == "ok":
                    unrefined = refine_unit(unit.as_config(), context, store, bounds)
                    progress.refined(unit, unrefined)
        else:
            from studies.tune_runner import run_with_tune

            outcomes = run_with_tune(plan, pending, context, address, progress)
            for unit in pending:
                if (outcome := outcomes.get(unit.key)) and outcome.get("unrecorded"):
                    record_failure(unit.as_config(), context, outcome["error"])

    def named(status: str) -> dict[str, str]:
        return {
            f"{name}, seed {unit.seed}": str(outcomes[unit.key]["error"])
            for unit in pending
            if unit.key in outcomes and outcomes[unit.key]["status"] == status
            for name in [trial.configuration for trial in unit.trials] or [unit.name]
        }

    return RunResult(
        trained=len(outcomes.keys() & untrained),
        scored=len(outcomes.keys() & {u.key for u in unscored} - set(untrained)),
        reused=len(done),
        failed=named("failed"),
        unrefined=progress.unrefined if pending else {},
        collapsed=named("collapsed"),
        remaining=sum(
            any(not store.has("scores", key) for key in (trial.key, *trial.chain_keys))
            for trial in plan.trials
        ),
        seconds=time.perf_counter() - started,
    )


def run_context(plan: Plan, store: ArtifactStore, results: Path) -> dict[str, Any]:
    """What every unit needs besides its own settings; plain values, sent to each worker."""
    return {
        "store": str(store.root),
        "results": str(results),
        "device": "cpu",
        # Where the driver found a plug-in that is no installed package, its workers look too.
        "import_path": str(Path.cwd()),
        "cam": plan.cam_settings,
        "chains": [chain.as_config() for chain in plan.runnable_chains],
    }
