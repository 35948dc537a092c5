"""A folder for the sessions of a Ray that is started here: short, and closed to other accounts.

Ray opens sockets below it, and Linux takes at most 107 bytes for the path of a socket. TMPDIR is
often longer, because clusters set one for each job, so Ray's folder is in /tmp unless RAY_TMPDIR
names another. Ray opens its own folder to every account (mode 777), so it lies in one of mode 700.
"""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from wsss_core.errors import InputError, one_line, quoted

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest path of a socket: `sun_path` holds 104 or 108 bytes with its end."""

_SOCKET = "/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store"
"""The longest path that Ray puts below its folder; a process has at most seven digits."""


def ray_session_folder() -> str:
    """Make and return the folder to give to `ray.init` as `_temp_dir`.

    Raises:
        InputError: RAY_TMPDIR is too long or no folder of ours can be made in it, or, without
            RAY_TMPDIR, none in /tmp and TMPDIR.

    """
    asked = os.environ.get("RAY_TMPDIR")
    if asked:
        return _below_asked(Path(asked).expanduser().absolute())
    problem = None
    for base in ("/tmp", tempfile.gettempdir()):
        try:
            folder = _closed_folder(Path(base)) / "ray"
        except OSError as error:
            problem = problem or error
            continue
        if _too_long(folder) <= 0:
            return str(folder)
    raise InputError(f"no folder for Ray's sessions: {one_line(problem)}; set RAY_TMPDIR")


def _below_asked(asked: Path) -> str:
    """Return a folder in RAY_TMPDIR, in a closed one of its own where others may enter."""
    try:
        asked.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = asked.stat()
        closed = state.st_uid == os.getuid() and not stat.S_IMODE(state.st_mode) & 0o077
        folder = (asked if closed else _closed_folder(asked)) / "ray"
    except OSError as error:
        raise InputError(f"RAY_TMPDIR: no folder for Ray's sessions: {one_line(error)}") from error
    if (excess := _too_long(folder)) > 0:
        room = len(os.fsencode(asked)) - excess
        raise InputError(
            f"RAY_TMPDIR {quoted(str(asked))} is too long: expected at most {room} bytes, because "
            f"paths of sockets have at most {SOCKET_BYTES}; set a shorter one, or none"
        )
    return str(folder)


def _closed_folder(base: Path) -> Path:
    """Return a folder in `base` that is ours and that no other account can open.

    Raises:
        OSError: none can be made there.

    """
    folder = base / f"ray-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="ray-", dir=base))
    folder.chmod(0o700)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written to")
    return folder


def _too_long(folder: Path) -> int:
    """Return by how many bytes the longest socket's path below a folder is too long."""
    return len(os.fsencode(folder)) + len(_SOCKET) - SOCKET_BYTES
