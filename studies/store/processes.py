"""Tell whether a process of this machine has ended, even if another has its number now."""

import os
from functools import cache
from pathlib import Path


def this_process() -> str:
    """Return an identity of this process: the boot of its machine, and when it started."""
    return process_of(os.getpid())


def process_of(pid: int) -> str:
    """Return the identity of a process of this machine by its number, see `this_process`."""
    return f"{_boot()}-{_started(pid)}"


def gone(pid: int, process: str) -> bool:
    """Return whether a process of this machine is known to have ended.

    Args:
        pid: its number.
        process: what `this_process` returned there.

    """
    if process.startswith("-") or not _boot() or not process.startswith(_boot()):
        # Another boot, or another container, whose process numbers mean nothing here.
        return False
    return process_of(pid) != process


@cache
def _boot() -> str:
    """Return this boot and this process namespace; empty where they cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks since the boot; empty if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The command's name, in parentheses, may hold anything; field 22 is the start in clock ticks.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
