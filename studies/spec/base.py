"""Common parts of the study file's models: unknown keys are errors, names may be plug-ins."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from wsss_core.errors import (
    check_printable,
    checked_path,
    nearest,
    quoted,
)
from wsss_core.plugins import is_plugin

LARGEST_NUMBER = 2**53
"""The largest whole number in a study file; reals count every whole number up to it."""


class Strict(BaseModel):
    """A part of the study file: an unknown key is an error, a checked value does not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    OLD_SPELLINGS: ClassVar[Mapping[str, str]] = {}
    """Older spelling of a key -> its spelling; both are read."""

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for old, new in cls.OLD_SPELLINGS.items():
            if old in given:
                if new in given:
                    raise ValueError(f"{new!r} is given twice: {old!r} is its older spelling")
                given = {new if key == old else key: value for key, value in given.items()}
        fields = cls.__pydantic_fields__
        for key in given:
            if key not in fields and key not in _aliases(cls):
                known = [field.alias or name for name, field in fields.items()]
                near = nearest(key, known, 0.4)
                expected = f"nearest: {near!r}" if near else f"expected: {', '.join(known)}"
                raise ValueError(f"unknown key {quoted(str(key))}; {expected}")
            if isinstance(given[key], int) and abs(given[key]) > LARGEST_NUMBER:
                raise ValueError(f"{key}: expected a number of at most {LARGEST_NUMBER}")
        return given


@cache
def _aliases(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(field.alias for field in model.model_fields.values() if field.alias)


def _in_one_line(text: str) -> str:
    check_printable(text, "a name", allowed="")
    if not text.strip():
        raise ValueError("expected a name, got nothing but spaces")
    return text


def _a_path(text: str) -> str:
    checked_path(text)
    return text


Name = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_in_one_line)]
"""A name that tables, figures and the terminal print: one line of at most 120 characters."""

LocalPath = Annotated[str, AfterValidator(_a_path)]
"""A path of this machine; it need not exist."""


def lower(value: Any) -> Any:
    """Return a name in lower case; return a plug-in's name and any other value unchanged."""
    return value.lower() if isinstance(value, str) and not is_plugin(value) else value


def listed(value: Any) -> Any:
    """Return a value or a list of values as a list, names in lower case."""
    return [lower(v) for v in (value if isinstance(value, list) else [value])]


def one_of(names: tuple[str, ...]) -> AfterValidator:
    """Return a check that accepts the given names and plug-ins."""

    def check(name: str) -> str:
        if name not in names and not is_plugin(name):
            hint = f"; nearest: {near!r}" if (near := nearest(name, names)) else ""
            raise ValueError(f"expected {', '.join(names)} or a plug-in module:attribute{hint}")
        return name

    return AfterValidator(check)


_Item = TypeVar("_Item")
OneOrMore = Annotated[list[_Item], Field(min_length=1), BeforeValidator(listed)]
"""A value or a list of values; `ConfigurationEntry.expand` multiplies lists out."""
