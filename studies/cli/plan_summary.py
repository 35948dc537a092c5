"""What `wsss plan` finds out: the trials, which are finished, and the cost of the others."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from reports.ledger import CancelledRow
from reports.storage import Location
from studies.cluster.machine import this_machine
from studies.planning import (
    CancelledInRun,
    Estimate,
    Job,
    Plan,
    RecipeInPlan,
    TrainingJob,
    estimate,
    passes,
    read_timings,
    recipes_of,
)
from studies.stages.features import FeaturePrice, price_features
from studies.store import ArtifactStore
from wsss_core.data.folds import Fold

if TYPE_CHECKING:
    from studies.deciding import DecideInPlan


class TrialWork(StrEnum):
    """What is left to do of a trial before its chains."""

    DONE = "done"
    TO_SCORE = "trained, to be scored"
    AFTER_TEACHER = "to be trained after"
    TO_TRAIN = "to be trained"
    TO_FUSE = "to be fused, nothing to train"
    CANCELLED = "cancelled, not to be run"


@dataclass(frozen=True)
class TrialInPlan:
    """A trial of the plan.

    Attributes:
        configuration: the configuration's name.
        seed: its seed.
        key: names its scores in the store, and the trial in the ledger.
        training_run: the key of the training run that it scores.
        state: what is left to do.
        sweep_value: the value of the study's sweep; None without one.
        chains: the name of each chain that runs -> whether its scores are there.
        fold: the number of its fold; None without folds.
        waits_for: what is to be trained before, in words; None unless the state says that it waits.

    """

    configuration: str
    seed: int
    key: str
    training_run: str
    state: TrialWork
    sweep_value: float | None
    chains: Mapping[str, bool]
    fold: int | None = None
    waits_for: str | None = None

    @property
    def work(self) -> str:
        """What is left to do, in words."""
        return self.state if self.waits_for is None else f"{self.state} {self.waits_for}"


@dataclass(frozen=True)
class ChainInPlan:
    """A chain: over how many of its trials it is done, and why it is not run, if so."""

    name: str
    done: int
    trials: int
    lacks: str | None


@dataclass(frozen=True)
class SegmentInPlan:
    """An entry of `segment` under a seed.

    Attributes:
        entry: the entry's name.
        seed: its seed.
        key: names its scores in the store.
        segmentation_run: the key of the segmentation run that it scores.
        state: what is left to do.
        labels: what it is trained on: how many true masks, and the rule of pseudo masks.
        sweep_value: the value of the study's sweep; None without one.
        fold: the number of its fold; None without folds.
        is_decoder: whether it is the decoder of a single-stage run, which trains it.

    """

    entry: str
    seed: int
    key: str
    segmentation_run: str
    state: TrialWork
    labels: str
    sweep_value: float | None = None
    fold: int | None = None
    is_decoder: bool = False

    @property
    def work(self) -> str:
        """What is left to do, in words."""
        if self.state is not TrialWork.AFTER_TEACHER:
            return self.state
        if self.is_decoder:
            return "to be scored, trained with its classifier"
        return f"{self.state} the network of its pseudo masks"


@dataclass(frozen=True)
class SearchInPlan:
    """A search before the trials.

    Attributes:
        trials: configurations to try in all.
        tried: of them tried.
        seeds: the most seeds of each.
        confirm: how many of the best join the study's configurations.

    """

    trials: int
    tried: int
    seeds: int
    confirm: int


@dataclass(frozen=True)
class CostOfPlan:
    """The cost of what is left.

    Attributes:
        measured_trials: trials of the results folder that it is estimated from.
        device: where they ran.
        with_gpu: whether any had a GPU or a share of one.
        left: the work.
        price_per_hour: of a GPU where trials have one, else of a CPU core; None without a price.
        lacks_gpu: whether the study asks for GPUs, and the measured trials had none.

    """

    measured_trials: int
    device: str
    with_gpu: bool
    left: Estimate
    price_per_hour: float | None
    lacks_gpu: bool

    @property
    def money(self) -> float | None:
        """The price of all hours; that of a GPU's hour covers the machine around it."""
        hours = self.left.gpu_hours if self.with_gpu else self.left.core_hours
        return None if self.price_per_hour is None else self.price_per_hour * hours


