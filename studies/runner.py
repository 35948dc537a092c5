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
from studies.artifacts import ArtifactStore, require_writable
from studies.plan import Plan, Unit
from studies.preflight import preflight
from studies.progress import Progress
from studies.trial import publish, record_failure, run_unit


@dataclass(frozen=True)
class RunResult:
    """What a run did: trials by status, and whether it was broken off."""

    trained: int
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
        _prepare(plan, pending, store, results, say)
    ledger_name = plan.study.study.replace("/", "+")
    write_part(results, "plan", ledger_name, plan.ledger_rows())
    done = [trial for trial in plan.trials if store.has("scores", trial.key)]
    for trial in done:
        publish(store, trial.key, results)
    say(
        f"{plan.study.study}: {len(plan.trials)} trials, {len(done)} done before"
        + (f", {len(pending)} training runs to go" if pending else "; nothing to train")
    )
    outcomes: dict[str, dict[str, Any]] = {}
    if pending:
        progress = Progress(pending, say)
        context = _context(plan, store, results)
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
    ended = {
        trial.key: (trial, outcomes[unit.key])
        for unit in pending
        if unit.key in outcomes
        for trial in unit.trials
    }

    def named(status: str) -> dict[str, str]:
        return {
            f"{trial.configuration}, seed {trial.seed}": str(outcome["error"])
            for trial, outcome in ended.values()
            if outcome["status"] == status
        }

    return RunResult(
        trained=sum(unit.key in outcomes for unit in pending),
        reused=len(done),
        failed=named("failed"),
        collapsed=named("collapsed"),
        remaining=sum(not store.has("scores", trial.key) for trial in plan.trials),
        seconds=time.perf_counter() - started,
    )


def _prepare(
    plan: Plan, pending: list[Unit], store: ArtifactStore, results: Path, say: Callable[[str], None]
) -> None:
    require_writable(results)
    store.require_writable()
    began = time.perf_counter()
    made = plan.images.decode(store)
    if made:
        say(f"images: {', '.join(made)} checked and decoded in {time.perf_counter() - began:.1f} s")
    preflight(plan, pending, store, results)


def _context(plan: Plan, store: ArtifactStore, results: Path) -> dict[str, Any]:
    """What every unit needs besides its own settings; plain values, sent to each worker."""
    return {
        "store": str(store.root),
        "results": str(results),
        "device": "cpu",
        "images": {split: plan.images.key(split) for split in plan.images.fingerprints},
        "fingerprints": plan.images.fingerprints,
        "cam": plan.cam_settings,
    }
