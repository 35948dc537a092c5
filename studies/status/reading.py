"""How far a study is, read from another process while it runs: the ledger and the leases alone.

What has ended is what the ledger holds; what is being made is what has a lease in the store. Loads
neither ray nor torch nor pandas, as one looks often.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import pyarrow as pa

from reports.ledger.parts import read_arrow
from reports.results.failure_causes import Failure
from reports.storage.folder import Folder
from reports.storage.locations import Location, below
from reports.storage.opening import open_folder
from studies.status.model import ChainState, Running, SearchState, StudyStatus
from studies.store.leases import LEASES, LeaseOwner, Leases
from wsss_core.errors import InputError

_SAMPLE = 64
"""So many of the last trials of a kind say what another one takes."""

_PLAN = (
    "study", "study_title", "position", "configuration", "seed", "trial_key", "paradigm", "student",
    "teacher", "dial", "dial_value", "artifacts", "search_trials",
)  # fmt: skip
_SEARCH = ("study", "number", "state", "objective")
_TRIALS = (
    "trial_key", "status", "error", "traceback", "started_at", "seconds_training",
    "seconds_scoring",
)  # fmt: skip


@dataclass
class Watcher:
    """Reads the status of studies again and again; an owner that stands still is noticed.

    Args:
        results: the folder of the ledger.
        store: where artifacts are; None: `store` in the results folder, if that is there.
        study: of this one only.

    """

    results: Location
    store: Location | None = None
    study: str | None = None
    _leases: tuple[Folder, Leases] | None = field(default=None, repr=False)

    def look(self) -> list[StudyStatus]:
        """The status of every study of the results folder, by name.

        Raises:
            InputError: no plan there, or none of that study; a part that cannot be read.

        """
        plan = read_arrow(self.results, "plan", columns=_PLAN).to_pylist()
        if not plan:
            raise InputError(
                f"{self.results}: no plan in a ledger there; expected a folder that "
                "`wsss run` wrote"
            )
        names = sorted({row["study"] for row in plan})
        if self.study is not None and self.study not in names:
            raise InputError(f"--study {self.study}: {self.results} holds {', '.join(names)}")
        wanted = [row for row in plan if self.study in (None, row["study"])]
        keys = {row["trial_key"] for row in wanted}
        ended = read_arrow(self.results, "trials", keys=keys, columns=_TRIALS)
        trials = {row["trial_key"]: row for row in _with_plain_times(ended).to_pylist()}
        listed = read_arrow(self.results, "refinements").to_pylist()
        chain_keys = [row["scores_key"] for row in listed if row["scores_key"] is not None]
        columns = ("scores_key", "status", "error", "traceback")
        refined = {
            row["scores_key"]: row
            for row in read_arrow(
                self.results, "refined", keys=chain_keys, columns=columns
            ).to_pylist()
        }
        searched = read_arrow(self.results, "search", columns=_SEARCH).to_pylist()
        held = self._held()
        return [
            _status(
                [row for row in wanted if row["study"] == name],
                [row for row in listed if row["study"] == name],
                [row for row in searched if row["study"] == name],
                trials,
                refined,
                held,
            )
            for name in names
            if self.study in (None, name)
        ]

    def _held(self) -> list[tuple[LeaseOwner, float | None]] | None:
        """Who holds leases, and for how long too long they have been silent; None without a store.

        The silence is that of the storage's clock against this machine's: good for a hint.
        """
        if self._leases is None:
            folder = open_folder(self.store or below(self.results, "store"))
            self._leases = folder, Leases(folder)
        folder, leases = self._leases
        if not folder.has(".wsss") and not folder.folders():
            return None
        modified: dict[str, float] = {}
        for file, entry in folder.joined(LEASES).listing().items():
            name = file.rpartition(".")[0]
            modified[name] = max(modified.get(name, 0.0), entry.modified)
        found = []
        for owner in leases.owners():
            last = modified.get(f"{owner.stage}-{owner.key}", 0.0)
            silent = time.time() - last if last else 0.0
            found.append((owner, silent if silent > 2 * leases.expiry else None))
        return found


def _status(
    plan: Sequence[Mapping[str, Any]],
    listed: Sequence[Mapping[str, Any]],
    searched: Sequence[Mapping[str, Any]],
    trials: Mapping[str, Mapping[str, Any]],
    refined: Mapping[str, Mapping[str, Any]],
    held: Sequence[tuple[LeaseOwner, float | None]] | None,
) -> StudyStatus:
    rows = sorted(plan, key=lambda r: (r["dial_value"] or 0.0, r["position"], r["seed"]))
    by_unit: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    teachers: set[str] = set()
    for row in rows:
        if units := _units(row):
            by_unit[units[0]].append(row)
            teachers.update(units[1:])
    teachers -= by_unit.keys()
    search = _search(searched, rows[0]["search_trials"])
    searching = search is not None and search.wanted is not None
    running = None if held is None else _running(held, by_unit, teachers, searching=searching)
    at_work = {
        row["trial_key"]
        for holder, silent in held or ()
        if holder.stage == "train" and silent is None
        for row in by_unit.get(holder.key, ())
    }
    states: dict[tuple[str, float | None, int], str] = {}
    ended: dict[str, list[Failure]] = {"failed": [], "collapsed": []}
    for row in rows:
        trial = trials.get(row["trial_key"])
        state = "to do" if trial is None else str(trial["status"])
        if row["trial_key"] in at_work and state in ("to do", "failed"):
            state = "running"
        elif trial is not None and state in ended:
            ended[state].append(Failure(_named(row), trial["error"] or "", trial["traceback"]))
        place = row["configuration"], row["dial_value"], int(row["seed"])
        states[place] = "done" if state == "ok" else state
    chains, unrefined = _chains(listed, rows, refined)
    at_once, left = _left(rows, trials, states, running)
    return StudyStatus(
        name=rows[0]["study"],
        title=rows[0]["study_title"],
        seeds=tuple(sorted({int(row["seed"]) for row in rows})),
        dial=rows[0]["dial"],
        states=states,
        failed=tuple(ended["failed"]),
        collapsed=tuple(ended["collapsed"]),
        unrefined=tuple(unrefined),
        chains=tuple(chains),
        search=search,
        running=running,
        at_once=at_once,
        seconds_left=left,
    )


def _search(rows: Sequence[Mapping[str, Any]], wanted: int | None) -> SearchState | None:
    if not rows and wanted is None:
        return None
    states: dict[int, str] = {}
    objectives: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        states[row["number"]] = row["state"]
        if row["state"] == "complete":
            objectives[row["number"]].append(row["objective"])
    means = [fmean(of_one) for of_one in objectives.values()]
    over = wanted is None or len(states) >= wanted
    return SearchState(Counter(states.values()), None if over else wanted, max(means, default=None))


def _with_plain_times(trials: pa.Table) -> pa.Table:
    """`started_at` in microseconds since 1970: pyarrow loads pandas to make moments of them."""
    place = trials.column_names.index("started_at")
    whole = [chunk.view(pa.int64()) for chunk in trials["started_at"].chunks]
    return trials.set_column(place, "started_at", pa.chunked_array(whole, pa.int64()))


def _units(row: Mapping[str, Any]) -> list[str]:
    """The training run of a trial and, after it, its teacher's; none in an older ledger."""
    found: list[str] = json.loads(row["artifacts"] or "{}").get("train", [])
    return found


