"""What nobody needs any more in a store: `wsss store gc` names it, and deletes it if asked to.

Nothing is followed out of the store: links are deleted as links. What somebody may be making is
left: whose owner is known to live stays whatever its age, and while anyone works with the store,
so does what is younger than a day and has no known owner.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reports.storage.folder import MARK, Entry, Folder
from reports.storage.locations import Location
from reports.storage.opening import open_folder
from studies.store.artifacts import DAMAGED, UNFINISHED, ArtifactStore
from studies.store.keys import VERSIONS
from studies.store.leases import LEASES, LeaseOwner
from studies.store.usage import unused

DAY_S = 86_400.0

PROBES = (".node-check-", ".written-")
"""How the files begin by which drivers and workers find out whether a folder can be used."""


@dataclass(frozen=True)
class Garbage:
    """Something that can go.

    Attributes:
        name: its path or URI.
        why: in a few words.
        bytes: that it takes.
        delete: makes it go.

    """

    name: str
    why: str
    bytes: int
    delete: Callable[[], None]


def garbage(
    store: ArtifactStore,
    *,
    older_than: float,
    unused_by: Sequence[Location] = (),
    say: Callable[[str], None] = print,
) -> list[Garbage]:
    """All that nobody needs.

    Args:
        store: which; of a remote one, this machine's cache too.
        older_than: seconds; what has no known owner and changed since is left.
        unused_by: results folders. With them, artifacts that none of their plans needs.
        say: told where it takes a while.

    """
    held = _held(store, say)
    if held:
        older_than = max(older_than, DAY_S)
    keys = {holder.key for holder in held}

    def is_held(key: str, manifest: dict[str, Any] | None) -> bool:
        return bool(held) and (
            key in keys or (manifest or {}).get("parent") in keys or _age(manifest) < older_than
        )

    found = _Tree(store, store.folder, "", older_than, keys).garbage()
    found += _dead_leases(store)
    if store.remote and store.root.is_dir():
        here = open_folder(store.root)
        found += _Tree(store, here, "in this machine's cache: ", older_than, keys).garbage()
    for results in dict.fromkeys([*_beside(store), *unused_by]):
        found += _temporary(open_folder(results), older_than)
    if unused_by:
        found += [
            Garbage(
                f"{store.where}/{stage}/{key}",
                "no plan of these results needs it",
                sum((manifest or {}).get("bytes", {}).values()),
                lambda stage=stage, key=key: _delete_artifact(store, stage, key),  # type: ignore[misc]
            )
            for stage, key, manifest in unused(store, unused_by, is_held)
        ]
    return found


def _age(manifest: dict[str, Any] | None) -> float:
    try:
        return time.time() - datetime.fromisoformat((manifest or {})["written_at"]).timestamp()
    except (KeyError, ValueError):
        return float("inf")


def _held(store: ArtifactStore, say: Callable[[str], None]) -> list[LeaseOwner]:
    """The living owners of leases; those of other machines have to be watched for a while."""
    leases = store.leases
    held = leases.owners()
    elsewhere = {h.token: h.beat for h in held if h.host != socket.gethostname()}
    if elsewhere:
        say(f"watching {len(elsewhere)} leases of other machines, for up to {leases.expiry:.0f} s")
    deadline = time.monotonic() + leases.expiry
    while elsewhere and time.monotonic() < deadline:
        time.sleep(min(1.0, leases.expiry / 4))
        held = leases.owners()
        beats = {holder.token: holder.beat for holder in held}
        elsewhere = {o: beat for o, beat in elsewhere.items() if beats.get(o) == beat}
    return leases.owners()


def _dead_leases(store: ArtifactStore) -> list[Garbage]:
    sizes = store.folder.joined(LEASES).listing()
    return [
        Garbage(
            f"{store.where}/{LEASES}/{name}",
            "the lease of a process that has ended",
            sum(e.size for file, e in sizes.items() if file.rpartition(".")[0] == name),
            lambda name=name: store.leases.drop(name),  # type: ignore[misc]
        )
        for name in store.leases.dead()
    ]


class _Tree:
    """What can go of a store's files, or of what a node's cache holds of them.

    Args:
        store: which.
        folder: the store's, or this machine's cache of it.
        where: what reasons begin with.
        older_than: seconds.
        held: keys that somebody works on.

    """

    def __init__(
        self, store: ArtifactStore, folder: Folder, where: str, older_than: float, held: set[str]
    ) -> None:
        self._store, self._folder, self._where = store, folder, where
        self._older_than, self._held = older_than, held
        self._has = store.seen()
        self._is_cache = folder is not store.folder
        self._versions: dict[str, str] = {}

    def garbage(self) -> list[Garbage]:
        groups: dict[tuple[str, ...], list[Entry]] = {}
        for path, entry in self._folder.tree().items():
            parts = tuple(part for part in path.split("/") if part)
            if group := self._group(parts):
                groups.setdefault(group, []).append(entry)
        found = []
        for group, entries in groups.items():
            if why := self._reason(group, max(entry.modified for entry in entries)):
                path = "/".join(group)
                size = sum(entry.size for entry in entries)
                where = f"{self._folder.where}/{path}"
                found.append(Garbage(where, f"{self._where}{why}", size, self._deletion(group)))
        return found

    def _group(self, parts: tuple[str, ...]) -> tuple[str, ...] | None:
        """What a file belongs to that could only go as one."""
        if parts[0] in (UNFINISHED, DAMAGED, LEASES):
            return parts[:2] if len(parts) > 1 else None
        if parts[0] in VERSIONS and len(parts) > 1:
            if self._store.remote and not self._is_cache and not parts[1].startswith("."):
                return parts[:3] if len(parts) > 3 else None
            return parts[:2]
        return parts[:1] if parts[0].startswith(".") and parts[0] != MARK else None

    def _reason(self, group: tuple[str, ...], modified: float) -> str | None:
        """Why a group can go; None if it stays."""
        old = time.time() - modified >= self._older_than
        kind, name = group[0], group[-1]
        if kind == DAMAGED:
            return "a damaged artifact that was set aside"
        if kind == UNFINISHED:
            stage, _, key = name.partition("-")
            if stage in VERSIONS and self._has(stage, key):
                return "checkpoints of what is finished"
            return "checkpoints that nobody goes on from" if old and key not in self._held else None
        if kind == LEASES or len(group) == 1:
            return "a temporary file" if name.startswith(".") and old else None
        key = group[1].lstrip(".").split("-")[0].split(".")[0]
        if group[1].startswith("."):
            return "left by a builder" if old and key not in self._held else None
        if self._is_cache:
            gone = old and not self._has(kind, key)
            return "of what the store no longer holds" if gone else None
        if len(group) == 3 and old and key not in self._held and not self._counts(*group):
            return "files that no manifest names"
        return None

    def _counts(self, stage: str, key: str, version: str) -> bool:
        """Whether a folder of files is the one that a remote artifact's manifest names."""
        if not self._has(stage, key):
            return False
        if (name := f"{stage}/{key}") not in self._versions:
            try:
                self._versions[name] = str(self._store.manifest(stage, key).get("folder"))
            except (FileNotFoundError, ValueError):
                return True  # what cannot be told stays
        return self._versions[name] == version

    def _deletion(self, group: tuple[str, ...]) -> Callable[[], None]:
        above = self._folder.joined(*group[:-1])

        def delete() -> None:
            # A file and a link go as a file; what is left, as a folder.
            try:
                above.delete(group[-1])
            except (IsADirectoryError, PermissionError):
                above.joined(group[-1]).delete_all()
            else:
                if self._store.remote and not self._is_cache:
                    above.joined(group[-1]).delete_all()

        return delete


