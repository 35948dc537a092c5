"""Refinement chains as a plan has them: the store's key of every map after every step.

A chain is a way of making CAMs followed by refiners. Each prefix has a key of its own, so that two
chains that begin alike share what they have in common, and so do two studies. Maps are kept in
shards of `SHARD` images, each an artifact of its own: an interrupted run loses one at most.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from studies.planning.images import SCORED_SPLITS
from studies.planning.job import TrainingJob
from studies.spec.refinement import CONDITIONAL, ResolvedChain, ResolvedStep
from studies.store import canonical, stage_key
from wsss_core.backbones import share_the_image
from wsss_core.cams.settings import CamSettings, scaled_size
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import checked_path
from wsss_core.evaluate import Normalisation
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.refine.foundation.models import files_of_weights
from wsss_core.refine.steps.registry import STEP_KINDS, check_step, lacking

_PLAIN = CamSettings()

SHARD = 64
"""Images a shard. It is part of the keys, so no setting: equal work has to stay equal."""


@dataclass(frozen=True)
class MapScaling:
    """How raw maps become scores of 0 to 1.

    Attributes:
        normalisation: how each map is normalised.
        gating: "predicted" sets a class to 0 where the network does not predict it, or "none". Of
            masks also "labels": classes that an image is not labelled with are 0.

    """

    normalisation: Normalisation
    gating: str


@dataclass(frozen=True)
class CamScoring(MapScaling):
    """How a study's plain CAMs are made, scaled and scored.

    Attributes:
        panels: pictures of each class.
        size: the side of the network's input in pixels.
        cam: how the CAM is made.

    """

    panels: int
    size: int
    cam: CamSettings = _PLAIN

    @property
    def scaling(self) -> MapScaling:
        """The scaling alone, as the keys of refined maps take it."""
        return MapScaling(self.normalisation, self.gating)

    def as_settings(self) -> dict[str, Any]:
        """Return what keys and the ledger hold; of a plain CAM they do not say how it is made."""
        settings = {**asdict(self.scaling), "panels": self.panels, "size": self.size}
        return settings if self.cam == _PLAIN else {**settings, "cam": self.cam.as_config()}

    @property
    def other_gatings(self) -> dict[str, list[str]]:
        """What the keys of plain scores hold besides if gating may remove a map.

        Such scores hold the histograms of other gatings too. Scores of an earlier release, without
        them, have other keys.
        """
        return {"other_gatings": ["ungated", "label_gated"]} if self.gating == "predicted" else {}


@dataclass(frozen=True)
class Step:
    """A refiner of a chain.

    Attributes:
        kind: a name of `wsss_core.refine.steps.registry.STEP_KINDS`, or a plug-in.
        identity: what decides its result: settings, version, weights by content.
        arguments: what it is made with here: the same, weights by path.

    """

    kind: str
    identity: dict[str, Any]
    arguments: dict[str, Any]

    @property
    def applied(self) -> "Step":
        """The step that computes: itself, or the one that a conditional step applies."""
        return self if self.kind != CONDITIONAL else Step(**self.arguments["then"])

    @property
    def all_steps(self) -> "tuple[Step, ...]":
        """Itself, and the steps inside a conditional one."""
        if self.kind != CONDITIONAL:
            return (self,)
        return (self, self.applied, *(Step(**one) for one in self.arguments["second"]))

    @property
    def needs_image_features(self) -> bool:
        """Whether it precomputes features from images alone, once for all trials."""
        kind = self.applied.kind
        return not is_plugin(kind) and STEP_KINDS[kind].image_features

    @property
    def weights_digests(self) -> list[str] | None:
        """The digests of its files, sorted by name, if its weights lie in a folder."""
        applied = self.applied
        named = (applied.identity.get(key) for key in ("weights", "maps", "model"))
        digests = next((found for found in named if isinstance(found, list)), None)
        return None if is_plugin(applied.kind) else digests

    @property
    def of_images_alone(self) -> dict[str, Any]:
        """What decides the features that it precomputes, of the identity of what computes."""
        applied = self.applied
        later = () if is_plugin(applied.kind) else STEP_KINDS[applied.kind].later
        return {key: value for key, value in applied.identity.items() if key not in later}

    @property
    def needs_fitted_state(self) -> bool:
        """Whether it learns from the training images' CAMs first, once for each training run."""
        kind = self.applied.kind
        return not is_plugin(kind) and STEP_KINDS[kind].fitted_state


@dataclass(frozen=True)
class Chain:
    """A chain of a study, the same for all trials that it refines.

    Attributes:
        name: what tables print.
        cam: how the CAM it begins with is made.
        steps: its refiners.
        lacks: why it cannot run here (weights that were not given); None if it can.
        configurations: the rows whose maps it refines; None: all.

    """

    name: str
    cam: CamSettings
    steps: tuple[Step, ...]
    lacks: str | None = None
    configurations: tuple[str, ...] | None = None

    def refines(self, configuration: str) -> bool:
        """Return whether it refines a row's maps."""
        return self.configurations is None or configuration in self.configurations

    @property
    def plugins(self) -> dict[str, str]:
        """Steps that are plug-ins, with the versions they declare."""
        return {
            step.kind: str(step.identity["version"])
            for outer in self.steps
            for step in outer.all_steps
            if is_plugin(step.kind)
        }

    def as_record(self) -> str:
        """Return the chain as the ledger keeps it."""
        steps = [asdict(step) for step in self.steps]
        return canonical({"name": self.name, "cam": self.cam.as_config(), "steps": steps})

    @classmethod
    def from_record(cls, record: str) -> "Chain":
        """Return the chain that a ledger recorded."""
        found = json.loads(record)
        steps = tuple(Step(**step) for step in found["steps"])
        return cls(found["name"], CamSettings(**found["cam"]), steps)


