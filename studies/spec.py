"""The study file: what a researcher writes, checked whole before anything runs.

A key whose value is `???` must be given on the command line (`--set key=value`). An unknown key is
an error that names the nearest valid one.
"""

from __future__ import annotations

import difflib
import itertools
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from wsss_core.evaluate import Normalisation
from wsss_core.training import Schedule
from wsss_core.transfer.alignment import Projection, Representation
from wsss_core.transfer.losses import Level, Metric, Variant
from wsss_core.transfer.paradigms import ParadigmName


def _lower(value: Any) -> Any:
    return value.lower().replace("_", "-") if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    return [v.lower() if isinstance(v, str) else v for v in values]


Value = TypeVar("Value")
OneOrMore = Annotated[list[Value], Field(min_length=1), BeforeValidator(_listed)]
"""A value or a list of values that is multiplied out."""


class Strict(BaseModel):
    """A part of the study file: unknown keys are errors, values do not change once checked."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in given:
            if key not in known and key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                expected = f"nearest: {near[0]!r}" if near else f"expected: {', '.join(known)}"
                raise ValueError(f"unknown key {str(key)!r}; {expected}")
        return given


class SceneData(Strict):
    """Procedural smoke scenes, made on the spot (see `wsss_core.data.scenes`)."""

    source: Literal["scenes"]
    size: int = Field(64, ge=16, le=1024)
    train: int = Field(1500, ge=2)
    tune: int = Field(150, ge=2)
    test: int = Field(300, ge=2)
    seed: int = Field(0, ge=0)
    smoke: float = Field(0.5, gt=0, lt=1)
    chimney_given_smoke: float = Field(0.95, ge=0, le=1)
    chimney_given_clear: float = Field(0.4, ge=0, le=1)


class FolderData(Strict):
    """A folder of images and masks (see `wsss_core.data.folder`)."""

    source: Literal["folder"]
    root: str
    size: int = Field(224, ge=16, le=4096)


class Training(Strict):
    """See `wsss_core.training.TrainingSettings`."""

    epochs: int = Field(3, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Schedule = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)
    flip: bool = False


class TrainingChange(Strict):
    """What one backbone or configuration changes of the study's training settings."""

    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    weight_decay: float | None = Field(None, ge=0)
    schedule: Schedule | None = None
    warmup: float | None = Field(None, ge=0, lt=1)
    flip: bool | None = None


class Backbone(Strict):
    """A timm model (see `wsss_core.backbones.build_network`).

    `label` is what tables print. `training` holds for the network alone, as a baseline and as a
    teacher, and for a student of this backbone.
    """

    model: str
    label: str | None = None
    weights: str = "none"
    partial_weights: bool = False
    stage: str | int | None = None
    output_stride: Literal[8, 16, 32] | None = None
    options: dict[str, Any] = {}
    training: TrainingChange = TrainingChange()

    @field_validator("options")
    @classmethod
    def _each_has_a_value(cls, options: dict[str, Any]) -> dict[str, Any]:
        # timm drops what is None without a word, so a slip like {depth:4} would go unseen.
        for name, value in options.items():
            if value is None:
                raise ValueError(f"option {name!r} has no value")
        return options


class Cam(Strict):
    """How a raw class activation map becomes scores of 0 to 1."""

    normalisation: Normalisation = "min_max"


class Thresholds(Strict):
    """The fixed threshold, and what the tuned ones and the oracles maximise."""

    fixed: float = Field(0.3, ge=0, le=1)
    objective: Literal["per_image_iou", "dataset_iou", "dataset_miou"] = "per_image_iou"


class Resources(Strict):
    """What one trial asks of the cluster; `gpus: auto` is one where there are any."""

    cpus: int = Field(1, ge=1)
    gpus: float | Literal["auto"] = "auto"
    memory_gb: float = Field(1.0, gt=0)

    @field_validator("gpus")
    @classmethod
    def _positive(cls, value: float | str) -> float | str:
        if isinstance(value, float) and (value < 0 or (value > 1 and value % 1)):
            raise ValueError("expected 0, a share of one GPU below 1, or a whole number")
        return value


