"""What people read of a study that decides, while it runs and on its page."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from reports.deciding import SequentialInterval
from reports.decisions.rounds import Answer, Rounds

MOST_LINES = 20
"""The most comparisons that a terminal is shown one by one."""


def standing_lines(rounds: Rounds) -> list[str]:
    """Say which comparisons are decided and which are open, and what the next seeds are for."""
    before = rounds.seeds_before
    after = f"after {number_of(before, 'seed')}" if before else "before the first decision"
    lines = [f"decide, {after}:"]
    shown, left_out = _shown(list(rounds.answers.values()))
    lines += [f"  {answer.pair}: {_state(answer)}" for answer in shown]
    if left_out:
        ended = Counter(str(answer.verdict) for answer in left_out)
        lines.append("  more: " + ", ".join(f"{n} {verdict}" for verdict, n in ended.items()))
    if rounds.waits_for:
        lines.append(f"  next: {_next(rounds)}")
    return lines


def _shown(answers: list[Answer]) -> tuple[list[Answer], list[Answer]]:
    """Part the comparisons that are written out, open ones first, from those that are counted."""
    if len(answers) <= MOST_LINES:
        return answers, []
    ranked = sorted(answers, key=lambda answer: not answer.goes_on)
    return ranked[:MOST_LINES], ranked[MOST_LINES:]


def interval_text(interval: SequentialInterval) -> str:
    """Write a mean difference and its interval in points; the note where there is none."""
    if interval.n == 0:
        return ""
    mean = f"{100 * interval.mean:+.1f}"
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def answer_records(rounds: Rounds) -> list[dict[str, Any]]:
    """Return where each comparison stands as plain values, differences as shares."""
    records = []
    for answer in rounds.answers.values():
        path = answer.decision.path
        last = path[-1].interval if path else None
        records.append(
            {
                "row": answer.pair.row,
                "against": answer.pair.other,
                "verdict": str(answer.verdict),
                "seeds": answer.decision.seeds,
                "mean": last.mean if last is not None and last.n else None,
                "low": last and last.low,
                "high": last and last.high,
                "goes_on": answer.goes_on,
                "note": answer.note,
            }
        )
    return records


def _state(answer: Answer) -> str:
    shown = answer.interval
    if shown is None:
        return f"{answer.verdict}. {answer.note}" if answer.note else str(answer.verdict)
    said = f"{answer.verdict}, {interval_text(shown)} points" if shown.n else str(answer.verdict)
    if answer.verdict.is_decided:
        return f"{said}, after {number_of(answer.decision.seeds, 'seed')}"
    return f"{said}. {' '.join(answer.notes)}" if answer.notes else said


def _next(rounds: Rounds) -> str:
    """Say which seeds of which rows a round asks for."""
    rows: dict[tuple[int, ...], list[str]] = {}
    for row in rounds.reached:
        seeds = tuple(seed for name, seed in rounds.waits_for if name == row)
        if seeds:
            rows.setdefault(seeds, []).append(row)
    parts = []
    for seeds, names in rows.items():
        word = "seed" if len(seeds) == 1 else "seeds"
        parts.append(f"{word} {enumerated(map(str, seeds))} of {enumerated(names)}")
    return "; ".join(parts)


def enumerated(names: Iterable[str], most: int = 6) -> str:
    """Write names one after another, at most so many."""
    there = list(names)
    shown = there if len(there) <= most else [*there[: most - 1], f"{len(there) - most + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def number_of(n: int, what: str) -> str:
    """Write a number of things."""
    return f"{n} {what}" + ("" if n == 1 else "s")
