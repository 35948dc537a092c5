"""The training settings of a study file, derived from those that the training takes.

Names, types, defaults and bounds stand in `wsss_core.training.settings.TrainingSettings` alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from pydantic import Field, create_model

from studies.spec.base import Strict
from wsss_core.training.settings import TrainingSettings


def _fields(*, optional: bool) -> dict[str, Any]:
    """Return key -> (type, field); optional fields are None unless they are given."""
    types = get_type_hints(TrainingSettings)
    found = {}
    for field in dataclasses.fields(TrainingSettings):
        bounds = dict(field.metadata)
        key, kind = bounds.pop("key", field.name), types[field.name]
        default = None if optional else field.default
        found[key] = (kind | None if optional else kind, Field(default, **bounds))
    return found


class Training(create_model("Training", __base__=Strict, **_fields(optional=False))):  # type: ignore[misc]
    """Settings of training; see `wsss_core.training.settings.TrainingSettings`."""


class TrainingChange(create_model("TrainingChange", __base__=Strict, **_fields(optional=True))):  # type: ignore[misc]
    """Training settings that a backbone or configuration changes; None keeps the study's."""
