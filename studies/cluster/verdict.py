"""Judging what nodes answered: what cannot work, what is worth knowing, a table, one line.

Pure functions over the answers; asking is `studies.cluster.check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from studies.cluster.probe import Answer, CodeFacts, Question
from wsss_core.errors import InputError

COMPUTING = ("torch", "torchvision", "timm", "numpy")
"""Packages whose version can change a result: they have to be the driver's."""

RECORDING = ("pandas", "pyarrow")
"""Packages that write what is recorded: another version is said."""

CLOCK_WARNING, CLOCK_ERROR = 2.0, 300.0
"""Seconds between the clocks of a node and the driver. Nothing in a run is decided by comparing
clocks (a lease is watched by whether its heartbeat changes), so a skew spoils no more than the
times in the ledger and what `wsss status` makes of them. From five minutes on Kerberos, and with it
a mounted NFS, refuses a node, from fifteen S3 does: such a node would not keep its storage."""

FREE_WARNING = 2 * 2**30
"""Bytes that a folder's file system should have free."""


@dataclass(frozen=True)
class Reply:
    """What came back from a node.

    Attributes:
        node: Ray's id of it.
        host: its name.
        ip: its address.
        resources: what Ray lends there: CPU, GPU, memory.
        answer: what it answered, None if it did not.
        failure: why it did not.
        cut_off: whether the node cannot be reached any more.
        sent: the driver's clock when it was asked.
        received: and when the answer came.

    """

    node: str
    host: str
    ip: str
    resources: dict[str, float]
    answer: Answer | None = None
    failure: str | None = None
    cut_off: bool = False
    sent: float = 0.0
    received: float = 0.0


@dataclass(frozen=True)
class Expected:
    """What the answers are held against.

    Attributes:
        question: what was asked.
        code: the driver's.
        plugins: name -> version on the driver.
        gpu_needs: share of a GPU that trials get -> bytes they took before, 0 if unknown.

    """

    question: Question
    code: CodeFacts
    plugins: dict[str, str]
    gpu_needs: dict[float, int] = field(default_factory=dict)


