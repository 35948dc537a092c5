"""Leases: who is making what, so that several drivers and nodes do a piece of work once.

    STORE/leases/<stage>-<key>.<generation>     the owner, and a number that it raises as it works

An owner that is dead is one whose number has stood still for `EXPIRY_S` by the observer's own
clock (no two clocks are compared), or whose process is gone from the observer's machine. Its lease
is taken over by creating the next generation, which has one winner.

A lease saves work, results do not depend on it: two owners of one key, possible after a long pause
of one, make the same artifact, and the first to end stays. Who takes a lease looks again whether
the artifact is there, as its last owner may have ended in between.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from reports.storage.errors import StorageError
from reports.storage.folder import Folder

EXPIRY_S = float(os.environ.get("WSSS_LEASE_EXPIRY", "90"))
"""After how many seconds without a heartbeat an owner is dead. Four heartbeats fit into it, and an
NFS client may show what is 60 seconds old."""

NAME = "leases"


@dataclass(frozen=True)
class LeaseOwner:
    """Who makes an artifact.

    Attributes:
        stage: of what is made.
        key: likewise.
        owner: a random name, new for each lease.
        host: where.
        pid: of the process there.
        process: tells this process from a later one of the same number, on the same machine.
        since: when it began, ISO 8601, by its own clock.
        beat: raised with every heartbeat.
        note: what it says of its progress.
        run: of which run's driver; that knows which of its workers are dead.

    """

    stage: str
    key: str
    owner: str
    host: str
    pid: int
    process: str
    since: str
    beat: int = 0
    note: str = ""
    run: str = ""


class Leases:
    """The leases of a store.

    Args:
        store: its folder.
        expiry: seconds after which an owner without a heartbeat is dead.

    """

    def __init__(self, store: Folder, expiry: float = EXPIRY_S) -> None:
        self._folder = store.joined(NAME)
        self.expiry = expiry
        self._seen: dict[str, tuple[str, int, float]] = {}

    def take(self, stage: str, key: str, note: str = "", run: str = "") -> Lease | None:
        """Take a lease; None while another owner that lives has it.

        An owner of the same run is dead: a run gives a key to one worker at a time.
        """
        name = f"{stage}-{key}"
        generation, before = self._latest(name)
        if before is not None and self._lives(name, before) and not (run and before.run == run):
            return None
        holder = LeaseOwner(
            stage, key, uuid.uuid4().hex, socket.gethostname(), os.getpid(), this_process(),
            datetime.now(UTC).isoformat(timespec="seconds"), note=note, run=run,
        )  # fmt: skip
        file = f"{name}.{generation + 1}"
        if not self._folder.create(file, _content(holder)):
            return None
        # A listing made while another took the lease over may have shown neither owner.
        latest, current = self._latest(name, but=generation + 1)
        replaced = current is not None and _owner(current) != _owner(before)
        if latest > generation or (latest == generation and replaced):
            self._folder.delete(file)
            return None
        for older in range(max(0, generation - 1), generation + 1):
            self._folder.delete(f"{name}.{older}")
        return Lease(self._folder, file, holder, self.expiry / 4)

    def holder(self, stage: str, key: str) -> LeaseOwner | None:
        """The living owner of a key, if there is one."""
        name = f"{stage}-{key}"
        _, holder = self._latest(name)
        return holder if holder is not None and self._lives(name, holder) else None

    def held(self) -> list[LeaseOwner]:
        """Every owner that is not known to be dead, in order of stage and key."""
        return [holder for name, holder in self._all() if self._lives(name, holder)]

    def dead(self) -> list[str]:
        """Names of leases whose owners are known to be dead."""
        return [name for name, holder in self._all() if not self._lives(name, holder)]

    def drop_run(self, run: str) -> None:
        """Delete what a run's workers have left, once all of them have ended."""
        for name, holder in list(self._all()):
            if holder.run == run:
                self.drop(name)

    def drop(self, name: str) -> None:
        """Delete every generation of a lease that `dead` named."""
        for file in self._folder.listing():
            if file.rpartition(".")[0] == name:
                self._folder.delete(file)

    def _all(self) -> Iterator[tuple[str, LeaseOwner]]:
        latest: dict[str, int] = {}
        for file in self._folder.listing():
            name, _, generation = file.rpartition(".")
            if generation.isdigit():
                latest[name] = max(latest.get(name, 0), int(generation))
        found = _read_many(self._folder, [f"{name}.{highest}" for name, highest in latest.items()])
        for name, holder in zip(latest, found, strict=True):
            if holder is not None:
                yield name, holder

    def _latest(self, name: str, but: int = -1) -> tuple[int, LeaseOwner | None]:
        """The highest generation of a lease, but for one, and its owner; -1 if there is none."""
        generation = -1
        for file in self._folder.listing():
            stem, _, number = file.rpartition(".")
            if stem == name and number.isdigit() and int(number) != but:
                generation = max(generation, int(number))
        holder = _read(self._folder, f"{name}.{generation}") if generation >= 0 else None
        return generation, holder

    def _lives(self, name: str, holder: LeaseOwner) -> bool:
        if holder.host == socket.gethostname() and gone(holder.pid, holder.process):
            return False
        now = time.monotonic()
        owner, beat, since = self._seen.get(name, ("", -1, now))
        if (owner, beat) != (holder.owner, holder.beat):
            self._seen[name] = holder.owner, holder.beat, now
            return True
        return now - since < self.expiry


