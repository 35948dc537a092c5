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
from studies.trial import publish, record_failure, run_unit


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        trained: training runs that ended, however they ended.
        scored: trained networks of an earlier run that were only scored.
        reused: trials that were done before.
        failed: "configuration, seed" -> error, teachers that no row reports included.
        collapsed: likewise.
        remaining: trials without a result: failed, or the run was broken off.
        seconds: all in all.

    """

    trained: int
    scored: int
    reused: int
    failed: dict[str, str]
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
    done = [trial for trial in plan.trials if store.has("scores", trial.key)]
    for trial in done:
        publish(store, trial.key, results)
    untrained = [unit.key for unit in pending if not store.has("train", unit.key)]
    to_score = len(pending) - len(untrained)
    say(
        f"{plan.study.study}: {len(plan.trials)} trials, {len(done)} done before"
        + (f", {len(untrained)} training runs to go" if untrained else "; nothing to train")
        + (f", {to_score} trained before to be scored" if to_score else "")
    )
    outcomes: dict[str, dict[str, Any]] = {}
    if pending:
        progress = Progress(pending, say)
        context = run_context(plan, store, results)
        if in_process:
            for unit in pending:
                outcomes[unit.key] = run_unit(unit.as_config(), context)
                progress.ended(unit, outcomes[unit.key])
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
        scored=len(outcomes.keys() - untrained),
        reused=len(done),
        failed=named("failed"),
        collapsed=named("collapsed"),
        remaining=sum(not store.has("scores", trial.key) for trial in plan.trials),
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
    }
