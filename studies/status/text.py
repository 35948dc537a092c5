"""What `wsss status` prints of a study: counts, a row of marks for each configuration, causes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reports.results.failure_causes import Cause, causes, describe_causes
from studies.formatting import duration
from studies.status.model import STATES, Running, SearchState, StudyStatus

MARKS = {"done": "✓", "running": "r", "failed": "F", "collapsed": "C", "to do": "·"}
PLAIN_MARKS = {**MARKS, "done": "+", "to do": "."}
_NAME = 48
_RUNNING = 12
_CAUSES = 8


def describe_status(
    status: StudyStatus, *, width: int = 80, rows: int | None = 40, plain: bool = False
) -> str:
    """A study's status for a terminal.

    Args:
        status: see `studies.status.reading`.
        width: of the terminal.
        rows: so many configurations at most, those that are neither done nor untouched first;
            None: all.
        plain: with ASCII marks.

    """
    parts = [[f"{status.name}: {status.title}", _counted(status)]]
    if status.search is not None:
        parts.append([_search_line(status.search)])
    parts.append(_grid(status, width, rows, PLAIN_MARKS if plain else MARKS))
    if status.chains:
        parts.append(["refinement:", *(f"  {line}" for line in _chain_lines(status))])
    if status.running is None:
        parts.append(["running: unknown without the store; give it with --store"])
    elif status.running:
        parts.append(
            ["running:", *(f"  {_running_line(one)}" for one in status.running[:_RUNNING])]
        )
        if len(status.running) > _RUNNING:
            parts[-1].append(f"  and {len(status.running) - _RUNNING} more")
    for title, failures in (
        ("failed", status.failed),
        ("not refined", status.unrefined),
        ("collapsed", status.collapsed),
    ):
        if failures:
            lines = describe_causes(causes(failures), limit=_CAUSES)
            parts.append([f"{title}:", *(f"  {line}" for line in lines)])
    parts.append([_outlook(status)])
    text = "\n\n".join("\n".join(lines) for lines in parts if lines)
    return text.replace(" × ", " x ") if plain else text


def _counted(status: StudyStatus) -> str:
    counts = status.counts
    known = [name for name in STATES if name != "running" or status.running is not None]
    return f"{len(status.states)} trials: " + ", ".join(f"{counts[n]} {n}" for n in known)


def _grid(status: StudyStatus, width: int, rows: int | None, marks: dict[str, str]) -> list[str]:
    """A mark for each seed, the seeds of one dial value side by side."""
    of_row: dict[str, dict[float | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (name, value, _), state in status.states.items():
        of_row[name][value].append(state)
    shown = list(of_row)
    if rows is not None and len(shown) > rows:
        shown = [name for name in shown if not _alike(of_row[name])][:rows]
    lines = []
    room = min(_NAME, max(12, width - 30), max((len(name) for name in shown), default=0))
    for name in shown:
        cells = ["".join(marks[state] for state in of_row[name][value]) for value in of_row[name]]
        ended = Counter(state for states in of_row[name].values() for state in states)
        line = f"{_cut(name, room):{room}}  {' '.join(cells)}"
        if len(line) > width:
            line = f"{_cut(name, room):{room}}  {_in_words(ended)}"
        lines.append(line)
    left = [name for name in of_row if name not in set(shown)]
    for words, is_alike in (("done", "done"), ("not begun", "to do")):
        count = sum(_alike(of_row[name]) == is_alike for name in left)
        if count:
            lines.append(f"{count} configurations {'more ' if shown else ''}{words}")
    others = sum(_alike(of_row[name]) not in ("done", "to do") for name in left)
    if others:
        lines.append(f"{others} configurations more, with --all")
    used = [state for state in STATES if status.counts[state]]
    return [*lines, "  ".join(f"{marks[state]} {state}" for state in used)]


def _alike(of_values: dict[float | None, list[str]]) -> str:
    """The state of all trials of a configuration if it is one and needs no look, else empty."""
    states = {state for states in of_values.values() for state in states}
    return states.pop() if states in ({"done"}, {"to do"}) else ""


def _in_words(ended: Counter[str]) -> str:
    return ", ".join(f"{ended[state]} {state}" for state in STATES if ended[state])


def _cut(name: str, room: int) -> str:
    return name if len(name) <= room else name[: room - 1] + "…"


def _chain_lines(status: StudyStatus) -> list[str]:
    width = max(len(chain.name) for chain in status.chains)
    lines = []
    for chain in status.chains:
        if chain.lacks is not None:
            lines.append(f"{chain.name:{width}}  not run, {chain.lacks}")
            continue
        counts = {"failed": chain.failed, "collapsed": chain.collapsed, "to do": chain.remaining}
        rest = "".join(f", {count} {state}" for state, count in counts.items() if count)
        lines.append(f"{chain.name:{width}}  {chain.done} done{rest}")
    return lines


def _search_line(search: SearchState) -> str:
    of = "" if search.wanted is None else f" of {search.wanted}"
    states = ", ".join(f"{count} {state}" for state, count in sorted(search.states.items()))
    said = f"search: {search.states.total()}{of} configurations tried"
    if states:
        said += f" ({states})"
    if search.best is not None:
        said += f"; the best reached {100 * search.best:.1f} % on the tune split"
    return said


def _running_line(one: Running) -> str:
    note = f", {one.note}" if one.note else ""
    stage = "" if one.stage == "train" else f" ({one.stage})"
    silent = f"; NO HEARTBEAT for {duration(one.silent)}" if one.silent is not None else ""
    return f"{one.what}{stage}: on {one.host} for {duration(one.since)}{note}{silent}"


def _outlook(status: StudyStatus) -> str:
    left = [status.counts["to do"], status.counts["running"]]
    chains = sum(chain.remaining for chain in status.chains)
    if not any(left):
        if chains:
            return f"all trained; {chains} times a chain over a trial to do"
        return "nothing is left to do" + ("" if not status.failed else "; running again retries")
    idle = status.running is not None and not status.goes_on
    head = "nothing runs now; " if idle else ""
    if status.search is not None and status.search.wanted is not None:
        return f"{head}the search comes before the trials above, and its best join them"
    if status.seconds_left is None or status.at_once is None:
        return f"{head}no trial is measured yet: the first ones give the estimate"
    also = ", refinement aside" if chains else ""
    return (
        f"{head}about {duration(status.seconds_left)} to go{also}, "
        f"at {status.at_once:.2g} trials at a time"
    )


def status_record(status: StudyStatus) -> dict[str, Any]:
    """The same as plain values, for scripts."""
    configurations: dict[tuple[str, float | None], dict[str, str]] = defaultdict(dict)
    for (name, value, seed), state in status.states.items():
        configurations[name, value][str(seed)] = state
    return {
        "study": status.name,
        "title": status.title,
        "trials": len(status.states),
        "counts": {state: status.counts[state] for state in STATES},
        "configurations": [
            {"name": name, **({} if value is None else {"dial_value": value}), "seeds": seeds}
            for (name, value), seeds in configurations.items()
        ],
        "chains": [asdict(chain) for chain in status.chains],
        "search": None if status.search is None else asdict(status.search),
        "running": None if status.running is None else [asdict(one) for one in status.running],
        "failed": _cause_records(causes(status.failed)),
        "not_refined": _cause_records(causes(status.unrefined)),
        "collapsed": _cause_records(causes(status.collapsed)),
        "at_once": status.at_once,
        "seconds_left": status.seconds_left,
    }


def _cause_records(found: Sequence[Cause]) -> list[dict[str, Any]]:
    return [
        {
            "count": cause.count,
            "kind": cause.kind,
            "message": cause.message,
            "place": cause.place,
            "example": cause.example.error,
            "trials": [failure.trial for failure in cause.failures],
        }
        for cause in found
    ]
