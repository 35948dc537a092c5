"""The manifest of an artifact: what its builder says of it, and size and checksum of every file.

The manifest holds a digest of its own. A manifest of revision 6d4fdaa holds none and is read.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from studies.store.layout import MANIFEST
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.whole_files import ZEROS, fill_digest, holds_digest

_DIGEST = "manifest_digest"
_PLACE = f'"{_DIGEST}": "'.encode()

_EARLIER_MAKER = {"host", "pid"}
"""What revision 6d4fdaa said of who made an artifact."""

Stamp = tuple[str, int, int, int]
"""A file's name, size, time of change and inode: as long as all are the same, so is its content."""

_sound: dict[Path, tuple[Stamp, ...]] = {}
"""The artifacts that this process has compared with their manifests, and found to agree."""


@dataclass(frozen=True)
class Manifest:
    """What an artifact holds.

    Attributes:
        about: what its builder says of it: settings, parent and the like, as JSON has them.
        written_at: ISO 8601.
        checksums: the name of each file, below the artifact's folder -> its BLAKE2b digest.
        sizes: the name of each file -> its size in bytes.
        folder: the name of the files' folder in ``files/``; empty if they lie beside the manifest.
        artifact: its stage and key, see `name_of`; empty in a manifest of revision 6d4fdaa.

    """

    about: Mapping[str, Any]
    written_at: str
    checksums: Mapping[str, str]
    sizes: Mapping[str, int]
    folder: str = ""
    artifact: str = ""

    @property
    def parent(self) -> str | None:
        """The key of the training run that the artifact belongs to, if the manifest names one."""
        parent = self.about.get("parent")
        return None if parent is None else str(parent)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(self.sizes.values())

    @classmethod
    def of(cls, folder: Path, about: Mapping[str, Any], artifact: str = "") -> "Manifest":
        """Describe the files of a folder.

        Args:
            folder: the folder.
            about: what the builder says of it.
            artifact: its stage and key, see `name_of`.

        """
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        names = [file.relative_to(folder).as_posix() for file in files]
        return cls(
            about,
            datetime.now(UTC).isoformat(timespec="seconds"),
            dict(zip(names, file_hashes(files), strict=True)),
            {name: file.stat().st_size for name, file in zip(names, files, strict=True)},
            artifact=artifact,
        )

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        """Read a manifest whose names stay in their folder.

        Raises:
            ValueError: the content differs from its digest, is no manifest, or names a file
                elsewhere.

        """
        whole = holds_digest(content, _PLACE)
        if whole is False:
            raise ValueError("it differs from the digest that it holds")
        about = json.loads(content)
        if not isinstance(about, dict):
            raise ValueError("it is no mapping")
        about.pop(_DIGEST, None)
        files, sizes = about.pop("files", None), about.pop("bytes", None)
        if not (
            isinstance(files, dict) and isinstance(sizes, dict) and files.keys() == sizes.keys()
        ):
            raise ValueError("it does not say what its files are")
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name:
                raise ValueError(f"it names a file elsewhere: {name!r}")
        if whole is None and set(about.get("made_by") or ()) - _EARLIER_MAKER:
            raise ValueError("it holds no digest")
        written_at, folder, artifact = (
            str(about.pop(name, "")) for name in ("written_at", "folder", "artifact")
        )
        return cls(about, written_at, files, sizes, folder, artifact)

    def as_json(self) -> bytes:
        """Return the content of the manifest's file."""
        fields = {"written_at": self.written_at, "files": self.checksums, "bytes": self.sizes}
        fields |= {_DIGEST: ZEROS.decode()}
        named = {"folder": self.folder, "artifact": self.artifact}
        place = {name: value for name, value in named.items() if value}
        content = json.dumps({**self.about, **fields, **place}, indent=1, sort_keys=True)
        return fill_digest(content.encode(), _PLACE)


def is_sound(folder: Path) -> bool:
    """Return whether a finished artifact is in a folder, as its manifest says.

    Every file is read and compared when this process asks for the first time, and again once a
    file's size, time of change or inode is another.
    """
    with contextlib.suppress(OSError):
        if folder in _sound and _stamps(folder, [s[0] for s in _sound[folder]]) == _sound[folder]:
            return True
    _sound.pop(folder, None)
    try:
        stamps = _stamps(folder, [MANIFEST])  # before it is read: it may change meanwhile
        manifest = _read(folder)
        stamps += _stamps(folder, list(manifest.sizes))
        if _differing(folder, manifest, name_of(folder)):
            return False
    except (OSError, ValueError):
        return False
    _sound[folder] = stamps
    return True


def forget(folder: Path) -> None:
    """Compare an artifact's files with its manifest again when it is next asked for."""
    _sound.pop(folder, None)


def _read(folder: Path) -> Manifest:
    return Manifest.from_json((folder / MANIFEST).read_bytes())


def _stamps(folder: Path, names: Sequence[str]) -> tuple[Stamp, ...]:
    found = [(name, (folder / name).stat()) for name in names]
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in found)


def name_of(path: Path) -> str:
    """Return stage and key of an artifact by the path that it has, or is to have."""
    return f"{path.parent.name}/{path.name}"


def differences(folder: Path, artifact: str) -> list[str]:
    """Return how the files of a folder differ from the manifest in it; empty if they do not.

    Args:
        folder: a folder of this machine.
        artifact: which artifact it should be, see `name_of`.

    Raises:
        FileNotFoundError: no manifest is there.

    """
    try:
        manifest = _read(folder)
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        return [f"{MANIFEST}: {error}"]
    return _differing(folder, manifest, artifact)


def _differing(folder: Path, manifest: Manifest, artifact: str) -> list[str]:
    found: list[str] = []
    if manifest.artifact not in ("", artifact):
        found.append(f"{MANIFEST} is that of {manifest.artifact}")
    compared: list[str] = []
    for name, expected in manifest.sizes.items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            found.append(f"{name} is missing")
            continue
        if size != expected:
            found.append(f"{name} has {size} bytes, expected {expected}")
        else:
            compared.append(name)
    try:
        digests = file_hashes([folder / name for name in compared])
    except InputError as error:
        return [*found, str(error)]
    return found + [
        f"{name} has another checksum than its manifest says"
        for name, digest in zip(compared, digests, strict=True)
        if digest != manifest.checksums[name]
    ]
