"""The status of a study while it runs: its trials, chains and search, and the processes at work.

`studies.status.reading` reads it, `studies.status.text` writes it for people and for scripts.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from reports.ledger import CancelledRow
from reports.pairing import Pair
from reports.results.failure_causes import Failure

if TYPE_CHECKING:
    from reports.decisions import Rounds


class TrialState(StrEnum):
    """The state of a trial, in the order in which counts are printed."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    COLLAPSED = "collapsed"
    TO_DO = "to do"
    CANCELLED = "cancelled"


TrialPlace = tuple[str, float | None, Pair]
"""Configuration, value of the sweep (None without a sweep) and seed (and fold) of a trial."""


@dataclass(frozen=True)
class Running:
    """A process that makes an artifact.

    Attributes:
        what: the trials it works for, or the artifact in words.
        stage: "train" (a training run and its scores), "refined" or another stage of the store.
        host: the name of its machine.
        pid: its number there.
        since: seconds since it began, by its own clock and this machine's.
        note: its progress in a few words.
        stalled: seconds without progress where that is unusually long; else None.
        epoch_seconds: what an epoch usually takes, once it is known.
        silent: seconds since its last heartbeat where that is far too long ago; else None.

    """

    what: str
    stage: str
    host: str
    pid: int
    since: float
    note: str
    silent: float | None = None
    stalled: float | None = None
    epoch_seconds: float | None = None

    @property
    def trains(self) -> bool:
        """Whether it is a training run with a heartbeat."""
        return self.stage == "train" and self.silent is None


@dataclass(frozen=True)
class ChainState:
    """A chain over all trials of a study.

    Attributes:
        name: the chain's.
        done: trials that it has refined.
        failed: trials over which it failed.
        collapsed: trials over which it collapsed.
        remaining: trials that are left to refine.
        lacks: why it is not run; None where it is.

    """

    name: str
    done: int
    failed: int
    collapsed: int
    remaining: int
    lacks: str | None = None


@dataclass(frozen=True)
class SegmentState:
    """An entry of `segment` over all seeds.

    Attributes:
        name: the entry's.
        done: runs that ended well.
        failed: runs that failed.
        collapsed: runs that collapsed.
        running: runs that a process works on.
        remaining: runs that are left.

    """

    name: str
    done: int
    failed: int
    collapsed: int
    running: int
    remaining: int


@dataclass(frozen=True)
class SearchState:
    """The progress of a study's search.

    Attributes:
        states: the state in which a configuration ended -> how many were tried and ended so.
        wanted: how many configurations are tried in all; None once the search is over.
        best: the highest mean objective of a configuration scored under all seeds, 0..1; None
            before there is one.

    """

    states: dict[str, int]
    wanted: int | None
    best: float | None


@dataclass(frozen=True)
class StudyStatus:
    """The status of one study.

    Attributes:
        name: the study's name.
        title: the question it asks.
        states: the state of every trial, in the plan's order.
        failed: the failed trials.
        collapsed: the collapsed trials.
        unrefined: the trials over which a chain failed.
        chains: in the study's order.
        search: None without one.
        running: the processes that hold a lease; None where the store is not known.
        at_once: how many trials at a time the estimate is for; None without an estimate.
        seconds_left: seconds until the last trial ends; None before any trial is measured.
        segments: the segmenters, in the study's order.
        unsegmented: the segmentation runs that failed or collapsed.
        rounds: how far the comparisons of a study with `decide` are; None without.
        cancelled: the rows that are cancelled.

    """

    name: str
    title: str
    states: Mapping[TrialPlace, TrialState]
    failed: tuple[Failure, ...]
    collapsed: tuple[Failure, ...]
    unrefined: tuple[Failure, ...]
    chains: tuple[ChainState, ...]
    search: SearchState | None
    running: tuple[Running, ...] | None
    at_once: float | None = None
    seconds_left: float | None = None
    segments: tuple[SegmentState, ...] = ()
    unsegmented: tuple[Failure, ...] = ()
    rounds: "Rounds | None" = None
    cancelled: tuple[CancelledRow, ...] = ()

    @property
    def counts(self) -> Counter[TrialState]:
        """The number of trials in each state."""
        return Counter(self.states.values())

    @property
    def goes_on(self) -> bool:
        """Whether any process is at work."""
        return any(one.silent is None for one in self.running or ())

    @property
    def ended(self) -> bool:
        """Whether nothing is at work and nothing is left to do."""
        left = self.counts[TrialState.TO_DO] or any(chain.remaining for chain in self.chains)
        left = left or any(segment.remaining for segment in self.segments)
        left = left or (self.rounds is not None and self.rounds.goes_on)
        return not (self.goes_on or left)
