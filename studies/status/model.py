"""What is known of a study while it runs: its trials' states, its chains, its search, who is at it.

Reading it is `studies.status.reading`, saying it `studies.status.text`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from reports.results.failure_causes import Failure

STATES = ("done", "running", "failed", "collapsed", "to do")


@dataclass(frozen=True)
class Running:
    """What is being made.

    Attributes:
        what: configurations and seed, or what else it is.
        stage: "train" (a training run and its scores), "refine" or another stage of the store.
        host: where.
        pid: the process there.
        since: seconds since it began, by its own clock and this one's.
        note: how far it is, as far as it says.
        silent: seconds without a heartbeat, where it should have given one long ago; else None.

    """

    what: str
    stage: str
    host: str
    pid: int
    since: float
    note: str
    silent: float | None = None


@dataclass(frozen=True)
class ChainState:
    """A refinement chain over all trials of a study; `lacks` says why it is not run."""

    name: str
    done: int
    failed: int
    collapsed: int
    remaining: int
    lacks: str | None = None


@dataclass(frozen=True)
class SearchState:
    """How far a study's search is.

    Attributes:
        states: how many of the configurations that were tried ended in which state.
        wanted: how many it tries; None once it is over.
        best: the highest objective of one scored under all seeds, 0..1; None before there is one.

    """

    states: Counter[str]
    wanted: int | None
    best: float | None


@dataclass(frozen=True)
class StudyStatus:
    """One study.

    Attributes:
        name: its own.
        title: its question.
        seeds: ascending.
        dial: what it turns, if it has a dial.
        states: (configuration, dial value, seed) -> one of `STATES`, in the plan's order.
        failed: the failed trials.
        collapsed: likewise.
        unrefined: trials under a chain that failed.
        chains: in the study's order.
        search: None without one.
        running: what has a lease; None where there is no store to ask.
        at_once: how many trials at a time the estimate is for.
        seconds_left: what is left; None where nothing says so.

    """

    name: str
    title: str
    seeds: tuple[int, ...]
    dial: str | None
    states: Mapping[tuple[str, float | None, int], str]
    failed: tuple[Failure, ...]
    collapsed: tuple[Failure, ...]
    unrefined: tuple[Failure, ...]
    chains: tuple[ChainState, ...]
    search: SearchState | None
    running: tuple[Running, ...] | None
    at_once: float | None = None
    seconds_left: float | None = None

    @property
    def counts(self) -> Counter[str]:
        """How many trials are in which state."""
        return Counter(self.states.values())

    @property
    def goes_on(self) -> bool:
        """Whether something is being made."""
        return any(one.silent is None for one in self.running or ())