@dataclass(frozen=True)
class PlanSummary:
    """A plan beside what its store and its ledger hold.

    Attributes:
        study: the study's name.
        title: the question it asks.
        sweep: the name of its sweep, if it has one.
        trials: in the plan's order.
        training_runs: training runs to do.
        teachers: those of them that no configuration reports.
        passes: of a network over the training images, in all of them.
        pending: training runs to do or to score, those of a search included.
        chains: in the study's order.
        search: None without one.
        cost: None where nothing is left, or nothing has been measured.
        folds, recipes: its folds, in order, and how its configurations are trained.
        segments: its segmenters, in the study's order.
        features: the maps of frozen networks that its training runs read.
        cancelled: the rows that are cancelled.
        decide: None without it; else the trials are those that were asked for so far.
        windows: how many windows its images give and what they cost, and which images join, in
            words.

    """

    study: str
    title: str
    sweep: str | None
    trials: tuple[TrialInPlan, ...]
    training_runs: int
    teachers: int
    passes: int
    pending: int
    chains: tuple[ChainInPlan, ...] = ()
    search: SearchInPlan | None = None
    cost: CostOfPlan | None = None
    folds: tuple[Fold, ...] = ()
    recipes: tuple[RecipeInPlan, ...] = ()
    segments: tuple[SegmentInPlan, ...] = ()
    features: tuple[FeaturePrice, ...] = ()
    decide: "DecideInPlan | None" = None
    cancelled: tuple[CancelledRow, ...] = ()
    windows: tuple[str, ...] = ()


def summarise_plan(
    plan: Plan, store: ArtifactStore, results: Location, *, at_once: int | None = None
) -> PlanSummary:
    """Return a study's trials with their keys and states, and the cost of the work that is left.

    The cost is estimated from the trials of this results folder, see `studies.planning.cost`.

    Args:
        plan: see `studies.planning.planner.make_plan`.
        store: holds the finished stages.
        results: the folder of the ledger.
        at_once: how many trials run at a time; None: as many as fit on this machine.

    """
    if plan.study.decide is None:
        return _found(plan, store, results, at_once)
    from studies.deciding import DecideInPlan, asked_so_far, rounds_in_ledger  # load SciPy

    rounds = rounds_in_ledger(plan.ledger_rows(), results)
    _, untrained, _, cost = _left(plan, store.seen(), store, results, at_once)
    most = len(plan.trials), len(untrained), None if cost is None else cost.left
    found = _found(asked_so_far(plan, rounds), store, results, at_once)
    return replace(found, decide=DecideInPlan(rounds, *most))


def _left(
    plan: Plan,
    has: Callable[[str, str], bool],
    store: ArtifactStore,
    results: Location,
    at_once: int | None,
) -> tuple[list[Job], dict[str, TrainingJob], SearchInPlan | None, CostOfPlan | None]:
    """Return the runs that are left, those of them to train, the plan's search and the cost."""
    kept = CancelledInRun(plan, results).kept
    segments = kept.pending_segments(store)
    training = kept.pending(store, segments)
    untrained = {job.key: job for job in training if not (job.members or has("train", job.key))}
    searched, search = _search(plan, results)
    known = {job.key for job in training}
    pending: list[Job] = [*training, *(j for j in searched if j.key not in known), *segments]
    cost = _cost(plan, pending, has, results, at_once) if pending else None
    return pending, untrained, search, cost


def _found(plan: Plan, store: ArtifactStore, results: Location, at_once: int | None) -> PlanSummary:
    has, study = store.seen(), plan.study
    pending, untrained, search, cost = _left(plan, has, store, results, at_once)
    cancelled = CancelledInRun(plan, results)
    trials = tuple(_trials(plan, has, untrained, cancelled.rows))
    return PlanSummary(
        study=study.study,
        title=study.title,
        sweep=study.sweep.name if study.sweep else None,
        trials=trials,
        training_runs=len(untrained),
        teachers=sum(not job.trials for job in untrained.values()),
        passes=sum(passes(job.settings) for job in untrained.values()),
        pending=len(pending),
        chains=tuple(
            ChainInPlan(
                chain.name,
                sum(trial.chains.get(chain.name, False) for trial in trials),
                sum(chain.refines(trial.configuration) for trial in trials),
                chain.lacks,
            )
            for chain in plan.chains
        ),
        search=search,
        cost=cost,
        folds=tuple(plan.folds),
        recipes=recipes_of(plan),
        segments=tuple(_segments(plan, has, untrained, cancelled.rows)),
        features=tuple(price_features(plan, has)),
        windows=(*plan.windows, *plan.joined),
        cancelled=tuple(cancelled.rows.values()),
    )


