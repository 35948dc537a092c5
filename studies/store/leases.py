"""Leases: several drivers and nodes share a store, and each artifact is made once.

    STORE/leases/<stage>-<key>.<generation>     the lease owner, with a number that it raises

A lease owner is dead if its number has stood still for longer than the owner's expiry and the
observer's, by the observer's own clock (no two clocks are compared), or if its process has ended on
the observer's machine. An observer takes the lease over by creating the next generation; one
observer wins. A file that cannot be read belongs to somebody until it has stood still for as long.

Work that reports its progress (`Lease.progress`) and stands still for far longer than usual hangs
in a call. The heartbeat of its lease stops then, and the lease expires like that of a dead owner.

A lease saves work, and no result depends on it. A lease owner that pauses for longer than its
expiry, by its own clock, may have lost its lease: it writes no heartbeat then, but creates the next
generation as any other process would, or learns that the lease is lost. A pause that begins inside
the write itself cannot be fenced off by files. Then the owner may overwrite or delete the lease
that a later process holds under the same name: that process learns it at its next heartbeat, and
its work is done twice. After taking a lease, look again whether the artifact is there: the last
owner may have finished it meanwhile.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

from reports.storage import Folder, StorageError, seconds_set
from studies.store.lease_owner import LeaseOwner, now
from studies.store.processes import gone, this_process

EXPIRY = "WSSS_LEASE_EXPIRY"
"""Environment variable: seconds without a heartbeat after which a lease owner is dead."""

EXPIRY_S = 90.0
"""These seconds if it is not set. Four heartbeats fit into them, and an NFS client may show a file
as it was 60 seconds ago."""

STALLED_AFTER = "WSSS_STALLED_AFTER"
"""Environment variable: seconds without progress after which work is said to stand still, unless it
is known to be slow."""

STALLED_AFTER_S = 600.0
"""These seconds if it is not set: the first batch may compile for minutes."""

SLOW_FACTOR = 10
"""Slow work stands still after so many times the longest time that its progress has taken yet."""

HUNG_FACTOR = 3
"""After so many times as long, the heartbeat no longer vouches for the work: it hangs in a call."""

LEASES = "leases"
"""The folder of a store that holds the leases."""

SHARD_STAGE = "shard"
"""The stage of a lease on a part of some work: a task of refinement, whose driver leases the
work."""


def stalled_after() -> float:
    """Return the seconds without progress that are unusual for work of unknown speed."""
    return seconds_set(STALLED_AFTER, STALLED_AFTER_S)


def shard_of_work(key: str, part: str) -> str:
    """Return the key of the lease on a part of some work, see `SHARD_STAGE`.

    >>> shard_of_work("0a1b", "tune-0-8"), work_of_shard("0a1b-tune-0-8"), work_of_shard("0a1b")
    ('0a1b-tune-0-8', '0a1b', '0a1b')
    """
    return f"{key}-{part}"


def work_of_shard(key: str) -> str:
    """Return the key of the work that a lease's key names, if it is on a part of it."""
    return key.partition("-")[0]


