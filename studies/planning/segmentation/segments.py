"""Segmentation runs as a plan has them: the entries of `segment` under each seed, with keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from reports.names import PLAIN
from reports.pairing import Pair, pair_of
from studies.planning.chains import Chain, MapScaling, cams_key, fitted_state_key
from studies.planning.images import ImageSplits
from studies.planning.job import TrainingJob, Trial
from studies.planning.segmentation.training_masks import MaskSet
from studies.rates import Work
from studies.spec.resources import Demand
from studies.spec.segmentation.segment import JOINED, Fit
from studies.spec.segmentation.single_stage import SINGLE_STAGE
from studies.store import canonical, stage_key
from wsss_core.augmentation.settings import VIEW_SETTINGS
from wsss_core.segmentation.settings import FitSettings

BY_LABELS = "labels"
"""The gating of maps that become pseudo masks: a class is 0 where an image is not labelled so."""


@dataclass(frozen=True)
class MapsOfLabels:
    """The maps that pseudo masks are cut from.

    Attributes:
        training: the training run of the network.
        chain: the chain; without steps for the plain CAM.
        scores_key: the key of the trial's scores under the chain, whose tune split the rule sees.
        study_scaling: how the study scales raw maps.

    """

    training: TrainingJob
    chain: Chain
    scores_key: str
    study_scaling: MapScaling

    def fitted_state_key(self, number: int) -> str:
        """Return the key of what a step of the chain has learnt from the study's own maps."""
        step = self.chain.steps[number]
        return fitted_state_key(self.training, self.chain, step, self.study_scaling)

    def keys(self) -> list[str]:
        """Return the keys of the training images' maps before the first step and after each."""
        scaling = {"normalisation": self.study_scaling.normalisation, "gating": BY_LABELS}
        cams = cams_key(self.training, "student", self.chain.cam, "train")
        data = [self.training.images.fingerprints["train"]]
        keys = [stage_key("refined", scaling, parents=[cams], data=data)]
        for number, step in enumerate(self.chain.steps):
            parents = [keys[-1]]
            if step.needs_fitted_state:
                parents.append(self.fitted_state_key(number))
            keys.append(stage_key("refined", step.identity, parents=parents, data=data))
        return keys


@dataclass(frozen=True)
class SegmentScoring:
    """An entry of `segment` under a seed: how masks of a trained segmenter are made and scored.

    Attributes:
        scores_key: names the scores in the store and in the ledger.
        entry: the entry's name in the study.
        position: the entry's place there.
        prediction: how masks are predicted, as JSON-able values.
        overlap: the least IoU at which an object counts as found.
        configuration: whose maps became pseudo masks; None without pseudo masks.
        chain: the chain of these maps.
        published: another work's figure, in percent.

    """

    scores_key: str
    entry: str
    position: int
    prediction: dict[str, Any]
    overlap: float
    configuration: str | None = None
    chain: str = PLAIN
    published: float | None = None


