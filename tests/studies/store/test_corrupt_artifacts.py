"""Artifacts that differ from their manifests: found, quarantined and made anew."""

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from studies.store.artifacts import ArtifactStore, CorruptArtifactError
from studies.store.files import RemoteFiles

Nodes = Callable[[str], ArtifactStore]


def corrupt(store: ArtifactStore, key: str, name: str, how: str) -> None:
    """Cut a file of an artifact off, change a byte of it, or take it away."""
    version = store.manifest("train", key).folder
    folder = store.folder.joined(*(("files", version) if store.remote else ("train", key)))
    content = folder.read(name)
    if how == "missing":
        folder.delete(name)
    else:
        folder.write(name, content[:-1] if how == "cut off" else content[:-1] + b"?")


def make(store: ArtifactStore, key: str = "abc", content: str = "weights") -> Path:
    with store.build("train", key, {"epochs": 3}) as folder:
        (folder / "w.bin").write_text(content)
    return store.path("train", key)


def nothing_is_left(node: ArtifactStore) -> bool:
    """Whether no builder and no download has left files on a node."""
    return os.listdir(node.root / "files") == []


def content_of(store: ArtifactStore, key: str = "abc") -> str:
    return (store.fetch("train", key) / "w.bin").read_text()


@pytest.mark.parametrize("how", ["cut off", "missing"])
def test_an_artifact_that_lacks_something_is_quarantined_when_it_is_read(
    nodes: Nodes, how: str
) -> None:
    make(nodes("one"), "abc", "weights")
    make(nodes("one"), "def", "sound")
    corrupt(nodes("one"), "abc", "w.bin", how)
    other = nodes("another")
    with pytest.raises(CorruptArtifactError, match=r"train/abc in .*store is corrupt \(w.bin "):
        other.fetch("train", "abc")
    assert not other.has("train", "abc")
    assert not nodes("third").has("train", "abc")
    make(other, "abc", "again")
    assert content_of(nodes("third")) == "again"
    assert content_of(other, "def") == "sound"


def test_a_changed_byte_is_seen_where_checksums_are_compared(nodes: Nodes) -> None:
    make(nodes("one"))
    corrupt(nodes("one"), "abc", "w.bin", "changed")
    assert nodes("one").problems("train", "abc") == [
        "w.bin has another checksum than its manifest says"
    ]
    with pytest.raises(CorruptArtifactError, match="another checksum"):
        nodes("another").fetch("train", "abc")
    assert not nodes("third").has("train", "abc")


def test_what_was_quarantined_is_kept_and_named(store: ArtifactStore) -> None:
    make(store)
    store.quarantine("train", "abc")
    store.quarantine("train", "abc")  # another process has done so
    (name,) = store.folder.joined("quarantined").folders()
    assert name.startswith("train-abc-")
    assert store.folder.joined("quarantined", name).has("manifest.json")
    assert store.corrupt("train") == {"abc"}
    assert store.corrupt("cams") == set()


def test_an_artifact_made_anew_meanwhile_is_not_quarantined_with_the_corrupt_one(
    store: ArtifactStore,
) -> None:
    make(store)
    found = store.folder.joined("train", "abc").read("manifest.json")
    store.quarantine("train", "abc")
    make(store, "abc", "again")
    store._files.quarantine(store.path("train", "abc"), found)
    assert content_of(store) == "again"


def test_a_corrupt_copy_in_the_cache_is_brought_again(remote: ArtifactStore) -> None:
    make(remote, "abc", "weights")
    (remote.path("train", "abc") / "w.bin").write_text("weight?")
    assert (remote.fetch("train", "abc") / "w.bin").read_text() == "weights"
    (remote.path("train", "abc") / "w.bin").write_text("w")
    assert content_of(remote) == "weights"


