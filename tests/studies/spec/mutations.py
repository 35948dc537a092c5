"""Study files as somebody may write them by mistake: a shipped study with faults put into it."""

import random
from collections.abc import Iterator
from typing import Any

import yaml

from studies.spec.loading import shipped_studies

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 7.0, 1e308, -1e308, 1e-320, float("inf"), float("nan"),
    2**31, 2**63, 10**30, 10**400, "", " ", "no", "on", "~", "1:30", "2020-01-01", "²", "1e-1",
    "x" * 300, "x" * 5000, "\x1b[2J", "a\nb", "\u202eevil", "é", "../..", "/", "~nobody", "a::b",
    "???", "none", "pretrained", [], {}, [[]], [None], ["x", 1], {"a": 1}, {"": None}, {1: 2},
    list(range(1000)), [0, 0], [[[[[[1]]]]]], {"a": {"b": {"c": {"d": {}}}}}, "{", "]", "%", "@",
)  # fmt: skip

CHARACTERS = ":{}[],&*#?|->!%@`'\" \t\n\\0129eE.+~xé\u202e\x07"


def mutated_study(seed: int) -> str:
    """Return the text of a shipped study with one to four faults, the same for equal seeds."""
    chance = random.Random(seed)
    file = chance.choice(sorted(shipped_studies().values()))
    text = file.read_text(encoding="utf-8")
    faults = chance.randint(1, 4)
    if chance.random() < 0.5:
        study = yaml.safe_load(text)
        for _ in range(faults):
            _mutate_value(study, chance)
        return yaml.dump(study, allow_unicode=chance.random() < 0.5, sort_keys=False)
    for _ in range(faults):
        text = chance.choice((_deleted, _inserted, _swapped, _doubled))(text, chance)
    return text


def _deleted(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + text[at + chance.choice((1, 1, 2, 20)) :]


def _inserted(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(CHARACTERS) * chance.choice((1, 1, 2, 200)) + text[at:]


def _swapped(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) - 1)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _doubled(text: str, chance: random.Random) -> str:
    """Write a line twice, and with it its key."""
    lines = text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    return "".join([*lines[: at + 1], *lines[at:]])


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every mapping or list with each of its keys or indices."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _mutate_value(study: dict[str, Any], chance: random.Random) -> None:
    at, key = chance.choice([*_places(study)] or [(study, "study")])
    kind = chance.randrange(4)
    if kind == 0 and isinstance(at, dict):
        at[chance.choice((f"{key}s", str(key).upper(), "", "x" * 200, "variants"))] = at.pop(key)
    elif kind == 1:
        at[key] = [at[key]] if chance.random() < 0.5 else str(at[key])
    else:
        at[key] = chance.choice(ODD_VALUES)
