"""Common parts of the study file's models: unknown keys are errors, names may be plug-ins."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from wsss_core.errors import nearest
from wsss_core.plugins import is_plugin


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
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in given:
            if key not in known and key not in cls.model_fields:
                near = nearest(key, known, 0.4)
                expected = f"nearest: {near!r}" if near else f"expected: {', '.join(known)}"
                raise ValueError(f"unknown key {str(key)!r}; {expected}")
        return given


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
