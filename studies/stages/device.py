"""A worker's share of its machine: threads, GPU memory, and memory given back.

Nothing here knows Ray, which counts what it lends and enforces nothing.
"""

import contextlib
import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass

CONTEXT_BYTES = 3 * 2**28
"""0.75 GiB of a GPU that a process takes beside its tensors: the CUDA context, kernels, the
libraries' workspaces. PyTorch's limit does not count them."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


@dataclass(frozen=True)
class WorkerShare:
    """What a worker has of its machine.

    Attributes:
        device: "cpu" or "cuda".
        cpus: cores, and threads of its process; None where nobody counted them.
        gpus: 1, a share of one, or 0; None where nobody counted them.

    """

    device: str = "cpu"
    cpus: int | None = None
    gpus: float | None = None

    def as_record(self, device_name: str) -> dict[str, str | float | None]:
        """Return the share as the ledger and a training run's artifact keep it."""
        return {"cpus": self.cpus, "gpus": self.gpus, "device": device_name}


UNCOUNTED = WorkerShare()
"""The CPU of a process whose cores nobody counted."""


def use_share(request: Mapping[str, float], *, simulated: bool = False) -> WorkerShare:
    """Hold this worker to what it was given of the machine.

    Args:
        request: what was asked of Ray for it, see `studies.spec.resources.Demand.asks`.
        simulated: whether the GPUs are not there, see `studies.stages.handover.RunContext`.

    Raises:
        RuntimeError: the GPU cannot be used, with what CUDA says of it.

    """
    import torch

    cpus, gpus = int(request["CPU"]), request.get("GPU", 0.0)
    torch.set_num_threads(cpus)
    keep_freed_memory()
    # Otherwise a process a core of the machine, for every trial that compiles its networks.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(cpus))
    device = "cuda" if gpus and not simulated else "cpu"
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        if gpus < 1:
            torch.cuda.set_per_process_memory_fraction(memory_fraction(gpus, total))
    return WorkerShare(device, cpus, gpus)


def memory_fraction(share: float, total: int) -> float:
    """Return the part of a GPU's memory that PyTorch may take in a process with a share of it.

    Args:
        share: 0..1.
        total: bytes of the GPU.

    >>> memory_fraction(0.5, 12 * 2**30)
    0.4375
    >>> memory_fraction(0.1, 8 * 2**30)  # too small for a context: half of it, at least
    0.05
    """
    return max(share - CONTEXT_BYTES / total, share / 2)


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next tensors, up to half a GiB.

    By default, glibc gives large blocks back to the system as they are freed, and the system clears
    each page again when it is next used: 4,800 pages a step of a small CNN at 64 px, which took a
    quarter of the step's processor time. Results are the same to the bit.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that glibc takes
        library.mallopt(M_TRIM_THRESHOLD, 2**29)


def return_freed_memory() -> None:
    """Give memory that is free but kept by the C library back to the system.

    A worker that stays runs each trial in a new thread, and glibc keeps the peak of every thread
    that was: 60 MiB a trial of the quickstart, 600 at 224 px.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
