"""The study file as a whole, checked before anything runs.

A key with the value `???` must be given on the command line (`--set key=value`). An unknown key is
an error that names the nearest valid key.
"""

from collections import Counter
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from reports.names import OWN_CHAIN_ROWS
from studies.spec.base import LocalPath, Name, Strict
from studies.spec.cam_targets import check_targets
from studies.spec.configuration import (
    Configuration,
    ConfigurationEntry,
    FusionName,
)
from studies.spec.configuration_names import configuration_name
from studies.spec.data import Data, Folds, Join, check_join
from studies.spec.decide import Decide
from studies.spec.frozen import Caches, NeckEntry, TrainedEntry, refuse_parts
from studies.spec.fused_rows import Named, members_of, with_fusions
from studies.spec.refinement import (
    ChainEntry,
    ResolvedChain,
    check_rows,
    named_chains,
    resolve_chain,
)
from studies.spec.resources import Resources
from studies.spec.search import Search, Sweep
from studies.spec.segmentation.decoupling import check_decoupled
from studies.spec.segmentation.segment import Segment
from studies.spec.settings import Cam, Reasons, Training, TrainingChange
from wsss_core.backbones.names import check_options
from wsss_core.errors import nearest, quoted
from wsss_core.plugins import is_plugin

MOST_RESULTS = 50_000
"""The most results of a study: configurations, times seeds, times the values of a sweep or folds,
times the chains and one; a plan of so many takes some seconds."""


def _ways(given: Any) -> Any:
    """Return how controls are fused, as a list; true is the mean."""
    if isinstance(given, bool):
        return ["mean"] if given else []
    return given if isinstance(given, list) else [given]


_Three = Field(min_length=3, max_length=3)
_Channels = Annotated[list[Annotated[float, Field(ge=0, le=1)]], _Three]
_PositiveChannels = Annotated[list[Annotated[float, Field(gt=0, le=1)]], _Three]


