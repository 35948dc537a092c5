"""The manifest of an artifact."""

import json
from pathlib import Path

import pytest

from studies.store.manifest import Manifest, differences, is_sound

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
    (problem,) = differences(tmp_path, whole=False)
    assert problem.startswith("manifest.json: ")
    assert not is_sound(tmp_path, whole=False)


def test_a_folder_without_a_manifest_holds_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        differences(tmp_path, whole=False)
    assert not is_sound(tmp_path, whole=False)
