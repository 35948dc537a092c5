"""Failures grouped by cause: forty trials that fail alike are one line to read, not forty.

Two failures have one cause if the kind of error, the place in the code and the message agree.
Numbers, addresses, keys and paths in the message may differ.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|\w*)): ")
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+), in (.+)$', re.MULTILINE)
_OURS = ("studies", "reports", "wsss_core")
_STRANGERS = ("site-packages", "dist-packages", "/lib/python", "<frozen")
# In this order: a path may hold keys, a key digits.
_VARYING = (
    (re.compile(r"[a-z][a-z0-9+.-]*://\S+"), "<uri>"),
    (
        re.compile(
            r"(?:[A-Za-z]:)?(?:[\\/][\w.+=@%~-]+){2,}[\\/]?|(?<![\w/])[~.]{1,2}(?:/[\w.+=@%~-]+)+"
        ),
        "<path>",
    ),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<address>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", re.IGNORECASE), "<key>"),
    (re.compile(r"(?<![\w.])[-+]?\d[\d_]*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE), "<number>"),
)


@dataclass(frozen=True)
class Failure:
    """A trial that did not end well.

    Attributes:
        trial: its name for people.
        error: its message, "Kind: text" if an exception was the reason.
        traceback: as Python prints it; None without.

    """

    trial: str
    error: str
    traceback: str | None = None


@dataclass(frozen=True)
class Cause:
    """Failures that have one cause.

    Attributes:
        kind: the exception's name; empty if the message names none.
        message: the message, with marks like `<number>` for the parts that may differ.
        place: "file:line in function" of the last line outside installed packages; empty without a
            traceback.
        failures: all of them, in the order they came.

    """

    kind: str
    message: str
    place: str
    failures: tuple[Failure, ...]

    @property
    def count(self) -> int:
        """The number of failures."""
        return len(self.failures)

    @property
    def example(self) -> Failure:
        """The first failure."""
        return self.failures[0]


def causes(failures: Iterable[Failure]) -> list[Cause]:
    """Group failures by cause, the most frequent first, then in the order they came.

    Example:
        >>> found = causes([
        ...     Failure("a, seed 0", "OSError: /data/0001.png is cut off"),
        ...     Failure("b, seed 0", "RuntimeError: no"),
        ...     Failure("a, seed 1", "OSError: /data/0002.png is cut off"),
        ... ])
        >>> [(cause.count, cause.kind, cause.message) for cause in found]
        [(2, 'OSError', '<path> is cut off'), (1, 'RuntimeError', 'no')]

    """
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        kind, message = parted(failure.error)
        groups.setdefault((kind, normalised(message), own_line(failure.traceback)), []).append(
            failure
        )
    found = [Cause(*cause, tuple(alike)) for cause, alike in groups.items()]
    return sorted(found, key=lambda cause: -cause.count)


def parted(error: str) -> tuple[str, str]:
    """Split a message into the exception's name, without its module, and the rest in one line.

    >>> parted("torch.OutOfMemoryError: CUDA out of memory")
    ('OutOfMemoryError', 'CUDA out of memory')
    >>> parted("its teacher is not trained")
    ('', 'its teacher is not trained')
    """
    line = " ".join(error.split())
    match = _EXCEPTION.match(line)
    # A sentence may hold a colon too; the name of an exception is one word with a capital.
    if match is None or not match[1].rpartition(".")[2][:1].isupper():
        return "", line
    return match[1].rpartition(".")[2], line[match.end() :]


def normalised(message: str) -> str:
    """Replace the parts of a message that differ from trial to trial.

    >>> normalised("Tried to allocate 20.00 MiB at 0x7f3a, seed 3, in /data/a/0001.png")
    'Tried to allocate <number> MiB at <address>, seed <number>, in <path>'
    """
    for pattern, mark in _VARYING:
        message = pattern.sub(mark, message)
    return message


def own_line(traceback: str | None) -> str:
    """Return the last line of a traceback outside installed packages, "file:line in function".

    >>> trace = '''Traceback (most recent call last):
    ...   File "/home/me/study/my_loss.py", line 7, in forward
    ...   File "/venv/lib/python3.11/site-packages/torch/functional.py", line 9, in einsum
    ... RuntimeError: shapes'''
    >>> own_line(trace)
    'my_loss.py:7 in forward'
    """
    frames = [match.groups() for match in _FRAME.finditer(traceback or "")]
    own = [frame for frame in frames if _is_own(frame[0])]
    if not frames:
        return ""
    file, line, function = (own or frames)[-1]
    parts = re.split(r"[\\/]", file)
    starts = [place for place, part in enumerate(parts) if part in _OURS]
    name = "/".join(parts[starts[-1] :]) if starts else parts[-1]
    return f"{name}:{line} in {function}"


def _is_own(file: str) -> bool:
    """Return whether a file is the user's or this package's, wherever it is installed."""
    if any(f"/{package}/" in file for package in _OURS):
        return True
    return not any(stranger in file for stranger in _STRANGERS)


def describe_causes(
    found: Sequence[Cause], *, names: int = 4, limit: int | None = None
) -> list[str]:
    """Write causes as lines for a terminal.

    Args:
        found: as `causes` returns them.
        names: the most trials to name for each cause.
        limit: the most causes to describe; None: all.

    Example:
        >>> failures = [Failure(f"a, seed {s}", f"OSError: no file {s}") for s in (0, 1, 2)]
        >>> describe_causes(causes(failures), names=2)
        ['3 × OSError: no file 0', '    a, seed 0; a, seed 1; and 1 more']

    """
    lines = []
    for cause in found[:limit]:
        at = f"  ({cause.place})" if cause.place else ""
        lines.append(f"{cause.count} × {' '.join(cause.example.error.split())}{at}")
        named = [failure.trial for failure in cause.failures[:names]]
        rest = cause.count - len(named)
        lines.append(f"    {'; '.join(named)}" + (f"; and {rest} more" if rest else ""))
    left = found[limit:] if limit is not None else []
    if left:
        lines.append(f"{len(left)} further causes, of {sum(one.count for one in left)} trials")
    return lines
