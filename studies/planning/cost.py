"""The cost of what is left of a plan, from what the trials of its results folder took.

Timings are by kind of training run: a paradigm with its networks at one image size, batch size and
precision. A kind that was never measured is predicted from the others, per pass of a network over
the training images (co-training makes two passes an epoch). Trials on another device than the
latest one are left out.

Hours add up what training runs hold: half a GPU for two hours is one GPU-hour. Wall time is that of
the queue as the runner keeps it: teachers first, a student after its teacher, and as many training
runs at a time as fit.
"""

import heapq
import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.ledger.parts import part_name, read_arrow, table_folder
from reports.storage import Location
from studies.planning.capacity import NodeAmounts, slots, whole_gpu
from studies.planning.job import TrainingJob, views_an_image
from studies.planning.plan import Plan
from studies.planning.segmentation.segments import (
    Job,
    SegmentJob,
    segment_scoring_work,
    segment_work,
)
from studies.rates import Rates, Work
from studies.spec.configuration import FUSED
from studies.spec.resources import Demand
from studies.spec.segmentation.single_stage import SINGLE_STAGE
from studies.store import canonical
from wsss_core.augmentation.settings import VIEW_SETTINGS

HOUR = 3600.0

SAMPLE = 8  # trials of a kind, and of a chain, that are read
OTHERS = 64  # trials of other studies in the same results folder that are read

_COLUMNS = ("status", "settings", "train_fingerprint", "device", "cpus", "gpus", "started_at",
            "seconds_training", "seconds_scoring")  # fmt: skip


def passes(settings: Mapping[str, Any]) -> int:
    """Return how often a training run takes a network that learns over its images."""
    if settings["paradigm"] == FUSED:
        return 0
    in_one_stage = settings["paradigm"] == SINGLE_STAGE and "teacher" in settings
    learning = 2 if settings["paradigm"] == "co-training" or in_one_stage else 1
    return int(settings["training"]["epochs"]) * learning * views_an_image(settings)


def kind(settings: Mapping[str, Any]) -> str:
    """Return a name that training runs share whose epochs take equally long."""
    if settings["paradigm"] == FUSED:
        return canonical([FUSED, settings["how"], settings["image_size"]])
    training = settings["training"]
    return canonical(
        [
            *(settings.get(name) for name in ("paradigm", "student", "teacher", "image_size")),
            training["batch_size"],
            training["precision"],
            # Views that are drawn on the device take time of their own.
            *({key: training[key]} for key in VIEW_SETTINGS if key in training),
            # A pass over tiles takes longer, and so does one that makes labels.
            *filter(None, [settings.get("framing"), settings.get("single_stage")]),
            *filter(None, [settings.get("decouple") and views_an_image(settings)]),
        ]
    )


def training_work(settings: Mapping[str, Any], *narrower: Hashable) -> Work:
    """Return the work of a training run.

    Args:
        settings: the training run's.
        narrower: kinds within the training run's own, the narrowest first, such as its share of a
            machine.

    """
    if settings["paradigm"] == FUSED:
        return scoring_work(settings)  # which is all that is done
    own = kind(settings)
    return Work((*((own, more) for more in narrower), own, "training"), passes(settings))


def scoring_work(settings: Mapping[str, Any]) -> Work:
    """Return the work of scoring one trial."""
    return Work((("scoring", kind(settings)), ("scoring", settings["paradigm"]), "scoring"))


def chain_work(chain: str) -> Work:
    """Return the work of a chain over one trial, on a CPU core."""
    return Work((("chain", chain),))


@dataclass(frozen=True)
class Timings:
    """What the trials of a results folder took.

    Attributes:
        trials: how many were read; 0 where nothing was measured.
        device: where they ran.
        with_gpu: whether any had a GPU or a share of one.
        rates: seconds of `training_work`, `scoring_work` and `chain_work`.

    """

    trials: int = 0
    device: str = ""
    with_gpu: bool = False
    rates: Rates = field(default_factory=Rates)