@dataclass
class Verdict:
    """What was found: text -> the nodes it is said of, in their order."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    def lines(self, found: dict[str, list[str]]) -> list[str]:
        """One line for each thing found, which names its nodes."""
        return [f"{_called(nodes)}: {text}" for text, nodes in found.items()]

    def require_none(self, asked: int) -> None:
        """Raise InputError that lists all problems, if there are any."""
        lines = self.lines(self.problems)
        if len(lines) == 1:
            raise InputError(lines[0])
        if lines:
            bad = len({node for nodes in self.problems.values() for node in nodes})
            listed = "".join(f"\n  {line}" for line in lines)
            raise InputError(f"{bad} of {asked} nodes cannot be used:{listed}")


def _called(nodes: Sequence[str], most: int = 4) -> str:
    if len(nodes) == 1:
        return f"node {nodes[0]}"
    more = f" and {len(nodes) - most} more" if len(nodes) > most else ""
    return f"nodes {', '.join(nodes[:most])}{more}"


def judge(expected: Expected, replies: Sequence[Reply]) -> Verdict:
    """Hold every node's answer against what is expected.

    What several nodes have in common is found once, with the nodes' names. A node with other code
    is told that alone: its answers may mean something else.
    """
    verdict = Verdict()
    names = node_names(replies)
    for reply in replies:
        for problem in _problems(expected, reply):
            verdict.problems.setdefault(problem, []).append(names[reply.node])
        for warning in _warnings(expected, reply):
            verdict.warnings.setdefault(warning, []).append(names[reply.node])
    return verdict


def node_names(replies: Sequence[Reply]) -> dict[str, str]:
    """What to call each node: its host, with the beginning of its id where a host has several."""
    hosts = [reply.host for reply in replies]
    return {
        r.node: r.host if hosts.count(r.host) == 1 else f"{r.host} ({r.node[:8]})" for r in replies
    }


def _problems(expected: Expected, reply: Reply) -> Iterator[str]:
    if reply.answer is None:
        yield reply.failure or "does not answer"
        return
    answer = reply.answer
    if (other := _other_code(expected.code, answer["code"])) is not None:
        yield other
        return
    here, there = expected.code["packages"], answer["code"]["packages"]
    if minor(there["python"]) != minor(here["python"]):
        yield f"Python {there['python']}, expected {minor(here['python'])} as on the driver"
    for package in COMPUTING:
        if public(there.get(package)) != public(here.get(package)):
            yield (
                f"{package} {there.get(package, 'is not installed')}, "
                f"expected {here.get(package)} as on the driver"
            )
    for name, folder in answer["folders"].items():
        if folder["error"] is not None:
            yield (
                f"{name} {expected.question['folders'][name]} {folder['error']}; "
                "expected one folder that all nodes share"
            )
    yield from answer["plugin_errors"].values()
    for name, version in answer["plugins"].items():
        if version != expected.plugins[name]:
            yield f"has version {version} of {name}, the driver {expected.plugins[name]}"
    for path, wrong in answer["files"].items():
        yield f"file {path} {wrong}"
    if answer["offline"]:
        for name in answer["to_download"]:
            yield f"weights {name!r} are not in its cache, and HF_HUB_OFFLINE forbids the download"
    if expected.question["compiler"] and (lacks := _compiler_lacking(expected, reply, answer)):
        yield f"no {lacks}, which training.compile needs"
    if (skew := clock_skew(reply)) and abs(skew) > CLOCK_ERROR:
        yield f"its clock is {_ahead(skew)} the driver's; expected within {CLOCK_ERROR:.0f} s"
    if expected.question["gpus"]:
        yield from _gpu_problems(reply, answer)


def _other_code(here: CodeFacts, there: CodeFacts) -> str | None:
    """Say that a node's toolkit is not the driver's, by what tells them apart best."""
    if there["version"] != here["version"]:
        return f"wsss-studies {there['version']}, expected {here['version']} as on the driver"
    if there["source"] != here["source"]:
        found, expected = (facts["revision"] or facts["source"] for facts in (there, here))
        if found == expected:
            found, expected = there["source"], here["source"]
        return (
            f"other code of wsss-studies {there['version']} ({found}) than the driver's "
            f"({expected}); expected the same everywhere, or results differ"
        )
    return None


def _compiler_lacking(expected: Expected, reply: Reply, answer: Answer) -> str | None:
    """What a node's trials cannot be compiled with: kernels are C++ for a CPU, C for a GPU."""
    if not expected.question["gpus"]:
        lacks = "C++" not in answer["compilers"]
        return "C++ compiler (g++, or what CXX names)" if lacks else None
    lacks = reply.resources.get("GPU", 0.0) > 0 and "C" not in answer["compilers"]
    return "C compiler (gcc or clang, or what CC names)" if lacks else None


