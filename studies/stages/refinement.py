"""The `described`, `fits` and `refined` stages: from raw maps to the maps of every chain.

Nothing here knows Ray. A job's chains are run shard by shard, each prefix once; what the store
holds is not made again.
"""

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reports.storage import StorageError
from studies.formatting import error_line
from studies.planning import (
    SCORED_SPLITS,
    Chain,
    ImageSplits,
    MapScaling,
    Step,
    TrainingJob,
    fitted_state_key,
    image_features_key,
    prefix_keys,
    shard_key,
    shards,
)
from studies.stages.failures import fault_of
from studies.stages.fused_maps import first_maps, keep_maps, learnt_network
from studies.stages.handover import FailedChain, RunContext
from studies.store import ArtifactStore, CorruptArtifactError, canonical
from wsss_core.backbones import Network
from wsss_core.data.image_set import ImageSet
from wsss_core.errors import InputError
from wsss_core.out_of_memory import give_back
from wsss_core.progress import made_progress
from wsss_core.refine.steps.registry import Refiner, make_refiner

MAPS = "maps.npy"


@dataclass(frozen=True)
class ShardOutcome:
    """How the chains ended over one shard.

    Attributes:
        errors: by the names of the chains that failed.
        seconds: chain -> time spent on its own steps; a prefix counts for the first that needs it.

    """

    errors: dict[str, FailedChain]
    seconds: dict[str, float]


def prepare_chains(
    job: TrainingJob, context: RunContext, store: ArtifactStore, device: str
) -> tuple[FailedChain, ...]:
    """Make what a trained job's chains begin with, where its network is at hand.

    These are the raw maps of every way of making CAMs, and what steps learn from them. A chain
    whose step cannot learn is returned as failed; the others go on.

    Raises:
        Exception: what is not a chain's own error, see `studies.stages.failures.fault_of`.

    """
    failed: list[FailedChain] = []
    tried: dict[str, FailedChain] = {}
    for chain in context.chains_of(job):
        steps = [step.applied.identity for step in chain.steps if step.needs_fitted_state]
        beginning = canonical([chain.cam.as_config(), steps])
        if beginning in tried:  # in vain, for another chain
            failed.append(replace(tried[beginning], name=chain.name))
            continue
        try:
            prepare_chain(job, chain, context.cam.scaling, store, device)
        except Exception as error:
            fault = fault_of(error, job, context, store)
            if not fault.own:
                raise
            tried[beginning] = FailedChain(chain.name, fault.error, traceback.format_exc())
            failed.append(tried[beginning])
        else:
            continue
        # The error is gone, and with it what its frames held.
        give_back(device)
    return tuple(failed)


def prepare_chain(
    job: TrainingJob, chain: Chain, scaling: MapScaling, store: ArtifactStore, device: str
) -> None:
    """Make what a chain begins with and what its steps learn, unless the store holds it."""
    for split in SCORED_SPLITS:
        images = job.images.load(store, split)
        keep_maps(job, split, images, store, device, chain.cam)
    for step in chain.steps:
        if step.needs_fitted_state:
            _fit(job, chain, step, scaling, store, device)


def _fit(
    job: TrainingJob,
    chain: Chain,
    step: Step,
    scaling: MapScaling,
    store: ArtifactStore,
    device: str,
) -> None:
    key = fitted_state_key(job, chain, step, scaling)
    if store.has("fits", key):
        return
    images = job.images.load(store, "train")
    scores = first_maps(job, "train", images, store, device, chain.cam, scaling)
    network = learnt_network(job, store).to(device)
    applied = step.applied
    with store.build("fits", key, {"step": applied.identity, "parent": job.key}) as folder:
        _made(applied).fit(
            network,
            images.views,
            scores,
            images.labels,
            folder,
            seed=job.seed,
            device=device,
        )


@dataclass(frozen=True)
class ImageFeatureTask:
    """A step that precomputes features from a shard of images, once for all trials.

    Attributes:
        step: the step.
        splits: the images that the split is one of.
        split: the split's name.
        bounds: of the shard.

    """

    step: Step
    splits: ImageSplits
    split: str
    bounds: tuple[int, int]

    @property
    def fingerprint(self) -> str:
        """The hash of the split's content."""
        return self.splits.fingerprints[self.split]

    @property
    def key(self) -> str:
        """The key of the shard's features."""
        return self._key(self.bounds)

    @property
    def split_key(self) -> str:
        """A key for all shards of the split together, which are leased as one."""
        return self._key((0, 0))

    def _key(self, bounds: tuple[int, int]) -> str:
        return image_features_key(self.step, self.splits.size, self.fingerprint, bounds)


def make_image_features(task: ImageFeatureTask, store: ArtifactStore, device: str) -> None:
    """Precompute a step's features of a shard of images, for all trials."""
    if store.has("described", task.key):
        return
    images = task.splits.load(store, task.split)
    refiner, named = _made(task.step), {}
    if refiner.by_name:
        chosen = images.identifiers[slice(*task.bounds)]
        named = {"names": [f"{task.split}/{name}" for name in chosen]}
    about = {
        "step": task.step.identity,
        "bounds": task.bounds,
        "images": task.splits.key(task.split),
    }
    with store.build("described", task.key, about) as folder:
        pixels = np.asarray(images.views[slice(*task.bounds)])
        refiner.compute_image_features(pixels, images.classes, folder, device=device, **named)