def _named(row: Mapping[str, Any]) -> str:
    at = "" if row["dial_value"] is None else f", {row['dial']} = {row['dial_value']:g}"
    return f"{row['configuration']}{at}, seed {row['seed']}"


def _running(
    held: Iterable[tuple[LeaseOwner, float | None]],
    by_unit: Mapping[str, Sequence[Mapping[str, Any]]],
    teachers: set[str],
    *,
    searching: bool,
) -> tuple[Running, ...]:
    """What is made for this study; one store may serve others.

    What a search tries is in no plan, so whatever else is trained is taken for it.
    """
    found = []
    for holder, silent in held:
        rows = by_unit.get(holder.key, ())
        if rows:
            what = "; ".join(_named(row) for row in rows)
        elif holder.key in teachers:
            what = "a teacher that no row reports"
        elif searching and holder.stage == "train":
            what = "a configuration of the search"
        elif holder.stage == "described":
            what = "what refiners see of the images alone"
        else:
            continue
        since = time.time() - _seconds(holder.since)
        found.append(
            Running(
                what, holder.stage, holder.host, holder.pid, max(0.0, since), holder.note, silent
            )
        )
    return tuple(found)


def _seconds(since: str) -> float:
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        return time.time()
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _chains(
    listed: Sequence[Mapping[str, Any]],
    plan: Sequence[Mapping[str, Any]],
    refined: Mapping[str, Mapping[str, Any]],
) -> tuple[list[ChainState], list[Failure]]:
    """Every chain of a study, and the trials under a chain that failed."""
    of_trial = {row["trial_key"]: row for row in plan}
    grouped: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(listed, key=lambda row: row["position"]):
        if row["trial_key"] in of_trial and (row["chain"] is not None or row["lacks"] is not None):
            grouped[row["refinement"]].append(row)
    chains, failed = [], []
    for name, rows in grouped.items():
        ended: Counter[str] = Counter()
        for row in rows:
            result = refined.get(row["scores_key"] or "")
            if result is None:
                continue
            ended[result["status"]] += 1
            if result["status"] == "failed":
                trial = f"{_named(of_trial[row['trial_key']])}, {name}"
                failed.append(Failure(trial, result["error"] or "", result["traceback"]))
        lacks = rows[0]["lacks"]
        remaining = 0 if lacks is not None else len(rows) - ended.total()
        chains.append(
            ChainState(name, ended["ok"], ended["failed"], ended["collapsed"], remaining, lacks)
        )
    return chains, failed


