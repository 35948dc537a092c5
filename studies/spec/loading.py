"""Read a study file, apply variants and changes (`--set` on the command line), and check it."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from studies.spec.plain_values import plain_mapping, plain_value
from studies.spec.published import PUBLISHED, known_sources
from studies.spec.study import Study, spelt
from wsss_core.errors import QUOTED, InputError, nearest, quoted
from wsss_core.plain_yaml import DEEPEST
from wsss_core.text_files import parse_yaml, read_yaml

REQUIRED = "???"
"""A key with this value in the file must be given with `--set`."""

StudySource = str | os.PathLike[str] | Mapping[str, Any] | Study
"""A shipped study's name, the path of a study file, its content as a mapping, or a loaded study."""


def shipped_studies() -> dict[str, Path]:
    """Return name -> file of every study that comes with the package."""
    folder = Path(__file__).parents[1] / "configs"
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def load_study(
    spec: StudySource,
    changes: Mapping[str, Any] | Sequence[str] = MappingProxyType({}),
    variant: str | Sequence[str] = (),
) -> Study:
    """Return a checked study.

    A file's section `variants` holds named sets of changes to the file, with keys as for `changes`:
    `quick: {seeds: [0], training.epochs: 1}`. The study is then called "NAME-quick".

    Args:
        spec: the name of a shipped study ("quickstart"), the path of a YAML file, a mapping with
            the keys of such a file, or a study that was loaded before.
        changes: key -> value; a key is a path of dots ("data.root", "backbones.cnn.weights",
            "configurations.0.lambda"). A value replaces what the study has there, a mapping a whole
            section: {"training.epochs": 2} changes one key, {"training": {"epochs": 2}} leaves the
            section's other keys at their defaults. As on the command line, a list of "key=value"
            items is taken too, where a value is YAML ("[0, 1]", "0.5", "some/path").
        variant: the name of a variant, or several; they are applied in this order, before
            `changes`.

    Raises:
        InputError: one line that names the file, the key, its value and the expected values.

    Example:
        >>> study = load_study("quickstart", {"training.epochs": 1, "seeds": [0, 1]})
        >>> study.training.epochs, study.seeds, len(study.named_configurations())
        (1, [0, 1], 9)

    """
    raw, where = _varied(spec, variant)
    for path, value, given in _each_change(changes):
        _set(raw, path, value, given)
    for key, value in _leaves(raw):
        if value == REQUIRED:
            hint = f'{{"{key}": VALUE}}' if isinstance(changes, Mapping) else f"--set {key}=VALUE"
            raise InputError(f"{where}: {key} has no value yet; give it with {hint}")
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        said = re.sub(r"(\S{60})\S{240,}", r"\1...", _first_problem(error, raw))
        raise InputError(f"{where}: {said}") from error


def required_keys(spec: StudySource, variant: str | Sequence[str] = ()) -> list[str]:
    """Return the keys of a study that have no value yet; the arguments are those of `load_study`.

    >>> required_keys("smoke_crops")
    ['data.root', 'backbones.cnn.weights', 'backbones.vit.weights']
    """
    return [key for key, value in _leaves(_varied(spec, variant)[0]) if value == REQUIRED]


