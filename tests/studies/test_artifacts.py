"""The artifact store: whole or not at all."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from studies.artifacts import ArtifactStore, require_writable
from wsss_core.errors import InputError


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def make(store: ArtifactStore, key: str = "abc", content: str = "weights") -> Path:
    with store.build("train", key, {"epochs": 3}) as folder:
        (folder / "w.bin").write_text(content)
    return store.path("train", key)


def test_nothing_is_seen_before_the_block_has_ended(store: ArtifactStore) -> None:
    with store.build("train", "abc", {}) as folder:
        (folder / "w.bin").write_text("half")
        assert not store.has("train", "abc")
        assert not store.path("train", "abc").exists()
    assert store.has("train", "abc")
    assert (store.path("train", "abc") / "w.bin").read_text() == "half"


def test_the_folder_is_moved_whole_and_not_copied_file_by_file(store: ArtifactStore) -> None:
    with store.build("train", "abc", {}) as folder:
        made = folder.stat().st_ino
    assert store.path("train", "abc").stat().st_ino == made


def test_a_block_that_fails_leaves_nothing(store: ArtifactStore) -> None:
    def fail() -> None:
        with store.build("train", "abc", {}) as folder:
            (folder / "w.bin").write_text("half")
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert not store.has("train", "abc")
    assert list((store.root / "train").iterdir()) == []


def test_a_folder_without_its_manifest_is_not_finished(store: ArtifactStore) -> None:
    folder = make(store)
    (folder / "manifest.json").unlink()
    assert not store.has("train", "abc")


def test_the_manifest_holds_what_was_said_and_a_checksum_of_every_file(
    store: ArtifactStore,
) -> None:
    with store.build("scores", "k1", {"parent": "p0"}) as folder:
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "a.txt").write_bytes(b"alpha")
        (folder / "deep" / "er" / "b.bin").write_bytes(b"\0" * 100_000)
    manifest = store.manifest("scores", "k1")
    assert manifest["parent"] == "p0"
    assert manifest["files"] == {
        "a.txt": hashlib.blake2b(b"alpha", digest_size=16).hexdigest(),
        "deep/er/b.bin": hashlib.blake2b(b"\0" * 100_000, digest_size=16).hexdigest(),
    }
    assert json.loads((store.path("scores", "k1") / "manifest.json").read_text()) == manifest


def test_of_two_builders_of_one_key_the_first_to_end_stays(store: ArtifactStore) -> None:
    with store.build("train", "abc", {}) as slow:
        (slow / "w.bin").write_text("slow")
        make(store, "abc", "quick")
    assert (store.path("train", "abc") / "w.bin").read_text() == "quick"
    assert [entry.name for entry in (store.root / "train").iterdir()] == ["abc"]


def test_a_key_that_is_occupied_by_something_unfinished_is_an_error(store: ArtifactStore) -> None:
    (store.path("train", "abc") / "stray").mkdir(parents=True)
    with pytest.raises(OSError, match="abc"):
        make(store)


def test_what_helps_to_go_on_is_kept_until_the_stage_is_finished(store: ArtifactStore) -> None:
    checkpoint = store.scratch("train", "abc") / "checkpoint.pt"
    checkpoint.write_text("epoch 1")
    other = store.scratch("train", "def") / "checkpoint.pt"
    other.write_text("epoch 1")
    assert store.scratch("train", "abc") == checkpoint.parent
    assert checkpoint.read_text() == "epoch 1"
    make(store)
    assert not checkpoint.parent.exists()
    assert other.read_text() == "epoch 1"


def test_a_stage_that_fails_keeps_what_helps_to_go_on(store: ArtifactStore) -> None:
    checkpoint = store.scratch("train", "abc") / "checkpoint.pt"
    checkpoint.write_text("epoch 1")

    def fail() -> None:
        with store.build("train", "abc", {}):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert checkpoint.read_text() == "epoch 1"


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("train", "../abc"),
        ("train", "a/b"),
        ("train", ".."),
        ("train", ""),
        ("train", ".abc"),
        ("..", "abc"),
        ("unfinished", "abc"),
        ("networks", "abc"),
    ],
)
def test_a_name_cannot_lead_out_of_the_store(store: ArtifactStore, stage: str, key: str) -> None:
    with pytest.raises(ValueError, match="no such artifact"):
        store.path(stage, key)


def test_a_relative_store_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = ArtifactStore(Path("here"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert make(store) == tmp_path / "here" / "train" / "abc"


def test_a_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "results")
    assert os.listdir(tmp_path / "new" / "results") == []


def test_a_folder_below_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/results is not writable \(Not a directory\)"):
        require_writable(tmp_path / "file" / "results")
