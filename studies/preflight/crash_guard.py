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
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from studies.preflight.network_check import NetworkCheck
from wsss_core.errors import InputError, one_line

_LOGGERS = ("studies", "wsss_core", "reports")

Record = tuple[str, int, str]
"""A logger's name, a level and a text."""

Message = Record | str | None
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
            networks ended their process and by which signal.

    """
    left, crashed = list(checks), list[str]()
    # What CUDA keeps of a GPU does not survive a fork.
    method = "fork" if sys.platform == "linux" and not torch.cuda.is_initialized() else "spawn"
    with tempfile.TemporaryDirectory(prefix="tried-", dir=scratch) as folder:
        while left:
            try:
                passed, code = _run_in_child(left, Path(folder), on_passed, method)
            except InputError as refused:
                if method == "spawn" or _NO_AUTOGRAD not in str(refused):
                    raise
                method = "spawn"
                continue
            left = left[passed:]
            if left:
                crashed.append(_crash(left.pop(0), code))
    if crashed:
        raise InputError("; ".join(crashed))


_NO_AUTOGRAD = "autograd's threading in combination with fork-based multiprocessing"
"""What PyTorch says, at its first step, in the fork of a process that trained beside a GPU."""


def _crash(check: NetworkCheck, code: int) -> str:
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    if code == -signal.SIGKILL:
        how += ", as Linux does where memory runs out"
    return (
        f"{check.name}: the process that trained its networks for one step was ended ({how}); "
        "expected networks that can be trained on this machine"
    )


def _run_in_child(
    checks: Sequence[NetworkCheck],
    folder: Path,
    on_passed: Callable[[NetworkCheck], None],
    method: str,
) -> tuple[int, int]:
    """Return how many checks passed before the child ended, and its exit code."""
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(checks, folder, sender, receiver), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads beside a fork
        child.start()
    sender.close()
    passed = 0
    try:
        with contextlib.suppress(EOFError):
            while True:
                message: Message = receiver.recv()
                if isinstance(message, str):
                    raise InputError(message)
                if message is None:
                    on_passed(checks[passed])
                    passed += 1
                else:
                    name, level, text = message
                    logging.getLogger(name).log(level, text)
        child.join()
        return passed, int(child.exitcode or 0)
    finally:
        child.kill()
        child.join()
        receiver.close()


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
            except Exception as error:
                named = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                sender.send(f"{named}{one_line(error)}")
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
