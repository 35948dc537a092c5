"""One walk over a store: what lies there, by kind, for the listing, the checks and the cleaning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from reports.storage.errors import StorageError
from reports.storage.folder import MARK, Entry, Folder
from studies.store.artifacts import ArtifactStore
from studies.store.keys import VERSIONS
from studies.store.layout import FILES, MANIFEST, QUARANTINED, SCRATCH, stage_and_key
from studies.store.leases import LEASES
from studies.store.manifest import Manifest
from wsss_core.errors import InputError

_AT_ONCE = 16  # manifests read together; each is a request to a remote store


class Kind(StrEnum):
    """What a name in a store stands for."""

    ARTIFACT = "artifact"
    BUILD = "build"
    SCRATCH = "scratch"
    QUARANTINED = "quarantined"
    LEASE = "lease"
    TEMPORARY = "temporary"


_SIDE = {
    FILES: Kind.BUILD,
    SCRATCH: Kind.SCRATCH,
    QUARANTINED: Kind.QUARANTINED,
    LEASES: Kind.LEASE,
}


@dataclass(frozen=True)
class Record:
    """What lies in a store under one name and goes, if it goes, as a whole.

    Attributes:
        kind: what it is.
        path: the name, below the store, with slashes.
        stage: the stage it belongs to; empty for what belongs to none.
        key: the key it belongs to.
        bytes: of its files.
        modified: when the last of its files was, in seconds since 1970.

    """

    kind: Kind
    path: str
    stage: str
    key: str
    bytes: int
    modified: float


@dataclass(frozen=True)
class Artifact:
    """A finished artifact.

    Attributes:
        stage: a name of `studies.store.keys.VERSIONS`.
        key: see `studies.store.keys.stage_key`.
        manifest: None if its file cannot be read as one.

    """

    stage: str
    key: str
    manifest: Manifest | None

    @property
    def name(self) -> str:
        """Stage and key, as messages name an artifact."""
        return f"{self.stage}/{self.key}"

    @property
    def parent(self) -> str | None:
        """See `studies.store.manifest.Manifest`."""
        return None if self.manifest is None else self.manifest.parent

    @property
    def bytes(self) -> int:
        """The bytes of all files, as far as they are known."""
        return 0 if self.manifest is None else self.manifest.size


def walk(folder: Folder) -> list[Record]:
    """List a store, or this machine's cache of one, once. Links lead nowhere.

    Files of no known place are left out.
    """
    groups: dict[str, dict[str, Entry]] = {}
    for path, entry in folder.tree().items():
        first, _, rest = path.partition("/")
        name, _, file = rest.partition("/")
        if name and (first in VERSIONS or first in _SIDE):
            groups.setdefault(f"{first}/{name}", {})[file] = entry
        elif first.startswith(".") and first != MARK:
            groups.setdefault(first, {})[path] = entry
    records = []
    for path, files in groups.items():
        if found := _kind(path, files):
            size = sum(entry.size for entry in files.values())
            modified = max(entry.modified for entry in files.values())
            records.append(Record(found[0], path, *found[1:], size, modified))
    return records


def _kind(path: str, files: Iterable[str]) -> tuple[Kind, str, str] | None:
    """Return kind, stage and key of what lies under a path."""
    first, _, name = path.partition("/")
    if first in VERSIONS and name.isalnum():
        return (Kind.ARTIFACT, first, name) if MANIFEST in files else None
    hidden = path.startswith(".") or name.startswith(".")
    stage, key = stage_and_key(name)
    if first in _SIDE or hidden:
        return (Kind.TEMPORARY if hidden else _SIDE[first]), stage, key
    return None


def finished(records: Iterable[Record], stages: Sequence[str] = ()) -> list[Record]:
    """Return the records of finished artifacts, of some stages, or of all if none is named.

    Raises:
        InputError: no such stage.

    """
    for stage in stages:
        if stage not in VERSIONS:
            raise InputError(f"stage {stage!r}: expected one of {', '.join(VERSIONS)}")
    wanted = stages or VERSIONS
    return [r for r in records if r.kind is Kind.ARTIFACT and r.stage in wanted]


def read_artifacts(store: ArtifactStore, records: Iterable[Record]) -> list[Artifact]:
    """Read the manifests of the artifacts that records name and that are finished now.

    Returns:
        The artifacts by stage, as `VERSIONS` orders them, and key.

    """
    names = {(r.stage, r.key) for r in records if r.stage in VERSIONS and r.key.isalnum()}
    order = list(VERSIONS).index
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ordered = sorted(names, key=lambda name: (order(name[0]), name[1]))
        found = pool.map(lambda name: _read(store, *name), ordered)
        return [artifact for artifact in found if artifact is not None]


def _read(store: ArtifactStore, stage: str, key: str) -> Artifact | None:
    try:
        return Artifact(stage, key, store.manifest(stage, key))
    except FileNotFoundError:
        return None  # not finished, or deleted meanwhile
    except StorageError:
        raise
    except ValueError:
        return Artifact(stage, key, None)
