"""What `wsss store list` prints: the artifacts of a store by stage, or every single artifact."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.storage import MARK
from studies.formatting import aligned, in_bytes
from studies.store.artifacts import ArtifactStore
from studies.store.keys import VERSIONS
from studies.store.walk import StoreRecord
from wsss_core.errors import InputError


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


def _about(stage: str, about: Mapping[str, Any]) -> str:
    """Return what tells an artifact from others of its stage, as far as its manifest says."""
    settings = about.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    step = about.get("step")
    words: list[Any] = []
    if stage == "train":
        networks = [settings.get(role, {}).get("model") for role in ("student", "teacher")]
        transfer = settings.get("transfer", {})
        words = [
            settings.get("paradigm"),
            " <- ".join(str(name) for name in networks if name),
            *(transfer.get(name) for name in ("metric", "level")),
            f"seed {settings['seed']}" if "seed" in settings else None,
        ]
    elif stage == "images":
        size = about.get("size")
        fingerprint = str(about.get("fingerprint", ""))[:12]
        words = [about.get("split"), f"{size} px" if size else None, fingerprint]
    elif stage == "cams":
        cam = settings.get("cam")
        words = [settings.get("role"), cam.get("method") if isinstance(cam, dict) else cam]
    elif isinstance(step, dict):
        bounds = about.get("bounds")
        words = [step.get("kind"), "images {}-{}".format(*bounds) if bounds else None]
    return ", ".join(str(word) for word in words if word)


def _written_at(artifact: StoreRecord) -> str:
    return "" if artifact.manifest is None else artifact.manifest.written_at


def _sum(found: Sequence[StoreRecord]) -> tuple[str, str]:
    return f"{len(found)}", in_bytes(sum(artifact.bytes for artifact in found))