def test_many_processes_of_a_node_bring_an_artifact_once(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nodes("one").remote:
        pytest.skip("is not copied")
    make(nodes("one"))
    node = nodes("another")
    brought: list[int] = []
    download = RemoteFiles._download

    def slow(*arguments: Any) -> Any:
        brought.append(1)
        time.sleep(0.2)
        return download(*arguments)

    monkeypatch.setattr(RemoteFiles, "_download", slow)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: content_of(node), range(4))) == ["weights"] * 4
    assert len(brought) == 1
    assert os.listdir(node.root / "train") == ["abc"]
    assert nothing_is_left(node)


@pytest.mark.parametrize("name", ["../../stolen", "/stolen", "a/../../stolen"])
def test_a_manifest_cannot_make_a_reader_write_elsewhere(
    remote: ArtifactStore, tmp_path: Path, name: str
) -> None:
    make(remote)
    place = remote.folder.joined("train", "abc")
    manifest = json.loads(place.read("manifest.json"))
    del manifest["manifest_digest"]  # a forger would write it anew
    for files in (manifest["files"], manifest["bytes"]):
        files[name] = files.pop("w.bin")
    place.write("manifest.json", json.dumps(manifest).encode())
    shutil.rmtree(remote.root)
    with pytest.raises(CorruptArtifactError, match="names a file elsewhere"):
        remote.fetch("train", "abc")
    assert [file for file in tmp_path.rglob("*") if "stolen" in file.name] == []


def test_a_changed_byte_is_found_by_the_first_read_of_another_process(
    nodes: Nodes, new_process: Callable[[], None]
) -> None:
    make(nodes("one"))
    assert content_of(nodes("one")) == "weights"
    corrupt(nodes("one"), "abc", "w.bin", "changed")
    new_process()
    with pytest.raises(CorruptArtifactError, match="another checksum"):
        nodes("another").fetch("train", "abc")
    assert not nodes("third").has("train", "abc")


@pytest.mark.parametrize("error", [ValueError("no number"), KeyError("epoch"), SyntaxError("EOF")])
def test_an_artifact_that_cannot_be_understood_is_corrupt(nodes: Nodes, error: Exception) -> None:
    make(nodes("one"))
    said = r"train/abc in .* is corrupt \(.*(no number|epoch|EOF).*\); it was quarantined"
    with pytest.raises(CorruptArtifactError, match=said), nodes("one").reading("train", "abc"):
        raise error
    assert not nodes("one").has("train", "abc")


def test_an_error_that_is_no_fault_of_a_sound_artifact_leaves_it_where_it_is(
    nodes: Nodes,
) -> None:
    make(nodes("one"))
    for error in (MemoryError(), RuntimeError("CUDA out of memory"), OSError(5, "I/O")):
        with pytest.raises(type(error)), nodes("one").reading("train", "abc"):
            raise error
    assert nodes("one").has("train", "abc")


def test_an_error_while_reading_what_rotted_meanwhile_is_the_rot(nodes: Nodes) -> None:
    path = make(nodes("one"))
    one = nodes("one")
    file = one.fetch("train", "abc") / "w.bin"
    before = file.stat()
    file.write_text("weight?")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    if one.remote:  # the cache rotted, and the store did not
        with pytest.raises(RuntimeError), one.reading("train", "abc"):
            raise RuntimeError("header")
        assert content_of(nodes("one")) == "weights"
    else:
        with pytest.raises(CorruptArtifactError), one.reading("train", "abc"):
            raise RuntimeError("header")
        assert not path.exists()


@pytest.mark.parametrize("left", ["files", "an empty folder"])
def test_an_artifact_that_lost_its_manifest_is_made_anew(local: ArtifactStore, left: str) -> None:
    path = make(local, "abc", "weights")
    (path / "manifest.json").unlink()
    if left != "files":
        (path / "w.bin").rename(path / "deep")
        (path / "deep").unlink()
        (path / "deep" / "er").mkdir(parents=True)
    assert not local.has("train", "abc")
    make(local, "abc", "again")
    assert content_of(local) == "again"
    (kept,) = local.folder.joined("quarantined").folders()
    assert kept.startswith("train-abc-")
