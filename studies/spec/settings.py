"""Sections of a study file whose keys are the fields of the method's own settings.

Names, types, defaults and bounds stand with those settings alone, in `wsss_core`.
"""

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Self, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, Field, create_model, model_validator

from studies.spec.base import Strict
from wsss_core.cams.settings import CamSettings
from wsss_core.evaluate import Normalisation
from wsss_core.evaluate.reasons import ReasonSettings
from wsss_core.tiling import Aspect, Framing, TileSettings
from wsss_core.training.settings import TrainingSettings

_Settings = TypeVar("_Settings")


def section(settings: type, *, optional: bool = False, base: type[Strict] = Strict) -> Any:
    """Return a model with the fields of a dataclass, whose metadata are bounds as pydantic's.

    A setting whose name has changed is dumped by its older name, which keys are hashes of; both
    names are read. A field that is a dataclass becomes a section too.

    Args:
        settings: the dataclass.
        optional: a field is None unless it is given; within a nested section, its default.
        base: what the model is made of.

    """
    types = get_type_hints(settings)
    keys: dict[str, Any] = {}
    old: dict[str, str] = {}
    for field in fields(settings):
        bounds = {key: bound for key, bound in field.metadata.items() if key != "later"}
        kind = types[field.name]
        default: dict[str, Any] = {"default": None if optional else field.default}
        if (nested := nested_settings(kind)) is not None:
            kind = section(nested) | None if type(None) in get_args(kind) else section(nested)
        if not optional and field.default is MISSING:
            made = kind if nested else field.default_factory
            default = {} if made is MISSING else {"default_factory": made}
        if hashed := bounds.pop("key", None):
            old[hashed] = field.name
        keys[field.name] = (
            kind | None if optional else kind,
            Field(serialization_alias=hashed, **default, **bounds),
        )
    model = create_model(settings.__name__, __base__=base, **keys)
    model.OLD_SPELLINGS = old
    return model


def nested_settings(kind: Any) -> type | None:
    """Return the dataclass that a field's type is, or is where it is not None; else None."""
    return next((one for one in (kind, *get_args(kind)) if is_dataclass(one)), None)  # type: ignore[return-value]


def settings_of(kind: type[_Settings], given: BaseModel) -> _Settings:
    """Return a dataclass with the values of its section; see `section`."""
    types = get_type_hints(kind)
    values = {one.name: getattr(given, one.name) for one in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        nested = nested_settings(types[name])
        if nested is not None and isinstance(value, BaseModel):
            values[name] = settings_of(nested, value)
    return kind(**values)


class _Checked(Strict):
    """A section whose values the method's own settings check together."""

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if given.get("epochs") is not None and given.get("iterations") is not None:
            raise ValueError("epochs and iterations both say how long; expected one of the two")
        TrainingSettings(**{name: value for name, value in given.items() if value is not None})
        return self


class Training(section(TrainingSettings, base=_Checked)):  # type: ignore[misc]
    """Settings of training; see `wsss_core.training.settings.TrainingSettings`."""


class TrainingChange(section(TrainingSettings, base=_Checked, optional=True)):  # type: ignore[misc]
    """Training settings that a backbone or configuration changes; what is not given stays.

    A null turns a setting off that the study turns on (`rescale: null`).
    """


_LATER = {
    field.name: field.default for field in fields(TrainingSettings) if field.metadata.get("later")
}
"""The settings that keys leave out where they are as they were before there was a choice."""


_OFF = {name for name, default in _LATER.items() if default is None}
"""The settings that a null turns off."""


def training_in_key(study: Training, *changes: TrainingChange) -> dict[str, Any]:
    """Return the settings of a training run as its key holds them, by their older names.

    Settings that came later and have their default, or no effect, are left out.

    Args:
        study: those of the study.
        changes: those of a backbone and of a configuration; a later one wins.

    """
    merged = study.model_dump(mode="json", by_alias=True)
    for change in changes:
        own = change.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if own.get("epochs") is not None:
            merged["iterations"] = None
        merged |= {key: value for key, value in own.items() if value is not None or key in _OFF}
    effective = {
        "momentum": merged["optimizer"] == "sgd",
        "power": merged["schedule"] == "poly",
    }
    return {
        key: value
        for key, value in merged.items()
        if key not in _LATER or (value != _LATER[key] and effective.get(key, True))
    }


class Tiles(section(TileSettings)):  # type: ignore[misc]
    """The windows over images; see `wsss_core.tiling.TileSettings`."""


class FramedData(Strict):
    """Data whose images may be no squares; the models that build upon it have a `size`."""

    aspect: Aspect = "squash"
    tiles: Tiles | None = None

    @property
    def framing(self) -> Framing:
        """What networks see of the images."""
        data: Any = self
        tiles = None if self.tiles is None else TileSettings(**self.tiles.model_dump())
        return Framing.chosen(self.aspect, tiles, data.size)

    @model_validator(mode="after")
    def _frames(self) -> Self:
        assert self.framing is not None  # what cannot be meant is an error here
        return self


class Cam(section(CamSettings)):  # type: ignore[misc]
    """Settings of class activation maps and their scores of 0 to 1.

    The first five keys are those of `wsss_core.cams.CamSettings`. `normalisation` applies to a
    single raw map; maps of several scales or layers are normalised already. With
    `gating: predicted` a class that the network does not predict in an image cannot win a pixel
    there. This is the default for several classes.
    """

    normalisation: Normalisation = "min_max"
    gating: Literal["none", "predicted"] | None = None


class Reasons(section(ReasonSettings)):  # type: ignore[misc]
    """How reasons are measured; see `wsss_core.evaluate.reasons.ReasonSettings`."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        self.settings()
        return self

    def settings(self) -> ReasonSettings:
        """Return them as the measurement takes them."""
        return settings_of(ReasonSettings, self)


class CamChange(section(CamSettings, optional=True)):  # type: ignore[misc]
    """CAM settings that a step changes; see `wsss_core.cams.CamSettings`."""

    layers: list[int | str] | None = Field(None, min_length=1)
