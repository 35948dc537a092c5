"""Segmentation runs as a plan has them: the entries of `segment` under each seed, with keys."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from reports.names import PLAIN
from reports.pairing import Pair, pair_of
from studies.planning.chains import CamScoring, Chain, MapScaling, cams_key, fitted_state_key
from studies.planning.images import ImageSplits, StudyImages
from studies.planning.job import TrainingJob, Trial
from studies.planning.recipe import VIEW_KEYS
from studies.planning.training_masks import MaskSet, TrainingMasks
from studies.rates import Work
from studies.spec.resources import Demand
from studies.spec.segment import WITHOUT_MASKS, SegmentEntry, SegmentLabels, without_defaults
from studies.spec.study import Study
from studies.store import canonical, stage_key
from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, as_input_error, checked_path
from wsss_core.evaluate import load_own_rule
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.refine.foundation.models import files_of_weights
from wsss_core.segmentation.settings import Architecture, FitSettings, PredictionSettings

BY_LABELS = "labels"
"""The gating of maps that become pseudo masks: a class is 0 where an image is not labelled so."""


@dataclass(frozen=True)
class MapsOfLabels:
    """The maps that pseudo masks are cut from.

    Attributes:
        training: the training run of the network.
        trial: the trial that scored it.
        chain: the chain; without steps for the plain CAM.
        scores_key: the key of the trial's scores under the chain, whose tune split the rule sees.
        study_scaling: how the study scales raw maps.

    """

    training: TrainingJob
    trial: Trial
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
        return () if self.parent is None else (self.parent,)

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

    def is_scored(self, scores: Collection[str]) -> bool:
        """Return whether the keys of finished scores hold those of all entries."""
        return all(key in scores for key in self.score_keys())

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
    """Return the training of a segmentation run as work, by its settings.

    Args:
        settings: the run's.
        narrower: kinds within the run's own, the narrowest first.

    """
    given = settings["training"]
    training = FitSettings(
        **{name: given[name] for name in ("steps", "batch_size", "precision") if name in given}
    )
    own = canonical(
        [
            *(settings["model"], settings["image_size"], training.batch_size, training.precision),
            *({key: given[key]} for key in VIEW_KEYS if key in given),
        ]
    )
    kinds = (*((own, more) for more in narrower), ("segment", own), "segment")
    return Work(kinds, training.steps)


def segment_scoring_work(settings: Mapping[str, Any]) -> Work:
    """Return the scoring of a segmentation run as work."""
    own = canonical([settings["model"], settings["image_size"]])
    return Work((("segment scoring", own), "segment scoring"))


def model_identity(where: str, study: Study, entry: SegmentEntry) -> tuple[dict[str, Any], str]:
    """Return a model's settings for keys, its weights by content, and where these lie.

    Args:
        where: how messages call the entry.
        study: the study.
        entry: the entry.

    Raises:
        InputError: a weights file or a plug-in that is not there.

    """
    assert study.segment is not None
    model = study.segment.model_of(entry)
    settings = model.model_dump(mode="json", exclude={"weights"})
    if is_plugin(model.model):
        settings["version"] = plugin_version(f"{where}.model", model.model)
    weights, tag = model.weights, model.weights
    if weights not in ("none", "pretrained"):
        file = checked_path(weights)
        if file.is_dir():
            tag = canonical(file_hashes(files_of_weights(file)))
        elif file.is_file():
            tag = file_hashes([file])[0]
        elif model.model != Architecture.SAM:
            raise InputError(
                f"{where}.model.weights: file {file} does not exist; expected a weights file, "
                "'pretrained' or 'none'"
            )
        weights = str(file) if file.exists() else weights
    return {**settings, "weights": tag}, weights


def plan_segments(
    study: Study,
    images: StudyImages,
    cam: CamScoring,
    chains: Sequence[Chain],
    owners: Mapping[tuple[str, int], tuple[TrainingJob, Trial]],
    sweep_value: float | None = None,
) -> list[SegmentJob]:
    """Return the segmentation runs of a study, at one value of its sweep and on one fold.

    Args:
        study: the study.
        images: its images.
        cam: how its plain CAMs are made.
        chains: its chains.
        owners: configuration and seed -> the trial and its training run.
        sweep_value: the value of the sweep.

    Raises:
        InputError: weights, a rule or masks that are not there, a chain that cannot run.

    """
    segment = study.segment
    if segment is None:
        return []
    named = {chain.name: chain for chain in (Chain(PLAIN, cam.cam, ()), *chains)}
    masks: MaskSet | None = None
    jobs: dict[str, SegmentJob] = {}
    for position, (name, entry) in enumerate(segment.entries.items()):
        where, labels = f"segment.entries.{name}", entry.labels
        if labels.masks is not None:
            masks = _enough_masks(f"{where}.labels.masks", labels.masks, images, masks)
        chain = named[labels.chain]
        if labels.pseudo and chain.lacks is not None:
            raise InputError(f"{where}.labels.chain: {chain.name} is not run: {chain.lacks}")
        model, weights = model_identity(where, study, entry)
        shared = {
            "model": model,
            "training": without_defaults(segment.fit_of(entry), FitSettings),
            "labels": _labels(where, study, labels),
            "classes": list(images.source.classes),
            "image_size": images.splits.size,
            **images.framing_settings,
        }
        for seed in study.seeds:
            maps = None
            if labels.configuration is not None:
                job, trial = owners[labels.configuration, seed]
                scores = trial.key if chain.name == PLAIN else trial.chains[chain.name]
                maps = MapsOfLabels(replace(job, trials=()), trial, chain, scores, cam.scaling)
            run = SegmentJob(
                "",
                {**shared, "seed": seed},
                images.splits,
                weights,
                maps,
                masks if labels.masks is not None else None,
                resources=study.resources.demand("single", entry.resources),
                sweep_value=sweep_value,
            )
            run = replace(run, key=_key(run))
            run = jobs.get(run.key, run)
            scoring = _scoring(study, run, name, position)
            jobs[run.key] = replace(run, scorings=(*run.scorings, scoring))
    return list(jobs.values())


def _enough_masks(
    where: str, asked: int | Literal["all"], images: StudyImages, known: MaskSet | None
) -> MaskSet:
    """Return the masks of the training images; raise InputError if more are asked for."""
    with as_input_error(where, InputError):
        masks = known or TrainingMasks(images).known
    if asked != "all" and asked > masks.count:
        raise InputError(
            f"{where}: {asked} masks, but {masks.count} training images have one; expected "
            f"{masks.count} at most"
        )
    return masks


def _labels(where: str, study: Study, labels: SegmentLabels) -> dict[str, Any]:
    """Return what decides the masks beside the maps; what a rule does not look at is left out."""
    found: dict[str, Any] = {"masks": labels.masks}
    if not labels.pseudo:
        return found
    pseudo: dict[str, Any] = {"rule": labels.rule, "confidence": labels.confidence}
    if labels.rule == "fixed":
        pseudo["fixed"] = study.thresholds.fixed
    if labels.rule not in WITHOUT_MASKS:
        pseudo["objective"] = study.thresholds.objective
    if is_plugin(labels.rule):
        load_own_rule(labels.rule)
        pseudo["version"] = plugin_version(f"{where}.labels.rule", labels.rule)
    return {**found, "pseudo": pseudo}


def _key(job: SegmentJob) -> str:
    """Return the key of a run; images that are scored are in it, as they decide which may join."""
    parents = []
    if job.maps is not None:
        parents = [job.maps.keys()[-1]]
        if "objective" in job.settings["labels"]["pseudo"]:
            parents.append(job.maps.scores_key)
    data = [job.images.fingerprints[split] for split in SPLITS]
    data += [job.masks.fingerprint] if job.masks is not None else []
    return stage_key("segment", job.settings, parents=parents, data=data)


def _scoring(study: Study, job: SegmentJob, name: str, position: int) -> SegmentScoring:
    assert study.segment is not None
    entry = study.segment.entries[name]
    prediction = without_defaults(study.segment.prediction_of(entry), PredictionSettings)
    overlap = study.segment.overlap
    test = job.images.fingerprints["test"]
    scored = {"segment": prediction, "overlap": overlap}
    key = stage_key("scores", scored, parents=[job.key], data=[test])
    labels = entry.labels
    named = labels.configuration, labels.chain, entry.published
    return SegmentScoring(key, name, position, prediction, overlap, *named)
