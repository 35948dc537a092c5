"""The section `segment` of a study file: segmenters that are trained on masks, under every seed.

    segment:
      model: {model: unet, encoder: resnet18}    # what all entries share
      training: {steps: 400}
      predict: {scales: [1.0], flip: false}
      entries:
        ours: {labels: {configuration: taught, chain: CRF, rule: tuned}}   # pseudo masks
        25 masks: {labels: {masks: 25}}
        25 masks + ours: {labels: {masks: 25, configuration: taught}}
        fully supervised: {labels: masks}

An entry may have `model`, `training` and `predict` of its own: the model replaces the shared one,
the others change single settings.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

from reports.names import ORACLES, OWN_MASKS, PLAIN, RULES, TUNED_CHAIN
from studies.spec.base import LocalPath, Name, Strict
from studies.spec.resources import ResourceChange
from studies.spec.settings import section, settings_of
from wsss_core.errors import InputError, nearest, quoted
from wsss_core.plugins import is_plugin
from wsss_core.segmentation.settings import FitSettings, PredictionSettings, SegmenterSettings

LABEL_RULES = (*(rule for rule in RULES if rule not in ORACLES), OWN_MASKS)
"""The threshold rules that pseudo masks can be cut by."""

JOINED: Literal["joined"] = "joined"
"""The true masks of the images that join, see `studies.spec.data.Join`."""

WITHOUT_MASKS = ("fixed", "otsu", "gaussian_mixture")
"""Those of them that see no mask."""

WITHOUT_TUNE_MASKS = (*WITHOUT_MASKS, OWN_MASKS)
"""Those of them that see no mask of the tune split."""


class SegmenterModel(section(SegmenterSettings)):  # type: ignore[misc]
    """A segmenter; see `wsss_core.segmentation.settings.SegmenterSettings`."""

    weights: LocalPath = "none"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        self.settings()
        return self

    def settings(self) -> SegmenterSettings:
        """Return the settings that build it."""
        return settings_of(SegmenterSettings, self)


class Fit(section(FitSettings)):  # type: ignore[misc]
    """Training of a segmenter; see `wsss_core.segmentation.settings.FitSettings`."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        self.settings()
        return self

    def settings(self) -> FitSettings:
        """Return the settings that `wsss_core.segmentation.fit` takes."""
        return settings_of(FitSettings, self)


class FitChange(section(FitSettings, optional=True)):  # type: ignore[misc]
    """Training settings that an entry changes; None keeps the shared ones."""