def _left(
    plan: Sequence[Mapping[str, Any]],
    trials: Mapping[str, Mapping[str, Any]],
    states: Mapping[tuple[str, float | None, int], str],
    running: tuple[Running, ...] | None,
) -> tuple[float | None, float | None]:
    """How many trials go at a time, and the seconds until the last one has ended.

    A trial takes what others with its paradigm and networks took. As many go at a time as have a
    lease now; where none has, as went at a time among the last ones that ended.
    """
    took: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    spans: list[tuple[float, float]] = []
    for row in plan:
        trial = trials.get(row["trial_key"])
        if trial is None or trial["status"] != "ok" or not trial["seconds_training"]:
            continue
        seconds = trial["seconds_training"] + (trial["seconds_scoring"] or 0.0)
        took[_kind(row)].append(seconds)
        started = trial["started_at"] / 1e6
        spans.append((started, started + seconds))
    if not took:
        return None, None
    means = {kind: fmean(of_kind[-_SAMPLE:]) for kind, of_kind in took.items()}
    of_all = fmean(means.values())
    waiting = sum(
        means.get(_kind(row), of_all)
        for row in plan
        if states[row["configuration"], row["dial_value"], int(row["seed"])] == "to do"
    )
    at_work = [one for one in running or () if one.stage == "train" and one.silent is None]
    waiting += sum(max(0.0, of_all - one.since) for one in at_work)
    at_once = float(len(at_work)) or _went_at_once(spans)
    return at_once, waiting / at_once


def _kind(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["paradigm"], row["student"], row["teacher"]


def _went_at_once(spans: Sequence[tuple[float, float]]) -> float:
    """How many of the last trials went at a time, on the average of their time."""
    last = sorted(spans, key=lambda span: span[1])[-_SAMPLE:]
    whole = max(end for _, end in last) - min(start for start, _ in last)
    worked = math.fsum(end - start for start, end in last)
    return max(1.0, worked / whole) if whole > 0 else 1.0
