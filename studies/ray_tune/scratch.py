"""The folder of Ray Tune's own state, none of which is needed to resume."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from studies.store import gone, this_process

_OWNER = "owner"


@contextlib.contextmanager
def tune_scratch() -> Iterator[str]:
    """Yield a folder in TMPDIR and delete it at the end; first delete those of killed drivers."""
    for left in Path(tempfile.gettempdir()).glob("wsss-*"):
        with contextlib.suppress(OSError, ValueError):
            host, pid, process = (left / _OWNER).read_text(encoding="utf-8").split("\n")
            if host == socket.gethostname() and gone(int(pid), process):
                shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="wsss-"))
    try:
        owner = f"{socket.gethostname()}\n{os.getpid()}\n{this_process()}"
        (scratch / _OWNER).write_text(owner, encoding="utf-8")
        yield str(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
