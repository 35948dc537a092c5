"""Running a study: Ray Tune schedules its jobs over whatever cluster there is.

Tune's own state is scratch. What is done is what the store holds, so resuming is running again.
"""

import logging
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import studies.preflight
from reports.ledger import every_part, quarantine_corrupt_parts, read_arrow, write_part
from reports.storage import Location, StorageError, is_uri, local_path
from studies.formatting import over_trials, trials_done
from studies.planning import (
    CancelledInRun,
    Job,
    Plan,
    Trial,
    fold_warnings,
    replaced_by,
    segment_plan_rows,
)
from studies.scheduling.progress import Progress
from studies.scheduling.stopping import Stop
from studies.stages import JobStatus, Outcome, RunContext, note_copies, publish_all
from studies.stages.other_code import made_otherwise, named_otherwise, quarantine_jobs
from studies.store import ArtifactStore

if TYPE_CHECKING:
    from studies.deciding import Deciding

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        trials: how many the plan has.
        trained: training runs that ended, failures included.
        scored: trained networks of an earlier run that were only scored.
        reused: trials that were done before.
        failed: "configuration, seed" -> error, teachers that no row reports included.
        unrefined: "configuration, seed, chain" -> error.
        collapsed: "configuration, seed" -> why.
        remaining: trials without a result: failed, or the run was interrupted.
        chains_remaining: how many times a chain over a trial has no result: as above.
        seconds: wall time of the run.
        segments_remaining: segmentation runs without a result.
        stopped: the name of the signal that interrupted the run.
        decisions: where the comparisons of a study with `decide` stand, as lines.
        cancelled: the rows that are cancelled and how each is taken back, as lines.

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
    chains_remaining: int = 0
    segments_remaining: int = 0
    decisions: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()


def run_plan(
    plan: Plan,
    results: Location,
    store: ArtifactStore,
    *,
    address: str | None = None,
    in_process: bool = False,
    anew: bool = False,
    replace_plan: bool = False,
    end_stalled: float | None = None,
    keep_segments: bool = False,
) -> RunResult:
    """Run what is missing of a plan and bring its ledger up to date.

    Args:
        plan: see `studies.planning.planner.make_plan`.
        results: the folder of the ledger.
        store: where finished stages are looked up and kept.
        address: of a running Ray cluster; None starts Ray on this machine.
        in_process: no Ray, one job after another in this process (for a debugger).
        anew: make trials again that other code, plug-ins or versions made; else they are named.
        replace_plan: let this study replace another one that has its name in the ledger.
        end_stalled: seconds without progress after which the worker of a training run is ended, and
            the run started again as after any death of a worker; None: never. Not in this process.
        keep_segments: keep the segmenters that the ledger has of the study and the plan lacks.

    Raises:
        InputError: another study has its name, or what `studies.preflight` and reading the
            images find.
        StorageError: a storage that stays away or is full; what is finished is kept.

    """
    started = time.perf_counter()
    results = results if is_uri(results) else local_path(results)
    if (replaced := replaced_by(plan, results, asked=replace_plan)) is not None:
        logger.warning(replaced)
    _meet_other_code(plan, results, store, anew=anew)
    quarantine_corrupt_parts(
        results,
        every_part(results, ("plan", "refinements", "search", "findings", "segments", "cancelled")),
    )
    deciding = _deciding(plan, results, store)
    plan = deciding.plan if deciding else plan
    cancelled = CancelledInRun(plan, results)
    work = _prepared(plan, results, store, cancelled, keep_segments)
    work.log(plan)
    cancelled.log()
    if deciding is not None:
        deciding.log()
        work = replace(work, pending=deciding.to_run(work.pending))
    stop, outcomes, unrefined = Stop(), dict[str, Outcome](), dict[str, str]()
    if work.pending:
        how = _How(address, in_process, end_stalled)
        outcomes, unrefined = _run_work(plan, work, results, store, stop, deciding, how)
        note_copies(store, plan.score_keys(), results)
    untrained = work.untrained | (deciding.untrained if deciding else set())
    unscored = work.unscored | (deciding.unscored if deciding else set())
    has = store.seen()
    held = deciding.held if deciding else set[str]()
    cancelled.look()
    kept = cancelled.kept
    unfinished = [t for t in kept.trials if not (t.is_scored(has) or t.key in held)]
    ended = {key for key, one in outcomes.items() if one.status is not JobStatus.CANCELLED}
    return RunResult(
        trials=len(plan.trials),
        trained=len(ended & untrained),
        scored=len(ended & unscored),
        reused=len(work.done),
        failed=_named(plan, outcomes, JobStatus.FAILED),
        unrefined=unrefined,
        collapsed=_named(plan, outcomes, JobStatus.COLLAPSED),
        remaining=len(unfinished),
        chains_remaining=sum(len(job.unrefined(has)) for job in kept.jobs.values()),
        segments_remaining=sum(bool(job.unscored(has)) for job in kept.segments),
        seconds=time.perf_counter() - started,
        stopped=stop.signal,
        decisions=deciding.lines if deciding else (),
        cancelled=tuple(cancelled.lines),
    )


