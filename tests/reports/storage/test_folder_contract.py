"""The contract of a folder, over this machine's file system, fsspec's memory and an S3 server."""

import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reports.storage.local
import reports.storage.remote
from reports.storage.opening import open_folder

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


def test_of_many_threads_that_create_one_file_one_is_told_so(
    where: str, all_at_once: Callable[..., list[Any]]
) -> None:
    folder = open_folder(where, make=True)
    for attempt in range(3):
        name = f"lease.{attempt}"
        won = all_at_once(8, lambda number, name=name: folder.create(name, b"%d" % number))
        assert won.count(True) == 1
        assert folder.read(name) == b"%d" % won.index(True)


CREATES = """
import sys
from reports.storage.opening import open_folder
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
