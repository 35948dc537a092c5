"""What a check found, and how the process that checks says so to the one that waits for it.

A checking process writes one JSON line before and one after each check, so that a check in which
the process dies is known by name.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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


def in_own_process(
    script: Path, part: str, model: str, seconds: int, gigabytes: float, path: list[Path]
) -> dict[str, Any]:
    """Run a part of the checks of a model in a process of its own.

    Args:
        script: the script that takes `--child PART MODEL`.
        part: "product" or "peers".
        model: a timm model.
        seconds: of processor time, after which the process ends.
        gigabytes: of memory that the process may ask for.
        path: folders to import from beside those of this process.

    Returns:
        The findings by check; one in which the process died is a crash.

    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        size = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    inherited = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([*map(str, path), *inherited]),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), "--child", part, model],
        preexec_fn=limit,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = {}
    running = None
    for line in done.stdout.splitlines():
        if not line.startswith(MARK):
            continue
        record = json.loads(line.removeprefix(MARK))
        running = record.get("begin")
        if "check" in record:
            found[record.pop("check")] = record
    if done.returncode:
        found[running or "start"] = {"verdict": "crash", "why": _end(done), "more": {}}
    return found


def _end(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == -signal.SIGXCPU:
        return "the process ran out of its processor time"
    if done.returncode < 0:
        return f"the process died of signal {-done.returncode}"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"the process ended with code {done.returncode}: {last[:LONGEST]}"
