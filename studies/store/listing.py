"""What a store holds, as `wsss store list` prints it: by stage, or every artifact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reports.storage.folder import MARK
from reports.storage.locations import is_uri
from reports.storage.opening import open_folder
from studies.formatting import in_bytes
from studies.store.artifacts import ArtifactStore
from studies.store.keys import VERSIONS
from wsss_core.errors import InputError


@dataclass(frozen=True)
class Artifact:
    """A finished artifact as its manifest describes it.

    Attributes:
        stage: a name of `studies.store.keys.VERSIONS`.
        key: see `studies.store.keys.stage_key`.
        bytes: of all its files; None where the manifest cannot be read or does not say.
        written_at: ISO 8601; empty where it is not known.
        parent: the key of the training run it is of, if it is of one.
        about: its settings in a few words.

    """

    stage: str
    key: str
    bytes: int | None
    written_at: str
    parent: str | None
    about: str


def require_store(store: ArtifactStore) -> None:
    """See that a place is a store, so that a mistyped one is not an empty store.

    Raises:
        InputError: it is none; a store below it is named.

    """
    if _is_store(store):
        return
    inside = ArtifactStore(f"{store.where}/store")
    hint = f"; did you mean {inside.where}?" if _is_store(inside) else ""
    raise InputError(f"{store.where}: no artifact store is there{hint}")


def _is_store(store: ArtifactStore) -> bool:
    if not is_uri(store.where) and not store.root.is_dir():
        return False
    # A results folder carries the mark too.
    folders = open_folder(store.where).folders()
    marked = store.folder.has(MARK) and "ledger" not in folders
    return marked or any(stage in folders for stage in VERSIONS)


def artifacts(store: ArtifactStore, stages: Iterable[str] = ()) -> list[Artifact]:
    """The finished artifacts of some stages, or of all, by stage and key.

    Raises:
        InputError: no such stage.

    """
    asked = list(stages) or list(VERSIONS)
    for stage in asked:
        if stage not in VERSIONS:
            raise InputError(f"stage {stage!r}: expected one of {', '.join(VERSIONS)}")
    return [
        _artifact(stage, key, manifest)
        for stage in asked
        for key, manifest in store.manifests(stage)
    ]


def _artifact(stage: str, key: str, manifest: dict[str, Any] | None) -> Artifact:
    if manifest is None:
        return Artifact(stage, key, None, "", None, "its manifest cannot be read")
    sizes = manifest.get("bytes")
    size = sum(sizes.values()) if isinstance(sizes, dict) else None
    parent = manifest.get("parent")
    return Artifact(
        stage, key, size, str(manifest.get("written_at", "")), parent and str(parent),
        _about(stage, manifest),
    )  # fmt: skip


def _about(stage: str, manifest: dict[str, Any]) -> str:
    """What tells an artifact from others of its stage, as far as its manifest says."""
    settings = manifest.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    step = manifest.get("step")
    said: list[Any] = []
    if stage == "train":
        networks = [settings.get(role, {}).get("model") for role in ("student", "teacher")]
        transfer = settings.get("transfer", {})
        said = [
            settings.get("paradigm"), " <- ".join(str(name) for name in networks if name),
            *(transfer.get(name) for name in ("metric", "level")),
            f"seed {settings['seed']}" if "seed" in settings else None,
        ]  # fmt: skip
    elif stage == "images":
        size = manifest.get("size")
        fingerprint = str(manifest.get("fingerprint", ""))[:12]
        said = [manifest.get("split"), f"{size} px" if size else None, fingerprint]
    elif stage == "cams":
        cam = settings.get("cam")
        said = [settings.get("role"), cam.get("method") if isinstance(cam, dict) else cam]
    elif isinstance(step, dict):
        bounds = manifest.get("bounds")
        said = [step.get("kind"), "images {}-{}".format(*bounds) if bounds else None]
    return ", ".join(str(one) for one in said if one)


def summary(found: list[Artifact]) -> str:
    """A line for each stage: how many artifacts, how many bytes, the newest."""
    rows = [("stage", "artifacts", "size", "newest")]
    for stage in VERSIONS:
        of_stage = [one for one in found if one.stage == stage]
        if of_stage:
            newest = max(one.written_at for one in of_stage)
            rows.append((stage, f"{len(of_stage)}", in_bytes(_sum(of_stage)), newest))
    if len(found) != 1 and len(rows) > 2:
        rows.append(("all", f"{len(found)}", in_bytes(_sum(found)), ""))
    return _table(rows, right=(1, 2))


def details(found: list[Artifact]) -> str:
    """A line for each artifact."""
    rows = [("stage", "key", "size", "written", "of", "what")]
    for one in found:
        size = "?" if one.bytes is None else in_bytes(one.bytes)
        rows.append((one.stage, one.key, size, one.written_at, one.parent or "", one.about))
    return _table(rows, right=(2,))


def _sum(found: list[Artifact]) -> int:
    return sum(one.bytes or 0 for one in found)


def _table(rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
