"""Locations, and the timeout that the environment sets."""

from pathlib import Path

import pytest

from reports.storage.folder import StorageError, below, is_uri, located, without_password
from reports.storage.opening import open_folder
from reports.storage.retry import OLD_TIMEOUT, TIMEOUT, timeout
from wsss_core.errors import InputError


def test_a_place_below_a_uri_or_a_path() -> None:
    assert below("s3://bucket/study/", "store") == "s3://bucket/study/store"
    assert below(Path("/results"), "a", "b") == Path("/results/a/b")
    assert below("file:///results", "store") == Path("/results/store")


def test_what_a_command_line_names_is_a_uri_or_a_path() -> None:
    assert located("s3://bucket/study/") == "s3://bucket/study"
    assert located("results/study") == Path("results/study")
    assert located("file:///results") == Path("/results")
    assert [is_uri(where) for where in ("s3://b", Path("a"), "file:///a")] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://", "s3://: names no bucket or host, expected such as s3://bucket/folder"),
        ("s3:///study", "names no bucket or host"),
        ("memory://", "names no bucket or host"),
        ("ftp:///study", "names no bucket or host"),
        ("s3:", "'s3:': expected a path, or a URI such as s3://bucket/folder"),
        ("s3:/bucket/study", "expected a path, or a URI such as s3://bucket/folder"),
        ("s3://bucket/\x1b[2J", "holds the control character U\\+001B"),
        ("", "a path is empty"),
        ("file://", "a path is empty"),
        ("~nobody-of-this-name", "Could not determine home"),
        ("a\0b", "NUL"),
        ("x" * 256, "too long"),
    ],
)
def test_a_place_that_cannot_be_is_an_error_of_one_line(text: str, said: str) -> None:
    for use in (located, open_folder):
        with pytest.raises(InputError, match=said) as caught:
            use(text)
        assert "\n" not in str(caught.value)


def test_some_file_systems_need_no_host() -> None:
    assert located("hdfs:///results") == "hdfs:///results"
    assert located("/a:b/c") == Path("/a:b/c")
    assert located("c:/results") == Path("c:/results")


def test_a_server_that_does_not_answer_is_an_error_of_storage() -> None:
    with pytest.raises(StorageError, match=r"cannot be opened \(ConnectionRefusedError"):
        open_folder("ftp://me:secret@127.0.0.1:1/study")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ftp://me:secret@host/a", "ftp://me:***@host/a"),
        ("a sftp://me:p%40ss@h:22/a b", "a sftp://me:***@h:22/a b"),
        ("ftp://:secret@host", "ftp://:***@host"),
        ("s3://bucket/a@b:c", "s3://bucket/a@b:c"),
        ("hdfs://host:9000/a", "hdfs://host:9000/a"),
    ],
)
def test_a_password_in_a_uri_is_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown


ODD_SECONDS = ["long", "", "nan", "inf", "-inf", "0", "-1", "1e999"]


@pytest.mark.parametrize("text", ODD_SECONDS)
@pytest.mark.parametrize("name", [TIMEOUT, OLD_TIMEOUT])
def test_a_timeout_that_is_no_number_of_seconds_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(InputError, match=f"{name}={text}: expected a number of seconds above 0"):
        open_folder(tmp_path).read("one")


def test_the_older_name_of_the_timeout_counts_where_the_new_one_is_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (TIMEOUT, OLD_TIMEOUT):
        monkeypatch.delenv(name, raising=False)
    assert timeout() == 60
    monkeypatch.setenv(OLD_TIMEOUT, "7")
    assert timeout() == 7
    monkeypatch.setenv(TIMEOUT, "8")
    assert timeout() == 8
