"""A configuration of a study: its paradigm, networks and transfer."""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from studies.spec.base import Name, OneOrMore, Strict, listed, lower, one_of
from studies.spec.cam_targets import CamTargets
from studies.spec.resources import ResourceChange
from studies.spec.segmentation.decoupling import Decouple
from studies.spec.segmentation.single_stage import SINGLE_STAGE, Recipe
from studies.spec.settings import TrainingChange
from wsss_core.errors import quoted
from wsss_core.evaluate import LogitFusion, MapFusion
from wsss_core.plugins import is_plugin
from wsss_core.transfer.names import (
    ALIGNMENT_METRICS,
    LOGIT_METRICS,
    PROJECTIONS,
    RELATIONS,
    REPRESENTATIONS,
    TRANSFER_LEVELS,
    GradientName,
    ParadigmName,
    VariantName,
)

TransferWeight = Annotated[float, Field(ge=0)]
TransferMetric = Annotated[str, BeforeValidator(lower), one_of(ALIGNMENT_METRICS)]
TransferLevel = Annotated[str, BeforeValidator(lower), one_of(TRANSFER_LEVELS)]
TransferRepresentation = Annotated[str, BeforeValidator(lower), one_of(REPRESENTATIONS)]
TransferProjection = Annotated[str, BeforeValidator(lower), one_of(PROJECTIONS)]


def refuse_level(metrics: list[str], levels: list[str] | None) -> None:
    """Raise ValueError if a relation, which says itself what it compares, is given a level."""
    relations = [metric for metric in metrics if metric in RELATIONS]
    if relations and levels not in (None, ["global"]):
        raise ValueError(
            f"'level' does not apply to the metric {relations[0]}; give it an entry of its own "
            "without a level"
        )


class LayerPairEntry(Strict):
    """A pair of layers to align, with its weight; None is the layer of the last features."""

    student: str | int | None = None
    teacher: str | int | None = None
    weight: float = Field(1.0, gt=0)


class Transfer(Strict):
    """Settings of the transfer that are not multiplied out; None is the default.

    `teachers` names several frozen teachers with their weights; the first of them is `teacher`.
    """

    variant: VariantName | None = None
    projection: TransferProjection | None = None
    layers: list[LayerPairEntry] | None = Field(None, min_length=1)
    temperature: float | None = Field(None, gt=0)
    gamma: float | None = Field(None, ge=1, le=100)
    teachers: dict[Name, Annotated[float, Field(gt=0)]] | None = Field(None, min_length=2)
    lambda_warmup: float | None = Field(None, ge=0, le=1)
    gradient: GradientName | None = None
    ema: float | None = Field(None, gt=0, lt=1)


FUSED: Literal["fused"] = "fused"
"""The paradigm of rows that train nothing: several trained networks as one."""

SOUP = "soup"
"""The fusion that averages weights; all others fuse maps."""

FusionName = MapFusion | Literal["soup"]