def _gpu_problems(reply: Reply, answer: Answer) -> Iterator[str]:
    lent, seen = int(-(-reply.resources.get("GPU", 0.0) // 1)), len(answer["gpus"])
    if lent > seen:
        why = f": {answer['gpu_error']}" if answer["gpu_error"] else ""
        yield f"Ray lends {lent} GPUs there, PyTorch sees {seen}{why}"


def _warnings(expected: Expected, reply: Reply) -> Iterator[str]:
    answer = reply.answer
    if answer is None or _other_code(expected.code, answer["code"]) is not None:
        return
    here, there = expected.code["packages"], answer["code"]["packages"]
    for package in RECORDING:
        if there.get(package) != here.get(package):
            yield (
                f"{package} {there.get(package, 'is not installed')}, "
                f"{here.get(package)} on the driver"
            )
    for name, folder in answer["folders"].items():
        if folder["free"] is not None and folder["free"] < FREE_WARNING:
            where = expected.question["folders"][name]
            yield f"{name} {where} has {size(folder['free'])} free"
    if not answer["offline"]:
        for name in answer["to_download"]:
            yield f"weights {name!r} are not in its cache; its first trial will download them"
    if (skew := clock_skew(reply)) and CLOCK_WARNING < abs(skew) <= CLOCK_ERROR:
        yield f"its clock is {_ahead(skew)} the driver's; times in the ledger will be off by that"
    yield from _gpu_warnings(expected, answer)


def _gpu_warnings(expected: Expected, answer: Answer) -> Iterator[str]:
    """A GPU that may be too small: another job holds a part of it, or trials took more before.

    No problem: what holds it may be a job that Ray waits for, and a trial that runs out of memory
    goes on with smaller batches.
    """
    for number, gpu in enumerate(answer["gpus"]):
        for part, peak in expected.gpu_needs.items():
            share = part * gpu["total"]
            lent = f"a trial's {part:.3g} of GPU {number} ({gpu['name']}) is {size(share)}"
            if peak > share:
                yield f"{lent}; trials like these took {size(peak)} before"
            # The driver and others' displays hold a little of every GPU.
            if gpu["free"] < min(share, 0.9 * gpu["total"]):
                yield f"{lent}; {size(gpu['free'])} are free, others hold the rest"


def clock_skew(reply: Reply) -> float:
    """By how much a node's clock is ahead of the driver's, at the least; 0 if it may be right.

    The node's work lay between asking and answer, so its beginning by its own clock is not before
    the asking unless the clock is behind, and its end is not after the answer unless it is ahead.

    >>> answer = {"started": 100.0, "ended": 101.0}
    >>> clock_skew(Reply("n", "h", "ip", {}, answer, sent=99.0, received=101.2))
    0.0
    >>> clock_skew(Reply("n", "h", "ip", {}, answer, sent=89.0, received=91.0))
    10.0
    >>> clock_skew(Reply("n", "h", "ip", {}, answer, sent=107.0, received=110.0))
    -7.0
    """
    if reply.answer is None:
        return 0.0
    ahead = reply.answer["ended"] - reply.received
    behind = reply.sent - reply.answer["started"]
    return max(ahead, 0.0) if ahead >= behind else -max(behind, 0.0)


def _ahead(skew: float) -> str:
    return f"at least {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'}"


def minor(python: str) -> str:
    """Of "3.11.7" the "3.11"."""
    return ".".join(python.split(".")[:2])


def public(version: str | None) -> str | None:
    """A version without what names a build: a head without a GPU may have torch 2.15.0+cpu."""
    return version and version.partition("+")[0]


def size(count: float) -> str:
    """Bytes to be read: GiB, or MiB below one.

    >>> size(3 * 2**30), size(5e8)
    ('3.0 GiB', '477 MiB')
    """
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def table(replies: Sequence[Reply]) -> list[str]:
    """One line a node under a line of headings."""
    rows = [("node", "host", "address", "CPUs", "memory", "GPUs", "disk free")]
    for reply in replies:
        lent = reply.resources
        free = [f["free"] for f in (reply.answer["folders"].values() if reply.answer else ())]
        rows.append((
            reply.node[:8], reply.host, reply.ip, f"{lent.get('CPU', 0):g}",
            size(lent.get("memory", 0.0)), _gpus_of(reply),
            size(min(known)) if (known := [f for f in free if f is not None]) else "-",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _gpus_of(reply: Reply) -> str:
    seen = reply.answer["gpus"] if reply.answer else []
    if not seen:
        lent = reply.resources.get("GPU", 0.0)
        return f"{lent:g}" if lent else "-"
    names = sorted({gpu["name"] for gpu in seen})
    free = min(gpu["free"] for gpu in seen)
    each = " each" if len(seen) > 1 else ""
    return f"{len(seen)} x {', '.join(names)}, {size(free)} free{each}"


def ready(replies: Sequence[Reply]) -> str:
    """The line that says that all is well."""
    total = {name: sum(r.resources.get(name, 0.0) for r in replies) for name in ("CPU", "GPU")}
    gpus = f", {total['GPU']:g} GPUs" if total["GPU"] else ""
    nodes = f"{len(replies)} node{'s' if len(replies) > 1 else ''}"
    return f"{nodes} ready: {total['CPU']:g} CPUs{gpus}"
