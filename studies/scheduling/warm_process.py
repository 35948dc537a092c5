"""A process that has imported what trials need, and forks a process for each of them.

A trial on a GPU has a process of its own, since a GPU's memory comes back for sure only when the
process ends. Importing PyTorch and timm takes some five seconds. So a process beside the worker
imports them once and touches no device: CUDA cannot be used in a process that was forked from one
that has. A fork of it takes hundredths of a second, runs one trial, hands back the result and ends.

The worker waits for both. If it ends, by whatever signal, the kernel kills the warmed process and
its trial, a stopped one too (`prctl(2)`, PR_SET_PDEATHSIG). Nothing here knows Ray. Linux only.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any, NoReturn

from studies.store.origin import method_digest

AVAILABLE = sys.platform == "linux"
"""Whether this system has what warmed processes need."""

PRELOADED = ("torch", "timm", "studies.stages.job")
"""What a warmed process imports; the last brings the rest of the toolkit."""

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>

_BEGIN = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from studies.scheduling.warm_process import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)


class ProcessEndedError(RuntimeError):
    """The process of a piece of work ended before it had a result."""


class WarmProcess:
    """Runs pieces of work one after another, each in a process of its own.

    The warmed process starts at once and imports while the caller goes on. It is started again
    where it has ended between two pieces of work.

    Args:
        preloaded: the modules that it imports.

    Example:
        >>> with contextlib.closing(WarmProcess(preloaded=())) as warm:
        ...     warm.run("os:getpid") == os.getpid(), warm.run("math:hypot", 3, 4)
        (False, 5.0)

    """

    def __init__(self, preloaded: Sequence[str] = PRELOADED) -> None:
        self._preloaded = tuple(preloaded)
        self._start()

    def run(self, work: str, *arguments: Any) -> Any:
        """Run work in a process of its own, in this process's working directory.

        Args:
            work: a function, as "module:attribute".
            arguments: what it is called with; they and its result are pickled.

        Raises:
            ProcessEndedError: the process ended, or was killed, before it had a result.
            RuntimeError: the work raised an error; the text is its traceback.

        """
        request = pickle.dumps((os.getcwd(), work, arguments))
        try:
            self._begin(request)
        except (EOFError, OSError):  # it was killed while it waited
            self.close()
            self._start()
            try:
                self._begin(request)
            except (EOFError, OSError) as error:
                raise ProcessEndedError("the warmed process ended as it started") from error
        try:
            exit_code, kept = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ProcessEndedError("the warmed process ended, and its work with it") from error
        if not kept:
            raise ProcessEndedError(f"the process of the work ended {_in_words(exit_code)}")
        succeeded, result = pickle.loads(kept)
        if not succeeded:
            raise RuntimeError(result)
        return result

    def close(self) -> None:
        """End the warmed process; no work runs."""
        self._connection.close()
        self._keeper.join()

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        self._connection.send(self._preloaded)
        # To the kernel, the thread that starts a process is its parent: this one lasts as long.
        self._keeper = threading.Thread(
            target=_keep, args=(theirs,), daemon=True, name="warmed process"
        )
        self._keeper.start()

    def _begin(self, request: bytes) -> None:
        self._connection.send_bytes(request)
        self._connection.recv()  # the number of the forked process: the work has begun


def _keep(theirs: Connection) -> None:
    """Start a warmed process and wait for its end."""
    numbers = [str(theirs.fileno()), str(os.getpid())]
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, *numbers, *sys.path], pass_fds=[theirs.fileno()]
        )
    process.wait()


def serve(descriptor: int, parent: int) -> None:
    """Be the warmed process: import, then fork a process for each request until none can come.

    Args:
        descriptor: of the connection to the worker.
        parent: the worker's number.

    """
    _die_with(parent)
    # Ctrl-C reaches every process of a terminal; the driver ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, BrokenPipeError):
        _preload(connection.recv())
        own = os.getpid()
        while True:
            request = connection.recv_bytes()
            # Of a process that is killed half-way, nothing that was written is taken.
            kept = os.memfd_create("result")
            child = os.fork()
            if not child:
                connection.close()
                _work(own, request, kept)
            connection.send(child)
            exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with open(kept, "rb") as file:
                file.seek(0)
                connection.send((exit_code, b"" if exit_code else file.read()))


def _preload(modules: Sequence[str]) -> None:
    """Import modules, and note which code that was."""
    for module in modules:
        importlib.import_module(module)
    if modules:
        # Of the code that is loaded here, whatever becomes of its files while trials run.
        method_digest()
    gc.collect()
    gc.freeze()  # else the first collection of a forked process would copy every object


def _work(parent: int, request: bytes, kept: int) -> NoReturn:
    """Do a piece of work in the forked process, and end it without what runs at a usual exit."""
    code = 1
    try:
        _die_with(parent)
        folder, work, arguments = pickle.loads(request)
        os.chdir(folder)
        try:
            result = pickle.dumps((True, pkgutil.resolve_name(work)(*arguments)))
        except BaseException:
            result = pickle.dumps((False, traceback.format_exc()))
        with open(kept, "wb") as file:
            file.write(result)
        code = 0
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)


def _in_words(exit_code: int) -> str:
    if exit_code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"
