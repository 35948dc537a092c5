"""Planning of segmentation runs: from the section `segment` to jobs with keys, and their rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from reports.names import PLAIN, TUNED_CHAIN
from studies.planning.chains import CamScoring, Chain
from studies.planning.images import StudyImages
from studies.planning.job import TrainingJob, Trial
from studies.planning.joining import JoinedImages
from studies.planning.plan import Plan
from studies.planning.segmentation.segments import MapsOfLabels, SegmentJob, SegmentScoring
from studies.planning.segmentation.training_masks import MaskSet, TrainingMasks
from studies.spec.segmentation.segment import (
    JOINED,
    WITHOUT_MASKS,
    WITHOUT_TUNE_MASKS,
    SegmenterModel,
    SegmentLabels,
    without_defaults,
)
from studies.spec.study import Study
from studies.store import canonical, stage_key
from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, as_input_error, checked_path
from wsss_core.evaluate import load_own_rule
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.refine.foundation.models import files_of_weights
from wsss_core.segmentation.settings import Architecture, FitSettings, PredictionSettings


@dataclass(frozen=True)
class SegmentImages:
    """The images that segmenters are trained on.

    Attributes:
        own: those of the study.
        joined: those of rows that more images join; None where none do.

    """

    own: StudyImages
    joined: JoinedImages | None = None

    def of(self, study: Study, labels: SegmentLabels) -> StudyImages:
        """Return the images of an entry: those that its maps are of, or that its masks are of."""
        rows = dict(study.named_configurations())
        join = labels.masks == JOINED
        if labels.configuration is not None:
            join = join or rows[labels.configuration].join
        return self.joined if join and self.joined is not None else self.own


ModelIdentity = tuple[dict[str, Any], str]
"""A model's settings for keys, its weights by content, and where these lie."""


def model_identity(where: str, model: SegmenterModel) -> ModelIdentity:
    """Return what a model is known by.

    Args:
        where: how messages call the entry that has it.
        model: the model.

    Raises:
        InputError: a weights file or a plug-in that is not there.

    """
    settings = model.model_dump(mode="json", exclude={"weights"})
    if not settings["network"]:
        del settings["network"]  # keys from before this setting stay as they are
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
    sets: SegmentImages,
    cam: CamScoring,
    chains: Sequence[Chain],
    owners: Mapping[tuple[str, int], tuple[TrainingJob, Trial]],
    models: dict[str, ModelIdentity],
    sweep_value: float | None = None,
) -> list[SegmentJob]:
    """Return the segmentation runs of a study, at one value of its sweep and on one fold.

    Args:
        study: the study, which has segmenters.
        sets: its images.
        cam: how its plain CAMs are made.
        chains: its chains.
        owners: configuration and seed -> the trial and its training run.
        models: collects what models are known by: their weights are large, and read once.
        sweep_value: the value of the sweep.

    Raises:
        InputError: weights, a rule or masks that are not there, a chain that cannot run.

    """
    segment = study.segment
    assert segment is not None
    named = {chain.name: chain for chain in (Chain(PLAIN, cam.cam, ()), *chains)}
    known: dict[tuple[bool, bool], MaskSet] = {}
    jobs: dict[str, SegmentJob] = {}
    entries = segment.asked(study.left_out, joins=sets.joined is not None)
    for position, (name, entry) in enumerate(entries.items()):
        where, labels = f"segment.entries.{name}", entry.labels
        images = sets.of(study, labels)
        masks = None
        if labels.masks is not None:
            kind = (images is sets.joined, labels.masks == JOINED)
            found = _enough_masks(f"{where}.labels.masks", labels.masks, images, known.get(kind))
            masks = known[kind] = found
        tried = list(named.values()) if labels.chain == TUNED_CHAIN else [named[labels.chain]]
        if labels.pseudo and (lacks := tried[0].lacks) is not None:
            raise InputError(f"{where}.labels.chain: {tried[0].name} is not run: {lacks}")
        asked = segment.model_of(entry)
        said = asked.model_dump_json()
        if said not in models:
            models[said] = model_identity(where, asked)
        model, weights = models[said]
        shared = {
            "model": model,
            "training": without_defaults(segment.fit_of(entry), FitSettings),
            "labels": labels_settings(where, study, labels),
            "classes": list(images.source.classes),
            "image_size": images.splits.size,
            **images.framing_settings,
        }
        for seed in study.seeds:
            maps: list[MapsOfLabels] = []
            if labels.configuration is not None:
                job, trial = owners[labels.configuration, seed]
                scores = {PLAIN: trial.key, **trial.chains}
                maps = [
                    MapsOfLabels(replace(job, trials=()), chain, scores[chain.name], cam.scaling)
                    for chain in tried
                    if chain.name in scores  # it runs, and is of this row
                ]
            run = SegmentJob(
                "",
                {**shared, "seed": seed},
                images.splits,
                weights,
                maps[0] if maps else None,
                tuple(maps[1:]),
                masks,
                resources=study.resources.demand("single", entry.resources),
                sweep_value=sweep_value,
            )
            run = replace(run, key=_key(run))
            run = jobs.get(run.key, run)
            scoring = _scoring(study, run, name, position)
            jobs[run.key] = replace(run, scorings=(*run.scorings, scoring))
    return list(jobs.values())


