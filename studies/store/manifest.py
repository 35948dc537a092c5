"""The manifest of an artifact: what was said about it, and size and checksum of every file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError

MANIFEST = "manifest.json"


def manifest_of(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """What `folder` holds, with what is to be said about it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = [file.relative_to(folder).as_posix() for file in files]
    return {
        **about,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": dict(zip(names, file_hashes(files), strict=True)),
        "bytes": {n: f.stat().st_size for n, f in zip(names, files, strict=True)},
    }


def as_json(manifest: dict[str, Any]) -> bytes:
    """A manifest as it is kept."""
    return json.dumps(manifest, indent=1, sort_keys=True).encode()


def read_manifest(content: bytes) -> dict[str, Any]:
    """A manifest whose names stay in their folder.

    Raises:
        ValueError: what is there is no manifest, or names a file elsewhere.

    """
    manifest = json.loads(content)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError("it names no files")
    for name in manifest["files"]:
        path = PurePosixPath(name)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name:
            raise ValueError(f"it names a file elsewhere: {name!r}")
    return manifest


def differences(folder: Path, *, whole: bool) -> list[str]:
    """How the files of a folder differ from its manifest; empty if they do not.

    Args:
        folder: holds the manifest too.
        whole: compare checksums, not only sizes.

    Raises:
        FileNotFoundError: no manifest is there.

    """
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        return [f"{MANIFEST}: {error}"]
    found: list[str] = []
    compared: dict[str, str] = {}
    sizes = manifest.get("bytes", {})
    for name in manifest["files"]:
        try:
            size = (folder / name).stat().st_size
        except OSError:
            found.append(f"{name} is missing")
            continue
        if name in sizes and size != sizes[name]:
            found.append(f"{name} has {size} bytes, expected {sizes[name]}")
        elif whole:
            compared[name] = manifest["files"][name]
    try:
        digests = file_hashes([folder / name for name in compared])
    except InputError as error:
        return [*found, str(error)]
    return found + [
        f"{name} has another checksum than its manifest says"
        for (name, digest), is_now in zip(compared.items(), digests, strict=True)
        if digest != is_now
    ]
