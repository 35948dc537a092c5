"""Folders of this machine: whole files, hard links, file systems that are not mounted or full."""

import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reports.storage.local
import reports.storage.remote
from reports.storage.folder import MARK, StorageError
from reports.storage.local import LocalFolder
from reports.storage.opening import open_folder
from reports.storage.retry import TIMEOUT
from wsss_core.errors import InputError


def test_writing_leaves_no_temporary_file_even_where_it_fails(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "here", make=True)
    (tmp_path / "here" / "one").mkdir()
    with pytest.raises(OSError, match="one"):
        folder.write("one", b"a file cannot take a folder's place")
    assert sorted(os.listdir(tmp_path / "here")) == [MARK, "one"]


def test_without_hard_links_one_creator_still_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_at_once: Callable[..., list[Any]]
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    folder = open_folder(tmp_path)
    won = all_at_once(8, lambda number: folder.create("one", b"%d" % number))
    assert won.count(True) == 1
    assert folder.read("one") == b"%d" % won.index(True)


def test_a_creator_whose_first_answer_was_lost_has_still_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def asks_twice(source: Any, target: Any) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", asks_twice)
    folder = open_folder(tmp_path)
    assert folder.create("one", b"mine") is True
    assert folder.create("one", b"another's") is False


def test_a_folder_that_went_away_is_waited_for(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "mount", make=True).joined("scores")
    folder.write("one", b"content")
    (tmp_path / "mount").rename(tmp_path / "away")
    threading.Timer(0.4, (tmp_path / "away").rename, [tmp_path / "mount"]).start()
    began = time.monotonic()
    assert folder.has("one")
    assert folder.read("one") == b"content"
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("left", ["nothing", "an empty mount point"])
def test_where_it_stays_away_nothing_is_missing_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    mount = tmp_path / "mount"
    folder = open_folder(mount, make=True).joined("scores")
    folder.write("one", b"content")
    mount.rename(tmp_path / "away")
    if left != "nothing":
        mount.mkdir()
    monkeypatch.setenv(TIMEOUT, "0.1")
    for action in (
        lambda: folder.has("two"), folder.listing, folder.folders, lambda: folder.read("one"),
        lambda: folder.write("two", b"2"), lambda: folder.create("two", b"2"),
        lambda: folder.put(Path(__file__), "two"), lambda: open_folder(mount).listing(),
    ):  # fmt: skip
        with pytest.raises(StorageError, match=r"mount.*: the storage stays out of reach"):
            action()
    assert (not mount.exists()) if left == "nothing" else (os.listdir(mount) == [])
    with pytest.raises(InputError):
        open_folder(mount, make=True)
    assert (not mount.exists()) if left == "nothing" else (os.listdir(mount) == [])


@pytest.mark.parametrize("left", ["nothing", "an empty mount point"])
def test_a_folder_below_a_marked_one_is_made_in_no_other_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    mount = tmp_path / "mount"
    open_folder(mount, make=True)
    open_folder(mount / "store", make=True)
    mount.rename(tmp_path / "away")
    if left != "nothing":
        mount.mkdir()
    monkeypatch.setenv(TIMEOUT, "0.1")
    below = open_folder(mount / "store" / "files" / "x")
    for action in (
        lambda: below.joined("ledger").write("one", b"1"),
        lambda: LocalFolder.opened(mount / "store" / "files" / "y").ensure(),
        lambda: open_folder(mount / "report", make=True),
    ):
        with pytest.raises(StorageError, match="stays out of reach"):
            action()
    assert (not mount.exists()) if left == "nothing" else (os.listdir(mount) == [])


