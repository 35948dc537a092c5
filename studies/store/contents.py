"""What lies in a store, by kind; one walk finds it for listing, checks and cleaning alike."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from reports.storage import MARK, Entry, Folder, StorageError
from studies.formatting import aligned, in_bytes
from studies.store.artifacts import ArtifactStore
from studies.store.keys import VERSIONS
from studies.store.layout import BUILDS, MANIFEST, QUARANTINE, SCRATCH, TRIED, stage_and_key
from studies.store.leases import LEASES
from studies.store.manifest import Manifest
from wsss_core.errors import InputError

Kind = Literal["artifact", "build", "scratch", "quarantined", "lease", "tried", "temporary"]

_SIDE: dict[str, Kind] = {
    BUILDS: "build",
    SCRATCH: "scratch",
    QUARANTINE: "quarantined",
    LEASES: "lease",
    TRIED: "tried",
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


def require_store(store: ArtifactStore) -> None:
    """Raise unless a place is a store, so that a mistyped one is not an empty store.

    Raises:
        InputError: it is none; the message names a store below it.

    """
    if _is_store(store):
        return
    inside = ArtifactStore(f"{store.where}/store")
    hint = f"; did you mean {inside.where}?" if _is_store(inside) else ""
    raise InputError(f"{store.where}: no artifact store is there{hint}")


def _is_store(store: ArtifactStore) -> bool:
    folders = store.folder.folders()
    # A results folder carries the mark too.
    marked = store.folder.has(MARK) and "ledger" not in folders
    return marked or any(stage in folders for stage in VERSIONS)


def summary(found: Sequence[StoreRecord]) -> str:
    """Return a line for each stage: how many artifacts, how many bytes, the newest."""
    rows = [("stage", "artifacts", "size", "newest")]
    for stage in VERSIONS:
        if of_stage := [artifact for artifact in found if artifact.stage == stage]:
            rows.append((stage, *_sum(of_stage), max(map(_written_at, of_stage))))
    if len(found) != 1 and len(rows) > 2:
        rows.append(("all", *_sum(found), ""))
    return aligned(rows, right=(1, 2))


def details(found: Iterable[StoreRecord]) -> str:
    """Return a line for each artifact."""
    rows = [("stage", "key", "size", "written", "of", "what")]
    for artifact in found:
        size, about = "?", "its manifest cannot be read"
        if artifact.manifest is not None:
            size, about = in_bytes(artifact.bytes), _about(artifact.stage, artifact.manifest.about)
        rows.append(
            (
                artifact.stage,
                artifact.key,
                size,
                _written_at(artifact),
                artifact.parent or "",
                about,
            )
        )
    return aligned(rows, right=(2,))


def contents_record(found: Sequence[StoreRecord], *, each: bool) -> dict[str, Any]:
    """Return what `summary` says of artifacts as plain values, for scripts.

    Args:
        found: see `read_artifacts`.
        each: list every artifact too; else `artifacts` is None.

    """
    stages = {stage: [one for one in found if one.stage == stage] for stage in VERSIONS}
    return {
        "stages": [
            {
                "stage": stage,
                "artifacts": len(of_stage),
                "bytes": sum(artifact.bytes for artifact in of_stage),
                "newest": max(map(_written_at, of_stage)) or None,
            }
            for stage, of_stage in stages.items()
            if of_stage
        ],
        "artifacts": [_artifact_record(artifact) for artifact in found] if each else None,
    }


def _artifact_record(artifact: StoreRecord) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "stage": artifact.stage,
        "key": artifact.key,
        "bytes": None if manifest is None else artifact.bytes,
        "written_at": None if manifest is None else manifest.written_at,
        "of": artifact.parent,
        "about": None if manifest is None else _about(artifact.stage, manifest.about),
    }


def _about(stage: str, about: Mapping[str, Any]) -> str:
    """Return what tells an artifact from others of its stage, as far as its manifest says."""
    settings = about.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    step = about.get("step")
    words: list[Any] = []
    if stage == "train":
        networks = [settings.get(role, {}).get("model") for role in ("student", "teacher")]
        networks += [one["model"] for role, one in settings.items() if role[:-1] == "teacher"]
        transfer = settings.get("transfer", {})
        words = [
            settings.get("paradigm"),
            " <- ".join(str(name) for name in networks if name),
            *(transfer.get(name) for name in ("metric", "level")),
            f"seed {settings['seed']}" if "seed" in settings else None,
        ]
    elif stage == "segment":
        model, labels = settings.get("model", {}), settings.get("labels", {})
        rule, masks = labels.get("pseudo", {}).get("rule"), labels.get("masks")
        words = [
            model.get("model"),
            model.get("encoder"),
            f"{masks} masks" if masks else None,
            f"pseudo masks, {rule}" if rule else None,
            f"seed {settings['seed']}" if "seed" in settings else None,
        ]
    elif stage == "images":
        size = about.get("size")
        fingerprint = str(about.get("fingerprint", ""))[:12]
        words = [about.get("split"), f"{size} px" if size else None, fingerprint]
    elif stage == "cams":
        cam = settings.get("cam")
        words = [settings.get("role"), cam.get("method") if isinstance(cam, dict) else cam]
    elif stage == "features":
        words = [about.get("what")]
    elif isinstance(step, dict):
        bounds = about.get("bounds")
        words = [step.get("kind"), "images {}-{}".format(*bounds) if bounds else None]
    return ", ".join(str(word) for word in words if word)


def _written_at(artifact: StoreRecord) -> str:
    return "" if artifact.manifest is None else artifact.manifest.written_at


def _sum(found: Sequence[StoreRecord]) -> tuple[str, str]:
    return f"{len(found)}", in_bytes(sum(artifact.bytes for artifact in found))
