"""What users give is checked, and shown, in one way."""

import os
from pathlib import Path

import pytest

from wsss_core.errors import InputError, checked_path, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smoke", "smoke"),
        ("é λ 煙 \N{FIRE}", "é λ 煙 \N{FIRE}"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("back\r", "back\\r"),
        ("\u202eevil", "\\u202eevil"),
        ("lone \udcff", "lone \\udcff"),
    ],
)
def test_a_terminal_is_shown_what_would_control_it(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_the_end_of_a_line_is_written_out_where_a_message_is_one_line() -> None:
    assert visible("a\nb", kept="") == "a\\nb"


def test_a_path_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert checked_path("a/b") == tmp_path / "a" / "b"
    assert checked_path("~/a") == Path("/home/me/a")
    assert checked_path("x" * 255) == tmp_path / ("x" * 255)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a path is empty, expected a file or a folder"),
        ("a\0b", r"path 'a\\x00b' holds a NUL character"),
        ("~nobody-of-this-name/a", "path '~nobody-of-this-name/a': Could not determine home"),
        ("x" * 256, "is too long: expected at most 255 bytes in a name and 4095 in all"),
        ("é" * 128, "is too long"),
        ("/abcdefg" * 600, "is too long"),
        (os.fsdecode(b"caf\xe9"), r"path 'caf\\udce9' is not UTF-8"),
    ],
)
def test_a_path_that_cannot_be_is_named_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        checked_path(text)
    assert len(str(caught.value)) < 250
