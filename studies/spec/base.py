"""What every part of a study file has in common: unknown keys are errors, names may be plug-ins."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from wsss_core.plugins import is_plugin


class Strict(BaseModel):
    """A part of the study file: unknown keys are errors, values do not change once checked."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    OLD_SPELLINGS: ClassVar[Mapping[str, str]] = {}
    """Older name of a key -> its name; both are read."""

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
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in given:
            if key not in known and key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                expected = f"nearest: {near[0]!r}" if near else f"expected: {', '.join(known)}"
                raise ValueError(f"unknown key {str(key)!r}; {expected}")
        return given


def lower(value: Any) -> Any:
    """A name in lower case; a plug-in's name as it is written."""
    return value.lower() if isinstance(value, str) and not is_plugin(value) else value


def listed(value: Any) -> Any:
    """A value or a list of values as a list, names in lower case."""
    return [lower(v) for v in (value if isinstance(value, list) else [value])]


def one_of(names: tuple[str, ...]) -> AfterValidator:
    """A check that lets the given names and plug-ins through."""

    def check(name: str) -> str:
        if name not in names and not is_plugin(name):
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            hint = f"; nearest: {near[0]!r}" if near else ""
            raise ValueError(f"expected {', '.join(names)} or a plug-in module:attribute{hint}")
        return name

    return AfterValidator(check)


_Item = TypeVar("_Item")
OneOrMore = Annotated[list[_Item], Field(min_length=1), BeforeValidator(listed)]
"""A value or a list of values that is multiplied out."""
