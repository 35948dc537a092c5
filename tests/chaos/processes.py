"""The processes of a folder, found in /proc: Ray's daemons, its workers and drivers.

Ray's workers carry their task as their title and belong to no group of ours, but all of them have
files open below the folder of temporary files that the chaos run gave them.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

_NOT_AT_WORK = ("ray::IDLE", "ray::SPILL", "ray::RESTORE", "ray::DashboardAgent", "ray::RuntimeEnv")


def processes_of(folder: Path) -> dict[int, str]:
    """Process -> title of all living processes that run, or have a file open, below a folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if _is_of(entry, str(folder)):
                    title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").strip()
                    found[int(entry.name)] = title.decode(errors="replace")
    return found


def _is_of(entry: Path, folder: str) -> bool:
    if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
        return False
    with contextlib.suppress(OSError):
        if os.readlink(entry / "cwd").startswith(f"{folder}/"):
            return True
    if f"{folder}/".encode() in (entry / "environ").read_bytes():
        return True
    for opened in (entry / "fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(opened).startswith(f"{folder}/"):
                return True
    return False


def busy_workers(folder: Path) -> dict[int, str]:
    """Those of Ray's workers that have something to do: an actor's, or a task's."""
    return {
        process: title
        for process, title in processes_of(folder).items()
        if title.startswith("ray::") and not title.startswith(_NOT_AT_WORK)
    }


def descendants(process: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found, left = [], [process]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def signalled(process: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def end(processes: list[int], wait: float = 20.0) -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        signalled(process, signal.SIGKILL)
    deadline = time.monotonic() + wait
    while any(lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)


def lives(process: int) -> bool:
    """Whether a process has not ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
