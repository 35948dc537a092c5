"""A trial's figures as bytes: derived where the trial ends, kept in the row that seals it.

The columns `figures` and `figures_about` of the tables `trials` and `refined` hold what a report
needs of the trial's part of `scores`, so that a report need not read that part, a hundred times as
large. `figures` begins with the digest of the part; numbers follow. `figures_about` says in JSON
what each number is, under which rules and by which code it was derived. Texts are equal for nearly
all trials of a study, so the numbers of thousands of trials are one array.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import reports.names
import wsss_core.evaluate
from reports.results.diagnostics import DIAGNOSTICS, diagnostic_rows
from reports.results.outcomes import OUTCOME_COLUMNS, figure_rows
from reports.results.score_rows import Rules, ScoreRows

logger = logging.getLogger(__name__)

OUTCOME_TEXTS = ("network", "class_name", "split", "rule", "peeks_at")
"""The columns of an outcome that are texts; they come first."""

OUTCOME_NUMBERS = OUTCOME_COLUMNS[len(OUTCOME_TEXTS) :]
"""The columns of an outcome that are numbers."""

LEVELS = 256
"""The number of values of a curve."""

DIGEST_BYTES = 16
"""The bytes of the digest that `figures` begins with."""


@dataclass(frozen=True)
class PackedFigures:
    """The figures of one trial as the ledger keeps them.

    Attributes:
        about: what the numbers are, as JSON.
        content: the digest of the part of scores, then float64 in the order that `about` says.

    """

    about: str
    content: bytes


def packed(scores: ScoreRows, rules: Rules, digest: str | None) -> PackedFigures:
    """Derive the figures of a trial.

    Args:
        scores: its rows of the table `scores`.
        rules: how the study chooses thresholds.
        digest: of its part, 32 hexadecimal digits; None if the part holds none.

    Raises:
        InputError: the study's own rule fails.

    """
    about: dict[str, Any] = {"code": figures_code(), "rules": repr(rules), "scored": False}
    numbers: list[np.ndarray] = []
    if bool((scores.texts["split"] == "test").any()):
        outcomes, curves = figure_rows(scores, rules)
        diagnosed = diagnostic_rows(scores, _levels(outcomes))
        about |= {
            "scored": True,
            "outcomes": [[row[name] for name in OUTCOME_TEXTS] for row in outcomes],
            "curves": [list(key) for key in curves],
            "diagnostics": [[row["network"], row["class_name"]] for row in diagnosed],
        }
        numbers = [
            _numbers(outcomes, OUTCOME_NUMBERS),
            *(np.asarray(curve, np.float64) for curve in curves.values()),
            _numbers(diagnosed, DIAGNOSTICS),
        ]
    start = bytes.fromhex(digest) if digest else bytes(DIGEST_BYTES)
    content = b"".join([start, *(array.astype("<f8").tobytes() for array in numbers)])
    return PackedFigures(json.dumps(about), content)


def derived_columns(scores: pa.Table, rules: Rules | None, digest: str | None) -> dict[str, Any]:
    """Return the columns of a sealing row that hold the figures of its trial.

    They are empty where a report has to derive them: under rules of the study's own, which may
    change at any time, and where the derivation fails, which the report then says.

    Args:
        scores: the trial's rows of the table `scores`, as they are written.
        rules: how the study chooses thresholds; None if that is not known.
        digest: of the part of `scores`.

    """
    if rules is None or rules.own or digest is None:
        return {}
    try:
        found = packed(ScoreRows.of(scores), rules, digest)
    except Exception as error:  # a trial with scores has ended well, whatever becomes of them
        logger.warning("its figures cannot be derived yet: %s: %s", type(error).__name__, error)
        return {}
    return {"figures": found.content, "figures_about": found.about}


def is_of(about: str, rules: Rules) -> bool:
    """Return whether figures were derived by the code that runs now, under some rules.

    Args:
        about: see `PackedFigures`.
        rules: how the study chooses thresholds.

    """
    try:
        found = json.loads(about)
        return bool(found["code"] == figures_code() and found["rules"] == repr(rules))
    except (ValueError, TypeError, KeyError):
        return False


def _numbers(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> np.ndarray:
    """Return some columns of rows, float64 [len(rows) * len(names)]; NaN where one is lacking."""
    values = [[row.get(name) for name in names] for row in rows]
    return np.array(values, np.float64).ravel()


def _levels(outcomes: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the levels that cut maps for diagnostics: tuned ones, or fixed ones without any."""
    rule = "tuned" if any(row["rule"] == "tuned" for row in outcomes) else "fixed"
    return {
        (row["network"], row["class_name"]): row["level"]
        for row in outcomes
        if row["split"] == "test" and row["rule"] == rule
    }


@cache
def figures_code() -> str:
    """Return a hash of the code that derives figures: no version number has to be raised."""
    here = Path(__file__)
    names = ("outcomes", "score_rows", "several_classes", "other_gatings", "diagnostics")
    files = [here.parents[1] / f"{name}.py" for name in names]
    files += [here, Path(reports.names.__file__)]
    files += sorted(Path(wsss_core.evaluate.__file__).parent.glob("*.py"))
    digest = hashlib.blake2b(digest_size=10)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
