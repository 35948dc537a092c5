"""`docs/commands.md` names every command and every option, and no other."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from studies.cli.common import FAILED, INTERRUPTED, USAGE_ERROR, Command
from studies.cli.main import COMMANDS, command_line

PAGE = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")


def commands(
    parts: tuple[Command, ...] = COMMANDS, path: str = ""
) -> Iterator[tuple[str, Command]]:
    """Every command that does something, with its words."""
    for command in parts:
        words = f"{path} {command.name}".strip()
        if command.parts:
            yield from commands(command.parts, words)
        else:
            yield words, command


def sections() -> dict[str, str]:
    """The command that a heading names -> its section."""
    found = re.split(r"^### `wsss ([a-z ]+)`$|^## .*$", PAGE, flags=re.MULTILINE)
    return {name: text for name, text in zip(found[1::2], found[2::2], strict=True) if name}


def options_in(section: str) -> set[str]:
    """The options in the first column of a section's table."""
    rows = re.findall(r"^\| (.*?) \|", section, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(--[a-z-]+)", row)}


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert list(sections()) == [words for words, _ in commands()]


@pytest.mark.parametrize(("words", "command"), list(commands()))
def test_a_section_names_the_options_of_its_command(words: str, command: Command) -> None:
    shown = {
        name
        for names, settings in command.options
        if settings.get("help") is not argparse.SUPPRESS
        for name in names
        if name.startswith("--")
    }
    assert options_in(sections()[words]) == shown


def test_every_option_that_the_page_mentions_is_one() -> None:
    known = {name for _, command in commands() for names, _ in command.options for name in names}
    assert set(re.findall(r"--[a-z][a-z-]*", PAGE)) <= known | {"--help", "--version"}


def test_every_command_line_of_the_page_and_of_the_helps_is_accepted() -> None:
    shown = re.findall(r"^(wsss .*?)(?:  .*| \| jq .*)?$", PAGE, flags=re.MULTILINE)
    lines = [*shown, *(command.example for _, command in commands())]
    assert len(lines) > 20
    for line in lines:
        words = shlex.split(line)[1:]
        options, beyond = command_line().parse_known_args(words)
        assert (options.command is not None or words[0] == "help", beyond) == (True, [])


def test_every_argument_has_a_help_and_every_command_an_example_of_itself() -> None:
    for words, command in commands():
        assert command.example.startswith(f"wsss {words}")
        for names, settings in command.options:
            assert settings.get("help"), (words, names)


def test_the_exit_codes_are_those_of_the_code() -> None:
    table = PAGE.split("## Exit codes")[1].split("## ")[0]
    codes = re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)
    assert [int(code) for code in codes] == [0, FAILED, USAGE_ERROR, INTERRUPTED]
