"""Interrupting a run: by a signal, or because its storage is away or full.

The first signal asks a run to end, the second ends it at once: Ctrl-C (SIGINT), SIGTERM, which
SLURM, Kubernetes and clouds send before they take a machine away, and SIGHUP of a terminal that is
closed. Either is safe at any moment: finished work is in the store, and a training goes on from its
last epoch.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from reports.storage import StorageError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Holds whether a run has been asked to end, and why.

    Attributes:
        signal: the name of the signal that asked.
        storage: what is wrong with the storage, naming it.
        fault: an error of the driver itself.

    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.storage: str | None = None
        self.fault: Exception | None = None

    @property
    def asked(self) -> bool:
        """Whether to end."""
        return not (self.signal is None and self.storage is None and self.fault is None)

    def without_storage(self, error: object) -> None:
        """Ask to end because nothing can be kept; the first error stays."""
        self.storage = self.storage or str(error)

    @contextlib.contextmanager
    def keeping_faults(self) -> Iterator[None]:
        """Keep an error inside the block as the driver's own; the first one stays."""
        try:
            yield
        except Exception as error:
            self.fault = self.fault or error

    def raise_reason(self) -> None:
        """Raise why to end, if there is a reason.

        Raises:
            Exception: `fault`.
            StorageError: of `storage`.
            KeyboardInterrupt: there was a signal.

        """
        if self.fault is not None:
            raise self.fault
        if self.storage is not None:
            raise StorageError(self.storage)
        if self.signal is not None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def listening(self, *, at_once: bool = False) -> Iterator[None]:
        """Let signals ask the run to end while the block runs; in the main thread alone.

        Args:
            at_once: raise KeyboardInterrupt at the first signal, not at the second.

        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heard(number: int, _: FrameType | None) -> None:
            again, self.signal = self.signal is not None, signal.Signals(number).name
            if again or at_once:
                raise KeyboardInterrupt

        before = {number: signal.getsignal(number) for number in SIGNALS if _heeded(number)}
        try:
            for number in before:
                signal.signal(number, heard)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds, or until the run is asked to end."""
        deadline = time.monotonic() + seconds
        while not self.asked and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))


def _heeded(number: signal.Signals) -> bool:
    """Return whether a signal has a meaning: `nohup` ignores SIGHUP, and so do we then."""
    return number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN


def interrupt_on_terminate() -> None:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, as Ctrl-C is; in the main thread alone."""

    def heard(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if _heeded(number):
                signal.signal(number, heard)