class Leases:
    """The leases of a store.

    Args:
        store: the store's folder.
        expiry: seconds without a heartbeat after which a lease owner is dead; None: those that
            the environment sets.
        clock: returns seconds, by which this observer sees heartbeats stand still.

    """

    def __init__(
        self,
        store: Folder,
        expiry: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = store.joined(LEASES)
        self.expiry = seconds_set(EXPIRY, EXPIRY_S) if expiry is None else expiry
        self._clock = clock
        self._seen: dict[str, tuple[str, int, float]] = {}

    def take(self, stage: str, key: str, note: str = "", run: str = "") -> "Lease | None":
        """Take a lease; return None while another process lives and owns it.

        An owner of the same run is dead: a run gives a key to one worker at a time.
        """
        name = f"{stage}-{key}"
        generation, before = _latest(self._folder, name)
        if before is not None and self._lives(name, before) and not (run and before.run == run):
            return None
        owner = LeaseOwner(
            stage,
            key,
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            process=this_process(),
            since=now(),
            note=note,
            run=run,
            expiry=self.expiry,
        )
        began = _awake_or_not()
        file = _create_next(self._folder, name, generation, before, owner)
        if file is None:
            return None
        return Lease(self._folder, file, owner, began, stalled_after())

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
        for generation in _generations(self._folder).get(name, []):
            self._folder.delete(f"{name}.{generation}")

    def of_run(self, run: str) -> list[tuple[LeaseOwner, float]]:
        """Return the owners of a run, dead or not, and their seconds without progress.

        A heartbeat that is missing counts as no progress since.
        """
        found = []
        for name, owner in self._all():
            if owner.run == run:
                self._note(name, owner)
                usual = owner.stalled_after or stalled_after()
                idle = owner.idle + self._clock() - self._seen[name][2]
                found.append((replace(owner, stalled_after=usual), idle))
        return found

    def _all(self) -> Iterator[tuple[str, LeaseOwner]]:
        found = _generations(self._folder)
        files = [f"{name}.{max(generations)}" for name, generations in found.items()]
        for name, owner in zip(found, _read_many(self._folder, files), strict=True):
            if owner is not None:
                yield name, owner

    def _lives(self, name: str, owner: LeaseOwner) -> bool:
        if owner.host == socket.gethostname() and gone(owner.pid, owner.process):
            return False
        self._note(name, owner)
        return self._clock() - self._seen[name][2] < max(self.expiry, owner.expiry)

    def _note(self, name: str, owner: LeaseOwner) -> None:
        """Note when this observer saw a heartbeat first."""
        if self._seen.get(name, ("", -1))[:2] != (owner.token, owner.beat):
            self._seen[name] = owner.token, owner.beat, self._clock()


class Lease:
    """A lease of this process; a thread writes its heartbeat. Use it as a context manager.

    Args:
        folder: holds the leases.
        file: of this lease.
        owner: this process.
        written: when the file was begun to be written, by `_awake_or_not`.
        stalled_after: see `STALLED_AFTER`.

    Attributes:
        lost: whether another process has taken it over, after a pause longer than the expiry.

    """

    def __init__(
        self, folder: Folder, file: str, owner: LeaseOwner, written: float, stalled_after: float
    ) -> None:
        self._folder, self._file, self._owner = folder, file, owner
        self._every = owner.expiry / 4
        self._note, self._epoch_seconds = owner.note, owner.epoch_seconds
        self._last_progress: float | None = None
        self._longest, self._stalled_after = 0.0, stalled_after
        self._written = written
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beats, daemon=True, name=f"lease {file}")
        self._thread.start()

    def report(self, note: str, epoch_seconds: float | None = None) -> None:
        """Set what `wsss status` shows; the next heartbeat writes it.

        Args:
            note: the progress in a few words.
            epoch_seconds: what an epoch takes, if there are any.

        """
        self._note, self._epoch_seconds = note, epoch_seconds

    def progress(self) -> None:
        """Note that the work came further.

        Work that has reported progress once and then stands still for long is not vouched for: its
        heartbeat stops, so that another process may take the lease over.
        """
        moment = _awake()
        if self._last_progress is not None:
            took = min(moment - self._last_progress, self._stalled_after)
            self._longest = max(self._longest, took)
        self._last_progress = moment

    def taken_over(self) -> bool:
        """Look in the store whether the lease is lost; False where the store cannot say."""
        with contextlib.suppress(OSError, StorageError):
            self.lost = self.lost or not self._is_mine()
        return self.lost

    def _beats(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self._beat()
            except (OSError, StorageError):
                continue  # the work itself will say that the storage is away
            if self.lost:
                return
        self._delete()

    def _beat(self) -> None:
        """Write a heartbeat, or find out that the lease is lost."""
        self.lost = self.lost or not self._is_mine()
        if self.lost or self._ended.is_set():
            return
        began = _awake_or_not()
        owner = replace(self._owner, note=self._note, epoch_seconds=self._epoch_seconds)
        if self._last_progress is not None:
            idle = _awake() - self._last_progress
            usual = max(self._stalled_after, SLOW_FACTOR * self._longest)
            if idle > HUNG_FACTOR * usual:
                return
            owner = replace(owner, idle=idle, stalled_after=usual)
        self._owner = replace(owner, beat=owner.beat + 1)
        if began - self._written < self._owner.expiry:
            self._folder.write(self._file, self._owner.as_json())
            if _awake_or_not() - self._written >= self._owner.expiry and not self._is_mine():
                self.lost = True
                self._folder.delete(self._file)
        else:
            self._take_again()
        self._written = began

    def _take_again(self) -> None:
        """Create the next generation, since others may be about to do so after the pause."""
        name, _, generation = self._file.rpartition(".")
        file = None
        if self._is_mine():  # it was looked at before the pause
            file = _create_next(self._folder, name, int(generation), self._owner, self._owner)
        self.lost, self._file = file is None, file or self._file

    def _is_mine(self) -> bool:
        """Return whether the file is there and names this owner, and no later generation is there.

        A file that cannot be read is taken for this owner's: nobody else writes it so soon.
        """
        found = _read(self._folder, self._file)
        if found is None or (found.readable and found.token != self._owner.token):
            return False  # a name that was released may be used again
        name, _, generation = self._file.rpartition(".")
        return not self._folder.has(f"{name}.{int(generation) + 1}")

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


def _awake() -> float:
    """Return the seconds of a clock that stands still while the machine is suspended."""
    return time.monotonic()


def _awake_or_not() -> float:
    """Return the seconds of a clock that goes on while the machine is suspended, if it has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _create_next(
    folder: Folder, name: str, generation: int, before: LeaseOwner | None, owner: LeaseOwner
) -> str | None:
    """Create the next generation of a lease.

    Args:
        folder: holds the leases.
        name: of the lease.
        generation: the highest that was found; -1 for none.
        before: its owner.
        owner: the next one.

    Returns:
        The file; None where another process was first.

    """
    file = f"{name}.{generation + 1}"
    if not folder.create(file, owner.as_json()):
        return None
    # A listing made while another took the lease over may have shown neither owner.
    latest, current = _latest(folder, name, but=generation + 1)
    replaced = current is not None and (before is None or current.token != before.token)
    if latest > generation or (latest == generation and replaced):
        folder.delete(file)
        return None
    for older in range(max(0, generation - 1), generation + 1):
        folder.delete(f"{name}.{older}")
    return file


def _latest(folder: Folder, name: str, but: int = -1) -> tuple[int, LeaseOwner | None]:
    """Return the highest generation of a lease, but for one, and its owner; -1 for none."""
    found = _generations(folder).get(name, [])
    generation = max((number for number in found if number != but), default=-1)
    owner = _read(folder, f"{name}.{generation}") if generation >= 0 else None
    return generation, owner


def _generations(folder: Folder) -> dict[str, list[int]]:
    """Return the generations of each lease, by name."""
    found: dict[str, list[int]] = {}
    for file in folder.listing():
        name, _, generation = file.rpartition(".")
        if generation.isdecimal() and generation.isascii():
            found.setdefault(name, []).append(int(generation))
    return found


def _read(folder: Folder, file: str) -> LeaseOwner | None:
    try:
        return LeaseOwner.from_json(folder.read(file), file.rpartition(".")[0])
    except FileNotFoundError:
        return None  # released meanwhile


def _read_many(folder: Folder, files: list[str]) -> list[LeaseOwner | None]:
    try:
        return [
            LeaseOwner.from_json(content, file.rpartition(".")[0])
            for file, content in zip(files, folder.read_many(files), strict=True)
        ]
    except FileNotFoundError:
        return [_read(folder, file) for file in files]