@dataclass(frozen=True)
class _Work:
    """What is missing of a plan.

    Attributes:
        pending: the jobs that have to run.
        done: trials that were done before.
        untrained: the keys of jobs to train.
        unscored: the keys of jobs that were trained before and have trials to score.
        unrefined: the key of a job -> how many times a chain has to run over its trials.
        fused: the keys of jobs that fuse the networks of others.

    """

    pending: list[Job]
    done: list[Trial]
    untrained: set[str]
    unscored: set[str]
    unrefined: dict[str, int]
    fused: set[str]

    def log(self, plan: Plan) -> None:
        """Log what is missing, and the chains that cannot run."""
        training = f", {len(self.untrained)} training runs to go" if self.untrained else ""
        unrefined = sum(self.unrefined.values())
        logger.info(
            f"{plan.study.study}: {len(plan.trials)} trials, {len(self.done)} done before"
            + (training or "; nothing to train")
            + (f", {len(self.unscored)} trained before to be scored" if self.unscored else "")
            + (f", {len(self.fused)} to be fused of others" if self.fused else "")
            + (f", {over_trials(unrefined)}" if unrefined else "")
        )
        for chain in plan.chains:
            if chain.lacks is not None:
                logger.info("  refinement %s is not run: %s", chain.name, chain.lacks)
        for warning in fold_warnings(plan.folds):
            logger.warning("  %s", warning)


def _meet_other_code(plan: Plan, results: Location, store: ArtifactStore, *, anew: bool) -> None:
    """Name the finished trials that other code made, or take them out to be made again."""
    scored = store.finished("scores")
    done = [trial.key for trial in plan.trials if trial.key in scored]
    segments = [key for job in plan.segments for key in job.score_keys() if key in scored]
    if not anew:
        for line in named_otherwise(results, done, segments):
            logger.warning(line)
        return
    others = set[str]().union(*made_otherwise(results, done).values())
    if segments:
        others |= set[str]().union(*made_otherwise(results, segments, "segmented").values())
    if others:
        what = "trials and segmenters" if plan.segments else "trials"
        logger.info(
            "%d %s were made by other code or versions and are made again", len(others), what
        )
        jobs = [job for job in plan.all_jobs.values() if others.intersection(job.score_keys())]
        quarantine_jobs(store, jobs)


def _prepared(
    plan: Plan,
    results: Location,
    store: ArtifactStore,
    cancelled: CancelledInRun,
    keep_segments: bool,
) -> _Work:
    """Check what has to run, write the plan to the ledger, and return what is missing."""
    kept = cancelled.kept
    pending = kept.pending_jobs(store)
    if pending:
        studies.preflight.preflight(plan, pending, store, results)
        pending = kept.pending_jobs(store)  # what was found corrupt has to be made again
    write_part(results, "plan", plan.study.file_name, plan.ledger_rows())
    if plan.segments:
        segments = segment_plan_rows(plan)
        if keep_segments:
            segments += _other_segments(plan, results)
        write_part(results, "segments", plan.study.file_name, segments)
    if plan.chains:
        write_part(results, "refinements", plan.study.file_name, plan.chain_rows())
    if publish_all(store, plan.score_keys(), results):
        pending = kept.pending_jobs(store)
        studies.preflight.preflight(plan, pending, store, results)
    has = store.seen()
    fused = {job.key for job in pending if job.members}
    untrained = {job.key for job in pending if not has(job.stage, job.key)} - fused
    return _Work(
        pending=pending,
        done=[trial for trial in plan.trials if trial.is_scored(has)],
        untrained=untrained,
        unscored={job.key for job in pending if job.unscored(has)} - untrained - fused,
        fused=fused,
        unrefined={key: len(job.unrefined(has)) for key, job in kept.jobs.items()},
    )


