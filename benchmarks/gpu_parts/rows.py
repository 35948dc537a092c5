"""Rows of the table, the parts that make them, and the guard around each part.

A part that fails or runs out of time leaves the rows it had made and one more that says so in a
line; the parts after it go on.
"""

import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch

Verdict = Literal["passed", "failed", "met", "missed", "measured", "error", "no time", "not here"]
AGAIN = 5.0  # seconds after which a part that swallowed its end is told again


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        part: the part it is of.
        what: the thing that was checked or timed.
        verdict: of a check "passed" or "failed"; of a figure with a goal "met" or "missed", else
            "measured"; "error" and "no time" where the part broke off; "not here" where this
            machine has no such thing.
        check: whether it is about right or wrong; the command fails if such a row did not pass.
        value: the difference found, or the figure.
        unit: of the value.
        bound: of a check the greatest difference allowed, of a figure the ratio aimed at.
        beside: what it is compared with.
        beside_value: the figure of that, in the same unit.
        ratio: how many times as large that is.
        note: what else there is to say, or the error.

    """

    part: str
    what: str
    verdict: Verdict
    check: bool = False
    value: float | None = None
    unit: str = ""
    bound: float | None = None
    beside: str = ""
    beside_value: float | None = None
    ratio: float | None = None
    note: str = ""

    @property
    def fails(self) -> bool:
        """Return whether the command has to fail for it."""
        return self.check and self.verdict in ("failed", "error", "no time")


class OutOfTimeError(BaseException):
    """A part took longer than it may; nothing that catches errors shall catch this."""


@dataclass
class Machine:
    """Where the parts run and how large; `known` hands figures from part to part."""

    device: str
    dry: bool
    known: dict[str, float] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Return whether the device is a CUDA one."""
        return self.device.startswith("cuda")

    def sized(self, full: int, dry: int) -> int:
        """Return the size of a full run or that of a dry one."""
        return dry if self.dry else full

    def wait(self) -> None:
        """Wait for the card to finish."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def milliseconds(self, work: Callable[[], object], rounds: int = 5) -> float:
        """Return the median of some rounds, after one that warms up."""
        taken = []
        for round_ in range((2 if self.dry else rounds) + 1):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            if round_:
                taken.append(1e3 * (time.perf_counter() - start))
        return statistics.median(taken)


@dataclass(frozen=True)
class Part:
    """A guarded section: its rows, and the seconds it may take on a card."""

    name: str
    seconds: float
    make: Callable[[Machine], Iterator[Row]]
    check: bool = False


def checked(part: str, what: str, difference: float, tolerance: float, unit: str = "") -> Row:
    """Return the row of a difference, which fails if it is not a number."""
    verdict: Verdict = "passed" if difference <= tolerance else "failed"
    return Row(part, what, verdict, True, difference, unit, tolerance)


def compared(
    part: str,
    what: str,
    value: float,
    unit: str,
    beside: str = "",
    beside_value: float | None = None,
    goal: float | None = None,
    note: str = "",
) -> Row:
    """Return the row of a figure; `goal` is how many times it the other one should be."""
    ratio = None if beside_value is None else beside_value / value
    verdict: Verdict = "measured"
    if goal is not None and ratio is not None:
        verdict = "met" if ratio >= goal else "missed"
    return Row(part, what, verdict, False, value, unit, goal, beside, beside_value, ratio, note)


def in_a_line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:200]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError inside the block once it has taken so long."""

    def stop(number: int, frame: object) -> None:
        raise OutOfTimeError(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), AGAIN)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rows_of(part: Part, machine: Machine, seconds_left: float) -> list[Row]:
    """Return a part's rows, and one more if it broke off."""
    allowed = min(part.seconds, seconds_left)
    if allowed < 1:
        return [Row(part.name, "all of it", "no time", part.check, note="the time was up")]
    rows: list[Row] = []
    try:
        with at_most(allowed):
            for row in part.make(machine):
                rows.append(row)
    except OutOfTimeError as error:
        rows.append(Row(part.name, "the rest of it", "no time", part.check, note=str(error)))
    except Exception as error:
        rows.append(Row(part.name, "the rest of it", "error", part.check, note=in_a_line(error)))
    if not rows:
        rows.append(Row(part.name, "all of it", "error", part.check, note="it made no row"))
    return rows


def markdown(rows: list[Row]) -> str:
    lines = [
        "| part | what | figure | beside | ratio | bound | verdict |",
        "|---|---|---:|---|---:|---:|---|",
    ]
    for row in rows:
        beside = row.beside
        if row.beside_value is not None:
            beside = f"{number(row.beside_value)} {row.unit}: {row.beside}"
        verdict = f"{row.verdict}: {row.note}" if row.note else row.verdict
        bound = number(row.bound)
        if bound:
            bound = f"<= {bound}" if row.check else f">= {bound}"
        cells = [row.part, row.what, f"{number(row.value)} {row.unit}".strip(), beside,
                 number(row.ratio), bound, verdict]  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Return three significant digits.

    >>> number(1234.5), number(0.00012345), number(None), number(0.0)
    ('1,234', '0.000123', '', '0')
    """
    if value is None:
        return ""
    if not math.isfinite(value) or abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}"
