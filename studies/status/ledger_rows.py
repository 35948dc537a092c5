"""Rows of the ledger, as far as the status of a study needs them; the fields are the columns.

Reads with pyarrow alone: `wsss status` is called often, and pandas takes long to load.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from reports.ledger.parts import read_arrow
from reports.pairing import Pair, pair_of
from reports.storage import Location
from studies.rates import Work
from studies.status.model import TrialPlace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of the `plan` table."""

    study: str
    study_title: str
    position: int
    configuration: str
    seed: int
    trial_key: str
    paradigm: str
    student: str
    teacher: str | None
    dial: str | None
    dial_value: float | None
    artifacts: str
    search_trials: int | None
    fold: int | None = None
    decide: str | None = None

    @property
    def name(self) -> str:
        """The trial's name for people."""
        at = "" if self.dial_value is None else f", {self.dial} = {self.dial_value:g}"
        return f"{self.configuration}{at}, seed {self.pair}"

    @property
    def place(self) -> TrialPlace:
        """The trial's place among those of its study."""
        return self.configuration, self.dial_value, self.pair

    @property
    def pair(self) -> Pair:
        """What pairs the trial with those of other configurations."""
        return pair_of(self.seed, self.fold)

    @cached_property
    def training_runs(self) -> list[str]:
        """The keys of the trial's training run and, after it, of its teacher's."""
        keys: list[str] = json.loads(self.artifacts)["train"]
        return keys

    @property
    def work(self) -> Work:
        """The trial as work that takes as long as others of its paradigm and networks."""
        return Work(((self.paradigm, self.student, self.teacher), "trial"))


@dataclass(frozen=True)
class EndedTrial:
    """A trial of the `trials` table; `started_at` in microseconds since 1970."""

    trial_key: str
    status: str
    error: str | None
    traceback: str | None
    started_at: int
    seconds_training: float | None
    seconds_scoring: float | None


@dataclass(frozen=True)
class PlannedChain:
    """A chain over a trial, of the `refinements` table."""

    study: str
    trial_key: str
    refinement: str
    position: int
    scores_key: str | None
    lacks: str | None
    chain: str | None


@dataclass(frozen=True)
class EndedChain:
    """A chain over a trial, of the `refined` table."""

    scores_key: str
    status: str
    error: str | None
    traceback: str | None


@dataclass(frozen=True)
class PlannedSegment:
    """An entry of `segment` under a seed, of the `segments` table."""

    study: str
    entry: str
    position: int
    seed: int
    fold: int | None
    dial_value: float | None
    segment_key: str
    scores_key: str
    configuration: str | None = None

    @property
    def name(self) -> str:
        """The run's name for people."""
        at = "" if self.dial_value is None else f", at {self.dial_value:g}"
        return f"segmenter {self.entry}{at}, seed {pair_of(self.seed, self.fold)}"


@dataclass(frozen=True)
class EndedSegment:
    """An entry of `segment` under a seed, of the `segmented` table."""

    scores_key: str
    status: str
    error: str | None
    traceback: str | None


@dataclass(frozen=True)
class TriedConfiguration:
    """A configuration of a search under one seed, of the `search` table."""

    study: str
    number: int
    state: str
    objective: float | None


def read_rows(
    results: Location, table: str, row: type[Row], keys: Iterable[str] | None = None
) -> list[Row]:
    """Read rows of a table; None for `keys` reads all parts.

    Raises:
        LedgerError: a part that cannot be read.

    """
    columns = [field.name for field in fields(row)]
    found = read_arrow(results, table, keys=keys, columns=columns)
    for place, field in enumerate(found.schema):
        if pa.types.is_timestamp(field.type):
            # As integers: pyarrow loads pandas to make moments of them.
            whole = [chunk.view(pa.int64()) for chunk in found[field.name].chunks]
            found = found.set_column(place, field.name, pa.chunked_array(whole, pa.int64()))
    return [row(**values) for values in found.to_pylist()]