def _segments(
    plan: Plan,
    has: Callable[[str, str], bool],
    untrained: Collection[str],
    cancelled: Collection[str],
) -> Iterator[SegmentInPlan]:
    for job in plan.segments:
        for scoring in job.scorings:
            state = TrialWork.TO_TRAIN
            if has("scores", scoring.scores_key):
                state = TrialWork.DONE
            elif scoring.configuration in cancelled:
                state = TrialWork.CANCELLED
            elif has("segment", job.key):
                state = TrialWork.TO_SCORE
            elif job.parent in untrained:
                state = TrialWork.AFTER_TEACHER
            yield SegmentInPlan(
                scoring.entry,
                job.seed,
                scoring.scores_key,
                job.key,
                state,
                job.labels,
                job.sweep_value,
                job.images.fold,
                job.single_stage is not None,
            )


def _trials(
    plan: Plan,
    has: Callable[[str, str], bool],
    untrained: Mapping[str, TrainingJob],
    cancelled: Collection[str],
) -> Iterator[TrialInPlan]:
    owner = {trial.key: job for job in plan.jobs.values() for trial in job.trials}
    for trial in plan.trials:
        job, waits_for = owner[trial.key], None
        if has("scores", trial.key):
            state = TrialWork.DONE
        elif trial.configuration in cancelled:
            state = TrialWork.CANCELLED
        elif job.key not in untrained:
            state = TrialWork.TO_FUSE if job.members else TrialWork.TO_SCORE
        elif any(key in untrained for key in job.needs):
            state, waits_for = TrialWork.AFTER_TEACHER, _sources(job, untrained)
        else:
            state = TrialWork.TO_TRAIN
        yield TrialInPlan(
            trial.configuration,
            trial.seed,
            trial.key,
            job.key,
            state,
            trial.sweep_value,
            {name: has("scores", key) for name, key in trial.chains.items()},
            trial.fold,
            waits_for,
        )


def _sources(job: TrainingJob, untrained: Collection[str]) -> str:
    """Return what a run waits for, in words: its teachers, the row that gives it maps, or both."""
    teachers = sum(key in untrained for key in job.parents.values())
    words = ["its teacher" if teachers == 1 else "its teachers"] if teachers else []
    if any(maps and maps.training.key in untrained for maps in (job.maps, job.guide)):
        words.append("the row that gives it maps")
    return " and ".join(words)


def _search(plan: Plan, results: Location) -> tuple[list[TrainingJob], SearchInPlan | None]:
    """Return the most that is left of a search and of the confirmation of its best."""
    if (search := plan.study.search) is None:
        return [], None
    # Loads pandas, which a study without a search does not need.
    from studies.search.candidates import first_jobs, jobs_left, parts_prefix, tried

    planner, _ = first_jobs(plan.study, plan.image_sets[0])
    done = tried(results, parts_prefix(planner))["number"].nunique()
    left = jobs_left(planner, max(0, search.trials - done))
    return left, SearchInPlan(search.trials, int(done), len(search.seeds), search.confirm)


def _cost(
    plan: Plan,
    pending: Sequence[Job],
    has: Callable[[str, str], bool],
    results: Location,
    at_once: int | None,
) -> CostOfPlan | None:
    timings = read_timings(plan, results)
    if not timings.trials:
        return None
    resources = plan.study.resources
    with_gpu = timings.with_gpu
    return CostOfPlan(
        measured_trials=timings.trials,
        device=timings.device,
        with_gpu=with_gpu,
        left=estimate(pending, has, timings, this_machine(), at_once),
        price_per_hour=resources.price_per_gpu_hour if with_gpu else resources.price_per_cpu_hour,
        lacks_gpu=not with_gpu and any(job.resources.needs_gpu for job in pending),
    )