def _beside(store: ArtifactStore) -> Iterable[str]:
    """The results folder that a store lies in, where it is in its usual place."""
    above, _, name = store.where.rpartition("/")
    if name == "store" and above and open_folder(above).joined("ledger").folders():
        yield above


def _temporary(results: Folder, older_than: float) -> list[Garbage]:
    """What those that were killed have left in results: between a ledger's parts, or probing."""
    looked = [
        (results, name, entry)
        for name, entry in results.listing(hidden=True).items()
        if name.startswith(PROBES)
    ]
    ledger = results.joined("ledger")
    written = [
        (ledger.joined(*path.split("/")[:-1]), path.rpartition("/")[2], entry)
        for path, entry in ledger.tree().items()
    ]
    return [
        Garbage(
            f"{folder.where}/{name}", "a temporary file", entry.size,
            lambda folder=folder, name=name: folder.delete(name),  # type: ignore[misc]
        )
        for folder, name, entry in looked
        + [one for one in written if one[1].startswith(".") and one[1].endswith(".tmp")]
        if time.time() - entry.modified >= older_than
    ]  # fmt: skip


def _delete_artifact(store: ArtifactStore, stage: str, key: str) -> None:
    """Delete a finished artifact; broken off in between, it is not finished, and garbage."""
    store.path(stage, key)
    if store.remote:
        store.folder.joined(stage).delete(f"{key}.json")
        store.folder.joined(stage, key).delete_all()
        return
    going = f".{key}-{uuid.uuid4().hex[:8]}"
    path = store.path(stage, key)
    path.rename(path.with_name(going))
    store.folder.joined(stage, going).delete_all()
