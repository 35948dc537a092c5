"""Writes the status of a study: counts, marks for each configuration, causes of failures."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reports.pairing import fold_of
from reports.results.failure_causes import Cause, causes, describe_causes
from studies.formatting import duration, no_progress, over_trials
from studies.status.model import Running, SearchState, StudyStatus, TrialState

if TYPE_CHECKING:
    from reports.decisions import Rounds

MARKS = {
    TrialState.DONE: "✓",
    TrialState.RUNNING: "r",
    TrialState.FAILED: "F",
    TrialState.COLLAPSED: "C",
    TrialState.TO_DO: "·",
    TrialState.CANCELLED: "-",
}
PLAIN_MARKS = {**MARKS, TrialState.DONE: "+", TrialState.TO_DO: "."}
_NAME_WIDTH = 48
_MAX_RUNNING = 12
_MAX_CAUSES = 8


def describe_status(
    status: StudyStatus, *, width: int = 80, rows: int | None = 40, plain: bool = False
) -> str:
    """Return a study's status for a terminal.

    Args:
        status: see `studies.status.reading`.
        width: of the terminal, in characters.
        rows: the most configurations to show, those that are neither done nor untouched first;
            None: all.
        plain: use ASCII marks.

    """
    parts = [[f"{status.name}: {status.title}", _counted(status)]]
    if status.search is not None:
        parts.append([_search_line(status.search)])
    parts.append(_grid(status, width, rows, PLAIN_MARKS if plain else MARKS))
    parts.append([row.line for row in status.cancelled])
    if status.rounds is not None:
        from reports.decisions import standing_lines  # loads SciPy

        parts.append(standing_lines(status.rounds))
    if status.chains:
        parts.append(["refinement:", *_indented(_chain_lines(status))])
    if status.segments:
        parts.append(["segmenters:", *_indented(_segment_lines(status))])
    if status.running is None:
        parts.append(["running: unknown without the store; give it with --store"])
    elif status.running:
        lines = [_running_line(process) for process in status.running[:_MAX_RUNNING]]
        if len(status.running) > _MAX_RUNNING:
            lines.append(f"and {len(status.running) - _MAX_RUNNING} more")
        parts.append(["running:", *_indented(lines)])
    for title, failures in (
        ("failed", status.failed),
        ("not refined", status.unrefined),
        ("collapsed", status.collapsed),
        ("segmenters without a result", status.unsegmented),
    ):
        if failures:
            lines = describe_causes(causes(failures), limit=_MAX_CAUSES)
            parts.append([f"{title}:", *_indented(lines)])
    parts.append([_outlook(status)])
    text = "\n\n".join("\n".join(lines) for lines in parts if lines)
    return text.replace(" × ", " x ") if plain else text


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _counted(status: StudyStatus) -> str:
    known = [
        state
        for state in TrialState
        if (state is not TrialState.RUNNING or status.running is not None)
        and (state is not TrialState.CANCELLED or status.counts[state])
    ]
    counts = ", ".join(f"{status.counts[state]} {state}" for state in known)
    return f"{len(status.states)} trials: {counts}"


def _grid(
    status: StudyStatus, width: int, rows: int | None, marks: Mapping[TrialState, str]
) -> list[str]:
    """Return a line for each configuration: a mark for each seed, by the sweep's value or fold."""
    states: dict[str, dict[float | None, list[TrialState]]] = defaultdict(lambda: defaultdict(list))
    for (name, value, pair), state in status.states.items():
        states[name][value if (fold := fold_of(pair)) is None else fold].append(state)
    quiet = {name: _quiet_state(by_value) for name, by_value in states.items()}
    shown = list(states)
    if rows is not None and len(shown) > rows:
        shown = [name for name in shown if quiet[name] is None][:rows]
    lines = []
    room = min(_NAME_WIDTH, max(12, width - 30), max(map(len, shown), default=0))
    for name in shown:
        label = f"{_cut(name, room):{room}}"
        cells = ["".join(marks[state] for state in group) for group in states[name].values()]
        line = f"{label}  {' '.join(cells)}"
        if len(line) > width:
            counts = Counter(state for group in states[name].values() for state in group)
            in_words = ", ".join(
                f"{counts[state]} {state}" for state in TrialState if counts[state]
            )
            line = f"{label}  {in_words}"
        lines.append(line)
    left = Counter(quiet[name] for name in states.keys() - set(shown))
    more = "more " if shown else ""
    for words, alike in (("done", TrialState.DONE), ("not begun", TrialState.TO_DO)):
        if left[alike]:
            lines.append(f"{left[alike]} configurations {more}{words}")
    if left[None]:
        lines.append(f"{left[None]} configurations more, with --all")
    used = [state for state in TrialState if status.counts[state]]
    return [*lines, "  ".join(f"{marks[state]} {state}" for state in used)]


def _quiet_state(by_value: Mapping[float | None, Sequence[TrialState]]) -> TrialState | None:
    """Return the state of all trials of a configuration if all are done, or all to do."""
    states = {state for group in by_value.values() for state in group}
    return states.pop() if states in ({TrialState.DONE}, {TrialState.TO_DO}) else None


def _cut(name: str, room: int) -> str:
    return name if len(name) <= room else name[: room - 1] + "…"


