"""What a check found, and how the process that checks says so to the one that waits for it.

A checking process writes one JSON line before and one after each check, so that a check in which
the process dies is known by name.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

MARK = "@@ "
LONGEST = 300


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        verdict: "right", "not shown" (right as far as seen, but a map's place was not shown),
            "refused", "wrong", "crash", "error" (a peer's), "model refuses", "not installed",
            "not reached".
        why: a line.
        more: further findings.

    """

    verdict: str
    why: str = ""
    more: dict[str, Any] = field(default_factory=dict)


def versions() -> dict[str, str | None]:
    """The installed versions of what is compared; None: not installed."""
    found: dict[str, str | None] = {}
    for package in ("timm", "torch", "grad-cam", "torchcam"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def in_a_line(error: BaseException) -> str:
    """An exception as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST]


def report(check: str, run: Callable[[], Outcome]) -> Outcome:
    """Run a check and say what it found; any exception that it lets through is a crash."""
    _say({"begin": check})
    began = time.process_time()
    try:
        outcome = run()
    except Exception as error:
        outcome = Outcome("crash", in_a_line(error))
    seconds = round(time.process_time() - began, 1)
    _say({"check": check, **asdict(outcome), "seconds": seconds})
    return outcome


def _say(record: dict[str, Any]) -> None:
    print(MARK + json.dumps(record), flush=True)


def in_own_process(check: Callable[[], None], seconds: int, gigabytes: float) -> dict[str, Any]:
    """Run checks in a fork of this process.

    Whatever they need is imported before, once; it must not have started threads.

    Args:
        check: reports its findings.
        seconds: of processor time, after which the process ends.
        gigabytes: of memory that it may ask for.

    Returns:
        The findings by check; one in which the process died is a crash.

    """
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(reading)
        _run_and_exit(check, seconds, gigabytes)
    os.close(writing)
    with open(reading, encoding="utf-8", errors="replace") as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    found: dict[str, Any] = {}
    running, last = None, "no message"
    for line in lines:
        if not line.startswith(MARK):
            last = line.strip() or last
            continue
        record = json.loads(line.removeprefix(MARK))
        running = record.get("begin")
        if "check" in record:
            found[record.pop("check")] = record
    if status:
        how = _end(os.waitstatus_to_exitcode(status), last[:LONGEST])
        found[running or "start"] = {"verdict": "crash", "why": how, "more": {}}
    return found


def _run_and_exit(check: Callable[[], None], seconds: int, gigabytes: float) -> NoReturn:
    code = 1
    try:
        size = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.simplefilter("ignore")
        check()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end(code: int, last: str) -> str:
    if code == -signal.SIGXCPU:
        return "the process ran out of its processor time"
    if code < 0:
        return f"the process died of signal {-code}"
    return f"the process ended with code {code}: {last}"