class Fusion(Strict):
    """Trained networks of the study as one row, without training.

    `of` names rows of the study, or backbones: those stand for their network trained alone. Of a
    co-trained row the student takes part. With `seeds: M` the row is an ensemble over seeds: the
    study's seeds are dealt in order to blocks of M, each block gives one result under its first
    seed, and seeds that fill no block give none. Blocks share no network, so results are
    independent, and each is paired with other rows by the first seed of its block.

    `how` is a fusion of maps, see `wsss_core.evaluate.map_fusion`, or "soup": the average of the
    weights of networks of one architecture (Wortsman et al., 2022, arXiv 2203.05482). `scores` says
    what is averaged where the row says which classes an image holds; a soup says so itself.
    """

    of: Annotated[
        list[Name],
        Field(min_length=1, max_length=100),
        BeforeValidator(lambda v: v if isinstance(v, list) else [v]),
    ]
    how: FusionName
    seeds: int = Field(1, ge=1, le=1000)
    scores: LogitFusion = "logits"

    @model_validator(mode="after")
    def _has_several(self) -> Self:
        twice = next((name for name in self.of if self.of.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"of: {quoted(twice)} is named twice")
        if len(self.of) * self.seeds < 2:
            raise ValueError("expected two networks or more: name several in 'of', or 'seeds: 2'")
        return self


class FusionEntry(Fusion):
    """A fusion as an entry has it: `how` may be a list, which is multiplied out."""

    how: OneOrMore[FusionName]  # type: ignore[assignment]


class Described(Transfer):
    """Keys that an entry of `configurations` and a single configuration have alike.

    With `join` the images of the study's `join` join its training. `published` is another work's
    figure, in percent; see `Study.published_from`. `resources` overrides the study's.
    """

    name: Name | None = None
    student: str
    teacher: str | None = None
    training: TrainingChange = TrainingChange()
    join: bool = False
    published: float | None = Field(None, ge=0, le=100)
    resources: ResourceChange = ResourceChange()
    decouple: Decouple | None = None
    targets: CamTargets | None = None


class ConfigurationEntry(Described):
    """An entry of `configurations`: one configuration, or several where it holds lists."""

    fuse: FusionEntry | None = None
    paradigm: Annotated[
        list[ParadigmName | Literal["fused", "single-stage"]],
        Field(min_length=1),
        BeforeValidator(
            lambda v: [x.replace("_", "-") if isinstance(x, str) else x for x in listed(v)]
        ),
    ]
    metric: OneOrMore[TransferMetric] | None = None
    transfer_level: OneOrMore[TransferLevel] | None = Field(None, alias="level")
    representation: OneOrMore[TransferRepresentation] | None = None
    transfer_weight: OneOrMore[TransferWeight] | None = Field(None, alias="lambda")
    recipe: OneOrMore[Recipe] | None = None

    @model_validator(mode="before")
    @classmethod
    def _fused_alone(cls, given: Any) -> Any:
        """Complete an entry with `fuse`, whose networks the study looks up."""
        if not isinstance(given, dict) or given.get("fuse") is None:
            return given
        for key, value in given.items():
            completed = (key, value) in (("paradigm", [FUSED]), ("student", ""))
            if key not in ("fuse", "name", "published", "resources") and not completed:
                raise ValueError(f"an entry with 'fuse' takes no {quoted(key)}")
        return {**given, "paradigm": [FUSED], "student": ""}

    @model_validator(mode="before")
    @classmethod
    def _first_teacher(cls, given: Any) -> Any:
        """Complete an entry with `teachers` by `teacher`, the first of them."""
        several = given.get("teachers") if isinstance(given, dict) else None
        if not isinstance(several, dict) or not several:
            return given
        first = next(iter(several))
        if given.get("teacher", first) != first:
            raise ValueError("'teachers' names all teachers; leave 'teacher' out")
        return {**given, "teacher": first}

    @model_validator(mode="after")
    def _fits_its_paradigm(self) -> Self:
        if FUSED in self.paradigm:
            if self.fuse is None:
                raise ValueError("paradigm 'fused' needs 'fuse'")
            return self
        axes = ("teacher", "metric", "transfer_level", "representation", "transfer_weight")
        given = [key for key in (*axes, *Transfer.model_fields) if getattr(self, key) is not None]
        if (self.recipe is None) == (SINGLE_STAGE in self.paradigm):
            raise ValueError("paradigm 'single-stage' needs 'recipe', and no other takes it")
        for key in ("decouple", "targets"):
            if self.recipe is not None and getattr(self, key) is not None:
                raise ValueError(f"paradigm {SINGLE_STAGE!r} takes no {key!r}")
        for alone in ("single", SINGLE_STAGE):
            if alone not in self.paradigm:
                continue
            if len(self.paradigm) > 1:
                raise ValueError(f"{alone!r} cannot share an entry with other paradigms")
            if alone == SINGLE_STAGE and self.teacher is not None:
                self._check_partner(given)
                return self
            if given:
                written = type(self).model_fields[given[0]].alias or given[0]
                raise ValueError(f"paradigm {alone!r} takes no {written!r}")
            return self
        missing = [k for k in ("teacher", "metric") if getattr(self, k) is None]
        if self.transfer_level is None and not self._needs_no_level():
            missing.append("level")
        if missing:
            raise ValueError(f"{self.paradigm[0]} needs {missing[0]!r}")
        for key in ("gradient", "ema"):
            if key in given and self.paradigm != ["co-training"]:
                raise ValueError(f"{key!r} applies to co-training alone")
        if self.teachers is not None:
            if self.paradigm != ["teacher-student"]:
                raise ValueError("'teachers' applies to teacher-student alone")
            if any(pair.teacher is not None for pair in self.layers or ()):
                raise ValueError("'layers' with 'teachers' names layers of the student alone")
        if self.ema is not None and self.gradient != "student":
            raise ValueError(
                "'ema' aligns the student with an average of its partner: set gradient: student"
            )
        refuse_level(self.metric or [], self.transfer_level)
        if self.temperature is not None and not set(self.metric or []) <= set(LOGIT_METRICS):
            raise ValueError(
                f"'temperature' applies to the metrics {', '.join(LOGIT_METRICS)} alone"
            )
        if self.gamma is not None and self.metric != ["ofa"]:
            raise ValueError("'gamma' applies to the metric ofa alone")
        return self

    def _check_partner(self, given: list[str]) -> None:
        """Raise ValueError unless a single-stage entry of two networks is whole."""
        if self.metric is None and given != ["teacher"]:
            raise ValueError(f"{next(key for key in given if key != 'teacher')!r} needs 'metric'")
        if self.metric is not None and self.transfer_level is None and not self._needs_no_level():
            raise ValueError(f"{SINGLE_STAGE} with a metric needs 'level'")
        for key in ("gradient", "ema"):
            if key in given:
                raise ValueError(f"{key!r} applies to co-training alone")
        if "teachers" in given:
            raise ValueError("'teachers' applies to teacher-student alone")
        refuse_level(self.metric or [], self.transfer_level)

    def _needs_no_level(self) -> bool:
        """Return whether `level` may be missing: for logits, relations and plug-in metrics."""
        without = (is_plugin(metric) or metric in RELATIONS for metric in self.metric or [""])
        return self.representation == ["logits"] or all(without)

    @property
    def _axes(self) -> tuple[list[Any], ...]:
        """The lists that are multiplied out."""
        return (
            self.paradigm,
            self.representation or ["feature"],
            self.metric or [],
            self.transfer_level or ["global"],
            self.transfer_weight or [1.0],
        )

    def __len__(self) -> int:
        """Return the number of its configurations."""
        if self.fuse is not None:
            return len(self.fuse.how)
        if self.recipe is not None:
            return len(self.recipe) * (math.prod(map(len, self._axes)) if self.metric else 1)
        return 1 if self.paradigm == ["single"] else math.prod(map(len, self._axes))

    def expand(self) -> "list[Configuration]":
        """Return the configurations: lists are multiplied out, the paradigm varies slowest."""
        common = {key: getattr(self, key) for key in Described.model_fields}
        if self.paradigm == ["single"]:
            return [Configuration(paradigm="single", **common)]
        if self.recipe is not None and self.metric is None:
            rows = [Configuration(paradigm=SINGLE_STAGE, recipe=r, **common) for r in self.recipe]
            return self._one_if_published(rows)
        if self.fuse is not None:
            ways = [
                Fusion(**{**self.fuse.model_dump(exclude_unset=True), "how": how})
                for how in self.fuse.how
            ]
            expanded = [Configuration(paradigm=FUSED, fuse=fuse, **common) for fuse in ways]
            return self._one_if_published(expanded)
        recipes: Sequence[Recipe | None] = self.recipe or [None]
        expanded = [
            Configuration(
                paradigm=paradigm,
                representation=representation,
                metric=metric,
                transfer_level=level,
                transfer_weight=weight,
                recipe=recipe,
                **common,
            )
            for recipe in recipes
            for paradigm, representation, metric, level, weight in itertools.product(*self._axes)
        ]
        return self._one_if_published(expanded)

    def _one_if_published(self, expanded: "list[Configuration]") -> "list[Configuration]":
        if self.published is not None and len(expanded) > 1:
            raise ValueError(
                "'published' is the figure of one configuration; this entry is multiplied out"
            )
        return expanded


class Configuration(Described):
    """One configuration; the study trains it under every seed. A table shows it as one row."""

    paradigm: ParadigmName | Literal["fused", "single-stage"]
    fuse: Fusion | None = None
    representation: TransferRepresentation | None = None
    metric: TransferMetric | None = None
    transfer_level: TransferLevel | None = Field(None, alias="level")
    transfer_weight: float | None = Field(None, alias="lambda")
    recipe: Recipe | None = None

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """The backbones of all of its teachers."""
        return tuple(self.teachers or filter(None, [self.teacher]))

    def transfer(self) -> dict[str, Any]:
        """Return all settings that decide the transfer loss, as the training stage takes them."""
        return {
            "metric": self.metric,
            "level": self.transfer_level,
            "variant": self.variant or "scaled",
            "representation": self.representation,
            "projection": self.projection,
            "layers": [pair.model_dump() for pair in self.layers] if self.layers else None,
            "temperature": self.temperature or 1.0,
            **({} if self.gamma is None else {"gamma": self.gamma}),
            **({} if self.teachers is None else {"teachers": [*self.teachers.values()]}),
            "weight": self.transfer_weight,
            "warmup": self.lambda_warmup or 0.0,
            **(
                {"gradient": self.gradient or "both", "ema": self.ema}
                if self.paradigm == "co-training"
                else {}
            ),
        }
