"""The key of a stage: equal key, equal work.

A key is the hash of the stage's own settings, its parents' keys, the data's fingerprint and a
version raised by hand when the stage's code changes its result. What cannot change the result
(devices, paths, names) stays out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

VERSIONS = {
    "images": 2,
    "features": 1,
    "train": 2,
    "cams": 1,
    "scores": 3,
    "described": 1,
    "fits": 1,
    "refined": 1,
    "segment": 1,
}
"""Raise a stage's number when its code changes what it makes; its artifacts are then made anew."""

JOB_STAGES = ("train", "segment")
"""The stages of what a run is scheduled for; a worker holds a lease of such a stage."""


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
"""Made once: a plan of thousands of trials has a hundred thousand keys."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces, the same for equal settings.

    >>> canonical({"b": (1, 2.0), "a": None})
    '{"a":null,"b":[1,2.0]}'
    """
    return _ENCODER.encode(value)


def stage_key(
    stage: str,
    settings: Mapping[str, Any],
    *,
    parents: Sequence[str] = (),
    data: Sequence[str] = (),
) -> str:
    """20 hexadecimal digits (80 bits) that name the stage's result."""
    content = canonical([stage, VERSIONS[stage], settings, list(parents), list(data)])
    return hashlib.blake2b(content.encode(), digest_size=10).hexdigest()