def _owner(holder: LeaseOwner | None) -> str | None:
    return None if holder is None else holder.owner


class Lease:
    """A lease that is held; its heartbeat is a thread's. Use as a context manager.

    Attributes:
        lost: whether another has taken it over, which a pause longer than the expiry allows.

    """

    def __init__(self, folder: Folder, file: str, holder: LeaseOwner, every: float) -> None:
        self._folder, self._file, self._holder = folder, file, holder
        self._every = every
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"lease {file}")
        self._thread.start()

    def say(self, note: str) -> None:
        """What `wsss status` shows of the progress; written with the next heartbeat."""
        self._holder = replace(self._holder, note=note)

    def _beat(self) -> None:
        while not self._ended.wait(self._every):
            self._holder = replace(self._holder, beat=self._holder.beat + 1)
            try:
                if not self._is_mine():
                    self.lost = True
                    return
                if not self._ended.is_set():
                    self._folder.write(self._file, _content(self._holder))
            except (OSError, StorageError):
                continue  # the work itself will say that the storage is away
        self._delete()

    def _is_mine(self) -> bool:
        """Whether the file is there and names this owner; a released name is used again."""
        found = _read(self._folder, self._file)
        return found is not None and found.owner == self._holder.owner

    def _delete(self) -> None:
        with contextlib.suppress(OSError, StorageError):
            if self._is_mine():
                self._folder.delete(self._file)

    def release(self) -> None:
        """Give it back; where the storage is away, without waiting for it."""
        self._ended.set()
        self._thread.join(timeout=self._every)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _read(folder: Folder, file: str) -> LeaseOwner | None:
    try:
        return _holder(folder.read(file))
    except FileNotFoundError:
        return None  # released meanwhile


def _read_many(folder: Folder, files: list[str]) -> list[LeaseOwner | None]:
    try:
        return [_holder(content) for content in folder.read_many(files)]
    except FileNotFoundError:
        return [_read(folder, file) for file in files]


def _holder(content: bytes) -> LeaseOwner | None:
    try:
        return LeaseOwner(**json.loads(content))
    except (ValueError, TypeError):
        return None  # no lease of this release's


def _content(holder: LeaseOwner) -> bytes:
    return json.dumps(asdict(holder)).encode()


def this_process() -> str:
    """This boot of the machine and when this process started: what a used-up number cannot fake."""
    return f"{_boot()}-{_started(os.getpid())}"


def gone(pid: int, process: str) -> bool:
    """Whether a process of this machine is known to have ended."""
    if process.startswith("-") or not _boot() or not process.startswith(_boot()):
        # Another boot, or another container, whose process numbers mean nothing here.
        return False
    return f"{_boot()}-{_started(pid)}" != process


@cache
def _boot() -> str:
    """This boot and this process namespace; empty where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    try:
        text: Any = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The command's name, in parentheses, may hold anything; field 22 is the start in clock ticks.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else str(fields[19])
