"""Trials packed on a GPU by what trials like them took of its memory (`gpus: packed`).

The first trial of a row gets a GPU of its own. Its peak and the GPU's size then say how many like
it fit on one. Nothing here knows Ray.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from studies.formatting import in_bytes
from studies.planning import Job, NodeAmounts, Request, TrainingJob, slots, whole_gpu
from studies.stages import Outcome
from studies.stages.device import CONTEXT_BYTES
from studies.store import canonical

MARGIN = 1.25
"""A trial gets so many times the memory that the largest like it took: caches fragment otherwise
under another seed."""

MOST = 8
"""Trials on one GPU at most: the kernels of more wait for each other."""

STEPS = 10_000
"""Ray counts a GPU in so many parts."""

logger = logging.getLogger(__name__)


class GpuPacking:
    """What each job asks of Ray, by what is measured as jobs end.

    Args:
        whole: the GPUs that a job of its own gets, see `studies.planning.capacity.whole_gpu`.
        at_once: how many such jobs the cluster runs at a time.

    """

    def __init__(self, whole: float, at_once: int = 1) -> None:
        self._whole, self._at_once = whole, at_once
        self._peaks: dict[str, int] = {}
        self._total: int | None = None
        self._alone: set[str] = set()
        self._said: set[str] = set()

    @classmethod
    def on(
        cls, nodes: Sequence[NodeAmounts], jobs: Iterable[Job], requests: Mapping[str, Request]
    ) -> Self:
        """Return the packing of jobs on a cluster.

        Args:
            nodes: what the cluster's nodes have.
            jobs: those that may run; jobs on the CPU alone have no part in it.
            requests: what each asks for with a GPU of its own, by its key.

        """
        packed = [requests[job.key] for job in jobs if job.resources.gpus == "packed"]
        return cls(whole_gpu(nodes), max((slots(request, nodes) for request in packed), default=1))

    @property
    def must_wait(self) -> bool:
        """Whether jobs that are yet to be measured fill all GPUs.

        A job that was given to Ray now would ask for a whole GPU too, whatever they tell of it.
        """
        return len(self._alone) >= self._at_once

    def request(self, job: Job) -> Request:
        """Return what a job that starts now asks for."""
        if job.resources.gpus != "packed" or not self._whole:
            return job.resources.asks(self._whole)
        share = self.share(job)
        if share is None:
            self._alone.add(job.key)
        return job.resources.asks(self._whole, packed=share)

    def share(self, job: Job) -> float | None:
        """Return the share of a GPU that a job gets; None before one like it was measured."""
        if not isinstance(job, TrainingJob) or self._total is None:
            return None
        name = alike(job)
        peak = self._peaks.get(name)
        if peak is None:
            return None
        fitting = fitting_trials(peak, self._total)
        self._say(name, peak, fitting)
        return min(share_of(fitting), self._whole)

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """Learn from a job that has ended; None: its worker died."""
        self._alone.discard(job.key)
        memory = outcome.gpu_memory if outcome is not None else None
        if memory is None or not isinstance(job, TrainingJob):
            return
        # The smallest GPU decides: Ray may give a share of any of them.
        self._total = min(memory.total, self._total or memory.total)
        name = alike(job)
        self._peaks[name] = max(memory.peak, self._peaks.get(name, 0))

    def _say(self, name: str, peak: int, fitting: int) -> None:
        if name not in self._said and fitting > 1:
            self._said.add(name)
            logger.info("%d trials a GPU: one like them took %s of it", fitting, in_bytes(peak))


def alike(job: TrainingJob) -> str:
    """Return a name of training runs that take equally much memory: seeds and lambdas differ."""
    transfer = job.settings.get("transfer")
    settings = {**job.settings, "seed": None}
    if isinstance(transfer, Mapping):
        settings["transfer"] = {**transfer, "weight": None}
    return canonical(settings)


def fitting_trials(peak: int, total: int) -> int:
    """Return how many trials fit on a GPU, at least 1.

    Args:
        peak: bytes that PyTorch reserved for the largest of them.
        total: bytes of the GPU.

    >>> fitting_trials(3 * 2**30, 24 * 2**30)
    5
    >>> fitting_trials(20 * 2**30, 24 * 2**30)
    1
    """
    return min(max(int(total / (MARGIN * peak + CONTEXT_BYTES)), 1), MOST)


def share_of(fitting: int) -> float:
    """Return the share that each of so many trials gets of a GPU, as Ray counts it.

    >>> share_of(3)
    0.3333
    """
    return math.floor(STEPS / fitting) / STEPS


SMALLEST_SHARE = share_of(MOST)
