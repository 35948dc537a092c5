"""What this machine gives to trials, in the names that Ray gives amounts."""

import contextlib
import os
import sys
from pathlib import Path


def usable_cpus() -> int:
    """The cores this process may use: fewer than the machine's in a container or under SLURM."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of memory that nothing uses now, a container's limit taken into account."""
    amounts = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known = dict(line.split(":", 1) for line in lines)
        amounts.append(int(known["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        amounts.append(limit - int((group / "memory.current").read_text()))
    if not amounts:
        amounts.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(0, min(amounts))


def this_machine() -> dict[str, float]:
    """Return the amounts that Ray would find here, about."""
    return {
        "CPU": float(usable_cpus()),
        "GPU": float(_gpus()),
        "memory": float(free_memory()),
    }


def _gpus() -> int:
    """Return how many GPUs torch sees, without loading torch where no driver is."""
    drivers = ("/dev/nvidiactl", "/dev/nvmap", "/dev/kfd", "/dev/dxg")
    if sys.platform == "linux" and not any(Path(driver).exists() for driver in drivers):
        return 0
    import torch

    return torch.cuda.device_count()