def planned_chain(resolved: ResolvedChain, cam: CamSettings) -> Chain:
    """Return a study's chain with the keys' identities and the files of its steps.

    Raises:
        InputError: weights that are not there, or a plug-in that cannot be loaded.

    """
    steps = []
    lacks = None
    for step in resolved.steps:
        for inner in step.all_steps:
            lacks = lacking(inner.kind, inner.settings) or lacks
        steps.append(_planned_step(step))
    base = cam.as_config()
    if resolved.cam.get("method", base["method"]) != base["method"]:
        base["layers"] = []  # those of another method
    changed = CamSettings(**{**base, **resolved.cam})
    return Chain(resolved.name, changed, tuple(steps), lacks, resolved.configurations)


def _planned_step(step: ResolvedStep) -> Step:
    if step.then is not None:
        then, second = _planned_step(step.then), [_planned_step(one) for one in step.second]
        settings = {name: value for name, value in step.settings.items() if value is not None}
        return Step(
            step.kind,
            {
                "kind": step.kind,
                "version": STEP_KINDS[step.kind].version,
                **settings,
                "then": then.identity,
                "second": [one.identity for one in second],
            },
            {**settings, "then": asdict(then), "second": [asdict(one) for one in second]},
        )
    if lacking(step.kind, step.settings) is not None:
        return Step(step.kind, step.settings, step.settings)  # its chain is not run
    if is_plugin(step.kind):
        version = plugin_version("refine", step.kind)
        identity = {"kind": step.kind, "version": version, **step.settings}
        return Step(step.kind, identity, step.settings)
    check_step(step.kind, step.settings)
    identity = {"kind": step.kind, "version": STEP_KINDS[step.kind].version, **step.settings}
    arguments = dict(step.settings)
    for key, digests in STEP_KINDS[step.kind].content(step.settings).items():
        arguments[key], identity[key] = str(checked_path(step.settings[key])), digests
    if weights := step.settings.get("weights"):
        folder = checked_path(weights)
        if folder.is_dir():
            arguments["weights"] = str(folder)
            identity["weights"] = file_hashes(files_of_weights(folder))
    return Step(step.kind, identity, arguments)


def shards(count: int) -> list[tuple[int, int]]:
    """Return the bounds of the shards of a split of `count` images.

    >>> shards(130)
    [(0, 64), (64, 128), (128, 130)]
    """
    return [(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]


def shard_key(key: str, bounds: tuple[int, int]) -> str:
    """Return the key of a shard of maps."""
    return stage_key("refined", {"start": bounds[0], "stop": bounds[1]}, parents=[key])


def cams_key(job: TrainingJob, role: str, cam: CamSettings, split: str) -> str:
    """Return the key of a trained network's raw maps of a split."""
    settings = {
        "cam": "class_weight" if cam == _PLAIN else cam.as_config(),
        "role": role,
        "size": job.image_size,
        **laid_over(cam, job.image_size, job.settings.get(role)),
    }
    return stage_key("cams", settings, parents=[job.key], data=[job.images.fingerprints[split]])


def laid_over(cam: CamSettings, size: int, *backbones: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what the keys of maps hold if some network's cells do not share the image evenly.

    Such maps are laid over the pixels that they stand for. They were once stretched over the image,
    as all others still are, so only their keys say so.

    Args:
        cam: how the maps are made.
        size: the side of the images in pixels.
        backbones: the settings of each network as a job holds them.

    """
    sides = [size, *(scaled_size(size, scale) for scale in cam.scales)]
    even = [share_the_image(str(one["model"]), sides, one) for one in backbones if one]
    return {} if all(even) else {"grids": "over their pixels"}


def image_features_key(
    step: Step, image_size: int, fingerprint: str, bounds: tuple[int, int]
) -> str:
    """Return the key of the features that a step precomputes from a shard of images."""
    settings = {**step.of_images_alone, "size": image_size, "start": bounds[0], "stop": bounds[1]}
    return stage_key("described", settings, data=[fingerprint])


def fitted_state_key(job: TrainingJob, chain: Chain, step: Step, scaling: MapScaling) -> str:
    """Return the key of what a step learns from the CAMs of a job's training images.

    Args:
        job: key, settings and images count.
        chain: the chain that holds the step; the step learns from its CAM.
        step: the step.
        scaling: how raw maps become scores.

    """
    parent = cams_key(job, "student", chain.cam, "train")
    settings = {**step.applied.identity, **asdict(scaling), "seed": job.seed}
    return stage_key("fits", settings, parents=[parent], data=[job.images.fingerprints["train"]])


def prefix_keys(job: TrainingJob, chain: Chain, scaling: MapScaling, split: str) -> list[str]:
    """Return the keys of a split's maps before the first refiner and after each."""
    cams = cams_key(job, "student", chain.cam, split)
    keys = [stage_key("refined", asdict(scaling), parents=[cams])]
    data = [job.images.fingerprints[split]]
    for step in chain.steps:
        parents = [keys[-1]]
        if step.needs_fitted_state:
            parents.append(fitted_state_key(job, chain, step, scaling))
        keys.append(stage_key("refined", step.identity, parents=parents, data=data))
    return keys


def chain_scores_key(job: TrainingJob, chain: Chain, scoring: CamScoring) -> str:
    """Return the key of a trial's scores under a chain, which names it in the ledger."""
    parents = [prefix_keys(job, chain, scoring.scaling, split)[-1] for split in SCORED_SPLITS]
    return stage_key("scores", {**scoring.as_settings(), "refined": True}, parents=parents)
