"""`--json`: one value of strict JSON on standard output, for scripts.

`docs/commands.md` describes every key. A key is added without a new version; a key that goes, or
gets another meaning, raises the version of its schema.
"""

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, TextIO

from reports.storage import without_password
from studies.cli.common import option, show


class Schema(StrEnum):
    """The kinds of records that commands print."""

    DATA = "data"
    PLAN = "plan"
    STATUS = "status"
    STORE = "store"
    STUDIES = "studies"
    STUDY = "study"
    THRESHOLDS = "thresholds"


_VERSIONS = dict.fromkeys(Schema, 1)

JSON_OPTION = option(
    "--json",
    action="store_true",
    help="print one value of JSON and nothing else, for scripts; docs/commands.md names its keys",
)


def of_schema(schema: Schema, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record that says which schema it has, and in which version."""
    return {"schema": schema, "schema_version": _VERSIONS[schema], **record}


_kept: list[TextIO] = []
"""The standard output of the command that runs, while only JSON may be printed there."""


@contextlib.contextmanager
def json_alone() -> Iterator[None]:
    """Keep standard output for `show_json` while the block runs.

    What is printed there otherwise, be it by a plug-in or by Ray, goes to standard error.
    """
    _kept.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _kept.pop()


def show_json(value: object) -> bool:
    """Print a value on one line; return whether it could be printed."""
    with contextlib.redirect_stdout(_kept[-1] if _kept else sys.stdout):
        return show(json.dumps(strict(value), allow_nan=False))


def strict(value: Any) -> Any:
    """Return a value as strict JSON has it.

    Numbers keep their precision. NaN and infinities, which JSON lacks, become None. URIs show no
    password.

    >>> strict({"iou": float("nan"), "levels": (1, 2.5)})
    {'iou': None, 'levels': [1, 2.5]}
    """
    if isinstance(value, Mapping):
        return {str(key): strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return without_password(value) if isinstance(value, str) else value
