"""The manifest of an artifact."""

import json
import os
from pathlib import Path

import pytest

import studies.store.manifest
from studies.store.manifest import Manifest, differences, forget, is_sound

WRITTEN = Manifest({"parent": None}, "2026-01-01T00:00:00+00:00", {"a": "0f"}, {"a": 1})
SOUND = {"files": {"a": "0"}, "bytes": {"a": 1}, "written_at": "2026-01-01T00:00:00+00:00"}


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.bin").write_bytes(b"1234")
    manifest = Manifest.of(tmp_path, {"settings": {"seed": 3}, "parent": None})
    assert Manifest.from_json(manifest.as_json()) == manifest
    assert (manifest.size, manifest.parent, manifest.folder) == (4, None, "")
    written = json.loads(manifest.as_json())
    assert written["settings"] == {"seed": 3}
    assert written["bytes"] == {"deep/a.bin": 4}
    assert "folder" not in written


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"{", "Expecting"),
        (b"[1]", "no mapping"),
        (b"{}", "does not say what its files are"),
        (json.dumps({**SOUND, "bytes": {"b": 1}}).encode(), "does not say what its files are"),
        (json.dumps({"files": {"../a": "0"}, "bytes": {"../a": 1}}).encode(), "file elsewhere"),
        (json.dumps({"files": {"": "0"}, "bytes": {"": 1}}).encode(), "file elsewhere"),
    ],
)
def test_what_is_no_manifest_is_refused_and_makes_an_artifact_corrupt(
    tmp_path: Path, content: bytes, error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        Manifest.from_json(content)
    (tmp_path / "manifest.json").write_bytes(content)
    (problem,) = differences(tmp_path, "")
    assert problem.startswith("manifest.json: ")
    assert not is_sound(tmp_path)


def test_a_folder_without_a_manifest_holds_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        differences(tmp_path, "")
    assert not is_sound(tmp_path)


def test_no_flipped_bit_of_a_manifest_changes_what_it_says() -> None:
    """A bit of the digest's own name hides the digest, and changes nothing else."""
    content = WRITTEN.as_json()
    kept = 0
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        try:
            found = Manifest.from_json(bytes(damaged))
        except ValueError:
            continue
        assert (found.checksums, found.sizes) == (WRITTEN.checksums, WRITTEN.sizes)
        assert found.about.items() >= WRITTEN.about.items()
        kept += 1
    assert 0 < kept <= 8 * len('"manifest_digest": "')


def test_a_manifest_that_says_what_made_it_holds_its_digest() -> None:
    maker = {"host": "node", "pid": 7, "threads": 1}
    content = Manifest({"made_by": maker}, WRITTEN.written_at, {"a": "0f"}, {"a": 1}).as_json()
    assert Manifest.from_json(content).about == {"made_by": maker}
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(ValueError, match=r"."):
            Manifest.from_json(bytes(damaged))


def test_a_cut_manifest_is_none() -> None:
    content = WRITTEN.as_json()
    for at in range(len(content)):
        with pytest.raises(ValueError, match=r"."):
            Manifest.from_json(content[:at])


def test_a_manifest_without_a_digest_is_read() -> None:
    """Revision 6d4fdaa wrote such ones."""
    written = Manifest(
        {"made_by": {"host": "node", "pid": 7}}, WRITTEN.written_at, {"a": "0f"}, {"a": 1}
    )
    for each in (WRITTEN, written):
        content = json.loads(each.as_json())
        del content["manifest_digest"]
        assert Manifest.from_json(json.dumps(content).encode()) == each


def test_files_are_compared_when_they_are_first_read_and_when_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"1234")
    (tmp_path / "manifest.json").write_bytes(Manifest.of(tmp_path, {}).as_json())
    read: list[Path] = []
    hashes = studies.store.manifest.file_hashes

    def counted(files: list[Path]) -> list[str]:
        read.extend(files)
        return hashes(files)

    monkeypatch.setattr(studies.store.manifest, "file_hashes", counted)
    assert is_sound(tmp_path)
    assert is_sound(tmp_path)
    assert read == [file]
    os.utime(file, ns=(1, 1))
    assert is_sound(tmp_path)
    assert read == [file, file]
    before = file.stat()
    file.write_bytes(b"1235")
    assert not is_sound(tmp_path)
    file.write_bytes(b"1234")
    assert is_sound(tmp_path)
    # Where size, time and inode stay, the next process sees it, or this one after an error.
    file.write_bytes(b"1235")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    forget(tmp_path)
    assert not is_sound(tmp_path)
