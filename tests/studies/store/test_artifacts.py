"""The artifact store: whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from safetensors import SafetensorError

from reports.ledger import write_part
from reports.storage.folder import StorageError
from reports.storage.retry import TIMEOUT
from studies.store.artifacts import ArtifactStore, CorruptArtifactError, require_writable
from studies.store.manifest import Manifest
from wsss_core.errors import InputError

Nodes = Callable[[str], ArtifactStore]

EPOCH = {"trial_key": "t", "epoch": 1, "loss": 0.5, "classification_loss": 0.25, "seconds": 2.0}


def make(store: ArtifactStore, key: str = "abc", content: str = "weights") -> Path:
    with store.build("train", key, {"epochs": 3}) as folder:
        (folder / "w.bin").write_text(content)
    return store.path("train", key)


def nothing_is_left(node: ArtifactStore) -> bool:
    """Whether no builder and no download has left files on a node."""
    return os.listdir(node.root / "files") == []


def content_of(store: ArtifactStore, key: str = "abc") -> str:
    return (store.fetch("train", key) / "w.bin").read_text()


class Careless(MemoryFileSystem):
    """A file system that writes whatever the mode, as some older object stores do."""

    protocol = "careless"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        super().pipe_file(path, value, mode="overwrite", **options)


@pytest.fixture
def careless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place on a file system that does not create if absent."""
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    fsspec.register_implementation("careless", Careless, clobber=True)
    return "careless://bucket/store"