def read_timings(plan: Plan, results: Location) -> Timings:
    """Read what trials of a results folder took: a few of each kind, not all of them.

    Args:
        plan: the kinds of its training runs are read first.
        results: the folder of the ledger.

    """
    of_kind: dict[Hashable, list[str]] = defaultdict(list)
    for job in plan.jobs.values():
        of_kind[kind(job.settings), job.resources] += [trial.key for trial in job.trials]
    names = table_folder(results, "trials").listing()
    own = {part_name(trial.key) for trial in plan.trials}
    others = [name.removesuffix(part_name("")) for name in names if name not in own]
    keys = [*_latest(of_kind.values(), names), *others[:OTHERS]]
    table = read_arrow(results, "trials", keys=keys, columns=_COLUMNS, skip_corrupt=True)
    table = table.sort_by("started_at")
    # Without the column, as pyarrow loads pandas to make moments of it.
    trials = table.drop_columns("started_at").to_pylist()
    trials = [row for row in trials if row["status"] == "ok" and row["seconds_training"]]
    if not trials:
        return Timings()
    device = _device(trials[-1])
    trials = [row for row in trials if _device(row) == device]
    timings = Timings(len(trials), device, any(row["gpus"] for row in trials))
    for row in trials:
        settings = json.loads(row["settings"])
        share = row["cpus"] or 1, row["gpus"] or 0.0
        work = training_work(settings, (share, row["train_fingerprint"]), share)
        timings.rates.learn(work, row["seconds_training"])
        timings.rates.learn(scoring_work(settings), row["seconds_scoring"] or 0.0)
    _learn_chains(plan, results, timings.rates)
    _learn_segmenters(plan, results, timings)
    return timings


def _learn_segmenters(plan: Plan, results: Location, timings: Timings) -> None:
    if not plan.segments:
        return
    names = table_folder(results, "segmented").listing()
    of_kind: dict[Hashable, list[str]] = defaultdict(list)
    for job in plan.segments:
        of_kind[job.work.names, job.resources] += job.score_keys()
    columns = ("status", "settings", "device", "cpus", "gpus", "seconds_training",
               "seconds_scoring")  # fmt: skip
    own = {part_name(key) for job in plan.segments for key in job.score_keys()}
    others = [name.removesuffix(part_name("")) for name in names if name not in own]
    keys = [*_latest(of_kind.values(), names), *others[:OTHERS]]
    found = read_arrow(results, "segmented", keys=keys, columns=columns, skip_corrupt=True)
    for row in found.to_pylist():
        if row["status"] == "ok" and row["seconds_training"] and _device(row) == timings.device:
            settings, share = json.loads(row["settings"]), (row["cpus"] or 1, row["gpus"] or 0.0)
            if SINGLE_STAGE not in settings["labels"]:  # which trains nothing itself
                timings.rates.learn(segment_work(settings, share), row["seconds_training"])
            work = segment_scoring_work(settings)
            timings.rates.learn(work, row["seconds_scoring"] or 0.0)


def _learn_chains(plan: Plan, results: Location, rates: Rates) -> None:
    if not plan.runnable_chains:
        return
    names = table_folder(results, "refined").listing()
    keys = _latest(
        (
            [trial.chains[chain.name] for trial in plan.trials if chain.name in trial.chains]
            for chain in plan.runnable_chains
        ),
        names,
    )
    columns = ("refinement", "status", "seconds")
    found = read_arrow(results, "refined", keys=keys, columns=columns, skip_corrupt=True)
    for row in found.to_pylist():
        if row["status"] == "ok" and row["seconds"] is not None:
            rates.learn(chain_work(row["refinement"]), row["seconds"])


def _latest(groups: Iterable[Sequence[str]], names: Collection[str]) -> list[str]:
    """Return the last keys of each group that have a part in the ledger."""
    there = ([key for key in keys if part_name(key) in names] for keys in groups)
    return [key for keys in there for key in keys[-SAMPLE:]]


def _device(trial: Mapping[str, Any]) -> str:
    """Return a device's name; a CPU with another number of threads is the same device.

    >>> _device({"device": "x86_64 CPU, 2 thread(s)"})
    'x86_64 CPU'
    """
    return re.sub(r", \d+ thread\(s\)$", "", trial["device"] or "an unnamed device")


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
        segmentation: seconds of training and scoring all segmenters.
        unmeasured_chains: how many times a chain over a trial is not counted, for it was never
            measured.
        unmeasured_segments: segmentation runs that are not counted, for none was measured.
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
    unmeasured_chains: int = 0
    segmentation: float = 0.0
    unmeasured_segments: int = 0
    unfitting: str | None = None


@dataclass(frozen=True)
class QueuedRun:
    """A training run in the queue.

    Attributes:
        key: the training run's.
        needs: the keys of the training runs that it waits for.
        seconds: how long it takes.
        part: the share of all slots that it holds, above 0, 1 at most.

    """

    key: str
    needs: tuple[str, ...]
    seconds: float
    part: float


