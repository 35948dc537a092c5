"""Leases: several drivers and nodes share a store, and each artifact is made once.

    STORE/leases/<stage>-<key>.<generation>     the lease owner, with a number that it raises

A lease owner is dead if its number has stood still for `EXPIRY_S` by the observer's own clock (no
two clocks are compared), or if its process has ended on the observer's machine. An observer takes
the lease over by creating the next generation; one observer wins.

A lease saves work, and no result depends on it. A lease owner that pauses for long may lose its
lease and go on: then two processes make the same artifact, and the first to end stays. After taking
a lease, look again whether the artifact is there: the last owner may have finished it meanwhile.
"""

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

from reports.storage import Folder, StorageError
from studies.store.processes import gone, this_process

EXPIRY_S = float(os.environ.get("WSSS_LEASE_EXPIRY", "90"))
"""Seconds without a heartbeat after which a lease owner is dead. Four heartbeats fit into them, and
an NFS client may show a file as it was 60 seconds ago."""

LEASES = "leases"
"""The folder of a store that holds the leases."""


@dataclass(frozen=True)
class LeaseOwner:
    """The process that makes an artifact.

    Attributes:
        stage: the artifact's stage.
        key: the artifact's key.
        token: a random name, new for each lease.
        host: the name of the machine.
        pid: the number of the process there.
        process: tells the process from a later one of the same number, see `this_process`.
        since: when it took the lease, ISO 8601, by its own clock.
        beat: raised with every heartbeat.
        note: its progress in a few words.
        run: the run whose driver started it; that driver knows which of its workers are dead.

    """

    stage: str
    key: str
    token: str
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
        store: the store's folder.
        expiry: seconds without a heartbeat after which a lease owner is dead.

    """

    def __init__(self, store: Folder, expiry: float = EXPIRY_S) -> None:
        self._folder = store.joined(LEASES)
        self.expiry = expiry
        self._seen: dict[str, tuple[str, int, float]] = {}

    def take(self, stage: str, key: str, note: str = "", run: str = "") -> "Lease | None":
        """Take a lease; return None while another process lives and owns it.

        An owner of the same run is dead: a run gives a key to one worker at a time.
        """
        name = f"{stage}-{key}"
        generation, before = self._latest(name)
        if before is not None and self._lives(name, before) and not (run and before.run == run):
            return None
        owner = LeaseOwner(
            stage,
            key,
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            process=this_process(),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            note=note,
            run=run,
        )
        file = f"{name}.{generation + 1}"
        if not self._folder.create(file, _content(owner)):
            return None
        # A listing made while another took the lease over may have shown neither owner.
        latest, current = self._latest(name, but=generation + 1)
        replaced = current is not None and (before is None or current.token != before.token)
        if latest > generation or (latest == generation and replaced):
            self._folder.delete(file)
            return None
        for older in range(max(0, generation - 1), generation + 1):
            self._folder.delete(f"{name}.{older}")
        return Lease(self._folder, file, owner, self.expiry / 4)

    def owners(self) -> list[LeaseOwner]:
        """Return every lease owner that is not known to be dead, in order of stage and key."""
        return [owner for name, owner in self._all() if self._lives(name, owner)]

    def dead(self) -> list[str]:
        """Return the names of the leases whose owners are known to be dead."""
        return [name for name, owner in self._all() if not self._lives(name, owner)]

    def drop_run(self, run: str) -> None:
        """Delete the leases that a run's workers left, once all of them have ended."""
        for name, owner in list(self._all()):
            if owner.run == run:
                self.drop(name)

    def drop(self, name: str) -> None:
        """Delete every generation of a lease that `dead` named."""
        for generation in self._generations().get(name, []):
            self._folder.delete(f"{name}.{generation}")

    def _all(self) -> Iterator[tuple[str, LeaseOwner]]:
        found = self._generations()
        files = [f"{name}.{max(generations)}" for name, generations in found.items()]
        for name, owner in zip(found, _read_many(self._folder, files), strict=True):
            if owner is not None:
                yield name, owner

    def _generations(self) -> dict[str, list[int]]:
        """Return the generations of each lease, by name."""
        found: dict[str, list[int]] = {}
        for file in self._folder.listing():
            name, _, generation = file.rpartition(".")
            if generation.isdigit():
                found.setdefault(name, []).append(int(generation))
        return found

    def _latest(self, name: str, but: int = -1) -> tuple[int, LeaseOwner | None]:
        """Return the highest generation of a lease, but for one, and its owner; -1 for none."""
        found = self._generations().get(name, [])
        generation = max((number for number in found if number != but), default=-1)
        owner = _read(self._folder, f"{name}.{generation}") if generation >= 0 else None
        return generation, owner

    def _lives(self, name: str, owner: LeaseOwner) -> bool:
        if owner.host == socket.gethostname() and gone(owner.pid, owner.process):
            return False
        now = time.monotonic()
        token, beat, since = self._seen.get(name, ("", -1, now))
        if (token, beat) != (owner.token, owner.beat):
            self._seen[name] = owner.token, owner.beat, now
            return True
        return now - since < self.expiry


class Lease:
    """A lease of this process; a thread writes its heartbeat. Use it as a context manager.

    Attributes:
        lost: whether another process has taken it over, after a pause longer than the expiry.

    """

    def __init__(self, folder: Folder, file: str, owner: LeaseOwner, every: float) -> None:
        self._folder, self._file, self._owner = folder, file, owner
        self._every = every
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"lease {file}")
        self._thread.start()

    def report(self, note: str) -> None:
        """Set the progress that `wsss status` shows; the next heartbeat writes it."""
        self._owner = replace(self._owner, note=note)

    def taken_over(self) -> bool:
        """Look in the store whether the lease is lost; False where the store cannot say."""
        with contextlib.suppress(OSError, StorageError):
            self.lost = self.lost or not self._is_mine()
        return self.lost

    def _beat(self) -> None:
        while not self._ended.wait(self._every):
            self._owner = replace(self._owner, beat=self._owner.beat + 1)
            try:
                if not self._is_mine():
                    self.lost = True
                    return
                if not self._ended.is_set():
                    self._folder.write(self._file, _content(self._owner))
            except (OSError, StorageError):
                continue  # the work itself will say that the storage is away
        self._delete()

    def _is_mine(self) -> bool:
        """Return whether the file is there and names this owner; a released name is used again."""
        found = _read(self._folder, self._file)
        return found is not None and found.token == self._owner.token

    def _delete(self) -> None:
        with contextlib.suppress(OSError, StorageError):
            if self._is_mine():
                self._folder.delete(self._file)

    def release(self) -> None:
        """Give the lease back; do not wait for a storage that is away."""
        self._ended.set()
        self._thread.join(timeout=self._every)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _read(folder: Folder, file: str) -> LeaseOwner | None:
    try:
        return _owner_of(folder.read(file))
    except FileNotFoundError:
        return None  # released meanwhile


def _read_many(folder: Folder, files: list[str]) -> list[LeaseOwner | None]:
    try:
        return [_owner_of(content) for content in folder.read_many(files)]
    except FileNotFoundError:
        return [_read(folder, file) for file in files]


def _owner_of(content: bytes) -> LeaseOwner | None:
    try:
        return LeaseOwner(**json.loads(content))
    except (ValueError, TypeError):
        return None  # no lease of this release's


def _content(owner: LeaseOwner) -> bytes:
    return json.dumps(asdict(owner)).encode()