class Backbone(Strict):
    """A timm model (see `wsss_core.backbones.build_network`).

    Tables print `label`. `training` applies to the network alone (as a baseline and as a teacher)
    and to a student of this backbone. `final_norm` says whether the last stage's map comes after
    the model's own final norm and head convolution; by default it does. `mean` and `std` normalise
    its images, RGB in 0..1; without them those that lie with the weights do, or those of timm's
    model. `position_grid` holds the rows and columns of the position embedding in a weights file,
    if they are no square. `neck` learns between the encoder's map and the head, and `train` says
    what learns: all, the head, neck and head, or the last blocks or stages too.
    """

    model: str
    label: Name | None = None
    weights: LocalPath = "none"
    partial_weights: bool = False
    mean: _Channels | None = None
    std: _PositiveChannels | None = None
    position_grid: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = None
    stage: str | int | None = None
    output_stride: Literal[8, 16, 32] | None = None
    final_norm: bool | None = None
    head: Literal["linear", "pcm", "transcam"] = "linear"
    options: dict[str, Any] = Field(default_factory=dict)
    train: TrainedEntry = None
    neck: NeckEntry = None
    training: TrainingChange = TrainingChange()

    @field_validator("options")
    @classmethod
    def _can_be(cls, options: dict[str, Any], about: ValidationInfo) -> dict[str, Any]:
        check_options(str(about.data.get("model")), options)
        return options

    @model_validator(mode="after")
    def _normalise_whole(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are given together or not at all")
        if self.mean is not None and is_plugin(self.model):
            raise ValueError("mean and std are for timm's models; a plug-in normalises by itself")
        if self.position_grid is not None and self.weights in ("none", "pretrained"):
            raise ValueError("position_grid is for a weights file")
        if self.final_norm is not None and self.stage is not None:
            raise ValueError("final_norm is of the last stage, which is taken without `stage`")
        refuse_parts(is_plugin(self.model), self.head, self.train, self.neck)
        return self


class Thresholds(Strict):
    """The fixed threshold, and the objective of the tuned thresholds and the oracles.

    `rules` are plug-ins beside the built-in rules, see `wsss_core.evaluate.thresholds`.
    """

    fixed: float = Field(0.3, ge=0, le=1)
    objective: Literal[
        "per_image_iou",
        "dataset_iou",
        "dataset_miou",
        "dataset_iou_all_images",
        "dataset_miou_all_images",
    ] = "per_image_iou"
    rules: list[str] = Field(default_factory=list)

    @field_validator("rules")
    @classmethod
    def _are_plugins(cls, names: list[str]) -> list[str]:
        for name in names:
            if not is_plugin(name):
                raise ValueError(
                    f"{name!r}: expected module:attribute; built-in rules need no name"
                )
        return names


class Study(Strict):
    """A study: data, backbones, training, and configurations to compare under every seed.

    `dial` and `refine` are older spellings of `sweep` and `chains`.
    """

    OLD_SPELLINGS: ClassVar = {"dial": "sweep", "refine": "chains"}

    study: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$", max_length=120
    )
    title: Annotated[str, Field(max_length=500)]
    data: Data
    backbones: dict[Name, Backbone] = Field(min_length=1)
    training: Training = Training()
    cam: Cam = Cam()
    thresholds: Thresholds = Thresholds()
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        BeforeValidator(lambda v: v if isinstance(v, list) else [v]),
    ] = Field(min_length=1)
    folds: Folds | None = None
    join: Join | None = None
    decide: Decide | None = None
    configurations: list[ConfigurationEntry] = Field(min_length=1)
    controls: Annotated[list[FusionName], BeforeValidator(_ways)] = Field(default_factory=list)
    refiners: dict[str, dict[str, Any]] = Field(default_factory=dict)
    chains: Annotated[dict[Name, ChainEntry], BeforeValidator(named_chains)] = Field(
        default_factory=dict
    )
    sweep: Sweep | None = None
    search: Search | None = None
    reasons: Annotated[
        Reasons | None,
        BeforeValidator(lambda given: {} if given is True else None if given is False else given),
    ] = None
    segment: Segment | None = None
    published_from: str | None = None
    panels: int = Field(6, ge=0, le=100)
    caches: Caches = Caches()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _refers_to_what_there_is(self) -> Self:
        twice = next((seed for seed, times in Counter(self.seeds).items() if times > 1), None)
        if twice is not None:
            raise ValueError(f"seeds {quoted(self.seeds)} holds a seed twice: {twice}")
        if self.folds is not None:
            for other in ("search", "sweep"):
                if getattr(self, other) is not None:
                    raise ValueError(f"a study takes folds or {other}, not both")
        if self.decide is not None:
            self._check_decide(self.decide)
        check_join(self)
        self.check_size()
        named = [(f"configurations[{i}]", entry) for i, entry in enumerate(self.configurations)]
        named = [one for one in named if one[1].fuse is None]  # a fusion names no network itself
        for where, entry in (*named, ("search", self.search)):
            asked = [(role, getattr(entry, role, None)) for role in ("student", "teacher")]
            asked += [("teachers", name) for name in getattr(entry, "teachers", None) or ()]
            for role, name in asked:
                if name is not None and name not in self.backbones:
                    raise ValueError(
                        f"{where}.{role} {quoted(name)} is no backbone of this study; "
                        f"nearest: {nearest(name, self.backbones, 0)!r}"
                    )
        chains = [chain.name for chain in self.resolved_chains()]  # checks steps and settings
        check_decoupled(self.named_configurations(), chains)
        if self.search is not None:
            if self.sweep is not None:
                raise ValueError("a study takes search or sweep, not both")
            shared = set(self.search.seeds) & set(self.seeds)
            if shared:
                raise ValueError(
                    f"search.seeds and seeds share {min(shared)}; the best are confirmed under "
                    "seeds that the search has not seen"
                )
        names = Counter(name for name, _ in self.named_configurations())
        check_rows(self.chains, {*names, *self.left_out})
        for name, times in names.items():
            if times > 1:
                raise ValueError(f"two configurations are called {name!r}; give them a `name`")
        training = {name: one for name, one in self.named_configurations() if one.fuse is None}
        check_targets(training, [chain.name for chain in self.resolved_chains()], self.backbones)
        if self.segment is not None:
            # Fused rows have no network of their own under every seed.
            own = {name: one for name, one in self.named_configurations() if one.fuse is None}
            joined = [name for name, one in own.items() if one.join]
            rows = {name: self.chains[name].configurations for name in chains}
            self.segment.check(list(own), rows, joined, self.left_out)
        return self

    @property
    def left_out(self) -> list[str]:
        """The names of the rows that ask for images to join, where none do (`join: null`)."""
        return [name for name, one, _ in self._listed if one.join and self.join is None]

    def check_size(self, folds: int | None = None) -> None:
        """Raise ValueError if the study is too large to be planned.

        Args:
            folds: how many there are; None: as the study says, and 1 where the data decide.

        """
        configurations = sum(map(len, self.configurations))
        pairs = {(one.student, one.teacher) for one in self.configurations if one.teacher}
        configurations += len(self.controls) * len(pairs)
        times = len(self.sweep.values) if self.sweep else folds or self.fold_count or 1
        chains = (one.configurations for one in self.chains.values())
        scored = configurations + sum(configurations if r is None else len(r) for r in chains)
        results = scored * len(self.planned_seeds) * times
        said = (
            f"{configurations} configurations x {len(self.planned_seeds)} seeds x {times} "
            f"{'folds' if self.folds else 'values of a sweep'} x {1 + len(self.chains)} chains "
            "(the plain CAM included)"
        )
        if self.search is not None:
            searched = self.search.trials * len(self.search.seeds)
            searched += self.search.confirm * len(self.seeds)
            results += searched
            said += f" and {searched} trials of the search"
        if results > MOST_RESULTS:
            raise ValueError(f"{said} are {results} results; expected at most {MOST_RESULTS}")

    @property
    def planned_seeds(self) -> list[int]:
        """All seeds that may be run: those of `seeds`, and those that `decide` may add."""
        return self.seeds if self.decide is None else self.decide.seeds(self.seeds)

    def _check_decide(self, decide: Decide) -> None:
        for other in ("search", "sweep", "segment"):
            if getattr(self, other):
                raise ValueError(f"a study takes decide or {other}, not both")
        if any(entry.recipe is not None for entry in self.configurations):
            raise ValueError("a study takes decide or single-stage rows, not both")
        decide.check(self.named_configurations(), self.thresholds.rules, self.seeds)

    @property
    def fold_count(self) -> int | None:
        """The number of folds; None without folds, and where the data decide."""
        k = self.folds.k if self.folds else "all"
        return None if k == "all" else k

    @property
    def file_name(self) -> str:
        """The study's name as a file name: thesis/lambda becomes thesis+lambda."""
        return self.study.replace("/", "+")

    def label(self, backbone: str) -> str:
        """Return the name that tables print for a backbone."""
        return self.backbones[backbone].label or backbone

    def named_configurations(self) -> list[tuple[str, Configuration]]:
        """Return every configuration with its name, in the file's order.

        A configuration without a name of its own is named by its transfer. The name includes the
        networks if the study aligns several pairs, and lambda if configurations differ in nothing
        else.
        """
        return list(self._named)

    @cached_property
    def _named(self) -> list[tuple[str, Configuration]]:
        rows = [row for row in self._listed if self.join is not None or not row[1].join]
        return with_fusions(rows, self.controls, self.backbones, self.label, len(self.seeds))

    @cached_property
    def _listed(self) -> list[tuple[str, Configuration, bool]]:
        """Every row of the file: its name, itself, and whether the name is the file's own."""
        resolved = [
            (one, len(resolved) > 1)
            for resolved in map(ConfigurationEntry.expand, self.configurations)
            for one in resolved
        ]
        pairs = {(one.student, one.teacher_names) for one, _ in resolved if one.teacher is not None}
        short = [
            (one.name or "") if one.fuse else self._describe(one, several, len(pairs) > 1)
            for one, several in resolved
        ]
        times = Counter(short)
        named = []
        for name, (one, several) in zip(short, resolved, strict=True):
            if times[name] > 1 and one.transfer_weight:
                name = f"{name}, λ {one.transfer_weight:g}"
            named.append((name, one, bool(name) and not several))
        return named

    def members(self, fused: Configuration) -> list[Named]:
        """Return what a fused row is made of: names of rows or backbones, and configurations."""
        assert fused.fuse is not None
        return members_of(fused.fuse, dict(self._named), self.backbones, "fuse")

    def resolved_chains(self) -> list[ResolvedChain]:
        """Return every chain, in the file's order.

        Raises:
            ValueError: a step is unknown or misplaced, or settings do not fit.

        """
        for name, entry in self.chains.items():
            if (name in OWN_CHAIN_ROWS) == bool(entry.steps):
                raise ValueError(
                    f"chains.{name}: every table already has this row; it takes no steps"
                    if entry.steps
                    else f"chains.{name}: a chain needs steps"
                )
        return [
            resolve_chain(name, entry, self.refiners)
            for name, entry in self.chains.items()
            if entry.steps
        ]

    def _describe(self, one: Configuration, one_of_several: bool, name_networks: bool) -> str:
        if one.name and not one_of_several:
            return one.name
        own = configuration_name(one, self.label, name_networks=name_networks)
        return f"{one.name}: {own}" if one.name else own

    def at(self, value: float) -> "Study":
        """Return the study with its sweep's key set to one value.

        Raises:
            ValueError: the key lies in no section, or the study does not take the value.

        """
        assert self.sweep is not None
        raw = self.model_dump(by_alias=True, exclude_unset=True)
        *parents, last = self.sweep.key.split(".")
        at: Any = raw
        section = None
        for step in parents:
            at = at.setdefault(spelt(at, step, section), {})
            section = step
            if not isinstance(at, dict):
                raise ValueError(f"{quoted(step)} is no section of the study")
        at[spelt(at, last, section)] = value
        study = Study.model_validate(raw)
        if study.seeds != self.seeds or study.sweep != self.sweep:
            raise ValueError("a sweep changes neither the seeds nor itself")
        return study


def spelt(at: dict[str, Any], key: str, section: str | None) -> str:
    """Return a key as a mapping spells it, which may be by its older name.

    Args:
        at: the mapping.
        key: either name.
        section: the key that the mapping is the value of; None for the whole study.

    """
    names = {None: Study.OLD_SPELLINGS, "training": Training.OLD_SPELLINGS}.get(section, {})
    alike = {key, names.get(key, key), *(old for old, new in names.items() if new == key)}
    return next((there for there in at if there in alike), key)