def refine_shard(
    job: TrainingJob,
    split: str,
    bounds: tuple[int, int],
    context: RunContext,
    store: ArtifactStore,
    unprepared: Sequence[FailedChain],
) -> ShardOutcome:
    """Run all chains over a shard of a split; a chain that fails does not stop the others."""
    refinement = _ShardRefinement(job, split, bounds, context.cam.scaling, store)
    errors = {failed.name: failed for failed in unprepared}
    seconds: dict[str, float] = {}
    for chain in context.chains_of(job):
        if chain.name in errors:
            continue
        began = time.perf_counter()
        try:
            try:
                refinement.run(chain)
            except CorruptArtifactError:  # it was quarantined, and is made again on the way
                refinement.failed.clear()
                refinement.run(chain)
        except Exception as error:
            if isinstance(error, StorageError) and not isinstance(error, CorruptArtifactError):
                raise
            errors[chain.name] = FailedChain(chain.name, error_line(error), traceback.format_exc())
        seconds[chain.name] = time.perf_counter() - began
    return ShardOutcome(errors, seconds)


class _ShardRefinement:
    """The chains over one shard; a prefix that failed fails every chain that begins with it."""

    def __init__(
        self,
        job: TrainingJob,
        split: str,
        bounds: tuple[int, int],
        scaling: MapScaling,
        store: ArtifactStore,
    ) -> None:
        self.job, self.split, self.bounds = job, split, bounds
        self.scaling, self.store = scaling, store
        self.images = job.images.load(store, split)
        self.failed: dict[str, Exception] = {}

    @cached_property
    def network(self) -> Network:
        """The job's trained network, for steps that go on from what they have learnt."""
        return learnt_network(self.job, self.store)

    def run(self, chain: Chain) -> None:
        """Make the maps after each refiner that the store lacks."""
        keys = prefix_keys(self.job, chain, self.scaling, self.split)
        scores: np.ndarray | None = None
        for step, before, key in zip(chain.steps, keys, keys[1:], strict=False):
            if key in self.failed:
                raise self.failed[key]
            if self.store.has("refined", shard_key(key, self.bounds)):
                scores = None
                continue
            if scores is None:
                scores = self._start(chain, before, first=before == keys[0])
            try:
                kept = self._refined(chain, step, scores)
                about = {"step": step.identity, "bounds": self.bounds, "parent": self.job.key}
                with self.store.build("refined", shard_key(key, self.bounds), about) as folder:
                    np.save(folder / MAPS, kept)
                made_progress()
                scores = kept.astype(np.float32)
            except Exception as error:
                self.failed[key] = error
                raise

    def _start(self, chain: Chain, key: str, *, first: bool) -> np.ndarray:
        if first:
            return first_maps(
                self.job,
                self.split,
                self.images,
                self.store,
                "cpu",
                chain.cam,
                self.scaling,
                self.bounds,
            )
        return load_refined(self.store, key, self.bounds)

    def _refined(self, chain: Chain, step: Step, scores: np.ndarray) -> np.ndarray:
        images = np.asarray(self.images.views[slice(*self.bounds)])
        image_features = fitted_state = network = None
        if step.needs_image_features:
            task = ImageFeatureTask(step.applied, self.job.images, self.split, self.bounds)
            image_features = self.store.fetch("described", task.key)
        if step.needs_fitted_state:
            key = fitted_state_key(self.job, chain, step, self.scaling)
            fitted_state = self.store.fetch("fits", key)
            network = self.network
        return run_step(
            step.kind,
            _made(step),
            images,
            scores,
            image_features=image_features,
            fitted_state=fitted_state,
            network=network,
        )


def run_step(
    kind: str,
    refiner: Refiner,
    images: np.ndarray,
    scores: np.ndarray,
    *,
    image_features: Path | None,
    fitted_state: Path | None,
    network: Network | None,
) -> np.ndarray:
    """Return what a step makes of maps, checked; float16, as the store keeps it.

    The next step goes on from these, so a chain's result does not depend on which chain made its
    beginning.
    """
    refined = refiner(
        images, scores, image_features=image_features, fitted_state=fitted_state, network=network
    )
    return checked_scores(kind, refined, scores).astype(np.float16)


def _made(step: Step) -> Refiner:
    return make_refiner(step.kind, step.arguments, step.weights_digests)


def checked_scores(kind: str, refined: Any, before: np.ndarray) -> np.ndarray:
    """Return what a refiner returned, clipped to 0..1, float32 [n, K, h, w].

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
    return scores.clip(0, 1)


def load_refined(store: ArtifactStore, key: str, bounds: tuple[int, int]) -> np.ndarray:
    """Return the maps of a shard after a step, float32 [n, K, h, w] in 0..1."""
    with store.reading("refined", shard_key(key, bounds)) as folder:
        return np.load(folder / MAPS, allow_pickle=False).astype(np.float32)


def chain_maps(
    job: TrainingJob,
    chain: Chain,
    split: str,
    images: ImageSet,
    store: ArtifactStore,
    scaling: MapScaling,
) -> np.ndarray | None:
    """Return a chain's maps of a whole split, float32 [N, K, h, w] in 0..1; None without steps."""
    if not chain.steps:
        return None
    key = prefix_keys(job, chain, scaling, split)[-1]
    return np.concatenate(
        [load_refined(store, key, bounds) for bounds in shards(len(images.views))]
    )
