"""The content of a study given from Python, as a YAML file would hold it."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from wsss_core.errors import InputError, check_printable, quoted
from wsss_core.plain_yaml import DEEPEST

_MOST_ITEMS = 100_000  # as many as a study file may hold


def plain_mapping(given: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Return a copy of a mapping, as `plain_value` does.

    Raises:
        InputError: see `plain_value`.

    """
    copied: dict[str, Any] = plain_value(given, where)
    return copied


def plain_value(given: Any, where: str, depth: int = 0) -> Any:
    """Return a copy of a value with lists for sequences, texts for paths, and numbers for NumPy's.

    Args:
        given: what a study file can hold, or ranges, tuples, paths, and scalars and arrays of
            NumPy.
        where: its key, for messages.
        depth: how many mappings and lists it lies in.

    Raises:
        InputError: a value of another kind, a key that is no text, a text with control characters,
            or more than 100 mappings and lists inside each other.

    >>> plain_value({"seeds": range(3), "data": {"size": (32, 32)}}, "study")
    {'seeds': [0, 1, 2], 'data': {'size': [32, 32]}}
    """
    if depth > DEEPEST:
        raise InputError(f"{where}: more than {DEEPEST} mappings and lists inside each other")
    if given is None or (isinstance(given, bool | int | float) and type(given) in _OWN_KINDS):
        return given
    if isinstance(given, str):
        check_printable(given, where)
        return str(given)
    if isinstance(given, PurePath):
        return str(given)
    if isinstance(given, Mapping):
        copied = {}
        for key, value in given.items():
            if not isinstance(key, str):
                raise InputError(f"{where}: key {quoted(key)}: expected a text")
            check_printable(key, where)
            copied[str(key)] = plain_value(
                value, where if depth == 0 else f"{where}.{key}", depth + 1
            )
        return copied
    if hasattr(given, "tolist"):  # NumPy's arrays and scalars, without importing it
        return plain_value(given.tolist(), where, depth + 1)
    if isinstance(given, Sequence) and not isinstance(given, bytes | bytearray):
        if len(given) > _MOST_ITEMS:
            raise InputError(f"{where}: {len(given)} items, expected at most {_MOST_ITEMS}")
        return [plain_value(value, where, depth + 1) for value in given]
    raise InputError(
        f"{where}: {quoted(given)} of type {type(given).__name__}: expected a mapping, a list, a "
        "text, a number, a boolean or None"
    )


_OWN_KINDS = (bool, int, float)
