"""One walk over a store: the same layout and the same records on every file system."""

from collections import Counter
from pathlib import Path

import pytest

import studies.store.garbage
from studies.store.artifacts import ArtifactStore
from studies.store.contents import StoreRecord, read_artifacts, walk
from studies.store.garbage import find_garbage


def build(store: ArtifactStore, stage: str, key: str) -> None:
    with store.build(stage, key, {"parent": "p1"}) as folder:
        (folder / "a.bin").write_bytes(bytes(1000))


def leave(store: ArtifactStore) -> None:
    """Leave what a store can hold: of each kind one at least."""
    build(store, "train", "abc")
    build(store, "cams", "def")
    store.quarantine("cams", "def")
    (store.scratch("train", "a1") / "checkpoint.pt").write_bytes(bytes(10))
    store.keep_scratch("train", "a1")
    store.folder.joined("files", "scores-b2-0123").write("half.bin", bytes(20))
    store.folder.write(".written-0123", b"")
    store.folder.joined("somewhere").write("else.txt", b"")


def kinds(records: list[StoreRecord]) -> dict[tuple[str, str, str], int]:
    return dict(Counter((r.kind, r.stage, r.key) for r in records))


def test_every_name_in_a_store_has_its_kind(store: ArtifactStore) -> None:
    leave(store)
    lease = store.leases.take("train", "a1")
    assert lease is not None
    with lease:
        found = walk(store.folder)
    expected = {
        ("artifact", "train", "abc"): 1,
        ("quarantined", "cams", "def"): 1,
        ("scratch", "train", "a1"): 1,
        ("build", "scores", "b2"): 1,
        ("lease", "train", "a1"): 1,
        ("temporary", "written", "0123"): 1,
    }
    if store.remote:  # nothing is renamed there: files stay where their builder has put them
        expected |= {("build", "train", "abc"): 1, ("build", "cams", "def"): 1}
    assert kinds(found) == expected
    sizes = {record.kind: record.bytes for record in found if record.key in ("a1", "b2")}
    assert (sizes["scratch"], sizes["build"]) == (10, 20)


def test_a_cache_is_laid_out_as_a_local_store(remote: ArtifactStore, local: ArtifactStore) -> None:
    for store in (remote, local):
        build(store, "train", "abc")
        (store.scratch("train", "a1") / "checkpoint.pt").write_bytes(b"1")
    here, cached = (
        {path.relative_to(store.root).as_posix() for path in store.root.rglob("[!.]*")}
        for store in (local, remote)
    )
    assert cached == here


def test_an_artifact_has_its_manifest_and_the_bytes_it_names(store: ArtifactStore) -> None:
    leave(store)
    (artifact,) = read_artifacts(store, walk(store.folder))
    assert (artifact.path, artifact.stage, artifact.key) == ("train/abc", "train", "abc")
    assert (artifact.bytes, artifact.parent) == (1000, "p1")
    assert artifact.manifest == store.manifest("train", "abc")


def test_what_was_deleted_since_the_walk_is_no_artifact(store: ArtifactStore) -> None:
    build(store, "train", "abc")
    found = walk(store.folder)
    store.delete("train", "abc")
    assert read_artifacts(store, found) == []
    assert [name for name in store.folder.tree() if "abc" in name] == []


def test_files_of_an_artifact_that_is_finished_after_the_walk_are_no_garbage(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(store, "train", "abc")
    place = store.folder.joined("train", "abc")
    manifest = place.read("manifest.json")
    place.delete("manifest.json")

    def finished_meanwhile(folder: object) -> list[StoreRecord]:
        found = walk(store.folder)
        place.write("manifest.json", manifest)
        return found

    monkeypatch.setattr(studies.store.garbage, "walk", finished_meanwhile)
    assert find_garbage(store, older_than=0) == []
    assert store.problems("train", "abc") == []


def test_an_artifact_that_is_made_anew_after_the_walk_is_no_garbage(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(store, "train", "abc")

    def quarantined_meanwhile(folder: object) -> list[StoreRecord]:
        found = walk(store.folder)
        store.quarantine("train", "abc")
        return [record for record in found if record.kind == "artifact"]

    monkeypatch.setattr(studies.store.garbage, "walk", quarantined_meanwhile)
    assert [
        g.name for g in find_garbage(store, older_than=0) if g.name.startswith(store.where)
    ] == []


def test_files_whose_manifest_cannot_be_read_are_no_garbage(store: ArtifactStore) -> None:
    build(store, "train", "abc")
    store.folder.joined("train", "abc").write("manifest.json", b"{")
    assert find_garbage(store, older_than=0) == []


def test_a_link_is_one_name_and_leads_nowhere(local: ArtifactStore, tmp_path: Path) -> None:
    build(local, "train", "abc")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "manifest.json").write_text("{}")
    (local.root / "files" / "cams-a1-0123").symlink_to(tmp_path / "outside")
    (local.root / "cams").symlink_to(tmp_path)
    assert kinds(walk(local.folder)) == {
        ("artifact", "train", "abc"): 1,
        ("build", "cams", "a1"): 1,
    }