@dataclass(frozen=True)
class SegmentJob:
    """A segmentation run: a segmenter that is trained, and the entries that score it.

    It has the attributes of a `TrainingJob` that scheduling needs.

    Attributes:
        key: names the trained segmenter in the store.
        settings: everything that decides the result, as JSON-able values.
        images: the images it is trained on and scored with.
        weights: where the encoder's weights lie ("none" or "pretrained" included).
        maps: what pseudo masks are cut from; None without pseudo masks.
        alternatives: maps under other chains; those are taken that are best on the tune split.
        masks: the true masks of training images; None where none is used.
        scorings: the entries that score it, one at least.
        resources: what it asks of the cluster; no part of any key.
        sweep_value: the value of the study's sweep, if it has one.

    """

    key: str
    settings: dict[str, Any]
    images: ImageSplits
    weights: str
    maps: MapsOfLabels | None = None
    alternatives: tuple[MapsOfLabels, ...] = ()
    masks: MaskSet | None = None
    scorings: tuple[SegmentScoring, ...] = ()
    resources: Demand = field(default_factory=Demand)
    sweep_value: float | None = None
    stage: ClassVar[str] = "segment"
    trials: ClassVar[tuple[Trial, ...]] = ()
    members: ClassVar[tuple[TrainingJob, ...]] = ()

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def seed(self) -> int:
        """The seed of initialisation, of the drawn masks and of the order of the images."""
        return int(self.settings["seed"])

    @property
    def parent(self) -> str | None:
        """The key of the training run that it waits for, if there is one."""
        return None if self.maps is None else self.maps.training.key

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the training runs that it waits for."""
        return (self.parent,) if self.parent else ()

    @property
    def name(self) -> str:
        """The name in progress lines."""
        at = "" if self.sweep_value is None else f", at {self.sweep_value:g}"
        return f"segmenter {self.scorings[0].entry}{at}"

    @property
    def named(self) -> str:
        """The name in messages, with the seed and, in a study with folds, the fold."""
        return f"{self.name}, seed {self.pair}"

    @property
    def pair(self) -> Pair:
        """What pairs it with trials and with other entries."""
        return pair_of(self.seed, self.images.fold)

    @property
    def classes(self) -> list[str]:
        """The classes' names, in the order of their numbers in a mask."""
        return list(self.settings["classes"])

    @property
    def image_size(self) -> int:
        """The side of the segmenter's input in pixels."""
        return int(self.settings["image_size"])

    @property
    def fit(self) -> FitSettings:
        """How it is trained."""
        return Fit.model_validate(self.settings["training"]).settings()

    @property
    def single_stage(self) -> str | None:
        """The recipe of the single-stage run whose decoder it takes; None: it trains its own."""
        recipe = self.settings["labels"].get(SINGLE_STAGE)
        return None if recipe is None else str(recipe)

    @property
    def labels(self) -> str:
        """What it is trained on, in words: how many true masks, and the rule of pseudo masks."""
        labels = self.settings["labels"]
        if self.single_stage:
            return f"image labels, in one stage ({self.single_stage})"
        words = [f"{labels['masks']} true masks"] if labels["masks"] is not None else []
        if labels["masks"] == JOINED:
            words = ["true masks of the images that join"]
        if self.maps is not None:
            words.append(f"pseudo masks ({labels['pseudo']['rule']})")
        return " + ".join(words)

    @property
    def artifacts(self) -> dict[str, list[str]]:
        """Stage -> keys of what it is and builds upon, for `wsss store gc`."""
        images = [*self.images.keys.values(), *([self.masks.key] if self.masks else [])]
        train = [] if self.maps is None else self.maps.training.artifacts["train"]
        return {"segment": [self.key], "train": train, "images": images}

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins that it imports, with the versions they declare here."""
        model = self.settings["model"]
        found = {model["model"]: str(model["version"])} if "version" in model else {}
        pseudo = self.settings["labels"].get("pseudo", {})
        return found | ({pseudo["rule"]: str(pseudo["version"])} if "version" in pseudo else {})

    def unscored(self, has: Callable[[str, str], bool]) -> list[SegmentScoring]:
        """Return the entries without scores.

        Args:
            has: whether the store holds a stage's artifact.

        """
        return [scoring for scoring in self.scorings if not has("scores", scoring.scores_key)]

    def unrefined(self, has: Callable[[str, str], bool]) -> list[str]:
        """Return no chain: none runs over its masks."""
        return []

    def is_finished(self, has: Callable[[str, str], bool]) -> bool:
        """Return whether it is trained and scored.

        Args:
            has: whether the store holds a stage's artifact.

        """
        return has("segment", self.key) and all(has("scores", key) for key in self.score_keys())

    def score_keys(self) -> tuple[str, ...]:
        """Return the keys of the scores of all entries."""
        return tuple(scoring.scores_key for scoring in self.scorings)

    @cached_property
    def work(self) -> Work:
        """Its training as work: steps of a model, at a size and with a batch of a size."""
        return segment_work(self.settings)


Job = TrainingJob | SegmentJob
"""A run that is scheduled: the training of networks, or of a segmenter."""


def segment_work(settings: Mapping[str, Any], *narrower: object) -> Work:
    """Return a run's training as work, by its settings and narrower kinds, the narrowest first."""
    given = settings["training"]
    views = {key: given[key] for key in VIEW_SETTINGS if key in given}
    training = FitSettings(
        **{name: given[name] for name in ("steps", "batch_size", "precision") if name in given}
    )
    how = [training.batch_size, training.precision, *([views] if views else [])]
    own = canonical([settings["model"], settings["image_size"], *how])
    return Work((*((own, more) for more in narrower), ("segment", own), "segment"), training.steps)


def segment_scoring_work(settings: Mapping[str, Any]) -> Work:
    """Return the scoring of a segmentation run as work."""
    own = canonical([settings["model"], settings["image_size"]])
    return Work((("segment scoring", own), "segment scoring"))
