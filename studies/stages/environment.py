"""The environment of a result: versions, code, machine, memory.

Only functions that ask a device load PyTorch: versions and code are compared on every node of a
cluster before anything is scheduled, which has to be quick.
"""

import contextlib
import hashlib
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

from studies.stages.handover import GpuMemory
from studies.store.origin import installed_version


@cache
def package_version() -> str:
    """Return the version of this toolkit."""
    return installed_version("wsss-studies") or "not installed"


@cache
def code_revision() -> str | None:
    """Return the Git commit of the toolkit's own checkout, "+changes" if it differs, or None."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "environment.py")
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def source_digest() -> str:
    """Return a digest of the toolkit's own source files: equal digests, equal code.

    A revision says less: "+changes" hides which, and a wheel has none.
    """
    digest = hashlib.blake2b(digest_size=10)
    house = Path(__file__).parents[2]
    for package in ("reports", "studies", "wsss_core"):
        for file in sorted((house / package).rglob("*.py")):
            digest.update(file.relative_to(house).as_posix().encode() + b"\0")
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def device_name(device: str) -> str:
    """Return a readable name of the device and, for a CPU, its threads.

    A GPU that does not answer is named by what it answers: a failed trial's row is written too.
    """
    import torch

    if device.startswith("cuda"):
        try:
            return str(torch.cuda.get_device_name(device))
        except (RuntimeError, AssertionError) as error:
            return f"{device}: {' '.join(str(error).split())[:200]}"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def gpu_memory(device: str) -> GpuMemory:
    """Return what this process has taken of its GPU, and what that has."""
    import torch

    total = torch.cuda.get_device_properties(device).total_memory
    return GpuMemory(int(torch.cuda.max_memory_reserved(device)), int(total))


class PeakMemory:
    """Measures the peak memory of this process from now on: GPU memory, or resident memory.

    On Linux the peak of the resident memory is set back at the start, so that a worker that is used
    for several trials reports each one's own; elsewhere it is the worker's peak so far.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        if device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(device)
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        """Return the peak so far."""
        if self._device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_reserved(self._device))
        with contextlib.suppress(OSError, StopIteration):  # another system, or a line it lacks
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
