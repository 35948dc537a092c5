"""Networks are tried in a process of their own, because some end the process that trains them.

A fork of this process has PyTorch loaded already, and the memory of networks and gradients goes
with it. The work runs in a thread of the fork: GNU's OpenMP keeps its threads by the thread that
asked for them, and a fork would wait for ever for those of this process's main thread.
"""

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from reports.storage import StorageError, seconds_set, storage_errors
from studies.formatting import about
from studies.preflight.network_check import NetworkCheck
from wsss_core.errors import InputError, one_line

STEP_LIMIT = "WSSS_PREFLIGHT_TIMEOUT"
"""Environment variable: seconds after which a pair of networks that is tried counts as hung."""

LONGEST_STEP_S = 1800.0
"""These seconds if it is not set: weights may be downloaded, and the CPU makes the step."""

SLOW_S = 120.0
"""After these seconds of one pair the log names it."""

logger = logging.getLogger(__name__)

_LOGGERS = ("studies", "wsss_core", "reports")

Record = tuple[str, int, str]
"""A logger's name, a level and a text."""

Message = Record | InputError | None
"""What a child says: a record for a logger, why a check is refused, or that one passed."""


def run_checks(
    checks: Sequence[NetworkCheck], scratch: Path, on_passed: Callable[[NetworkCheck], None]
) -> None:
    """Run checks one after another in one child process; a new one goes on where one crashed.

    Args:
        checks: what is tried.
        scratch: a folder of this machine for the networks that are saved; it is left empty.
        on_passed: called with each check that passed, as soon as it has.

    Raises:
        InputError: what the first check that failed says; or, after all others were tried, which
            networks ended their process and by which signal, or hung for longer than `STEP_LIMIT`.
        StorageError: the scratch folder cannot be written or read.

    """
    limit = seconds_set(STEP_LIMIT, LONGEST_STEP_S)
    left, crashed = list(checks), list[str]()
    method = "fork" if _may_fork() else "spawn"
    with storage_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(
            prefix="tried-", dir=scratch, ignore_cleanup_errors=True
        )
    with folder:
        while left:
            try:
                passed, ended = _run_in_child(left, Path(folder.name), on_passed, method, limit)
            except InputError as refused:
                if method == "spawn" or _NO_AUTOGRAD not in str(refused):
                    raise
                method = "spawn"
                continue
            left = left[passed:]
            if left:
                crashed.append(f"{left.pop(0).name}: {ended}")
    if crashed:
        raise InputError("; ".join(crashed))


def _may_fork() -> bool:
    """Return whether this process and a fork of it leave each other alone.

    What CUDA keeps of a GPU does not survive a fork. A fork shares Ray's connections: Ray 2.60.0
    then takes an empty reply for an answer, and ends this process with its next task.
    """
    ray = sys.modules.get("ray")
    joined = ray is not None and ray.is_initialized()
    return sys.platform == "linux" and not joined and not torch.cuda.is_initialized()


_NO_AUTOGRAD = "autograd's threading in combination with fork-based multiprocessing"
"""What PyTorch says, at its first step, in the fork of a process that trained beside a GPU."""


def _crash(code: int) -> str:
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    if code == -signal.SIGKILL:
        how += ", as Linux does where memory runs out"
    return (
        f"the process that trained its networks for one step was ended ({how}); "
        "expected networks that can be trained on this machine"
    )


def _hang(limit: float) -> str:
    return (
        f"its networks were not built and trained for one step within {about(limit)}; expected "
        f"networks that do not hang, or a higher {STEP_LIMIT} (seconds) for those that are slow"
    )


def _run_in_child(
    checks: Sequence[NetworkCheck],
    folder: Path,
    on_passed: Callable[[NetworkCheck], None],
    method: str,
    limit: float,
) -> tuple[int, str]:
    """Return how many checks passed before the child ended or hung, and how it did."""
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(checks, folder, sender, receiver), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads beside a fork
        child.start()
    sender.close()
    passed = 0
    try:
        for check in checks:
            began = time.monotonic()
            while (message := _received(receiver, check.name, began, limit)) is not None:
                if isinstance(message, InputError):
                    raise message
                name, level, text = message
                logging.getLogger(name).log(level, text)
            on_passed(check)
            passed += 1
        return passed, ""
    except _HungError:
        return passed, _hang(limit)
    except EOFError:
        child.join()
        return passed, _crash(int(child.exitcode or 0))
    finally:
        child.kill()
        child.join()
        receiver.close()


class _HungError(Exception):
    """A child does not come to the end of a check."""


def _received(receiver: Connection, name: str, began: float, limit: float) -> Message:
    """Return what a child says next; raise _HungError if it says nothing until `limit`."""
    waited = time.monotonic() - began
    if waited < SLOW_S < limit and not receiver.poll(SLOW_S - waited):
        logger.info("networks: %s is tried for %s by now", name, about(SLOW_S))
    if not receiver.poll(max(began + limit - time.monotonic(), 0.0)):
        raise _HungError
    message: Message = receiver.recv()
    return message


def _child(
    checks: Sequence[NetworkCheck], folder: Path, sender: Connection, receiver: Connection
) -> None:
    """Run checks until one is refused; say by messages what comes of them."""
    receiver.close()  # so that this process ends once its parent is gone
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # networks are tried on the CPU
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are the parent's, who ends this process
    faulthandler.disable()  # a crash is told in one line
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):
        # Where memory runs out, Linux ends this process and not the run.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    for name in _LOGGERS:
        logging.getLogger(name).handlers = [_ToParent(sender)]
        logging.getLogger(name).propagate = False
    work = threading.Thread(target=_run_all, args=(checks, folder, sender))
    work.start()
    work.join()


def _run_all(checks: Sequence[NetworkCheck], folder: Path, sender: Connection) -> None:
    with contextlib.suppress(BrokenPipeError):
        for check in checks:
            try:
                check.run(folder)
            except StorageError as error:
                sender.send(StorageError(str(error)))
                return
            except Exception as error:
                named = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                sender.send(InputError(f"{named}{one_line(error)}"))
                return
            sender.send(None)


class _ToParent(logging.Handler):
    """Sends records to the process that runs the study, whose handlers they are for."""

    def __init__(self, sender: Connection) -> None:
        super().__init__(logging.INFO)
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        self._sender.send((record.name, record.levelno, record.getMessage()))
