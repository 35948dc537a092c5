"""Estimates of what is left of a plan: hours of resources and wall time.

Hours add up what training runs hold: half a GPU for two hours is one GPU-hour. Wall time is that of
the queue as the runner keeps it: teachers first, a student after its teacher, and as many training
runs at a time as fit.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from studies.planning.capacity import NodeAmounts, slots, whole_gpu
from studies.planning.job import TrainingJob
from studies.planning.timings import Timings, chain_work, kind, scoring_work, training_work
from studies.rates import Work
from studies.spec.resources import Demand

HOUR = 3600.0


@dataclass
class Estimate:
    """The work that is left, in seconds and hours.

    Attributes:
        training: seconds of all training runs together.
        scoring: seconds of scoring all trials.
        refinement: seconds of a CPU core.
        gpu_hours: held by training runs that have a GPU or a share of one.
        core_hours: held by training runs without a GPU, and by refinement.
        wall: seconds from start to end; None where a training run does not fit on the machine.
        at_once: the fewest and the most training runs at a time.
        unmeasured: training runs of a kind that was never measured.
        unfitting: name of the first training run that does not fit on the machine.

    """

    training: float = 0.0
    scoring: float = 0.0
    refinement: float = 0.0
    gpu_hours: float = 0.0
    core_hours: float = 0.0
    wall: float | None = None
    at_once: tuple[int, int] = (0, 0)
    unmeasured: int = 0
    unfitting: str | None = None


@dataclass(frozen=True)
class QueuedRun:
    """A training run in the queue.

    Attributes:
        key: the training run's.
        parent: the key of the training run it waits for, if it waits.
        seconds: how long it takes.
        part: the share of all slots that it holds, above 0, 1 at most.

    """

    key: str
    parent: str | None
    seconds: float
    part: float


def estimate(
    pending: Sequence[TrainingJob],
    has: Callable[[str, str], bool],
    timings: Timings,
    machine: NodeAmounts,
    at_once: int | None = None,
) -> Estimate:
    """Add up the work of pending training runs.

    Args:
        pending: what has to run, see `Plan.pending`.
        has: whether the store holds a stage's artifact.
        timings: what trials have taken, of one trial at least.
        machine: the amounts of one machine, in Ray's names.
        at_once: how many run at a time; None: as many as fit on the machine.

    """

    def seconds(*works: Work) -> float:
        return sum(timings.rates.predict(work) or 0.0 for work in works)

    left = Estimate()
    queue: list[QueuedRun] = []
    fits: list[int] = []
    for job in pending:
        held = job.resources.asks(float(timings.with_gpu))
        share = job.resources.cpus, held.get("GPU", 0.0)
        images = job.images.fingerprints.get("train")
        work = training_work(job.settings, (share, images), share)
        untrained = not has("train", job.key)
        training = untrained * seconds(work)
        left.unmeasured += untrained and not timings.rates.knows(kind(job.settings))
        scoring = len(job.unscored(has)) * seconds(scoring_work(job.settings))
        refinement = seconds(*map(chain_work, job.unrefined(has)))
        left.training += training
        left.scoring += scoring
        left.refinement += refinement
        left.core_hours += refinement / HOUR
        took = training + scoring
        if timings.with_gpu and "GPU" in held:
            left.gpu_hours += held["GPU"] * took / HOUR
        else:
            left.core_hours += held["CPU"] * took / HOUR
            took += refinement  # on the cores that trials train on
        fits.append(at_once or _fitting(job.resources, timings, machine))
        queue.append(QueuedRun(job.key, job.parent, took, 1 / max(1, fits[-1])))
    left.at_once = min(fits, default=0), max(fits, default=0)
    if 0 in fits:
        left.unfitting = pending[fits.index(0)].name
    else:
        left.wall = wall_seconds(queue)
    return left


def _fitting(demand: Demand, timings: Timings, machine: NodeAmounts) -> int:
    asked = demand.asks(whole_gpu([machine]))
    if timings.with_gpu and "GPU" in demand.asks(1.0) and "GPU" not in asked:
        return 0  # times on a GPU do not hold for a machine without one
    return slots(asked, [machine])


def wall_seconds(queue: Sequence[QueuedRun]) -> float:
    """Return when the last training run ends; as many run at a time as their parts make a whole.

    Those that others wait for come first, then the rest in order. A training run whose parent is
    not among them waits for nothing.

    >>> a, b = QueuedRun("a", None, 3.0, 0.5), QueuedRun("b", "a", 2.0, 0.5)
    >>> wall_seconds([a, b]), wall_seconds([a, QueuedRun("c", None, 4.0, 0.5)])
    (5.0, 4.0)
    """
    keys = {run.key for run in queue}
    awaited = {run.parent for run in queue}
    waiting: dict[str, list[QueuedRun]] = defaultdict(list)
    ready: deque[QueuedRun] = deque()
    for run in sorted(queue, key=lambda run: run.key not in awaited):
        if run.parent in keys:
            waiting[str(run.parent)].append(run)
        else:
            ready.append(run)
    now, free = 0.0, 1.0
    running: list[tuple[float, str, float]] = []
    while ready or running:
        while ready and ready[0].part <= free + 1e-9:
            run = ready.popleft()
            free -= run.part
            heapq.heappush(running, (now + run.seconds, run.key, run.part))
        now, key, part = heapq.heappop(running)
        free += part
        ready.extend(waiting.pop(key, []))
    return now
