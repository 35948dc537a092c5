"""YAML 1.2's core schema by PyYAML, which knows 1.1 alone, and by libyaml where it is there.

ruamel.yaml reads 1.2 by itself, but takes 17 times as long (20,000 numbers: 5.0 s against 0.3).
What is left out of 1.1: `yes`, `no`, `on` and `off` for booleans, dates, numbers to base 60, octal
numbers that begin with 0, and every tag that makes anything but a mapping, a list or a plain value.
"""

import re
from collections.abc import Callable
from typing import Any, ClassVar

import yaml

from wsss_core.errors import check_printable, quoted

MOST_VALUES = 100_000
"""The most values of a text, an alias counting as much as what it stands for."""

DEEPEST = 100
"""The most mappings and lists inside each other."""

_TAG = "tag:yaml.org,2002:"
_FIRST_OF_NUMBER = [*"-+0123456789."]
_PLAIN = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", _FIRST_OF_NUMBER),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|"
        r"\.(nan|NaN|NAN)",
        _FIRST_OF_NUMBER,
    ),
    ("merge", r"<<", ["<"]),
)
"""Tag, pattern and first characters of what a text without quotes stands for, if not for itself."""


def load(text: str) -> Any:
    """Return the one document of a text; what an alias repeats is copied, so a change is of one.

    Raises:
        yaml.YAMLError: it is not valid, or beyond a limit.
        ValueError: a value does not fit its tag, or holds control characters.

    """
    _count(text)
    return _apart(yaml.load(text, _Loader))


def _apart(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _apart(inner) for key, inner in value.items()}
    return [_apart(inner) for inner in value] if isinstance(value, list) else value


def _count(text: str) -> None:
    """Raise if the values of a text are too many, too deeply nested, or contain themselves.

    Values are counted from the parser's events, before anything is built of them.
    """
    open_sizes, open_anchors = [0], [""]
    anchors: dict[str, int | None] = {}  # None: not closed yet
    for event in yaml.parse(text, _BASE):
        size, anchor = 0, getattr(event, "anchor", None) or ""
        mark: Any = event.start_mark
        if isinstance(event, yaml.CollectionStartEvent):
            open_sizes.append(1)
            open_anchors.append(anchor)
            anchors |= {anchor: None} if anchor else {}
            if len(open_sizes) > DEEPEST + 1:
                raise _refused("nested too deeply", mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = open_sizes.pop(), open_anchors.pop()
        elif isinstance(event, yaml.ScalarEvent):
            check_printable(event.value, f"line {mark.line + 1}")
            size = 1
        elif isinstance(event, yaml.AliasEvent):
            found = anchors.get(anchor, 1)
            if found is None:
                raise _refused(f"the anchor {quoted(anchor)} contains itself", mark)
            size, anchor = found, ""
        open_sizes[-1] += size
        anchors |= {anchor: size} if anchor and size else {}
        if open_sizes[-1] > MOST_VALUES:
            raise _refused(f"more than {MOST_VALUES} values, aliases counted", mark)


def _refused(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):
    """Constructs the values of YAML 1.2's core schema and refuses a key that is given twice."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[Any, Callable[..., Any]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; raise if a key is given twice."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                said = "a key is a mapping or a list, expected a plain value"
                raise _refused(said, key.start_mark)
            # Equal keys may be written in several ways: 1, 01 and 0x1.
            value = key.value if key.tag == f"{_TAG}merge" else self.construct_object(key)
            if value in seen:
                raise _refused(f"key {quoted(value)} is given twice", key.start_mark)
            seen.add(value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number: decimal, `0o17` or `0x1f`."""
        value = str(self.construct_scalar(node))
        return int(value, {"0o": 8, "0x": 16}.get(value[:2], 10))


for _tag, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(f"(?:{_pattern})$"), _first)
_BUILT = {_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map")} | {None}
_Loader.yaml_constructors = {
    tag: construct for tag, construct in _BASE.yaml_constructors.items() if tag in _BUILT
}
_Loader.yaml_constructors[f"{_TAG}int"] = _Loader.construct_int