def test_a_folder_below_one_that_comes_back_is_written_there(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    open_folder(mount, make=True)
    mount.rename(tmp_path / "away")
    threading.Timer(0.3, (tmp_path / "away").rename, [mount]).start()
    open_folder(mount / "files" / "x").write("one", b"1")
    assert sorted(os.listdir(mount)) == [MARK, "files"]
    assert (mount / "files" / "x" / "one").read_bytes() == b"1"


def test_a_worker_waits_for_the_folder_that_its_driver_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late").mkdir()  # not mounted yet
    threading.Timer(0.3, (tmp_path / "late" / MARK).write_bytes, [b""]).start()
    began = time.monotonic()
    open_folder(tmp_path / "late", expect=True)
    assert time.monotonic() - began > 0.2
    monkeypatch.setenv(TIMEOUT, "0.1")
    with pytest.raises(StorageError, match=r"never.*stays out of reach"):
        open_folder(tmp_path / "never", expect=True)


def test_an_error_that_passes_is_tried_again_and_one_that_does_not_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(tmp_path)
    folder.write("one", b"content")
    errors = [errno.ESTALE, errno.EIO]
    read_bytes = Path.read_bytes

    def flaky(file: Path) -> bytes:
        if errors:
            raise OSError(errors.pop(0), "Stale file handle")
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", flaky)
    assert folder.read("one") == b"content"
    errors.append(errno.EISDIR)
    with pytest.raises(IsADirectoryError):
        folder.read("one")


def test_a_full_disk_is_said_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(tmp_path / "here", make=True)
    folder.write("one", b"before")

    def full(file: Path, content: bytes, mode: str = "wb") -> None:
        file.write_bytes(content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reports.storage.local, "_write_through", full)
    for write in (folder.write, folder.create):
        with pytest.raises(StorageError, match=r"here: no space left on the storage"):
            write("one", b"after")
    assert folder.read("one") == b"before"
    assert sorted(os.listdir(tmp_path / "here")) == [MARK, "one"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10)
    except FileNotFoundError:
        pytest.skip("no mount")
    if done.returncode:
        pytest.skip("may not mount a file system")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True, timeout=10)


def test_a_disk_that_is_really_full_is_said_and_leaves_nothing_half(small_disk: Path) -> None:
    folder = open_folder(small_disk, make=True)
    folder.write("one", b"before")
    with pytest.raises(StorageError, match=r"no space left on the storage"):
        folder.write("two", b"2" * 2**20)
    assert sorted(os.listdir(small_disk)) == [MARK, "one"]
    assert folder.read("one") == b"before"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/results is not writable \(Not a directory\)"):
        open_folder(tmp_path / "file" / "results", make=True)


def test_every_new_name_is_written_to_the_disk_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def sync(folder: Path) -> None:
        synced.append(folder)
        assert not list(folder.glob(".*.tmp")) or (folder / "linked").exists(), "not yet renamed"

    monkeypatch.setattr(reports.storage.local, "sync_folder", sync)
    folder = open_folder(tmp_path / "new").joined("deep")
    folder.write("written", b"1")
    deep = tmp_path / "new" / "deep"
    assert synced == [tmp_path / "new", tmp_path, deep]
    assert folder.create("linked", b"2")
    assert not folder.create("linked", b"3")
    (tmp_path / "file").write_bytes(b"4")
    folder.put(tmp_path / "file", "put")
    assert synced[3:] == [deep, deep]
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no")))
    assert folder.create("without links", b"5")
    assert synced[5:] == [deep]


def test_a_link_that_leads_to_itself_is_no_file_and_is_replaced(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "here", make=True)
    (tmp_path / "here" / "one").symlink_to("one")
    assert not folder.has("one")
    assert folder.listing() == {}
    folder.write("one", b"content")
    assert folder.read("one") == b"content"


def test_a_folder_in_the_place_of_a_copied_file_is_named(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "here", make=True)
    (tmp_path / "here" / "one").mkdir()
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(StorageError, match=r"here/one: is a folder, expected a file"):
        folder.put(tmp_path / "file", "one")
    assert sorted(os.listdir(tmp_path / "here")) == [MARK, "one"]
