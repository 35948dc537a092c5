"""One contract of a folder, over this machine's file system, fsspec's memory and an S3 server."""

import errno
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import reports.storage.local
import reports.storage.remote
from reports.storage.folder import MARK, StorageError, below, is_uri, located, open_folder
from reports.storage.retry import PATIENCE
from wsss_core.errors import InputError

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["local", "memory", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a folder on each kind of file system; nothing is there yet."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        yield f"s3://bucket/{uuid.uuid4().hex}"
    elif request.param == "memory":
        yield f"memory://{uuid.uuid4().hex}"
    else:
        yield str(tmp_path / "results")


def all_at_once(count: int, action: Callable[[int], Any]) -> list[Any]:
    """What `count` threads get that begin together."""
    together = threading.Barrier(count)

    def one(number: int) -> Any:
        together.wait()
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


# The contract


def test_a_file_comes_back_as_it_was_written(where: str) -> None:
    folder = open_folder(where, make=True).joined("a", "b")
    folder.write("one.bin", b"\0first\xff")
    assert open_folder(where).joined("a").joined("b").read("one.bin") == b"\0first\xff"
    assert folder.has("one.bin")


def test_a_file_is_replaced_whole(where: str) -> None:
    folder = open_folder(where)
    folder.write("one", b"a long content")
    folder.write("one", b"short")
    assert folder.read("one") == b"short"


def test_what_is_not_there_is_not_found_and_no_error_to_list_or_delete(where: str) -> None:
    folder = open_folder(where).joined("nowhere")
    with pytest.raises(FileNotFoundError):
        folder.read("one")
    assert not folder.has("one")
    assert folder.listing() == {}
    assert folder.folders() == []
    folder.delete("one")
    folder.delete_all()


def test_a_listing_has_the_files_in_order_and_neither_folders_nor_hidden_ones(where: str) -> None:
    folder = open_folder(where, make=True)
    before = time.time()
    for name, content in (("b.parquet", b"22"), ("a.parquet", b"1"), (".hidden", b"3")):
        folder.write(name, content)
    folder.joined("below").write("c.parquet", b"4")
    listing = folder.listing()
    assert [(name, entry.size) for name, entry in listing.items()] == [
        ("a.parquet", 1), ("b.parquet", 2)
    ]  # fmt: skip
    assert folder.folders() == ["below"]
    assert before - 2 <= listing["a.parquet"].modified <= time.time() + 2


def test_a_listing_tells_a_changed_file_of_equal_size(where: str) -> None:
    folder = open_folder(where)
    folder.write("one", b"before")
    before = folder.listing()["one"]
    time.sleep(0.01)
    folder.write("one", b"after.")
    assert folder.listing()["one"].changed != before.changed
    assert folder.listing()["one"].size == before.size


def test_several_files_come_in_the_order_they_are_asked_for(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports.storage.remote, "_AT_ONCE", 3)
    folder = open_folder(where)
    names = [f"{number}.parquet" for number in range(8)]
    for name in names:
        folder.write(name, name.encode())
    asked = names[::-1]
    assert list(folder.read_many(asked)) == [name.encode() for name in asked]
    assert list(folder.read_many(["3.parquet"])) == [b"3.parquet"]
    assert list(folder.read_many([])) == []
    with pytest.raises(FileNotFoundError):
        list(folder.read_many(["1.parquet", "none.parquet"]))


def test_a_tree_has_every_file_below_hidden_ones_too(where: str) -> None:
    folder = open_folder(where).joined("store")
    for names in (("b",), ("a", "deep", "c"), ("a", ".d")):
        folder.joined(*names[:-1]).write(names[-1], b"123")
    open_folder(where).joined("store2").write("beside", b"")
    tree = folder.tree()
    assert list(tree) == ["a/.d", "a/deep/c", "b"]
    assert {entry.size for entry in tree.values()} == {3}
    assert open_folder(where).joined("nowhere").tree() == {}


def test_a_tree_follows_no_link_and_knows_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "file").write_bytes(b"123")
    (tmp_path / "here" / "empty").mkdir(parents=True)
    (tmp_path / "here" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "here" / "file").symlink_to(tmp_path / "outside" / "file")
    assert list(open_folder(tmp_path / "here").tree()) == ["empty/", "file", "folder"]


