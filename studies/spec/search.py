"""The sections `search` and `sweep` of a study file.

A search has a space, a budget, and the confirmation of winners. A sweep has values of one setting.
"""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from studies.spec.base import Name, OneOrMore, Strict
from studies.spec.configuration import (
    Configuration,
    TransferLevel,
    TransferMetric,
    TransferRepresentation,
    refuse_level,
)
from studies.spec.settings import TrainingChange
from wsss_core.transfer.names import ParadigmName


class LogRange(Strict):
    """A range of numbers that are drawn uniformly on a logarithmic scale."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self


class Space(Strict):
    """The space of a search: names from lists, numbers from ranges."""

    metric: OneOrMore[TransferMetric]
    transfer_level: OneOrMore[TransferLevel] = Field(
        default_factory=lambda: ["global"], alias="level"
    )
    representation: OneOrMore[TransferRepresentation] = Field(default_factory=lambda: ["feature"])
    # Dumped as "weight", which the names of a search's parts in the ledger are hashes of.
    transfer_weight: LogRange = Field(alias="lambda", serialization_alias="weight")
    learning_rate: LogRange | None = None

    @model_validator(mode="after")
    def _levels_apply(self) -> Self:
        refuse_level(self.metric, self.transfer_level)
        return self


class Search(Strict):
    """A search by Optuna's TPE, pruned by ASHA; its winners run again under fresh seeds.

    A search trial is scored under one seed after another. Its objective is the IoU at the best
    threshold of the tune split, mean over the seeds so far. ASHA stops trials between seeds. Only
    the confirmations are reported as results.

    Attributes:
        paradigm: the paradigm of all trials.
        student: the student's backbone.
        teacher: the teacher's backbone.
        space: the axes and their values.
        trials: number of configurations to try.
        seeds: seeds to score each configuration under; none of them is a seed of the study.
        confirm: number of best configurations to run again.
        grace: number of seeds that every trial gets before it can be stopped.
        sampler_seed: seed of TPE.

    """

    paradigm: ParadigmName = "teacher-student"
    student: str
    teacher: str
    space: Space
    trials: int = Field(30, ge=1)
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        BeforeValidator(lambda v: v if isinstance(v, list) else [v]),
    ] = Field(min_length=1)
    confirm: int = Field(5, ge=1)
    grace: int = Field(1, ge=1)
    sampler_seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _teaches(self) -> Self:
        if self.paradigm == "single":
            raise ValueError("a search compares transfers; paradigm 'single' has none")
        return self

    def configuration(self, parameters: dict[str, str | float]) -> Configuration:
        """Return the configuration at a point of the space."""
        rate = parameters.get("learning_rate")
        return Configuration(
            paradigm=self.paradigm,
            student=self.student,
            teacher=self.teacher,
            metric=str(parameters["metric"]),
            transfer_level=str(parameters["level"]),
            representation=str(parameters["representation"]),
            transfer_weight=float(parameters["lambda"]),
            training=TrainingChange(learning_rate=None if rate is None else float(rate)),
        )


class Sweep(Strict):
    """A sweep: one setting of the study takes several values, all others stay the same.

    `key` is a dotted path, as for `--set`: "data.chimney_given_clear".
    """

    key: str
    values: list[float] = Field(min_length=2, max_length=1000)
    label: Name | None = None

    @field_validator("values")
    @classmethod
    def _differ(cls, values: list[float]) -> list[float]:
        if len(set(values)) != len(values):
            raise ValueError("a value is given twice")
        return values

    @property
    def name(self) -> str:
        """The label that tables print; the key if the file gives no label."""
        return self.label or self.key