class Prediction(section(PredictionSettings)):  # type: ignore[misc]
    """How masks are predicted; see `wsss_core.segmentation.settings.PredictionSettings`."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        self.settings()
        return self

    def settings(self) -> PredictionSettings:
        """Return the settings that `wsss_core.segmentation.predict_masks` takes."""
        return settings_of(PredictionSettings, self)


class PredictionChange(section(PredictionSettings, optional=True)):  # type: ignore[misc]
    """Settings of the prediction that an entry changes; None keeps the shared ones."""


class SegmentLabels(Strict):
    """The masks that a segmenter is trained on: pseudo masks, true ones, or both.

    Pseudo masks are the maps of `configuration` under `chain`, cut by the threshold rule `rule`.
    The chain "tuned chain" is, for each seed, the one that is best on the tune split, or none.
    With `confidence` each of their pixels weighs its score to this power, see
    `wsss_core.segmentation.label_confidence`. `masks` is how many true masks are used: a number, or
    "all", or "joined" for those of the images that join (see `studies.spec.data.Join`). Where both
    are given, an image with a true mask has no pseudo mask. The rule `own_masks` tunes the
    threshold on these true masks, and spends no other.
    """

    masks: PositiveInt | Literal["all", "joined"] | None = None
    configuration: str | None = None
    chain: str = PLAIN
    rule: str = "tuned"
    confidence: float | None = Field(None, gt=0)

    @field_validator("rule")
    @classmethod
    def _is_a_rule(cls, rule: str) -> str:
        if rule in ORACLES:
            raise ValueError(
                f"{rule} sees the masks of images that are scored; no labels come of it"
            )
        if rule not in LABEL_RULES and not is_plugin(rule):
            near = nearest(rule, LABEL_RULES)
            hint = f"; nearest: {near!r}" if near else ""
            raise ValueError(f"expected {', '.join(LABEL_RULES)} or a plug-in{hint}")
        return rule

    @model_validator(mode="after")
    def _are_labels(self) -> Self:
        if self.masks is None and self.configuration is None:
            raise ValueError("expected masks, or the configuration whose maps become pseudo masks")
        if self.configuration is None:
            given = self.model_fields_set - {"masks", "configuration"}
            if given:
                raise ValueError(f"{min(given)!r} is of pseudo masks; expected a configuration too")
        if self.rule == OWN_MASKS and self.masks is None:
            raise ValueError(
                f"rule {OWN_MASKS} tunes on the entry's true masks; expected masks too"
            )
        return self

    @property
    def pseudo(self) -> bool:
        """Whether any image has a pseudo mask."""
        return self.configuration is not None


def _labels(given: Any) -> Any:
    return {"masks": "all"} if given == "masks" else given


class SegmentEntry(Strict):
    """A segmenter of a study, which is trained under every seed.

    `published` is another work's figure for it, in percent. `resources` are as those of a
    configuration.
    """

    labels: Annotated[SegmentLabels, BeforeValidator(_labels)]
    model: SegmenterModel | None = None
    training: FitChange = FitChange()
    predict: PredictionChange = PredictionChange()
    published: float | None = Field(None, ge=0, le=100)
    resources: ResourceChange = ResourceChange()


class Segment(Strict):
    """The section: what segmenters share, the segmenters by name, and how objects are counted.

    `overlap` is the least IoU at which an object counts as found.
    """

    model: SegmenterModel | None = None
    training: Fit = Fit()
    predict: Prediction = Prediction()
    overlap: float = Field(0.5, gt=0, le=1)
    entries: dict[Name, SegmentEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _are_whole(self) -> Self:
        for name, entry in self.entries.items():
            if entry.model is None and self.model is None:
                raise ValueError(f"entries.{name}: expected a model, here or for all entries")
            for key, whole in (("training", self.fit_of), ("predict", self.prediction_of)):
                try:
                    whole(entry)
                except InputError as error:
                    raise ValueError(f"entries.{name}.{key}: {error}") from error
        return self

    def model_of(self, entry: SegmentEntry) -> SegmenterModel:
        """Return the model of an entry."""
        model = entry.model or self.model
        assert model is not None  # checked
        return model

    def fit_of(self, entry: SegmentEntry) -> FitSettings:
        """Return the training of an entry: the shared one with its changes."""
        return settings_of(FitSettings, _changed(self.training, entry.training))

    def prediction_of(self, entry: SegmentEntry) -> PredictionSettings:
        """Return the prediction of an entry: the shared one with its changes."""
        return settings_of(PredictionSettings, _changed(self.predict, entry.predict))

    def asked(self, left_out: Collection[str], *, joins: bool) -> dict[str, SegmentEntry]:
        """Return the entries that can be trained, by name.

        Args:
            left_out: the configurations that the study leaves out.
            joins: whether images join in this study; else entries with their masks are left out.

        """
        return {
            name: entry
            for name, entry in self.entries.items()
            if entry.labels.configuration not in left_out
            and (joins or not left_out or entry.labels.masks != JOINED)
        }

    def check(
        self,
        configurations: Collection[str],
        chains: Mapping[str, Collection[str] | None],
        joined: Collection[str],
        left_out: Collection[str],
    ) -> None:
        """Raise ValueError unless the study has the configurations and chains of the labels.

        Args:
            configurations: the names of the study's configurations.
            chains: the names of its chains that have steps, each with the configurations that it
                refines; None: all.
            joined: those of the configurations that images join.
            left_out: the configurations that the study leaves out.

        """
        for name, entry in self.asked(left_out, joins=bool(joined)).items():
            labels = entry.labels
            if labels.masks == JOINED and (
                not joined or labels.configuration not in (None, *joined)
            ):
                raise ValueError(
                    f"segment.entries.{name}.labels.masks 'joined' is of images that join; "
                    "expected a section join, and no configuration or one with join: true"
                )
            if labels.configuration is None:
                continue
            for key, value, known in (
                ("configuration", labels.configuration, configurations),
                ("chain", labels.chain, (PLAIN, *chains, *([TUNED_CHAIN] if chains else []))),
            ):
                if value not in known:
                    raise ValueError(
                        f"segment.entries.{name}.labels.{key} {quoted(value)} is no {key} of this "
                        f"study; nearest: {nearest(value, known, 0)!r}"
                    )
            rows = chains.get(labels.chain)
            if rows is not None and labels.configuration not in rows:
                raise ValueError(
                    f"segment.entries.{name}.labels.chain {quoted(labels.chain)} does not refine "
                    f"{quoted(labels.configuration)}; it refines {', '.join(rows)}"
                )
            refining = [r for r in chains.values() if r is None or labels.configuration in r]
            if labels.chain == TUNED_CHAIN and not refining:
                raise ValueError(
                    f"segment.entries.{name}.labels.chain: no chain refines "
                    f"{quoted(labels.configuration)}, so there is none to choose"
                )
            if labels.chain == TUNED_CHAIN and labels.rule != "tuned":
                raise ValueError(
                    f"segment.entries.{name}.labels.rule {quoted(labels.rule)}: the tuned chain is "
                    "chosen at its tuned threshold; expected tuned"
                )


def _changed(shared: BaseModel, change: BaseModel) -> BaseModel:
    """Return a section with the settings that a change gives; a nested section counts as one.

    A null turns off what can be off, and keeps what cannot.
    """
    can_be_off = {name for name, one in type(shared).model_fields.items() if one.default is None}
    given = {name: getattr(change, name) for name in change.model_fields_set}
    kept = {name: v for name, v in given.items() if v is not None or name in can_be_off}
    return shared.model_copy(update=kept)


def without_defaults(settings: Any, default: Callable[[], Any]) -> dict[str, Any]:
    """Return the settings that differ from the defaults, as JSON-able values, nested ones whole.

    Keys hold these alone, so that a new setting moves no key while it keeps its default.

    Args:
        settings: a dataclass.
        default: makes the default one.

    """
    usual = vars(default())
    return {name: _plain(value) for name, value in vars(settings).items() if value != usual[name]}


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return without_defaults(value, type(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
