"""Odd places, numbers and environments on the command line: one line each, and exit code 2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studies.spec.loading
from studies.cli.common import show
from studies.store import ArtifactStore

Command = Callable[..., Any]

ODD_PLACES = [
    ("s3://", "names no bucket or host"),
    ("s3:///study", "names no bucket or host"),
    ("s3:", "expected a path, or a URI such as s3://bucket/folder"),
    ("", "a path is empty"),
    ("~nobody-of-this-name", "Could not determine home"),
    ("a\0b", "NUL"),
    ("x" * 256, "too long"),
    ("/abcdefg" * 600, "too long"),
    ("caf\udce9", "not UTF-8"),
]


@pytest.mark.parametrize(("place", "said"), ODD_PLACES)
@pytest.mark.parametrize(
    "command",
    [
        ("plan", "quickstart", "--results={}"),
        ("run", "quickstart", "--store={}"),
        ("report", "{}"),
        ("report", "results", "--out={}"),
        ("export", "{}", "--to=csv"),
        ("export", "results", "--to=csv", "--out={}"),
        ("thresholds", "{}"),
        ("status", "{}"),
        ("masks", "results", "--images={}", "--out=o"),
        ("store", "list", "{}"),
        ("store", "gc", "s", "--unused-by={}"),
        ("data", "check", "{}"),
        ("data", "scenes", "{}"),
    ],
    ids=" ".join,
)
def test_a_place_that_cannot_be(
    wsss: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    place: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "://" in place and any(part in ("data", "--out={}", "--images={}") for part in command):
        said = f"{place!r}: expected a path of this machine"
    ended = wsss(*(part.replace("{}", place) for part in command))
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("wsss ")
    assert ended.err.count("\n") == 1
    assert len(ended.err) < 400
    assert said in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_server_that_does_not_answer_is_named_without_its_password(
    wsss: Command, command: str
) -> None:
    place = "ftp://me:secret@127.0.0.1:1/study"
    ended = wsss(*(("plan", "quickstart", "--results") if command == "plan" else (command,)), place)
    assert ended.code == 1
    assert "ftp://me:***@127.0.0.1:1/study" in ended.err
    assert "secret" not in ended.out + ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("value", ["abc", "", "nan", "inf", "0", "-3"])
@pytest.mark.parametrize(
    "name", ["WSSS_LEASE_EXPIRY", "WSSS_STORAGE_TIMEOUT", "WSSS_STORAGE_PATIENCE"]
)
def test_seconds_in_the_environment(
    wsss: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ended = wsss("plan", "quickstart", "--results", tmp_path / "results")
    assert ended.code == 2
    assert ended.err == f"wsss: {name}={value}: expected a number of seconds above 0\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [("", "a path is empty"), ("~nobody-of-this-name", "Could not determine home")],
)
def test_a_cache_that_cannot_be(
    wsss: Command, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("WSSS_CACHE", value)
    ended = wsss("plan", "quickstart", "--results", "memory://a-cache-that-cannot-be")
    assert ended.code == 2
    assert ended.err.startswith("wsss: WSSS_CACHE: ")
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_a_lease_lives_as_long_as_the_environment_says_when_its_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSSS_LEASE_EXPIRY", raising=False)
    assert ArtifactStore(tmp_path).leases.expiry == 90
    monkeypatch.setenv("WSSS_LEASE_EXPIRY", "7.5")
    assert ArtifactStore(tmp_path).leases.expiry == 7.5


@pytest.mark.parametrize("value", ["nan", "inf", "abc", "1e999"])
@pytest.mark.parametrize(
    "command", [("status", "r", "--watch"), ("masks", "r", "--images=i", "--out=o", "--threshold")]
)
def test_a_number_that_is_none(wsss: Command, command: tuple[str, ...], value: str) -> None:
    ended = wsss(*command, value)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert f"expected a finite number, got {value!r}" in ended.err


def test_memory_that_does_not_suffice_for_the_input_is_one_line(
    wsss: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(studies.spec.loading, "read_yaml", too_much)
    ended = wsss("plan", "quickstart")
    assert (ended.code, ended.err) == (2, "wsss: this machine's memory does not suffice\n")


def test_the_name_of_a_file_cannot_write_a_second_line_of_error(wsss: Command) -> None:
    ended = wsss("plan", "no\nwsss: all is well\x1b[2J")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "\x1b" not in ended.err


def test_what_is_printed_holds_neither_escapes_nor_passwords(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show("smoke\x1b[2J in ftp://me:secret@host/a")
    show("aside\r", aside=True)
    said = capsys.readouterr()
    assert said.out == "smoke\\x1b[2J in ftp://me:***@host/a\n"
    assert said.err == "aside\\r\n"
