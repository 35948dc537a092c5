"""Reads the status of a study while another process runs it, from the ledger and the leases alone.

The ledger holds the trials that have ended; a lease in the store shows that a process makes an
artifact. Loads neither Ray nor torch nor pandas, so that it can be called often.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from statistics import fmean
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from reports.ledger import CancelledRow, cancelled_rows
from reports.results.failure_causes import Failure
from reports.storage import Location, below, open_folder
from studies.rates import Rates, Work
from studies.status.ledger_rows import (
    EndedChain,
    EndedSegment,
    EndedTrial,
    PlannedChain,
    PlannedSegment,
    PlannedTrial,
    TriedConfiguration,
    read_rows,
)
from studies.status.model import (
    ChainState,
    Running,
    SearchState,
    SegmentState,
    StudyStatus,
    TrialPlace,
    TrialState,
)
from studies.store import LEASES, LeaseOwner, Leases, work_of_shard
from wsss_core.errors import InputError

if TYPE_CHECKING:
    from reports.decisions import Rounds

LATEST = 64  # trials that show how many went at a time


class HeldLease(NamedTuple):
    """A lease owner, as far as files and clocks tell.

    Attributes:
        owner: the process.
        silent: seconds since its heartbeat, if that should have come long ago; else None.
        stalled: seconds without progress, if that is unusually long; else None.

    """

    owner: LeaseOwner
    silent: float | None
    stalled: float | None


class Watcher:
    """Reads the status of studies again and again; notices a lease owner that stands still.

    Args:
        results: the folder of the ledger.
        store: the folder of artifacts; None: `store` in the results folder, if that is there.
        study: the only study to read; None: all.

    """

    def __init__(
        self, results: Location, store: Location | None = None, study: str | None = None
    ) -> None:
        self.results = results
        self.study = study
        self._store = open_folder(store or below(results, "store"))
        self._leases = Leases(self._store)

    def look(self) -> list[StudyStatus]:
        """Return the status of every study of the results folder, by name.

        Raises:
            InputError: no plan there, or none of that study; a part that cannot be read.

        """
        plan = read_rows(self.results, "plan", PlannedTrial)
        if not plan:
            raise InputError(
                f"{self.results}: no plan in a ledger there; expected a folder that "
                "`wsss run` wrote"
            )
        names = sorted({row.study for row in plan})
        if self.study is not None:
            if self.study not in names:
                raise InputError(f"--study {self.study}: {self.results} holds {', '.join(names)}")
            names = [self.study]
        keys = {row.trial_key for row in plan if row.study in names}
        ended = {row.trial_key: row for row in read_rows(self.results, "trials", EndedTrial, keys)}
        chains = read_rows(self.results, "refinements", PlannedChain)
        chain_keys = [row.scores_key for row in chains if row.scores_key is not None]
        refined = {
            row.scores_key: row
            for row in read_rows(self.results, "refined", EndedChain, chain_keys)
        }
        tried = read_rows(self.results, "search", TriedConfiguration)
        held = self._held()
        planned = read_rows(self.results, "segments", PlannedSegment)
        wanted = [row.scores_key for row in planned]
        ends = read_rows(self.results, "segmented", EndedSegment, wanted) if wanted else []
        segmented = {row.scores_key: row for row in ends}
        return [
            replace(
                _status(
                    [row for row in plan if row.study == name],
                    ended,
                    [row for row in chains if row.study == name],
                    refined,
                    [row for row in tried if row.study == name],
                    held,
                    [row for row in planned if row.study == name],
                    segmented,
                    cancelled_rows(self.results, name),
                ),
                rounds=self._rounds(name, [row for row in plan if row.study == name]),
            )
            for name in names
        ]

    def _rounds(self, name: str, plan: Sequence[PlannedTrial]) -> "Rounds | None":
        """Read how far a study that decides is; loads pandas, which no other study needs."""
        if plan[0].decide is None:
            return None
        from reports.decisions import read_rounds
        from reports.ledger.parts import read_table

        rows = read_table(self.results, "plan")
        return read_rounds(self.results, rows[rows["study"] == name].to_dict("records"))

    def _held(self) -> list[HeldLease] | None:
        """Return the leases of the store; None without a store.

        A silence is measured between the storage's clock and this machine's: good for a hint.
        """
        if not self._store.has(".wsss") and not self._store.folders():
            return None
        beats: dict[str, float] = defaultdict(float)
        for file, entry in self._store.joined(LEASES).listing().items():
            name = file.rpartition(".")[0]
            beats[name] = max(beats[name], entry.modified)
        now, expiry = time.time(), self._leases.expiry
        silences = [
            (owner, now - beats.get(f"{owner.stage}-{owner.key}", now))
            for owner in self._leases.owners()
        ]
        return [
            HeldLease(
                owner,
                silent if silent > 2 * max(expiry, owner.expiry) else None,
                owner.idle + silent if owner.stalls(owner.idle + silent) else None,
            )
            for owner, silent in silences
        ]


def _status(
    plan: Sequence[PlannedTrial],
    trials: Mapping[str, EndedTrial],
    planned_chains: Sequence[PlannedChain],
    refined: Mapping[str, EndedChain],
    tried: Sequence[TriedConfiguration],
    held: Sequence[HeldLease] | None,
    planned_segments: Sequence[PlannedSegment] = (),
    segmented: Mapping[str, EndedSegment] = MappingProxyType({}),
    cancelled: Mapping[str, CancelledRow] = MappingProxyType({}),
) -> StudyStatus:
    plan = sorted(
        plan, key=lambda row: (row.dial_value or 0.0, row.position, row.fold or 0, row.seed)
    )
    search = _search(tried, plan[0].search_trials)
    searching = search is not None and search.wanted is not None
    running = None
    if held is not None:
        running = _running(held, plan, planned_segments, searching=searching)
    in_training = {
        owner.key for owner, silent, _ in held or () if owner.stage == "train" and silent is None
    }
    states: dict[TrialPlace, TrialState] = {}
    ended: dict[TrialState, list[Failure]] = {TrialState.FAILED: [], TrialState.COLLAPSED: []}
    for row in plan:
        trial, state = trials.get(row.trial_key), TrialState.TO_DO
        if trial is not None:
            state = TrialState.DONE if trial.status == "ok" else TrialState(trial.status)
        retried = state in (TrialState.TO_DO, TrialState.FAILED)
        if retried and row.training_runs[0] in in_training:
            state = TrialState.RUNNING
        elif trial is not None and state in ended:
            ended[state].append(Failure(row.name, trial.error or "", trial.traceback))
        if state is TrialState.TO_DO and row.configuration in cancelled:
            state = TrialState.CANCELLED
        states[row.place] = state
    kept = [row for row in plan if row.configuration not in cancelled]
    chains, unrefined = _chains(planned_chains, plan, refined, {row.trial_key for row in kept})
    at_work = {owner.key for owner, silent, _ in held or () if silent is None}
    segments, unsegmented = _segments(planned_segments, segmented, at_work, cancelled)
    at_once, seconds_left = _estimate(plan, trials, states, running)
    return StudyStatus(
        name=plan[0].study,
        title=plan[0].study_title,
        states=states,
        failed=tuple(ended[TrialState.FAILED]),
        collapsed=tuple(ended[TrialState.COLLAPSED]),
        unrefined=tuple(unrefined),
        chains=tuple(chains),
        search=search,
        running=running,
        at_once=at_once,
        seconds_left=seconds_left,
        segments=tuple(segments),
        unsegmented=tuple(unsegmented),
        cancelled=tuple(cancelled.values()),
    )


def _search(tried: Sequence[TriedConfiguration], wanted: int | None) -> SearchState | None:
    if not tried and wanted is None:
        return None
    states = {row.number: row.state for row in tried}
    objectives: dict[int, list[float]] = defaultdict(list)
    for row in tried:
        if row.state == "complete" and row.objective is not None:
            objectives[row.number].append(row.objective)
    best = max(map(fmean, objectives.values()), default=None)
    over = wanted is None or len(states) >= wanted
    return SearchState(dict(Counter(states.values())), None if over else wanted, best)


def _running(
    held: Sequence[HeldLease],
    plan: Iterable[PlannedTrial],
    segments: Iterable[PlannedSegment],
    *,
    searching: bool,
) -> tuple[Running, ...]:
    """Return the processes that work for a study; a store may serve other studies too.

    No plan names what a search trains, so every other training run is counted as the search's.
    """
    trials: dict[str, list[str]] = defaultdict(list)
    teachers: set[str] = set()
    for row in plan:
        trials[row.training_runs[0]].append(row.name)
        teachers.update(row.training_runs[1:])
    for segment in segments:
        trials[segment.segment_key].append(segment.name)
    features = {one.owner.key for one in held if one.owner.stage == "described"}
    found = []
    for owner, silent, stalled in held:
        key = work_of_shard(owner.key)
        if key in trials:
            what = "; ".join(trials[key])
        elif key in teachers:
            what = "a teacher that no row reports"
        elif searching and owner.stage == "train":
            what = "a configuration of the search"
        elif key in features:
            what = "features of the images for refinement"
        else:
            continue
        since = max(0.0, time.time() - datetime.fromisoformat(owner.since).timestamp())
        found.append(
            Running(
                what,
                owner.stage,
                owner.host,
                owner.pid,
                since,
                owner.note,
                silent,
                stalled,
                owner.epoch_seconds,
            )
        )
    return tuple(found)


def _chains(
    planned: Iterable[PlannedChain],
    plan: Iterable[PlannedTrial],
    refined: Mapping[str, EndedChain],
    not_cancelled: Collection[str],
) -> tuple[list[ChainState], list[Failure]]:
    """Return the state of every chain of a study, and the trials over which one failed."""
    names = {row.trial_key: row.name for row in plan}
    grouped: dict[str, list[PlannedChain]] = defaultdict(list)
    for row in sorted(planned, key=lambda row: row.position):
        if row.trial_key in names and (row.chain is not None or row.lacks is not None):
            grouped[row.refinement].append(row)
    chains, failed = [], []
    for name, rows in grouped.items():
        ended: Counter[str] = Counter()
        for row in rows:
            if (result := refined.get(row.scores_key or "")) is None:
                continue
            ended[result.status] += 1
            if result.status == "failed":
                trial = f"{names[row.trial_key]}, {name}"
                failed.append(Failure(trial, result.error or "", result.traceback))
        lacks = rows[0].lacks
        left = [
            row
            for row in rows
            if row.trial_key in not_cancelled and (row.scores_key or "") not in refined
        ]
        remaining = 0 if lacks is not None else len(left)
        chains.append(
            ChainState(name, ended["ok"], ended["failed"], ended["collapsed"], remaining, lacks)
        )
    return chains, failed


def _segments(
    planned: Iterable[PlannedSegment],
    ended: Mapping[str, EndedSegment],
    at_work: Collection[str],
    cancelled: Collection[str],
) -> tuple[list[SegmentState], list[Failure]]:
    """Return the state of every segmenter of a study, and the runs that did not end well."""
    grouped: dict[str, Counter[str]] = defaultdict(Counter)
    unwell = []
    for row in sorted(planned, key=lambda row: (row.position, row.seed, row.fold or 0)):
        end = ended.get(row.scores_key)
        state = "to do" if end is None else end.status
        if state in ("to do", "failed") and row.segment_key in at_work:
            state = "running"
        if state == "to do" and row.configuration in cancelled:
            continue
        grouped[row.entry][state] += 1
        if end is not None and state in ("failed", "collapsed"):
            unwell.append(Failure(row.name, end.error or "", end.traceback))
    return [
        SegmentState(
            name,
            states["ok"],
            states["failed"],
            states["collapsed"],
            states["running"],
            states["to do"],
        )
        for name, states in grouped.items()
    ], unwell


def _estimate(
    plan: Iterable[PlannedTrial],
    trials: Mapping[str, EndedTrial],
    states: Mapping[TrialPlace, TrialState],
    running: Collection[Running] | None,
) -> tuple[float | None, float | None]:
    """Return how many trials go at a time, and the seconds until the last one has ended.

    As many go at a time as have a lease now. Where none has, as many as went at a time among the
    latest ones that ended.
    """
    rates, spans = Rates(), []
    for row in plan:
        trial = trials.get(row.trial_key)
        if trial is not None and trial.status == "ok" and trial.seconds_training:
            seconds = trial.seconds_training + (trial.seconds_scoring or 0.0)
            rates.learn(row.work, seconds)
            spans.append((trial.started_at / 1e6, trial.started_at / 1e6 + seconds))
    one = rates.predict(Work(("trial",)))
    if one is None:
        return None, None
    to_do = Counter(row.work for row in plan if states[row.place] == TrialState.TO_DO)
    left = rates.total(to_do) or 0.0
    began = [process.since for process in running or () if process.trains]
    left += sum(max(0.0, one - since) for since in began)
    at_once = float(len(began)) or _went_at_once(spans)
    return at_once, left / at_once


def _went_at_once(spans: Iterable[tuple[float, float]]) -> float:
    """Return how many of the latest trials went at a time, on the average of their time."""
    latest = sorted(spans, key=lambda span: span[1])[-LATEST:]
    whole = max(end for _, end in latest) - min(start for start, _ in latest)
    worked = math.fsum(end - start for start, end in latest)
    return max(1.0, worked / whole) if whole > 0 else 1.0
