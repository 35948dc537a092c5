"""The training settings of a study file, derived from those that the training takes.

Names, types, defaults and bounds stand in `wsss_core.training.settings.TrainingSettings` alone.
"""

import dataclasses
from typing import Any, ClassVar, get_type_hints

from pydantic import Field, create_model

from studies.spec.base import Strict
from wsss_core.training.settings import TrainingSettings


def _fields(*, optional: bool) -> dict[str, Any]:
    """Return key -> (type, field); optional fields are None unless they are given.

    A setting whose name has changed is dumped by its older name, which keys are hashes of.
    """
    types = get_type_hints(TrainingSettings)
    found = {}
    for field in dataclasses.fields(TrainingSettings):
        bounds = dict(field.metadata)
        kind, default = types[field.name], None if optional else field.default
        hashed = bounds.pop("key", field.name)
        found[field.name] = (
            kind | None if optional else kind,
            Field(default, serialization_alias=hashed, **bounds),
        )
    return found


OLD_SPELLINGS = {
    field.metadata["key"]: field.name
    for field in dataclasses.fields(TrainingSettings)
    if "key" in field.metadata
}


class Training(create_model("Training", __base__=Strict, **_fields(optional=False))):  # type: ignore[misc]
    """Settings of training; see `wsss_core.training.settings.TrainingSettings`."""

    OLD_SPELLINGS: ClassVar = OLD_SPELLINGS


class TrainingChange(create_model("TrainingChange", __base__=Strict, **_fields(optional=True))):  # type: ignore[misc]
    """Training settings that a backbone or configuration changes; None keeps the study's."""

    OLD_SPELLINGS: ClassVar = OLD_SPELLINGS
