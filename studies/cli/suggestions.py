"""Command lines with a word that no command knows: what was probably meant, before any parsing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from studies.cli.common import Command
from wsss_core.errors import nearest, quoted

_CONFIGS = Path(__file__).parents[1] / "configs"


def unknown_word(commands: Sequence[Command], arguments: Sequence[str]) -> tuple[str, str] | None:
    """Return which command does not know a word of a command line, and what to say of it.

    Args:
        commands: all there are.
        arguments: the words after `wsss`.

    Returns:
        The command's words ("wsss store") and a message; None if every word is known.

    """
    path, parts, command = "wsss", commands, None
    words = list(arguments)
    while parts and words and not words[0].startswith("-"):
        word = words.pop(0)
        command = next((part for part in parts if part.name == word), None)
        if command is None:
            return path, _unknown_command(word, parts, commands)
        path, parts = f"{path} {word}", command.parts
    known = {"--help", *(("--version",) if command is None else _options(command))}
    for word in words:
        if word == "--":
            break
        name = word.partition("=")[0]
        # argparse takes what holds a space for a value, and the beginning of a name for the name.
        if not word.startswith("--") or " " in word or any(o.startswith(name) for o in known):
            continue
        return path, _unknown_option(name, known, commands)
    return None


def _unknown_command(word: str, parts: Sequence[Command], commands: Sequence[Command]) -> str:
    said = f"unknown command {quoted(word)}"
    if parts is commands:
        if word.endswith((".yaml", ".yml")) or (_CONFIGS / f"{word}.yaml").is_file():
            return f"{said}; a study is run with: wsss run {word}"
        inner = next((path for path, part in _walk(commands) if part.name == word), None)
        if inner is not None:
            return f"{said}; did you mean {inner!r}?"
    names = [part.name for part in parts]
    near = nearest(word, [*names, "--version"] if parts is commands else names)
    return f"{said}; " + (f"did you mean {near!r}?" if near else f"expected {', '.join(names)}")


def _unknown_option(name: str, known: set[str], commands: Sequence[Command]) -> str:
    said = f"unknown option {quoted(name)}"
    if near := nearest(name, known, 0.7):
        return f"{said}; did you mean {near!r}?"
    others = [path for path, command in _walk(commands) if name in _options(command)]
    return f"{said}, which is one of {', '.join(others)}" if others else said


def _options(command: Command) -> list[str]:
    return [name for names, _ in command.options for name in names if name.startswith("--")]


def _walk(commands: Sequence[Command], path: str = "wsss") -> Iterator[tuple[str, Command]]:
    for command in commands:
        yield f"{path} {command.name}", command
        yield from _walk(command.parts, f"{path} {command.name}")