class Configuration(Strict):
    """One row of the table, or several: lists are multiplied out."""

    name: str | None = Field(None, min_length=1, max_length=120)
    paradigm: Annotated[
        list[ParadigmName],
        Field(min_length=1),
        BeforeValidator(lambda v: [_lower(x) for x in _listed(v)]),
    ]
    student: str
    teacher: str | None = None
    metric: OneOrMore[Metric] | None = None
    level: OneOrMore[Level] | None = None
    representation: OneOrMore[Representation] | None = None
    weight: OneOrMore[Annotated[float, Field(ge=0)]] | None = Field(None, alias="lambda")
    variant: Variant | None = None
    projection: Projection | None = None
    training: TrainingChange = TrainingChange()

    @model_validator(mode="after")
    def _fits_its_paradigm(self) -> Self:
        transfer = ("teacher", "metric", "level", "representation", "weight", "variant")
        given = [key for key in (*transfer, "projection") if getattr(self, key) is not None]
        if "single" in self.paradigm:
            if len(self.paradigm) > 1:
                raise ValueError("'single' cannot share an entry with other paradigms")
            if given:
                written = type(self).model_fields[given[0]].alias or given[0]
                raise ValueError(f"a single network has no {written!r}")
        else:
            missing = [k for k in ("teacher", "metric", "level") if getattr(self, k) is None]
            if missing:
                raise ValueError(f"{self.paradigm[0]} needs {missing[0]!r}")
        return self

    def expand(self) -> list[Row]:
        """Multiply the lists out, the first key varying slowest."""
        if self.paradigm == ["single"]:
            return [Row(paradigm="single", student=self.student, training=self.training,
                        name=self.name)]  # fmt: skip
        axes = (
            self.paradigm,
            self.representation or ["feature"],
            self.metric or [],
            self.level or [],
            self.weight or [1.0],
        )
        return [
            Row(
                name=self.name,
                paradigm=paradigm,
                student=self.student,
                teacher=self.teacher,
                representation=representation,
                metric=metric,
                level=level,
                weight=weight,
                variant=self.variant or "scaled",
                projection=self.projection,
                training=self.training,
            )
            for paradigm, representation, metric, level, weight in itertools.product(*axes)
        ]


class Row(Strict):
    """One configuration: what is run under every seed and becomes one row of a table."""

    name: str | None = None
    paradigm: ParadigmName
    student: str
    teacher: str | None = None
    representation: Representation | None = None
    metric: Metric | None = None
    level: Level | None = None
    weight: float | None = None
    variant: Variant | None = None
    projection: Projection | None = None
    training: TrainingChange = TrainingChange()


class Study(Strict):
    """A study: data, backbones, how to train, and what to compare under which seeds."""

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$")
    title: str
    data: Annotated[SceneData | FolderData, Field(discriminator="source")]
    backbones: dict[str, Backbone] = Field(min_length=1)
    training: Training = Training()
    cam: Cam = Cam()
    thresholds: Thresholds = Thresholds()
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        BeforeValidator(lambda v: v if isinstance(v, list) else [v]),
    ] = Field(min_length=1)
    configurations: list[Configuration] = Field(min_length=1)
    panels: int = Field(6, ge=0, le=100)
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _refers_to_what_there_is(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} holds one twice")
        for index, entry in enumerate(self.configurations):
            for role in ("student", "teacher"):
                name = getattr(entry, role)
                if name is not None and name not in self.backbones:
                    near = difflib.get_close_matches(name, self.backbones, n=1, cutoff=0)
                    raise ValueError(
                        f"configurations[{index}].{role} {name!r} is no backbone of this study; "
                        f"nearest: {near[0]!r}"
                    )
        names = [name for name, _ in self.rows()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two configurations are called {twice!r}; give them a `name`")
        return self

    @property
    def file_name(self) -> str:
        """The study's name as that of one file: thesis/lambda becomes thesis+lambda."""
        return self.study.replace("/", "+")

    def label(self, backbone: str) -> str:
        """What tables print for a backbone."""
        return self.backbones[backbone].label or backbone

    def rows(self) -> list[tuple[str, Row]]:
        """Every configuration with its name, in the file's order.

        A row without a name of its own is called by what tells it from the others: the networks if
        the study aligns several pairs, lambda if rows differ in nothing else.
        """
        rows = [(row, len(rows) > 1) for rows in map(Configuration.expand, self.configurations)
                for row in rows]  # fmt: skip
        pairs = {(row.student, row.teacher) for row, _ in rows if row.teacher is not None}
        short = [self._describe(row, several, len(pairs) > 1) for row, several in rows]
        return [
            (f"{name}, λ {row.weight:g}" if short.count(name) > 1 and row.weight else name, row)
            for name, (row, _) in zip(short, rows, strict=True)
        ]

    def _describe(self, row: Row, one_of_several: bool, name_networks: bool) -> str:
        if row.name and not one_of_several:
            return row.name
        student = self.label(row.student)
        if row.teacher is None:
            own = f"{student} alone"
        else:
            taught = row.paradigm == "teacher-student"
            words = ["taught" if taught else "co-trained"]
            if name_networks:
                together = "taught by" if taught else "with"
                words = [f"{student} {together} {self.label(row.teacher)}"]
            metric = {"l1": "L1", "l2": "L2"}.get(str(row.metric), row.metric)
            words.append(f"{metric} {row.level}")
            if row.representation != "feature":
                words.append(str(row.representation).replace("_", " "))
            if row.variant == "thesis":
                words.append("as in the thesis code")
            own = ", ".join(words)
        return f"{row.name}: {own}" if row.name else own