def _chain_lines(status: StudyStatus) -> list[str]:
    width = max(len(chain.name) for chain in status.chains)
    lines = []
    for chain in status.chains:
        counts = {"failed": chain.failed, "collapsed": chain.collapsed, "to do": chain.remaining}
        rest = "".join(f", {count} {state}" for state, count in counts.items() if count)
        counted = f"{chain.done} done{rest}" if chain.lacks is None else f"not run, {chain.lacks}"
        lines.append(f"{chain.name:{width}}  {counted}")
    return lines


def _segment_lines(status: StudyStatus) -> list[str]:
    width = max(len(_cut(segment.name, _NAME_WIDTH)) for segment in status.segments)
    lines = []
    for segment in status.segments:
        counts = {
            "running": segment.running,
            "failed": segment.failed,
            "collapsed": segment.collapsed,
            "to do": segment.remaining,
        }
        rest = "".join(f", {count} {state}" for state, count in counts.items() if count)
        lines.append(f"{_cut(segment.name, _NAME_WIDTH):{width}}  {segment.done} done{rest}")
    return lines


def _search_line(search: SearchState) -> str:
    of = "" if search.wanted is None else f" of {search.wanted}"
    states = ", ".join(f"{count} {state}" for state, count in sorted(search.states.items()))
    line = f"search: {sum(search.states.values())}{of} configurations tried"
    if states:
        line += f" ({states})"
    if search.best is not None:
        line += f"; the best reached {100 * search.best:.1f} % on the tune split"
    return line


def _running_line(process: Running) -> str:
    stage = "" if process.stage == "train" else f" ({process.stage})"
    note = f", {process.note}" if process.note else ""
    silent = ""
    if process.silent is not None:
        silent = f"; NO HEARTBEAT for {duration(process.silent)}"
    elif process.stalled is not None:
        silent = f"; {no_progress(process.stalled, process.epoch_seconds)}"
    return f"{process.what}{stage}: on {process.host} for {duration(process.since)}{note}{silent}"


def _outlook(status: StudyStatus) -> str:
    chains = sum(chain.remaining for chain in status.chains)
    segments = sum(segment.remaining + segment.running for segment in status.segments)
    if not (status.counts[TrialState.TO_DO] or status.counts[TrialState.RUNNING]):
        left = [f"{segments} segmentation runs"] if segments else []
        if left or chains:
            left += [over_trials(chains)] if chains else []
            return f"all trained; {' and '.join(left)} to do"
        if status.rounds is not None and status.rounds.goes_on:
            return "the next round of seeds is to be begun; running again goes on"
        return "nothing is left to do" + ("; running again retries" if status.failed else "")
    idle = status.running is not None and not status.goes_on
    head = "nothing runs now; " if idle else ""
    if status.search is not None and status.search.wanted is not None:
        return f"{head}the search comes before the trials above, and its best join them"
    if status.seconds_left is None or status.at_once is None:
        return f"{head}no trial is measured yet: the first ones give the estimate"
    without = ["refinement"] if chains else []
    without += ["segmenters"] if segments else []
    also = f", without {' and '.join(without)}" if without else ""
    return (
        f"{head}about {duration(status.seconds_left)} to go{also}, "
        f"at {status.at_once:.2g} trials at a time"
    )


def status_record(status: StudyStatus) -> dict[str, Any]:
    """Return a study's status as plain values, for scripts."""
    configurations: dict[tuple[str, float | None, int | None], dict[str, str]] = defaultdict(dict)
    for (name, value, pair), state in status.states.items():
        seed, fold = (pair, None) if isinstance(pair, int) else pair
        configurations[name, value, fold][str(seed)] = state
    return {
        "study": status.name,
        "title": status.title,
        "trials": len(status.states),
        "counts": {
            state: status.counts[state]
            for state in TrialState
            if state is not TrialState.CANCELLED or status.cancelled
        },
        "cancelled": [row.record() for row in status.cancelled],
        "configurations": [
            {
                "name": name,
                **_sweep_value(value),
                **({} if fold is None else {"fold": fold}),
                "seeds": seeds,
            }
            for (name, value, fold), seeds in configurations.items()
        ],
        "chains": [asdict(chain) for chain in status.chains],
        "segments": [asdict(segment) for segment in status.segments],
        "search": None if status.search is None else asdict(status.search),
        "decisions": None if status.rounds is None else _decision_records(status.rounds),
        "running": None if status.running is None else [asdict(one) for one in status.running],
        "failed": _cause_records(causes(status.failed)),
        "not_refined": _cause_records(causes(status.unrefined)),
        "collapsed": _cause_records(causes(status.collapsed)),
        "segments_without_a_result": _cause_records(causes(status.unsegmented)),
        "at_once": status.at_once,
        "seconds_left": status.seconds_left,
    }


def _decision_records(rounds: "Rounds") -> list[dict[str, Any]]:
    from reports.decisions import answer_records  # loads SciPy

    return answer_records(rounds)


def _sweep_value(value: float | None) -> dict[str, float]:
    """Return the value of a sweep under its name and under an older one; nothing without one."""
    return {} if value is None else {"sweep_value": value, "dial_value": value}


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