def _varied(spec: StudySource, variant: str | Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return the keys of a study after its variants, and its name in messages."""
    raw, where = _read(spec)
    offered = raw.pop("variants", None) or {}
    for name in [variant] if isinstance(variant, str) else variant:
        _apply_variant(raw, offered, name, where)
    return raw, where


def _read(spec: StudySource) -> tuple[dict[str, Any], str]:
    """Return the keys of a study, free to be changed, and its name in messages."""
    if isinstance(spec, Study):
        return spec.model_dump(by_alias=True, exclude_unset=True), f"study {spec.study}"
    if isinstance(spec, Mapping):
        where = f"study {quoted(spec.get('study', 'without a name'))}"
        return plain_mapping(spec, where), where
    if not isinstance(spec, str | os.PathLike):
        raise InputError(
            f"study {quoted(spec)}: expected a shipped study's name, a file, a mapping or a Study"
        )
    file = _find(os.fspath(spec))
    raw = read_yaml(file)
    if not isinstance(raw, dict):
        raise InputError(f"{file}: expected keys such as study, data, backbones; got {quoted(raw)}")
    return raw, str(file)


def _each_change(
    changes: Mapping[str, Any] | Sequence[str],
) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and how messages call the change."""
    if isinstance(changes, str):
        raise InputError(f'changes {quoted(changes)}: expected a mapping such as {{"seeds": [0]}}')
    if isinstance(changes, Mapping):
        for path, value in changes.items():
            if not isinstance(path, str) or not path:
                raise InputError(f"changes: key {quoted(path)}: expected a path of dots")
            yield path, plain_value(value, path[:QUOTED]), "change"
    else:
        for change in changes:
            yield *_parsed(change), "--set"


def _find(spec: str) -> Path:
    shipped = shipped_studies()
    if spec in shipped:
        return shipped[spec]
    if os.path.exists(spec):
        return Path(spec)
    near = nearest(spec, shipped, 0.4)
    hint = f"did you mean {near!r}?" if near else f"shipped: {', '.join(shipped)}"
    raise InputError(f"{quoted(spec)} is neither a file nor a shipped study; {hint}")


def _apply_variant(raw: dict[str, Any], offered: Any, name: str, file: str) -> None:
    if not isinstance(offered, dict) or not all(isinstance(v, dict) for v in offered.values()):
        raise InputError(f"{file}: variants: expected names with keys and values to change")
    if name not in offered:
        near = nearest(name, offered, 0.4)
        known = ", ".join(map(str, offered)) or "none"
        hint = f"did you mean {near!r}?" if near else f"it has {known}"
        raise InputError(f"{file}: no variant {quoted(name)}; {hint}")
    for path, value in offered[name].items():
        _set(raw, str(path), value, f"variants.{name}")
    raw["study"] = f"{raw.get('study')}-{name}"


def _parsed(change: str) -> tuple[str, Any]:
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise InputError(f"--set {quoted(change)}: expected key=value")
    return path, parse_yaml(text, f"--set {path[:QUOTED]}: {quoted(text)}")


def _set(raw: dict[str, Any], path: str, value: Any, where: str) -> None:
    at: Any = raw
    section = None
    *parents, last = path.split(".")
    if len(parents) > DEEPEST:
        raise InputError(f"{where} {quoted(path)}: more than {DEEPEST} keys inside each other")
    for step in parents:
        if isinstance(at, dict):
            at = at.setdefault(spelt(at, step, section), {})
        else:
            at = _item(at, step, f"{where} {path[:QUOTED]}")
        section = step
    if isinstance(at, dict):
        at[spelt(at, last, section)] = value
    else:
        _item(at, last, f"{where} {path[:QUOTED]}")
        at[int(last)] = value


def _item(at: Any, step: str, where: str) -> Any:
    if not isinstance(at, list):
        raise InputError(f"{where}: {quoted(step)} lies inside a plain value")
    if not re.fullmatch("[0-9]{1,9}", step) or int(step) >= len(at):
        raise InputError(f"{where}: expected an index below {len(at)}, got {quoted(step)}")
    return at[int(step)]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{index}")
    else:
        yield path, value


def _first_problem(error: ValidationError, raw: dict[str, Any]) -> str:
    """Return the first problem and the paths of the others; keys as the file spells them."""
    problems = error.errors(include_url=False)
    first = problems[0]
    path = _path_in(raw, first["loc"])
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    said = re.sub(r"^\w+ should have", "expected", said)
    if first["type"] == "union_tag_not_found":
        said = (
            "expected a source: scenes, folder or plugin, or a format that is read in place, such "
            "as coco"
        )
    elif first["type"] == "union_tag_invalid":
        source, known = first["ctx"]["tag"], known_sources()
        near = nearest(source, known)
        hint = f"; nearest: {near!r}" if near else ""
        said = f"source {quoted(source)}, expected {', '.join(known[:-1])} or {known[-1]}{hint}"
    elif first["type"] == "missing":
        said = "missing; this key must be given"
    elif first["type"] == "too_short":
        said = "expected at least one item, got none"
    plain = isinstance(first["input"], str | int | float | bool | None)
    got = f", got {quoted(first['input'])}" if plain and first["type"] != "missing" else ""
    others = list(dict.fromkeys(_path_in(raw, problem["loc"]) for problem in problems[1:]))
    named = ", ".join(others[:4]) + (", ..." if len(others) > 4 else "")
    more = f" (and {len(problems) - 1} more: {named})" if others else ""
    return f"{path}: {said}{got}{more}" if path else f"{said}{got}{more}"


def _path_in(raw: dict[str, Any], steps: Sequence[int | str]) -> str:
    """Return the path of a problem as the file writes it, without pydantic's union tags."""
    path = ""
    section = None
    at: Any = raw
    for step in steps:
        if isinstance(at, dict):
            section, step = str(step), spelt(at, str(step), section)
        if isinstance(at, dict) and not (path == "data" and step in (at.get("source"), PUBLISHED)):
            path += f"{'.' if path else ''}{step}"
            at = at.get(step)
        elif isinstance(at, list) and isinstance(step, int):
            path += f"[{step}]"
            at = at[step] if step < len(at) else None
    return path
