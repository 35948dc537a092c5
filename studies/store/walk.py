"""One walk over a store: what lies there, by kind, for the listing, the checks and the cleaning."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from reports.storage import MARK, Entry, Folder, StorageError
from studies.store.artifacts import ArtifactStore
from studies.store.keys import VERSIONS
from studies.store.layout import BUILDS, MANIFEST, QUARANTINE, SCRATCH, stage_and_key
from studies.store.leases import LEASES
from studies.store.manifest import Manifest
from wsss_core.errors import InputError

Kind = Literal["artifact", "build", "scratch", "quarantined", "lease", "temporary"]

_SIDE: dict[str, Kind] = {
    BUILDS: "build",
    SCRATCH: "scratch",
    QUARANTINE: "quarantined",
    LEASES: "lease",
}
"""What the side folders of a store hold."""

_AT_ONCE = 16  # manifests read together; each is a request to a remote store


@dataclass(frozen=True)
class StoreRecord:
    """What lies in a store under one name and goes, if it goes, as a whole.

    Attributes:
        kind: what it is.
        path: the name, below the store, with slashes.
        stage: the stage it belongs to, if any.
        key: the key it belongs to, if any.
        bytes: of its files, as far as they are known.
        modified: when the last of its files was, in seconds since 1970.
        manifest: of an artifact that `read_artifacts` returned; None if it cannot be read.

    """

    kind: Kind
    path: str
    stage: str
    key: str
    bytes: int
    modified: float = 0.0
    manifest: Manifest | None = None

    @property
    def parent(self) -> str | None:
        """See `studies.store.manifest.Manifest`."""
        return None if self.manifest is None else self.manifest.parent


def walk(folder: Folder) -> list[StoreRecord]:
    """List a store, or this machine's cache of one, once. Links lead nowhere.

    Files of no known place are left out.
    """
    groups: dict[tuple[str, str], dict[str, Entry]] = {}
    for path, entry in folder.tree().items():
        first, _, rest = path.partition("/")
        name, _, file = rest.partition("/")
        if name and (first in VERSIONS or first in _SIDE):
            groups.setdefault((first, name), {})[file] = entry
        elif first.startswith(".") and first != MARK:
            groups.setdefault(("", first), {})[path] = entry
    records = []
    for (first, name), files in groups.items():
        kind, (stage, key) = _SIDE.get(first), stage_and_key(name)
        if name.startswith("."):
            kind = "temporary"
        elif first in VERSIONS and name.isalnum() and MANIFEST in files:
            kind, stage, key = "artifact", first, name
        if kind is not None:
            size = sum(entry.size for entry in files.values())
            modified = max(entry.modified for entry in files.values())
            path = f"{first}/{name}" if first else name
            records.append(StoreRecord(kind, path, stage, key, size, modified))
    return records


def read_artifacts(
    store: ArtifactStore, records: Iterable[StoreRecord], stages: Sequence[str] = ()
) -> list[StoreRecord]:
    """Read the manifests of the artifacts that records belong to and that are finished now.

    An artifact that was finished after the walk, when only its build was there, is among them.

    Args:
        store: the store.
        records: what `walk` found in it.
        stages: only these stages; all if none is named.

    Returns:
        The artifacts by stage, as `VERSIONS` orders them, and key.

    Raises:
        InputError: no such stage.

    """
    for stage in stages:
        if stage not in VERSIONS:
            raise InputError(f"stage {stage!r}: expected one of {', '.join(VERSIONS)}")
    known = {(r.stage, r.key) for r in records if r.kind in ("artifact", "build")}
    names = [
        (stage, key)
        for stage in VERSIONS
        if not stages or stage in stages
        for key in sorted(key for of_stage, key in known if of_stage == stage and key.isalnum())
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda name: _read(store, *name), names)
        return [artifact for artifact in found if artifact is not None]


def _read(store: ArtifactStore, stage: str, key: str) -> StoreRecord | None:
    manifest = None
    try:
        manifest = store.manifest(stage, key)
    except FileNotFoundError:
        return None  # not finished, or deleted meanwhile
    except StorageError:
        raise
    except ValueError:
        pass  # it cannot be read
    size = 0 if manifest is None else manifest.size
    return StoreRecord("artifact", f"{stage}/{key}", stage, key, size, manifest=manifest)
