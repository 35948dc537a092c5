"""Refinement chains as a plan has them: what every map of every prefix is called in the store.

A chain is a way of making CAMs followed by refiners. Each prefix has a key of its own, so that two
chains that begin alike share what they have in common, and so do two studies. Maps are kept in
shards of `SHARD` images, each a stage of its own: a broken-off run loses one at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.spec.refinement import ResolvedChain, ResolvedStep
from studies.store.keys import stage_key
from wsss_core.cams.settings import CamSettings
from wsss_core.data.file_hashes import file_hashes
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.refine.steps.registry import STEP_KINDS, check_step

_PLAIN = CamSettings().as_config()

SHARD = 64
"""Images a shard. It is part of the keys, so no setting: equal work has to stay equal."""


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
    def describes_images(self) -> bool:
        """Whether it has to see the images alone first, once for all trials."""
        return not is_plugin(self.kind) and STEP_KINDS[self.kind].image_features

    @property
    def fits(self) -> bool:
        """Whether it has to learn from the training images' CAMs first, once a trial."""
        return not is_plugin(self.kind) and STEP_KINDS[self.kind].fitted_state


@dataclass(frozen=True)
class Chain:
    """A chain of a study, the same for all of its trials.

    Attributes:
        name: what tables print.
        cam: how the CAM it begins with is made, see `wsss_core.cams.CamSettings.as_config`.
        steps: its refiners.
        lacks: why it cannot run here (weights that were not given); None if it can.

    """

    name: str
    cam: dict[str, Any]
    steps: tuple[Step, ...]
    lacks: str | None = None

    @property
    def plugins(self) -> dict[str, str]:
        """Steps of one's own, with the versions they declared."""
        return {
            step.kind: str(step.identity["version"]) for step in self.steps if is_plugin(step.kind)
        }

    def as_config(self) -> dict[str, Any]:
        """Plain values, to be sent to a worker."""
        return {
            "name": self.name,
            "cam": self.cam,
            "steps": [
                {"kind": s.kind, "identity": s.identity, "arguments": s.arguments}
                for s in self.steps
            ],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Chain:
        """What `as_config` gave, in a worker."""
        return cls(config["name"], config["cam"], tuple(Step(**s) for s in config["steps"]))


def planned_chain(resolved: ResolvedChain, cam: CamSettings) -> Chain:
    """A chain of a study whose plain CAM is made in a given way.

    Raises:
        InputError: weights that are not there, or a plug-in that cannot be loaded.

    """
    steps = []
    lacks = None
    for step in resolved.steps:
        if (missing := _lacks(step)) is not None:
            lacks = missing
            steps.append(Step(step.kind, step.settings, step.settings))
        else:
            steps.append(_planned_step(step))
    base = cam.as_config()
    if resolved.cam.get("method", base["method"]) != base["method"]:
        base["layers"] = []  # those of another method
    changed = CamSettings(**{**base, **resolved.cam}).as_config()
    return Chain(resolved.name, changed, tuple(steps), lacks)


def _lacks(step: ResolvedStep) -> str | None:
    if "weights" in step.settings and step.settings["weights"] is None and step.kind in STEP_KINDS:
        return f"no weights were given: refiners.{step.kind}.weights"
    return None


def _planned_step(step: ResolvedStep) -> Step:
    if is_plugin(step.kind):
        version = plugin_version("refine", step.kind)
        identity = {"kind": step.kind, "version": version, **step.settings}
        return Step(step.kind, identity, step.settings)
    check_step(step.kind, step.settings)
    identity = {"kind": step.kind, "version": STEP_KINDS[step.kind].version, **step.settings}
    arguments = dict(step.settings)
    if weights := step.settings.get("weights"):
        folder = Path(weights).expanduser().absolute()
        if folder.is_dir():
            arguments["weights"] = str(folder)
            files = sorted(f for f in folder.iterdir() if f.is_file())
            identity["weights"] = file_hashes(files)
    return Step(step.kind, identity, arguments)


def shards(count: int) -> list[tuple[int, int]]:
    """The bounds of the shards of a split.

    >>> shards(130)
    [(0, 64), (64, 128), (128, 130)]
    """
    return [(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]


def shard_key(key: str, bounds: tuple[int, int]) -> str:
    """The key of a shard of maps."""
    return stage_key("refined", {"start": bounds[0], "stop": bounds[1]}, parents=[key])


def cams_key(
    unit_key: str, role: str, cam: dict[str, Any], image_size: int, fingerprint: str
) -> str:
    """The key of a trained network's raw maps of a split."""
    plain = cam == _PLAIN
    settings = {"cam": "class_weight" if plain else cam, "role": role, "size": image_size}
    return stage_key("cams", settings, parents=[unit_key], data=[fingerprint])


def described_key(step: Step, image_size: int, fingerprint: str, bounds: tuple[int, int]) -> str:
    """The key of what a step makes of a shard of images alone."""
    settings = {**step.identity, "size": image_size, "start": bounds[0], "stop": bounds[1]}
    return stage_key("described", settings, data=[fingerprint])


def fit_key(unit: dict[str, Any], chain: Chain, step: Step, base: dict[str, Any]) -> str:
    """The key of what a step learns from the CAMs of a unit's training images.

    Args:
        unit: `Unit.as_config()`, or as much of it: key, settings, fingerprints.
        chain: the chain it is in; its CAM is what it learns from.
        step: the step.
        base: how raw maps become scores: normalisation and gating.

    """
    train = unit["fingerprints"]["train"]
    size = unit["settings"]["image_size"]
    parent = cams_key(unit["key"], "student", chain.cam, size, train)
    settings = {**step.identity, **base, "seed": unit["settings"]["seed"]}
    return stage_key("fits", settings, parents=[parent], data=[train])


def prefix_keys(unit: dict[str, Any], chain: Chain, base: dict[str, Any], split: str) -> list[str]:
    """The keys of a split's maps before the first refiner and after each."""
    fingerprint = unit["fingerprints"][split]
    size = unit["settings"]["image_size"]
    cams = cams_key(unit["key"], "student", chain.cam, size, fingerprint)
    keys = [stage_key("refined", base, parents=[cams])]
    for step in chain.steps:
        parents = [keys[-1]]
        if step.fits:
            parents.append(fit_key(unit, chain, step, base))
        keys.append(stage_key("refined", step.identity, parents=parents, data=[fingerprint]))
    return keys


def chain_scores_key(
    unit: dict[str, Any], chain: Chain, cam_settings: dict[str, Any], splits: tuple[str, ...]
) -> str:
    """The key of a trial's scores under a chain: what names it in the ledger."""
    base = base_of(cam_settings)
    parents = [prefix_keys(unit, chain, base, split)[-1] for split in splits]
    return stage_key("scores", {**cam_settings, "refined": True}, parents=parents)


def base_of(cam_settings: dict[str, Any]) -> dict[str, Any]:
    """How raw maps become scores of 0 to 1, of a plan's CAM settings."""
    return {name: cam_settings[name] for name in ("normalisation", "gating")}