def estimate(
    pending: Sequence[Job],
    has: Callable[[str, str], bool],
    timings: Timings,
    machine: NodeAmounts,
    at_once: int | None = None,
) -> Estimate:
    """Add up the work of pending runs.

    Args:
        pending: what has to run, see `Plan.pending_jobs`.
        has: whether the store holds a stage's artifact.
        timings: what trials have taken, of one trial at least.
        machine: the amounts of one machine, in Ray's names.
        at_once: how many run at a time; None: as many as fit on the machine.

    """
    left = Estimate()
    queue: list[QueuedRun] = []
    fits: list[int] = []
    for job in pending:
        held = job.resources.asks(float(timings.with_gpu))
        share = job.resources.cpus, held.get("GPU", 0.0)
        if isinstance(job, SegmentJob):
            took, refinement = _add_segmenter(left, job, has, timings.rates, share), 0.0
        else:
            took, refinement = _add_training(left, job, has, timings.rates, share)
        left.core_hours += refinement / HOUR
        if timings.with_gpu and "GPU" in held:
            left.gpu_hours += held["GPU"] * took / HOUR
        else:
            left.core_hours += held["CPU"] * took / HOUR
            took += refinement  # on the cores that trials train on
        fits.append(at_once or _fitting(job.resources, timings, machine))
        queue.append(QueuedRun(job.key, job.needs, took, 1 / max(1, fits[-1])))
    left.at_once = min(fits, default=0), max(fits, default=0)
    if 0 in fits:
        left.unfitting = pending[fits.index(0)].name
    else:
        left.wall = wall_seconds(queue)
    return left


def _add_training(
    left: Estimate,
    job: TrainingJob,
    has: Callable[[str, str], bool],
    rates: Rates,
    share: tuple[int, float],
) -> tuple[float, float]:
    """Add a training run to what is left; return its seconds, and those of its chains."""
    images = job.images.fingerprints.get("train")
    untrained = not (job.members or has("train", job.key))
    training = untrained * (
        rates.predict(training_work(job.settings, (share, images), share)) or 0.0
    )
    left.unmeasured += untrained and not rates.knows(kind(job.settings))
    scoring = len(job.unscored(has)) * (rates.predict(scoring_work(job.settings)) or 0.0)
    chains = [rates.predict(chain_work(name)) for name in job.unrefined(has)]
    refinement = sum(seconds or 0.0 for seconds in chains)
    left.unmeasured_chains += chains.count(None)
    left.training += training
    left.scoring += scoring
    left.refinement += refinement
    return training + scoring, refinement


def _add_segmenter(
    left: Estimate,
    job: SegmentJob,
    has: Callable[[str, str], bool],
    rates: Rates,
    share: tuple[int, float],
) -> float:
    """Add a segmentation run to what is left; return its seconds."""
    untrained = not (job.single_stage or has("segment", job.key))
    training = rates.predict(segment_work(job.settings, share)) if untrained else 0.0
    left.unmeasured_segments += training is None
    scoring = rates.predict(segment_scoring_work(job.settings)) or 0.0
    took = (training or 0.0) + len(job.unscored(has)) * scoring
    left.segmentation += took
    return took


def _fitting(demand: Demand, timings: Timings, machine: NodeAmounts) -> int:
    asked = demand.asks(whole_gpu([machine]))
    if timings.with_gpu and "GPU" in demand.asks(1.0) and "GPU" not in asked:
        return 0  # times on a GPU do not hold for a machine without one
    return slots(asked, [machine])


def wall_seconds(queue: Sequence[QueuedRun]) -> float:
    """Return when the last training run ends; as many run at a time as their parts make a whole.

    Those that others wait for come first, then the rest in order. Training runs that are not among
    them are not waited for.

    >>> a, b = QueuedRun("a", (), 3.0, 0.5), QueuedRun("b", ("a",), 2.0, 0.5)
    >>> wall_seconds([a, b]), wall_seconds([a, QueuedRun("c", (), 4.0, 0.5)])
    (5.0, 4.0)
    """
    keys = {run.key for run in queue}
    awaited = {parent for run in queue for parent in run.needs}
    left = {run.key: {parent for parent in run.needs if parent in keys} for run in queue}
    waiting: dict[str, list[QueuedRun]] = defaultdict(list)
    ready: deque[QueuedRun] = deque()
    for run in sorted(queue, key=lambda run: run.key not in awaited):
        for parent in left[run.key]:
            waiting[parent].append(run)
        if not left[run.key]:
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
        for run in waiting.pop(key, []):
            left[run.key].discard(key)
            if not left[run.key]:
                ready.append(run)
    return now