def _other_segments(plan: Plan, results: Location) -> list[dict[str, Any]]:
    """Return the rows that the ledger has of the study's entries of `segment` outside the plan."""
    planned = {scoring.entry for job in plan.segments for scoring in job.scorings}
    rows = read_arrow(results, "segments", keys=[plan.study.file_name]).to_pylist()
    return [row for row in rows if row["entry"] not in planned]


def _deciding(plan: Plan, results: Location, store: ArtifactStore) -> "Deciding | None":
    if plan.study.decide is None:
        return None
    from studies.deciding import Deciding  # loads pandas and SciPy

    return Deciding(plan, results, store)


@dataclass(frozen=True)
class _How:
    """How jobs are run, see `run_plan`."""

    address: str | None
    in_process: bool
    end_stalled: float | None


def _run_work(
    plan: Plan,
    work: _Work,
    results: Location,
    store: ArtifactStore,
    stop: Stop,
    deciding: "Deciding | None",
    how: _How,
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Run what is missing; return how jobs ended, and the errors of chains.

    Raises:
        StorageError: the storage stays away or is full.

    """
    trained = {job.key for job in work.pending} - work.untrained
    progress = Progress(work.pending, only_scored=trained)
    context = RunContext.of(plan, store, results)
    with closing(progress):
        outcomes = _run(plan, work.pending, context, progress, stop, deciding, how)
    jobs = plan.all_jobs
    for key, outcome in list(outcomes.items()):
        if outcome.unrecorded:
            # It loads torch, which a run without anything to train does not need.
            from studies.stages import failed_outcome

            outcomes[key] = failed_outcome(jobs[key], context, str(outcome.error))
    if stop.storage is not None:
        ended = {key for key, outcome in outcomes.items() if outcome.has_result}
        finished = {trial.key for key in ended for trial in jobs[key].trials}
        finished |= {trial.key for trial in work.done}
        left = sum(
            count for key, count in work.unrefined.items() if key not in progress.refined_jobs
        )
        raise StorageError(f"{stop.storage}; {trials_done(len(finished), len(plan.trials), left)}")
    if stop.signal is not None:
        # What a worker finished when it was ended: other commands read the ledger.
        publish_all(store, plan.score_keys(), results)
    return outcomes, progress.unrefined


def _run(
    plan: Plan,
    pending: list[Job],
    context: RunContext,
    progress: Progress,
    stop: Stop,
    deciding: "Deciding | None",
    how: _How,
) -> dict[str, Outcome]:
    def on_end(job: Job, outcome: Outcome) -> list[Job]:
        if deciding is None:
            return []
        from studies.stages import failed_outcome

        return deciding.on_end(job, outcome, lambda job, error: failed_outcome(job, context, error))

    if how.in_process:
        from studies.scheduling.in_process import run_in_process

        return run_in_process(plan, pending, context, progress, stop, on_end)
    from studies.ray_tune.runner import run_with_tune

    return run_with_tune(
        plan,
        pending,
        context,
        how.address,
        progress,
        stop,
        on_end=on_end,
        end_stalled=how.end_stalled,
        later=deciding.later if deciding else (),
    )


def _named(plan: Plan, outcomes: dict[str, Outcome], status: JobStatus) -> dict[str, str]:
    """Return "configuration, seed" -> error of the jobs that ended so."""
    return {
        f"{name}, seed {job.pair}": str(outcomes[job.key].error)
        for job in plan.all_jobs.values()
        if job.key in outcomes and outcomes[job.key].status is status
        for name in [trial.configuration for trial in job.trials] or [job.name]
    }
