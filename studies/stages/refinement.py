"""The `described`, `fits` and `refined` stages: from raw maps to the maps of every chain.

Nothing here knows Ray. A unit's chains are walked shard by shard, each prefix once; what the store
holds is not made again.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reports.storage.errors import StorageError
from studies.formatting import error_line
from studies.planning.chains import (
    Chain,
    Step,
    base_of,
    described_key,
    fit_key,
    prefix_keys,
    shard_key,
    shards,
)
from studies.planning.images import SCORED_SPLITS
from studies.stages.cams import base_scores, network_maps
from studies.stages.failures import fault_of
from studies.stages.training import load_network
from studies.store.artifacts import ArtifactStore, CorruptArtifactError
from studies.store.keys import canonical
from wsss_core.backbones import Network
from wsss_core.data.image_set import ImageSet
from wsss_core.errors import InputError
from wsss_core.out_of_memory import give_back
from wsss_core.refine.steps.registry import Refiner, make_refiner

MAPS = "maps.npy"


@dataclass(frozen=True)
class ShardOutcome:
    """What a shard's walk did.

    Attributes:
        errors: chain -> (one line, traceback) of those that could not go on.
        seconds: chain -> time spent on its own steps; a prefix counts for the first that needs it.

    """

    errors: dict[str, tuple[str, str]]
    seconds: dict[str, float]


Unprepared = list[tuple[str, str, str]]
"""Chains that cannot be walked: their names, the error in a line, the traceback."""


def prepare_unit(unit: dict[str, Any], context: dict[str, Any], store: ArtifactStore) -> Unprepared:
    """Make what a trained unit's chains begin with, where its network is at hand.

    That is the raw maps of every way of making CAMs, and what steps have to learn from them. A
    chain whose step cannot learn is named in what is returned, and keeps no other from it.

    Raises:
        Exception: what is no chain's own, see `studies.stages.failures.fault_of`.

    """
    device = context["device"]
    failed: Unprepared = []
    tried: dict[str, tuple[str, str]] = {}
    for chain in map(Chain.from_config, context["chains"]):
        beginning = canonical([chain.cam, [s.identity for s in chain.steps if s.fits]])
        if beginning in tried:  # in vain, for another chain
            failed.append((chain.name, *tried[beginning]))
            continue
        try:
            _prepare(unit, chain, context, store)
        except Exception as error:
            fault, said = fault_of(error, unit, context, store)
            if fault != "own":
                raise
            tried[beginning] = said, traceback.format_exc()
            failed.append((chain.name, *tried[beginning]))
        else:
            continue
        # The error is gone, and with it what its frames held.
        give_back(device)
    return failed


def _prepare(
    unit: dict[str, Any], chain: Chain, context: dict[str, Any], store: ArtifactStore
) -> None:
    base, device = base_of(context["cam"]), context["device"]
    for split in SCORED_SPLITS:
        images = ImageSet.load(store.fetch("images", unit["images"][split]))
        network_maps(unit, "student", split, images, store, device, chain.cam)
    for step in chain.steps:
        if step.fits:
            _fit(unit, chain, step, base, store, device)


def _fit(
    unit: dict[str, Any],
    chain: Chain,
    step: Step,
    base: dict[str, Any],
    store: ArtifactStore,
    device: str,
) -> None:
    key = fit_key(unit, chain, step, base)
    if store.has("fits", key):
        return
    images = ImageSet.load(store.fetch("images", unit["images"]["train"]))
    raw = network_maps(unit, "student", "train", images, store, device, chain.cam)
    scores = base_scores(raw, chain.cam, **base)
    network = load_network(store, unit["key"], unit["settings"], "student").to(device)
    with store.build("fits", key, {"step": step.identity, "parent": unit["key"]}) as folder:
        _made(step).fit(
            network,
            images.images,
            scores,
            images.labels,
            folder,
            seed=unit["settings"]["seed"],
            device=device,
        )


@dataclass(frozen=True)
class Description:
    """A step that has to see a shard of images, once for all trials.

    Attributes:
        step: which.
        images_key: of the decoded split.
        image_size: of its images.
        fingerprint: of its content.
        bounds: of the shard.

    """

    step: Step
    images_key: str
    image_size: int
    fingerprint: str
    bounds: tuple[int, int]

    @property
    def key(self) -> str:
        """Of what the step makes of the shard."""
        return described_key(self.step, self.image_size, self.fingerprint, self.bounds)


def describe_shard(work: Description, store: ArtifactStore, device: str) -> None:
    """Make what a step needs to know of a shard of images alone, for all trials."""
    if store.has("described", work.key):
        return
    images = ImageSet.load(store.fetch("images", work.images_key))
    about = {"step": work.step.identity, "bounds": work.bounds, "images": work.images_key}
    with store.build("described", work.key, about) as folder:
        _made(work.step).compute_image_features(
            np.asarray(images.images[slice(*work.bounds)]), images.classes, folder, device=device
        )


def refine_shard(
    unit: dict[str, Any],
    split: str,
    bounds: tuple[int, int],
    context: dict[str, Any],
    store: ArtifactStore,
    unprepared: Unprepared,
) -> ShardOutcome:
    """Walk all chains over a shard of a split; a chain that fails does not keep others from it."""
    walk = _ShardWalk(unit, split, bounds, base_of(context["cam"]), store)
    errors = {name: (said, trace) for name, said, trace in unprepared}
    seconds: dict[str, float] = {}
    for chain in map(Chain.from_config, context["chains"]):
        if chain.name in errors:
            continue
        began = time.perf_counter()
        try:
            try:
                walk.along(chain)
            except CorruptArtifactError:  # it was set aside, and is made again on the way
                walk.forget_failures()
                walk.along(chain)
        except Exception as error:
            if isinstance(error, StorageError) and not isinstance(error, CorruptArtifactError):
                raise
            errors[chain.name] = error_line(error), traceback.format_exc()
        seconds[chain.name] = time.perf_counter() - began
    return ShardOutcome(errors, seconds)


class _ShardWalk:
    """The chains of one shard; a prefix that failed fails every chain that begins with it."""

    def __init__(
        self,
        unit: dict[str, Any],
        split: str,
        bounds: tuple[int, int],
        base: dict[str, Any],
        store: ArtifactStore,
    ) -> None:
        self.unit, self.split, self.bounds = unit, split, bounds
        self.base, self.store = base, store
        self.images = ImageSet.load(store.fetch("images", unit["images"][split]))
        self._failed: dict[str, Exception] = {}
        self._network: Network | None = None

    def forget_failures(self) -> None:
        """Try again what has failed."""
        self._failed.clear()

    def along(self, chain: Chain) -> None:
        """Make the maps after each refiner that the store lacks."""
        keys = prefix_keys(self.unit, chain, self.base, self.split)
        scores: np.ndarray | None = None
        for step, before, key in zip(chain.steps, keys, keys[1:], strict=False):
            if key in self._failed:
                raise self._failed[key]
            if self.store.has("refined", shard_key(key, self.bounds)):
                scores = None
                continue
            if scores is None:
                scores = self._start(chain, before, first=before == keys[0])
            try:
                kept = self._refined(chain, step, scores)
                self._keep(step, key, kept)
                scores = kept.astype(np.float32)
            except Exception as error:
                self._failed[key] = error
                raise

    def _start(self, chain: Chain, key: str, *, first: bool) -> np.ndarray:
        if first:
            raw = network_maps(
                self.unit, "student", self.split, self.images, self.store, "cpu", chain.cam
            )
            return base_scores(raw.part(*self.bounds), chain.cam, **self.base)
        return load_refined(self.store, key, self.bounds)

    def _refined(self, chain: Chain, step: Step, scores: np.ndarray) -> np.ndarray:
        images = np.asarray(self.images.images[slice(*self.bounds)])
        described = fitted = network = None
        if step.describes_images:
            size, data = self.unit["settings"]["image_size"], self.unit["fingerprints"][self.split]
            key = described_key(step, size, data, self.bounds)
            described = self.store.fetch("described", key)
        if step.fits:
            fitted = self.store.fetch("fits", fit_key(self.unit, chain, step, self.base))
            network = self._trained()
        return step_taken(
            step.kind, _made(step), images, scores,
            described=described, fitted=fitted, network=network,
        )  # fmt: skip

    def _trained(self) -> Network:
        if self._network is None:
            unit = self.unit
            self._network = load_network(self.store, unit["key"], unit["settings"], "student")
        return self._network

    def _keep(self, step: Step, key: str, scores: np.ndarray) -> None:
        about = {"step": step.identity, "bounds": self.bounds, "parent": self.unit["key"]}
        with self.store.build("refined", shard_key(key, self.bounds), about) as folder:
            np.save(folder / MAPS, scores)


def step_taken(
    kind: str,
    refiner: Refiner,
    images: np.ndarray,
    scores: np.ndarray,
    *,
    described: Path | None,
    fitted: Path | None,
    network: Network | None,
) -> np.ndarray:
    """What a step makes of maps, checked; float16, as the store keeps it.

    What follows goes on from these, so that what a chain gives does not depend on which chain made
    its beginning.
    """
    refined = refiner(
        images, scores, image_features=described, fitted_state=fitted, network=network
    )
    return checked_scores(kind, refined, scores).astype(np.float16)


def _made(step: Step) -> Refiner:
    return make_refiner(step.kind, step.arguments)


def checked_scores(kind: str, refined: Any, before: np.ndarray) -> np.ndarray:
    """What a refiner returned, if it is scores of the same images and classes.

    Raises:
        InputError: another shape, or values that are not finite or not within 0..1.

    """
    scores = np.asarray(refined, np.float32)
    if scores.ndim != 4 or scores.shape[:2] != before.shape[:2]:
        raise InputError(
            f"refiner {kind}: expected scores [{before.shape[0]}, {before.shape[1]}, h, w], "
            f"got {list(scores.shape)}"
        )
    if not np.isfinite(scores).all() or scores.min() < -1e-4 or scores.max() > 1 + 1e-4:
        raise InputError(
            f"refiner {kind}: expected scores of 0 to 1, got {scores.min():.4g} to "
            f"{scores.max():.4g}"
        )
    clipped: np.ndarray = scores.clip(0, 1)
    return clipped


def load_refined(store: ArtifactStore, key: str, bounds: tuple[int, int]) -> np.ndarray:
    """The maps of a shard after a step, float32 [n, K, h, w] in 0..1."""
    file: Path = store.fetch("refined", shard_key(key, bounds)) / MAPS
    maps: np.ndarray = np.load(file, allow_pickle=False).astype(np.float32)
    return maps


def chain_maps(
    unit: dict[str, Any],
    chain: Chain,
    split: str,
    images: ImageSet,
    store: ArtifactStore,
    base: dict[str, Any],
) -> np.ndarray:
    """A chain's maps of a whole split, float32 [N, K, h, w] in 0..1."""
    if not chain.steps:
        raw = network_maps(unit, "student", split, images, store, "cpu", chain.cam)
        return base_scores(raw, chain.cam, **base)
    key = prefix_keys(unit, chain, base, split)[-1]
    parts: Sequence[np.ndarray] = [
        load_refined(store, key, bounds) for bounds in shards(len(images))
    ]
    return np.concatenate(parts)
