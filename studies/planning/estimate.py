"""What is left of a plan, in hours of resources, in wall time and in money.

Hours add up what trials hold: a half GPU for two hours is one GPU-hour. Wall time is that of the
queue as the runner keeps it: teachers first, a student after its teacher, and as many trials at a
time as fit.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from studies.planning.plan import Plan, Unit
from studies.planning.timings import Measured, kind
from studies.spec.resources import Demand, NodeAmounts, slots, whole_gpu

HOUR = 3600.0


@dataclass(frozen=True)
class Estimate:
    """What is left to do, in seconds and hours.

    Attributes:
        training: seconds of all training runs together.
        scoring: likewise.
        refinement: seconds of a CPU core.
        gpu_hours: held by training runs that have a GPU or a share of one.
        core_hours: of training runs without a GPU, and of refinement.
        wall: seconds from start to end; None where it cannot be said.
        at_once: the fewest and the most trials at a time.
        unmeasured: training runs of a kind that was never measured.
        unfitting: the name of a trial that does not fit here, why there is no wall time.

    """

    training: float
    scoring: float
    refinement: float
    gpu_hours: float
    core_hours: float
    wall: float | None
    at_once: tuple[int, int]
    unmeasured: int
    unfitting: str | None


@dataclass(frozen=True)
class Job:
    """A training run in the queue.

    Attributes:
        key: its unit's.
        parent: the key of the unit it waits for, if it waits.
        seconds: how long it takes.
        part: the share of all slots that it holds, above 0, 1 at most.

    """

    key: str
    parent: str | None
    seconds: float
    part: float


def estimate(
    plan: Plan,
    pending: Sequence[Unit],
    has: Callable[[str, str], bool],
    found: Measured,
    machine: NodeAmounts,
    at_once: int | None = None,
) -> Estimate:
    """Add up what pending units take.

    Args:
        plan: theirs.
        pending: what has to run, see `Plan.pending`.
        has: whether the store holds a stage's artifact.
        found: what trials have taken; of some trials at least.
        machine: what there is, in Ray's names; of one machine.
        at_once: how many trials run at a time, if not as many as fit on the machine.

    """
    training = scoring = refinement = gpu_hours = core_hours = 0.0
    unmeasured, jobs, unfitting = 0, [], None
    fitting: dict[Demand, int] = {}
    chains = plan.runnable_chains
    for unit in pending:
        seconds, this = 0.0, kind(unit.settings)
        if not has("train", unit.key):
            seconds, known = found.training_seconds(unit, this)
            unmeasured += not known
        unscored = sum(not has("scores", trial.key) for trial in unit.trials)
        score = unscored * found.scoring_seconds(unit, this)
        refine = sum(
            found.refining_seconds(chain.name)
            for trial in unit.trials
            # A search's own trials are not refined.
            for chain, key in zip(chains, trial.chain_keys, strict=False)
            if not has("scores", key)
        )
        training, scoring, refinement = training + seconds, scoring + score, refinement + refine
        held = unit.resources.asks(float(found.with_gpu))
        if found.with_gpu and "GPU" in held:
            gpu_hours += held["GPU"] * (seconds + score) / HOUR
        else:
            core_hours += held["CPU"] * (seconds + score) / HOUR
            score += refine  # takes the cores that trials train on
        core_hours += refine / HOUR
        if unit.resources not in fitting:
            fitting[unit.resources] = at_once or _fitting(unit.resources, found, machine)
        fits = fitting[unit.resources]
        if not fits:
            unfitting = unfitting or unit.name
        jobs.append(Job(unit.key, unit.parent, seconds + score, 1 / max(1, fits)))
    wall = wall_seconds(jobs) if unfitting is None else None
    bounds = min(fitting.values(), default=0), max(fitting.values(), default=0)
    return Estimate(
        training, scoring, refinement, gpu_hours, core_hours, wall, bounds, unmeasured, unfitting
    )


def _fitting(demand: Demand, found: Measured, machine: NodeAmounts) -> int:
    asked = demand.asks(whole_gpu([machine]))
    if found.with_gpu and "GPU" in demand.asks(1.0) and "GPU" not in asked:
        return 0  # what was measured on a GPU says nothing of a machine without one
    return slots(asked, [machine])


def wall_seconds(jobs: Sequence[Job]) -> float:
    """When the last of some jobs ends, as many running at a time as their parts make a whole.

    Those that others wait for come first, then the rest in order; a job whose parent is not among
    them waits for nobody.

    >>> a, b = Job("a", None, 3.0, 0.5), Job("b", "a", 2.0, 0.5)
    >>> wall_seconds([a, b]), wall_seconds([a, Job("c", None, 4.0, 0.5)])
    (5.0, 4.0)
    """
    keys = {job.key for job in jobs}
    awaited = {job.parent for job in jobs}
    waiting: dict[str, list[Job]] = defaultdict(list)
    ready: deque[Job] = deque()
    for job in sorted(jobs, key=lambda job: job.key not in awaited):
        if job.parent in keys:
            waiting[str(job.parent)].append(job)
        else:
            ready.append(job)
    now, free = 0.0, 1.0
    running: list[tuple[float, str, float]] = []
    while ready or running:
        while ready and ready[0].part <= free + 1e-9:
            job = ready.popleft()
            free -= job.part
            heapq.heappush(running, (now + job.seconds, job.key, job.part))
        now, key, part = heapq.heappop(running)
        free += part
        ready.extend(waiting.pop(key, []))
    return now


def money(
    hours: Estimate, prices: Mapping[str, float | None], *, with_gpu: bool
) -> tuple[float, str] | None:
    """What it costs, and by which price; None without one.

    Args:
        hours: see there.
        prices: of an hour of a "GPU" and of a "CPU-core"; the first covers the machine around it.
        with_gpu: whether trials have GPUs.

    """
    name = "GPU" if with_gpu else "CPU-core"
    price = prices[name]
    if price is None:
        return None
    return price * (hours.gpu_hours if with_gpu else hours.core_hours), f"{price:g} a {name}-hour"
