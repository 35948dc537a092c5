"""What nobody needs any more in a store: `wsss store gc` names it, and deletes it if asked to.

Nothing is followed out of the store: links are deleted as links. Whatever may be in the making is
left: a living lease owner keeps what it makes whatever its age, and while anyone works with the
store, whatever is younger than a day and has no known owner stays too.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from reports.storage.folder import Folder
from reports.storage.locations import Location
from reports.storage.opening import open_folder
from studies.store.artifacts import ArtifactStore
from studies.store.layout import FILES
from studies.store.leases import LEASES, LeaseOwner
from studies.store.usage import unneeded
from studies.store.walk import Artifact, Kind, Record, read_artifacts, walk

DAY_S = 86_400.0

PROBES = (".node-check-", ".written-")
"""How the files begin by which drivers and workers find out whether a folder can be used."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Garbage:
    """Something that can go.

    Attributes:
        name: its path or URI.
        why: in a few words.
        bytes: the space it takes.
        delete: makes it go.

    """

    name: str
    why: str
    bytes: int
    delete: Callable[[], None]


def garbage(
    store: ArtifactStore, *, older_than: float, unused_by: Sequence[Location] = ()
) -> list[Garbage]:
    """Return all that nobody needs.

    Args:
        store: the store; of a remote one, this machine's cache too.
        older_than: seconds; what has no known owner and changed since is left.
        unused_by: results folders. With them, artifacts too that none of their plans needs.

    """
    owners = _living_owners(store)
    if owners:
        older_than = max(older_than, DAY_S)
    records = walk(store.folder)
    # Read after the walk, so that it names the files of whatever was finished meanwhile.
    artifacts = read_artifacts(store, (r for r in records if r.kind in (Kind.ARTIFACT, Kind.BUILD)))
    use = _Use(artifacts, {owner.key for owner in owners}, older_than)
    records = [record for record in records if record.kind is not Kind.ARTIFACT]
    found = _unused(store.folder, records, use) + _dead_leases(store, records)
    if store.remote and store.root.is_dir():
        cache = open_folder(store.root)
        found += _unused(cache, walk(cache), use, "in this machine's cache: ")
    for results in dict.fromkeys([*_beside(store), *unused_by]):
        found += _temporary(open_folder(results), older_than)
    for one in unneeded(artifacts, unused_by) if unused_by else ():
        if not (owners and use.may_need(one)):
            delete = partial(store.delete, one.stage, one.key)
            name = f"{store.where}/{one.name}"
            found.append(Garbage(name, "no plan of these results needs it", one.bytes, delete))
    return found


def _living_owners(store: ArtifactStore) -> list[LeaseOwner]:
    """Return the living lease owners; those of other machines have to be watched for a while."""
    leases = store.leases
    elsewhere = {o.token: o.beat for o in leases.owners() if o.host != socket.gethostname()}
    if elsewhere:
        logger.info(
            f"watching {len(elsewhere)} leases of other machines, for up to {leases.expiry:.0f} s"
        )
    deadline = time.monotonic() + leases.expiry
    while elsewhere and time.monotonic() < deadline:
        time.sleep(min(1.0, leases.expiry / 4))
        beats = {owner.token: owner.beat for owner in leases.owners()}
        elsewhere = {token: beat for token, beat in elsewhere.items() if beats.get(token) == beat}
    return leases.owners()


class _Use:
    """What still needs something of a store.

    Args:
        artifacts: the finished artifacts of the store.
        held: the keys that lease owners work on.
        older_than: seconds; whatever changed since may have an owner that is not known.

    """

    def __init__(self, artifacts: Iterable[Artifact], held: set[str], older_than: float) -> None:
        self._held, self._older_than = held, older_than
        self._manifests = {(one.stage, one.key): one.manifest for one in artifacts}

    def reason(self, record: Record) -> str | None:
        """Return why a record can go; None if it stays. Artifacts are those of a cache."""
        names = record.stage, record.key
        free = self._is_old(record.modified) and record.key not in self._held
        match record.kind:
            case Kind.QUARANTINED:
                return "a corrupt artifact that was quarantined"
            case Kind.SCRATCH if names in self._manifests:
                return "checkpoints of a finished artifact"
            case Kind.SCRATCH if free:
                return "checkpoints that nobody resumes from"
            case Kind.BUILD if free and not self._is_named(record):
                return "left by a builder"
            case Kind.TEMPORARY if free:
                return "a temporary file"
            case Kind.ARTIFACT if free and names not in self._manifests:
                return "the store no longer holds it"
        return None

    def _is_named(self, build: Record) -> bool:
        """Return whether a manifest names the files of a build, or cannot be read and may do so."""
        if (build.stage, build.key) not in self._manifests:
            return False
        manifest = self._manifests[build.stage, build.key]
        return manifest is None or build.path == f"{FILES}/{manifest.folder}"

    def may_need(self, artifact: Artifact) -> bool:
        """Return whether a lease owner may be working with an artifact."""
        try:
            written = datetime.fromisoformat(
                artifact.manifest.written_at if artifact.manifest else ""
            )
        except ValueError:
            young = False
        else:
            young = not self._is_old(written.timestamp())
        return young or artifact.key in self._held or artifact.parent in self._held

    def _is_old(self, moment: float) -> bool:
        return time.time() - moment >= self._older_than


def _unused(folder: Folder, records: Iterable[Record], use: _Use, where: str = "") -> list[Garbage]:
    """Return the records of a folder that can go."""
    return [
        Garbage(f"{folder.where}/{record.path}", where + why, record.bytes,
                partial(_delete, folder, record.path))
        for record in records
        if (why := use.reason(record))
    ]  # fmt: skip


def _delete(folder: Folder, path: str) -> None:
    """Delete a file, a link or a folder."""
    *above, name = path.split("/")
    place = folder.joined(*above)
    with contextlib.suppress(IsADirectoryError, PermissionError):
        place.delete(name)
    place.joined(name).delete_all()


def _dead_leases(store: ArtifactStore, records: Iterable[Record]) -> list[Garbage]:
    sizes: Counter[str] = Counter()
    for record in records:
        if record.kind is Kind.LEASE:
            sizes[record.path.rpartition(".")[0]] += record.bytes
    return [
        Garbage(
            f"{store.where}/{LEASES}/{name}",
            "the lease of a process that has ended",
            sizes[f"{LEASES}/{name}"],
            partial(store.leases.drop, name),
        )
        for name in store.leases.dead()
    ]


def _beside(store: ArtifactStore) -> Iterable[str]:
    """Yield the results folder that a store lies in, where it is in its usual place."""
    above, _, name = store.where.rpartition("/")
    if name == "store" and above and open_folder(above).joined("ledger").folders():
        yield above


def _temporary(results: Folder, older_than: float) -> list[Garbage]:
    """Return the temporary files that killed processes left in results."""
    found = [
        (results, name, entry)
        for name, entry in results.listing(hidden=True).items()
        if name.startswith(PROBES)
    ]
    for path, entry in results.joined("ledger").tree().items():
        *above, name = path.split("/")
        if name.startswith(".") and name.endswith(".tmp"):
            found.append((results.joined("ledger", *above), name, entry))
    return [
        Garbage(
            f"{folder.where}/{name}", "a temporary file", entry.size, partial(folder.delete, name)
        )
        for folder, name, entry in found
        if time.time() - entry.modified >= older_than
    ]
