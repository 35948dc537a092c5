"""Locations, and the timeout that the environment sets."""

from pathlib import Path

import pytest

from reports.storage.folder import below, is_uri, located
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


@pytest.mark.parametrize("name", [TIMEOUT, OLD_TIMEOUT])
def test_a_timeout_that_is_no_number_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "long")
    with pytest.raises(InputError, match=f"{name}=long: expected a number of seconds"):
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