def _enough_masks(
    where: str, asked: int | Literal["all", "joined"], images: StudyImages, known: MaskSet | None
) -> MaskSet:
    """Return the masks of the training images; raise InputError if more are asked for."""
    with as_input_error(where, InputError):
        masks = known or TrainingMasks(images, joined_alone=asked == JOINED).known
    if isinstance(asked, int) and asked > masks.count:
        raise InputError(
            f"{where}: {asked} masks, but {masks.count} training images have one; expected "
            f"{masks.count} at most"
        )
    return masks


def labels_settings(where: str, study: Study, labels: SegmentLabels) -> dict[str, Any]:
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
        for maps in (job.maps, *job.alternatives):
            parents.append(maps.keys()[-1])
            if job.settings["labels"]["pseudo"]["rule"] not in WITHOUT_TUNE_MASKS:
                parents.append(maps.scores_key)
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


def segment_plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """Return the rows of the ledger's table `segments`: each entry under each seed."""
    study = plan.study
    return [
        {
            "study": study.study,
            "entry": scoring.entry,
            "position": scoring.position,
            "seed": job.seed,
            "fold": job.images.fold,
            "dial_value": job.sweep_value,
            "segment_key": job.key,
            "scores_key": scoring.scores_key,
            "model": model_name(job),
            "steps": job.fit.steps,
            "overlap": scoring.overlap,
            "prediction": canonical(scoring.prediction),
            "masks": None if (masks := job.settings["labels"]["masks"]) is None else str(masks),
            "configuration": scoring.configuration,
            "refinement": None if job.maps is None else scoring.chain,
            "rule": "tuned"
            if job.single_stage
            else job.settings["labels"].get("pseudo", {}).get("rule"),
            "single_stage": job.single_stage,
            "cam_scores_key": None if job.maps is None else job.maps.scores_key,
            "settings": canonical(job.settings),
            "artifacts": canonical(job.artifacts),
            "published": None if scoring.published is None else scoring.published / 100,
            "published_from": None if scoring.published is None else study.published_from,
        }
        for job in plan.segments
        for scoring in job.scorings
    ]


def model_name(job: SegmentJob) -> str:
    """Return the name of a segmenter in tables: its decoder, its encoder, where weights are from.

    A result depends on the pretraining as much as on the decoder, so a table names both.
    """
    model = job.settings["model"]
    if is_plugin(model["model"]):
        return str(model["model"])
    over = f" over {model['encoder']}" if model["encoder"] else ""
    weights = {"none": "random weights", "pretrained": "pretrained"}
    return f"{model['model']}{over}, {weights.get(model['weights'], 'weights from a file')}"