def test_a_file_system_that_creates_a_name_twice_is_named_once(
    careless: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = ArtifactStore(careless)
    store.make()
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning == (
        "careless://bucket/store: its file system lets two processes create one file, so drivers "
        "cannot share work there: run one driver only on this store"
    )
    assert list(store.folder.tree()) == [".wsss"]


def test_a_file_system_that_creates_a_name_once_is_passed_in_silence(
    store: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.make()
    assert caplog.records == []
    assert [name for name in store.folder.tree() if name.startswith(".written-")] == []


def test_nothing_is_seen_before_the_block_has_ended(store: ArtifactStore) -> None:
    with store.build("train", "abc", {}) as folder:
        (folder / "w.bin").write_text("half")
        assert not store.has("train", "abc")
        assert store.finished("train") == set()
        assert not store.path("train", "abc").exists()
    assert store.has("train", "abc")
    assert store.finished("train") == {"abc"}
    assert content_of(store) == "half"


def test_what_a_node_has_made_another_reads(nodes: Nodes) -> None:
    with nodes("one").build("images", "abc", {"size": 32}) as folder:
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "a.bin").write_bytes(b"\0" * 100_000)
    other = nodes("another")
    assert other.has("images", "abc")
    fetched = other.fetch("images", "abc")
    assert (fetched / "deep" / "er" / "a.bin").read_bytes() == b"\0" * 100_000
    about = dict(other.manifest("images", "abc").about)
    assert about.pop("made_by")["pid"] == os.getpid()
    assert about == {"size": 32}


def test_a_sound_artifact_in_another_one_s_place_is_corrupt(store: ArtifactStore) -> None:
    """As a copy or a synchronisation that went wrong leaves it."""
    for key in ("abc", "def"):
        make(store, key)
    store.folder.joined("train", "def").delete("manifest.json")
    other = store.folder.joined("train", "abc").read("manifest.json")
    store.folder.joined("train", "def").write("manifest.json", other)
    again = ArtifactStore(store.where)
    if again.remote:
        shutil.rmtree(again.root)
    with pytest.raises(CorruptArtifactError, match=r"is that of train/abc"):
        again.fetch("train", "def")
    assert not again.has("train", "def")
    again.fetch("train", "abc")


def test_the_folder_is_moved_whole_and_not_copied_file_by_file(local: ArtifactStore) -> None:
    with local.build("train", "abc", {}) as folder:
        made = folder.stat().st_ino
    assert local.path("train", "abc").stat().st_ino == made


def test_a_folder_is_as_readable_for_others_as_this_process_s_files_are(
    local: ArtifactStore,
) -> None:
    before = os.umask(0o027)
    try:
        assert make(local).stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(before)


def test_a_look_at_many_keys_lists_a_stage_once(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a1", "b2"):
        make(store, key)
    listed: list[str] = []
    finished = ArtifactStore.finished
    monkeypatch.setattr(
        ArtifactStore, "finished", lambda self, stage: listed.append(stage) or finished(self, stage)
    )
    has = store.seen()
    found = [has("train", "a1"), has("train", "b2"), has("train", "c3"), has("cams", "a1")]
    assert found == [True, True, False, False]
    assert listed == ["train", "cams"]


def test_what_is_not_finished_is_not_found(store: ArtifactStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.fetch("train", "abc")
    with pytest.raises(FileNotFoundError):
        store.manifest("train", "abc")


def test_a_block_that_fails_leaves_nothing(store: ArtifactStore) -> None:
    def fail() -> None:
        with store.build("train", "abc", {}) as folder:
            (folder / "w.bin").write_text("half")
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert not store.has("train", "abc")
    assert not (store.root / "train").exists()
    assert nothing_is_left(store)


def test_a_folder_without_its_manifest_is_not_finished(local: ArtifactStore) -> None:
    folder = make(local)
    (folder / "manifest.json").unlink()
    assert not local.has("train", "abc")
    assert local.finished("train") == set()


def test_the_manifest_holds_what_was_said_and_a_checksum_of_every_file(
    store: ArtifactStore,
) -> None:
    with store.build("scores", "k1", {"parent": "p0"}) as folder:
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "a.txt").write_bytes(b"alpha")
        (folder / "deep" / "er" / "b.bin").write_bytes(b"\0" * 100_000)
    manifest = store.manifest("scores", "k1")
    assert manifest.parent == "p0"
    assert manifest.checksums == {
        "a.txt": hashlib.blake2b(b"alpha", digest_size=16).hexdigest(),
        "deep/er/b.bin": hashlib.blake2b(b"\0" * 100_000, digest_size=16).hexdigest(),
    }
    assert manifest.sizes == {"a.txt": 5, "deep/er/b.bin": 100_000}
    assert manifest.size == 100_005
    content = (store.path("scores", "k1") / "manifest.json").read_bytes()
    assert Manifest.from_json(content) == manifest
    assert json.loads(content)["parent"] == "p0"


def test_of_two_builders_of_one_key_the_first_to_end_stays(nodes: Nodes) -> None:
    one, other = nodes("one"), nodes("another")
    with one.build("train", "abc", {}) as slow:
        (slow / "w.bin").write_text("slow")
        make(other, "abc", "quick")
    for store in (one, other, nodes("third")):
        assert content_of(store) == "quick"
        assert [entry.name for entry in (store.root / "train").iterdir()] == ["abc"]
    kept = one.folder.joined("files").folders()
    assert kept == ([one.manifest("train", "abc").folder] if one.remote else [])


def test_many_that_build_one_key_together_make_one_artifact(store: ArtifactStore) -> None:
    together = threading.Barrier(5)

    def build(number: int) -> None:
        with store.build("train", "abc", {"number": number}) as folder:
            (folder / "w.bin").write_text(str(number))
            together.wait()

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(build, range(5)))
    assert content_of(store) == str(store.manifest("train", "abc").about["number"])
    assert store.problems("train", "abc") == []


def test_what_occupies_a_key_and_is_no_artifact_is_kept_aside(local: ArtifactStore) -> None:
    (local.path("train", "abc") / "stray").mkdir(parents=True)
    make(local)
    assert local.has("train", "abc")
    (kept,) = local.folder.joined("quarantined").folders()
    assert local.folder.joined("quarantined", kept).folders() == ["stray"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing(store: ArtifactStore, error: Exception) -> None:
    def fill() -> None:
        with store.build("train", "abc", {}) as folder:
            (folder / "w.bin").write_text("half")
            raise error

    with pytest.raises(StorageError, match="no space left on the storage"):
        fill()
    assert not (store.root / "train").exists()
    assert nothing_is_left(store)


def test_a_store_that_went_away_is_waited_for_and_never_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.make()
    make(store)
    (tmp_path / "store").rename(tmp_path / "away")
    threading.Timer(0.3, (tmp_path / "away").rename, [tmp_path / "store"]).start()
    assert content_of(store) == "weights"
    (tmp_path / "store").rename(tmp_path / "away")
    monkeypatch.setenv(TIMEOUT, "0.1")
    for action in (
        lambda: store.fetch("train", "abc"), lambda: make(store, "def"), store.make,
        lambda: store.scratch("train", "abc"), lambda: store.has("train", "def"),
        lambda: store.finished("train"),
    ):  # fmt: skip
        with pytest.raises(StorageError, match="stays out of reach"):
            action()
    assert not (tmp_path / "store").exists()
    (tmp_path / "away").rename(tmp_path / "store")
    assert content_of(store) == "weights"


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
def test_a_name_cannot_lead_out_of_the_store(local: ArtifactStore, stage: str, key: str) -> None:
    for action in (local.path, local.has, local.fetch, local.scratch, local.quarantine):
        with pytest.raises(ValueError, match="no such artifact"):
            action(stage, key)


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


def test_a_store_that_goes_away_during_a_build_is_made_in_no_other_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(tmp_path / "mount" / "store")
    store.make()
    away = tmp_path / "away"
    monkeypatch.setenv(TIMEOUT, "0.1")
    with pytest.raises(StorageError, match="stays out of reach"):  # noqa: PT012, SIM117
        with store.build("scores", "abc", {}) as folder:
            (tmp_path / "mount").rename(away)
            write_part(folder, "history", "abc", [EPOCH])
    assert not (tmp_path / "mount").exists()
    away.rename(tmp_path / "mount")
    with store.build("scores", "abc", {}) as folder:
        write_part(folder, "history", "abc", [EPOCH])
    assert store.has("scores", "abc")


def test_a_build_goes_on_where_its_store_comes_back(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.make()
    with store.build("scores", "abc", {}) as folder:
        (tmp_path / "store").rename(tmp_path / "away")
        threading.Timer(0.3, (tmp_path / "away").rename, [tmp_path / "store"]).start()
        write_part(folder, "history", "abc", [EPOCH])
    assert store.has("scores", "abc")
    assert store.problems("scores", "abc") == []


def test_a_store_that_goes_away_just_before_a_build_is_made_in_no_other_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.make()
    monkeypatch.setattr(
        store._files, "wait", lambda: (tmp_path / "store").rename(tmp_path / "away")
    )
    monkeypatch.setenv(TIMEOUT, "0.1")
    with pytest.raises(StorageError, match="stays out of reach"):
        make(store)
    assert not (tmp_path / "store").exists()
    (tmp_path / "away").rename(tmp_path / "store")
    with pytest.raises(StorageError, match="stays out of reach"):
        store.scratch("train", "abc")
    assert not (tmp_path / "store").exists()
