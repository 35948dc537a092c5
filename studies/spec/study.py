"""The study file as a whole, checked before anything runs.

A key with the value `???` must be given on the command line (`--set key=value`). An unknown key is
an error that names the nearest valid key.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from studies.spec.base import Strict
from studies.spec.configuration import (
    Configuration,
    ConfigurationEntry,
    configuration_name,
)
from studies.spec.data import Data
from studies.spec.refinement import (
    TABLES_OWN_ROWS,
    ChainEntry,
    ResolvedChain,
    named_chains,
    resolve_chain,
)
from studies.spec.resources import Resources
from studies.spec.search import Search
from studies.spec.settings import Cam, Training, TrainingChange
from wsss_core.errors import nearest
from wsss_core.plugins import is_plugin


class Backbone(Strict):
    """A timm model (see `wsss_core.backbones.build_network`).

    Tables print `label`. `training` applies to the network alone (as a baseline and as a teacher)
    and to a student of this backbone.
    """

    model: str
    label: str | None = None
    weights: str = "none"
    partial_weights: bool = False
    stage: str | int | None = None
    output_stride: Literal[8, 16, 32] | None = None
    head: Literal["linear", "pcm"] = "linear"
    options: dict[str, Any] = Field(default_factory=dict)
    training: TrainingChange = TrainingChange()

    @field_validator("options")
    @classmethod
    def _each_has_a_value(cls, options: dict[str, Any]) -> dict[str, Any]:
        # timm ignores options of None silently, so a slip like {depth:4} would go unseen.
        for name, value in options.items():
            if value is None:
                raise ValueError(f"option {name!r} has no value")
        return options


class Thresholds(Strict):
    """The fixed threshold, and the objective of the tuned thresholds and the oracles.

    `rules` are plug-ins beside the built-in rules, see `wsss_core.evaluate.thresholds`.
    """

    fixed: float = Field(0.3, ge=0, le=1)
    objective: Literal["per_image_iou", "dataset_iou", "dataset_miou"] = "per_image_iou"
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


class Sweep(Strict):
    """A sweep: one setting of the study takes several values, all others stay the same.

    `key` is a dotted path, as for `--set`: "data.chimney_given_clear".
    """

    key: str
    values: list[float] = Field(min_length=2)
    label: str | None = None

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


class Study(Strict):
    """A study: data, backbones, training, and configurations to compare under every seed.

    `dial` and `refine` are older spellings of `sweep` and `chains`.
    """

    OLD_SPELLINGS: ClassVar = {"dial": "sweep", "refine": "chains"}

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$")
    title: str
    data: Data
    backbones: dict[str, Backbone] = Field(min_length=1)
    training: Training = Training()
    cam: Cam = Cam()
    thresholds: Thresholds = Thresholds()
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        BeforeValidator(lambda v: v if isinstance(v, list) else [v]),
    ] = Field(min_length=1)
    configurations: list[ConfigurationEntry] = Field(min_length=1)
    refiners: dict[str, dict[str, Any]] = Field(default_factory=dict)
    chains: Annotated[dict[str, ChainEntry], BeforeValidator(named_chains)] = Field(
        default_factory=dict
    )
    sweep: Sweep | None = None
    search: Search | None = None
    published_from: str | None = None
    panels: int = Field(6, ge=0, le=100)
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _refers_to_what_there_is(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} holds a seed twice")
        named = [(f"configurations[{i}]", entry) for i, entry in enumerate(self.configurations)]
        for where, entry in (*named, ("search", self.search)):
            for role in ("student", "teacher"):
                name = getattr(entry, role, None)
                if name is not None and name not in self.backbones:
                    raise ValueError(
                        f"{where}.{role} {name!r} is no backbone of this study; "
                        f"nearest: {nearest(name, self.backbones, 0)!r}"
                    )
        self.resolved_chains()  # unknown steps and settings are errors
        if self.search is not None:
            if self.sweep is not None:
                raise ValueError("a study takes search or sweep, not both")
            shared = set(self.search.seeds) & set(self.seeds)
            if shared:
                raise ValueError(
                    f"search.seeds and seeds share {min(shared)}; the best are confirmed under "
                    "seeds that the search has not seen"
                )
        names = [name for name, _ in self.named_configurations()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two configurations are called {twice!r}; give them a `name`")
        return self

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
        resolved = [
            (one, len(resolved) > 1)
            for resolved in map(ConfigurationEntry.expand, self.configurations)
            for one in resolved
        ]
        pairs = {(one.student, one.teacher) for one, _ in resolved if one.teacher is not None}
        short = [self._describe(one, several, len(pairs) > 1) for one, several in resolved]
        named = []
        for name, (one, _) in zip(short, resolved, strict=True):
            if short.count(name) > 1 and one.transfer_weight:
                name = f"{name}, λ {one.transfer_weight:g}"
            named.append((name, one))
        return named

    def resolved_chains(self) -> list[ResolvedChain]:
        """Return every chain, in the file's order.

        Raises:
            ValueError: a step is unknown or misplaced, or settings do not fit.

        """
        for name, entry in self.chains.items():
            if (name in TABLES_OWN_ROWS) == bool(entry.steps):
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
        """Return the study with its sweep's key set to one value."""
        assert self.sweep is not None
        raw = self.model_dump(by_alias=True, exclude_unset=True)
        *parents, last = self.sweep.key.split(".")
        at: Any = raw
        for step in parents:
            at = at.setdefault(step, {}) if isinstance(at, dict) else {}
        at[last] = value
        return Study.model_validate(raw)
