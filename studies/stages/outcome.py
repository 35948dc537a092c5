"""How a training run ended, or why it did not end: what a worker hands back to the driver."""

from dataclasses import dataclass
from enum import StrEnum


class JobStatus(StrEnum):
    """How a job ended; the first three are the ledger's words.

    A job of any other status has not ended: the driver gives it out again.
    """

    OK = "ok"
    COLLAPSED = "collapsed"
    FAILED = "failed"
    LEASED_ELSEWHERE = "leased elsewhere"  # another driver's worker runs it
    INPUT_CORRUPT = "input corrupt"  # an artifact it builds upon has to be made again
    STORAGE_DOWN = "storage down"  # nothing can be kept
    GPU_FAILED = "GPU failed"  # this process's GPU cannot be used


@dataclass(frozen=True)
class FailedChain:
    """A chain that cannot be run over a training run's maps.

    Attributes:
        name: the chain's name.
        error: the error in a line.
        traceback: where it was raised.

    """

    name: str
    error: str
    traceback: str


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: how.
        error: the error in a line, if there was one.
        seconds: what it took, if it began.
        unrecorded: whether a failure could not be written to the ledger.
        unprepared: the chains that cannot be run, of a job that ended well.

    """

    status: JobStatus
    error: str | None = None
    seconds: float | None = None
    unrecorded: bool = False
    unprepared: tuple[FailedChain, ...] = ()

    @property
    def has_result(self) -> bool:
        """Whether it left scores, a collapsed network's included."""
        return self.status in (JobStatus.OK, JobStatus.COLLAPSED)