def test_a_folder_is_deleted_with_all_below_it_and_nothing_beside_it(where: str) -> None:
    folder = open_folder(where, make=True)
    folder.joined("gone", "deep").write("a", b"1")
    folder.joined("gone").write("b", b"2")
    folder.joined("gone2").write("c", b"3")
    folder.joined("gone").delete_all()
    assert folder.folders() == ["gone2"]
    assert folder.joined("gone2").read("c") == b"3"


def test_files_are_copied_there_and_back(where: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"weights" * 1000)
    folder = open_folder(where).joined("train")
    folder.put(tmp_path / "there", "w.bin")
    folder.get("w.bin", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"weights" * 1000
    with pytest.raises(FileNotFoundError):
        folder.get("none.bin", tmp_path / "none")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\\b", "a\0b"])
def test_a_name_cannot_lead_elsewhere(where: str, tmp_path: Path, name: str) -> None:
    folder = open_folder(where)
    for action in (
        folder.read, folder.has, folder.delete, folder.joined,
        lambda name: folder.write(name, b"1"), lambda name: folder.create(name, b"1"),
        lambda name: folder.put(Path(__file__), name),
        lambda name: folder.get(name, tmp_path / "a"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="no name of a file"):
            action(name)


def test_a_reader_sees_one_of_the_contents_and_never_a_part(where: str) -> None:
    folder = open_folder(where, make=True)
    contents = [bytes([number]) * 300_000 for number in range(4)]
    folder.write("one", contents[0])
    ended = threading.Event()
    seen: Counter[bool] = Counter()

    def read() -> None:
        while not ended.is_set():
            seen[folder.read("one") in contents] += 1

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        for content in contents:
            folder.write("one", content)
    ended.set()
    reader.join()
    assert seen[True] > 0
    assert seen[False] == 0


def test_a_file_that_is_there_is_not_created_again(where: str) -> None:
    folder = open_folder(where)
    assert folder.create("one", b"first") is True
    assert folder.create("one", b"second") is False
    assert folder.read("one") == b"first"
    folder.delete("one")
    assert folder.create("one", b"third") is True


def test_of_many_threads_that_create_one_file_one_is_told_so(where: str) -> None:
    folder = open_folder(where, make=True)
    for attempt in range(3):
        name = f"lease.{attempt}"
        won = all_at_once(8, lambda number, name=name: folder.create(name, b"%d" % number))
        assert won.count(True) == 1
        assert folder.read(name) == b"%d" % won.index(True)


CREATES = """
import sys
from reports.storage.folder import open_folder
where, me = sys.argv[1:]
folder = open_folder(where)
folder.write(f"ready-{me}", b"")
while len(folder.listing()) < 3:
    pass
print(*[int(folder.joined("leases").create(f"{n}", f"{me} {n}".encode())) for n in range(12)])
"""


@pytest.mark.ci
def test_of_many_processes_that_create_one_file_one_is_told_so(where: str) -> None:
    if where.startswith("memory"):
        pytest.skip("is of one process")
    open_folder(where, make=True)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATES, where, str(me)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for me in range(3)
    ]
    won = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [len(mine) for mine in won] == [12, 12, 12]
    for number in range(12):
        winners = [me for me, mine in enumerate(won) if mine[number] == b"1"]
        content = open_folder(where).joined("leases").read(str(number))
        assert content == f"{winners[0]} {number}".encode()
        assert len(winners) == 1


# This machine's file systems


def test_writing_leaves_no_temporary_file_even_where_it_fails(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "here", make=True)
    (tmp_path / "here" / "one").mkdir()
    with pytest.raises(OSError, match="one"):
        folder.write("one", b"a file cannot take a folder's place")
    assert sorted(os.listdir(tmp_path / "here")) == [MARK, "one"]


def test_without_hard_links_one_creator_still_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    monkeypatch.setenv(PATIENCE, "0.1")
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


def test_a_worker_waits_for_the_folder_that_its_driver_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late").mkdir()  # not mounted yet
    threading.Timer(0.3, (tmp_path / "late" / MARK).write_bytes, [b""]).start()
    began = time.monotonic()
    open_folder(tmp_path / "late", expect=True)
    assert time.monotonic() - began > 0.2
    monkeypatch.setenv(PATIENCE, "0.1")
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


# Object stores


@pytest.mark.ci
def test_an_object_store_that_went_away_is_waited_for(s3: Any) -> None:
    folder = open_folder("s3://bucket/study", make=True)
    folder.write("one", b"content")
    s3.stop()
    threading.Timer(1.0, s3.start).start()
    began = time.monotonic()
    assert folder.read("one") == b"content"
    assert time.monotonic() - began > 0.9


@pytest.mark.slow
def test_an_object_store_that_stays_away_is_named(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder("s3://bucket/study", make=True)
    monkeypatch.setenv(PATIENCE, "0.1")
    s3.stop()
    try:
        with pytest.raises(
            StorageError, match=r"s3://bucket/study: the storage stays out of reach"
        ):
            folder.has("one")
    finally:
        s3.start()


def test_a_creator_of_an_object_whose_answer_was_lost_has_still_created(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    pipe_file = s3fs.S3FileSystem.pipe_file
    lost = [True]

    def loses(files: Any, *arguments: Any, **options: Any) -> Any:
        answer = pipe_file(files, *arguments, **options)
        if lost.pop() if lost else False:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return answer

    monkeypatch.setattr(s3fs.S3FileSystem, "pipe_file", loses)
    folder = open_folder("s3://bucket/study")
    assert folder.create("one", b"mine") is True
    assert folder.create("one", b"another's") is False


def test_a_bucket_that_is_not_there_is_said_at_once_and_not_made(s3: Any) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"s3://bukcet/study: cannot be written .*not exist"):
        open_folder("s3://bukcet/study", make=True)
    assert time.monotonic() - began < 5
    with pytest.raises(FileNotFoundError):
        open_folder("s3://bukcet").read("one")


def test_a_process_without_credentials_is_told_so_at_once(tmp_path: Path) -> None:
    names = [name for name in os.environ if name.startswith("AWS_")]
    bare = {name: value for name, value in os.environ.items() if name not in names}
    bare |= {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    code = "from reports.storage.folder import open_folder; open_folder('s3://bucket/x', make=True)"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=bare, capture_output=True)
    assert b"s3://bucket/x: cannot be used (NoCredentialsError" in done.stderr
    assert time.monotonic() - began < 20


def test_a_forked_process_reads_by_its_own_connections(s3: Any) -> None:
    folder = open_folder("s3://bucket/study")
    folder.write("one", b"content")
    child = os.fork()
    if not child:
        try:
            os._exit(0 if folder.read("one") == b"content" else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended == (child, 0)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("gopher://host/x", r"gopher://host/x: gopher:// is no file system known here"),
        ("gs://bucket/x", r"gs://bucket/x: needs a package .* 'wsss-studies\[gcs\]'"),
    ],
)
def test_a_file_system_that_is_not_known_or_not_installed_is_named(uri: str, said: str) -> None:
    if uri.startswith("gs"):
        try:
            import gcsfs  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("gcsfs is installed")
    with pytest.raises(InputError, match=said):
        open_folder(uri)


# Locations


def test_a_place_below_a_uri_or_a_path() -> None:
    assert below("s3://bucket/study/", "store") == "s3://bucket/study/store"
    assert below(Path("/results"), "a", "b") == Path("/results/a/b")
    assert below("file:///results", "store") == Path("/results/store")


def test_what_a_command_line_names_is_a_uri_or_a_path() -> None:
    assert located("s3://bucket/study/") == "s3://bucket/study"
    assert located("results/study") == Path("results/study")
    assert located("file:///results") == Path("/results")
    assert [is_uri(where) for where in ("s3://b", Path("a"), "file:///a")] == [True, False, False]


def test_a_patience_that_is_no_number_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "long")
    with pytest.raises(InputError, match=f"{PATIENCE}=long: expected a number of seconds"):
        open_folder(tmp_path).read("one")
