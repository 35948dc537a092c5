"""Pseudo masks of training images: maps gated by the images' labels, cut at one threshold.

The labels of training images are known, so a map of a class that an image does not hold is 0. The
rules without masks see the scores of the training images; a rule that is tuned sees the tune
split, as the study's own scores hold it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.ledger import read_arrow
from reports.names import ANY_CLASS, OWN_MASKS
from reports.results.other_gatings import LevelChoice, best_choice, label_gated_choice
from reports.results.score_rows import ScoreRows
from studies.planning import MapsOfLabels, Step, shard_key, shards
from studies.stages.cams import NetworkMaps, network_maps, normalised_maps
from studies.stages.fused_maps import scores_under_chain
from studies.stages.handover import RunContext
from studies.stages.refinement import (
    MAPS,
    ImageFeatureTask,
    chain_maps,
    make_image_features,
    prepare_chain,
    refine_shard,
    run_step,
)
from studies.stages.scoring import gated, gated_histograms, score_rows
from studies.stages.segmentation.selection import TrainingSelection
from studies.stages.training import load_network
from studies.store import ArtifactStore
from wsss_core.backbones import Network
from wsss_core.data.image_set import IGNORED, ImageSet
from wsss_core.errors import InputError
from wsss_core.evaluate import (
    HistogramStack,
    NoThresholdError,
    ScoreHistogram,
    choose_threshold,
    level_of,
    quantise,
    resize,
)
from wsss_core.progress import made_progress
from wsss_core.refine.steps.registry import make_refiner
from wsss_core.segmentation import label_confidence

Bounds = tuple[int, int]
"""The first and the last place of a shard, the last one excluded."""


class LabelledMaps:
    """The maps of training images that pseudo masks are cut from, shard by shard.

    Args:
        maps: network and chain.
        images: the training split.
        store: holds the network and keeps the maps.
        device: where maps are made.

    """

    def __init__(
        self, maps: MapsOfLabels, images: ImageSet, store: ArtifactStore, device: str
    ) -> None:
        self._maps, self._images = maps, images
        self._store, self._device = store, device
        if maps.chain.steps:
            prepare_chain(maps.training, maps.chain, maps.study_scaling, store, device)

    @cached_property
    def _network(self) -> Network:
        return load_network(self._store, self._maps.training, "student")

    def of(self, bounds: Bounds) -> NDArray[np.float32]:
        """Return the scores of a shard's images, float32 [n, K, h, w] in 0..1."""
        maps, store, images = self._maps, self._store, self._images
        labels = images.labels[slice(*bounds)]
        scores: np.ndarray | None = None
        keys = maps.keys()
        for number in range(len(maps.chain.steps), 0, -1):
            if store.has("refined", shard_key(keys[number], bounds)):
                with store.reading("refined", shard_key(keys[number], bounds)) as folder:
                    kept = np.load(folder / MAPS, allow_pickle=False)
                scores, done = kept.astype(np.float32), number
                break
        else:
            scores, done = self._first(bounds), 0
        for number in range(done, len(maps.chain.steps)):
            step = maps.chain.steps[number]
            kept = self._refined(step, number, scores, bounds)
            kept[~labels] = 0  # a step may spread a little of what is 0
            about = {"step": step.identity, "bounds": bounds, "parent": maps.training.key}
            with store.build("refined", shard_key(keys[number + 1], bounds), about) as folder:
                np.save(folder / MAPS, kept)
            made_progress()
            scores = kept.astype(np.float32)
        return scores

    def _first(self, bounds: Bounds) -> NDArray[np.float32]:
        maps = self._maps
        normalisation = maps.study_scaling.normalisation
        scores = normalised_maps(self._raw, maps.chain.cam, normalisation, bounds)
        scores[~self._images.labels[slice(*bounds)]] = 0
        return scores

    @cached_property
    def _raw(self) -> NetworkMaps:
        job, cam = self._maps.training, self._maps.chain.cam
        return network_maps(job, "student", "train", self._images, self._store, self._device, cam)

    def _refined(
        self, step: Step, number: int, scores: np.ndarray, bounds: Bounds
    ) -> NDArray[np.float16]:
        maps, store = self._maps, self._store
        features = fitted = network = None
        if step.needs_image_features:
            task = ImageFeatureTask(step.applied, maps.training.images, "train", bounds)
            make_image_features(task, store, self._device)
            features = store.fetch("described", task.key)
        if step.needs_fitted_state:
            fitted = store.fetch("fits", maps.fitted_state_key(number))
            network = self._network
        return run_step(
            step.kind,
            make_refiner(step.kind, step.arguments, step.weights_digests),
            np.asarray(self._images.images[slice(*bounds)]),
            scores,
            image_features=features,
            fitted_state=fitted,
            network=network,
        )


class PseudoMasks:
    """The pseudo masks of a segmentation run, or of another training run.

    Args:
        maps: what they are cut from.
        settings: how they are cut, as the run's settings hold it.
        context: the run of the study.
        selection: the training split, with the true masks that were drawn.
        store: holds networks and scores, and keeps maps.
        device: where maps are made.

    """

    def __init__(
        self,
        maps: MapsOfLabels,
        settings: dict[str, Any],
        context: RunContext,
        selection: TrainingSelection,
        store: ArtifactStore,
        device: str,
    ) -> None:
        self._maps, self._settings, self._context = maps, settings, context
        self._images, self._masks = selection.images, selection.masks
        self._store, self._device = store, device

    @cached_property
    def _scores(self) -> LabelledMaps:
        return LabelledMaps(self._maps, self._images, self._store, self._device)

    @property
    def chain(self) -> str:
        """The name of the chain of its maps."""
        return self._maps.chain.name

    def each(
        self, among: Collection[int] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the place of images and their scores at the images' size, [K, S, S].

        Args:
            among: the places that are asked for; None: all.

        """
        side = self._images.images.shape[1]
        for bounds in shards(len(self._images)):
            places = [place for place in range(*bounds) if among is None or place in among]
            scores = self._scores.of(bounds) if places else ()
            for place in places:
                yield place, resize(scores[place - bounds[0]], (side, side)).clip(0, 1)

    @cached_property
    def level(self) -> int:
        """The threshold, 0 to 255; where classes compete at least 1.

        Raises:
            NoThresholdError: the rule has nothing to choose by.
            InputError: a chain that cannot run over the tune split.

        """
        rule, found = self._settings["rule"], None
        if rule == "fixed":
            found = level_of(self._settings["fixed"])
        elif rule == "tuned":
            found = tuned_level(self._tune_rows, self._settings["objective"])
        elif rule == OWN_MASKS:
            found = level_on_masks(self._of_masks(), self._settings["objective"])
        else:
            tune = None
            if "objective" in self._settings:
                rows = self._tune_rows
                names = set(rows.texts["class_name"])
                of_any = ANY_CLASS if ANY_CLASS in names else self._images.classes[0]
                tune = rows.at(rows.texts["class_name"] == of_any).stack()
            found = choose_threshold(rule, tune=tune, scores=self._pooled()).level
        assert found is not None
        return max(1, found) if len(self._images.classes) > 1 else found

    @property
    def reached(self) -> float:
        """What the maps reach of the objective on the tune split, gated as the study gates."""
        return _best(_stacks(self._tune_rows), self._settings["objective"], _NO_CLASS).reached

    def cut(self, place: int, scores: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the pseudo mask of an image, uint8 [S, S]."""
        levels = gated(quantise(scores), ~self._images.labels[place])
        mask = np.zeros(levels.shape[1:], np.uint8)
        for number, of_class in enumerate(levels):
            if self._images.labels[place, number]:
                mask[of_class >= self.level] = number + 1
        mask[self._padding(place)] = IGNORED
        return mask

    def _padding(self, place: int) -> NDArray[np.bool_]:
        """Return which pixels of an image are padding, bool [S, S]."""
        side = self._images.images.shape[1]
        windows = self._images.windows
        return np.zeros((side, side), np.bool_) if windows is None else windows.padding(place, side)

    def weights(
        self, scores: NDArray[np.float32], mask: NDArray[np.uint8]
    ) -> NDArray[np.float32] | None:
        """Return the weight of each pixel of a pseudo mask, [S, S]; None where all weigh 1."""
        power = self._settings["confidence"]
        return None if power is None else label_confidence(scores, mask, power=power)

    def _pooled(self) -> NDArray[np.int64]:
        """Return the pixels per level of the training images that carry a label, int64 [256]."""
        counts = np.zeros(256, np.int64)
        for place, scores in self.each():
            if self._images.labels[place].any():
                levels = gated(quantise(scores), ~self._images.labels[place])
                inside = levels.max(axis=0)[~self._padding(place)]
                counts += np.bincount(inside, minlength=256)
        return counts

    def _of_masks(self) -> Iterator[list[ScoreHistogram]]:
        """Yield the histograms of each image whose true mask was drawn."""
        for place, scores in self.each(self._masks):
            mask = np.where(self._padding(place), IGNORED, self._masks[place])
            yield gated_histograms(quantise(scores), ~self._images.labels[place], mask)[0]

    @cached_property
    def _tune_rows(self) -> ScoreRows:
        """Return the student's scores of the tune split under the chain."""
        key = self._maps.scores_key
        if self._store.has("scores", key):
            with self._store.reading("scores", key) as folder:
                found = ScoreRows.of(read_arrow(str(folder), "scores", keys=[key]))
        else:  # the chain has not been scored yet
            found = ScoreRows.of(pd.DataFrame(self._scored_tune()))
        texts = found.texts
        return found.at((texts["split"] == "tune") & (texts["network"] == "student"))

    def _scored_tune(self) -> list[dict[str, Any]]:
        maps, store, cam = self._maps, self._store, self._context.cam
        job, chain = maps.training, maps.chain
        images = job.images.load(store, "tune")
        if chain.steps:
            prepare_chain(job, chain, maps.study_scaling, store, self._device)
        alone = replace(self._context, chains=(chain,))
        for bounds in shards(len(images.views)) if chain.steps else ():
            errors = refine_shard(job, "tune", bounds, alone, store, ()).errors
            if chain.name in errors:
                raise InputError(f"chain {chain.name}: {errors[chain.name].error}")
        scoring = replace(cam, cam=chain.cam)
        scores = chain_maps(job, chain, "tune", images, store, cam.scaling)
        network = scores_under_chain(job, "tune", images, store, scoring, scores, self._device)
        return score_rows(network, images, split="tune", network="student", gating=cam.gating)


def level_on_masks(images: Iterable[Sequence[ScoreHistogram]], objective: str) -> int:
    """Return the level that is best on some images with true masks.

    Args:
        images: the histograms of each image, as `gated_histograms` orders them.
        objective: what is maximised, one of `reports.names.MEASURES`.

    Raises:
        NoThresholdError: no image, or a class that none of them holds.

    Example:
        >>> levels = np.array([[[10, 200], [60, 90]]], np.uint8)
        >>> mask = np.array([[0, 1], [0, 1]], np.uint8)
        >>> level_on_masks([gated_histograms(levels, np.array([False]), mask)[0]], "per_image_iou")
        61

    """
    stacks = [HistogramStack.from_histograms(one) for one in zip(*images, strict=True)]
    if not stacks:
        raise NoThresholdError(f"threshold rule {OWN_MASKS}: no image has a true mask")
    names = [str(number) for number in range(len(stacks))]
    if len(stacks) > 1:
        names[-1] = ANY_CLASS
    lacking = f"threshold rule {OWN_MASKS}: a class is in none of the true masks"
    return _best(dict(zip(names, stacks, strict=True)), objective, lacking).level


def tuned_level(rows: ScoreRows, objective: str) -> int:
    """Return the level that is best on the tune split's maps, gated by labels where that differs.

    Args:
        rows: the tune split's scores.
        objective: what is maximised, one of `reports.names.MEASURES`.

    Raises:
        NoThresholdError: no image holds a class.

    """
    by_labels = label_gated_choice(rows, objective)
    return (by_labels or _best(_stacks(rows), objective, _NO_CLASS)).level


_NO_CLASS = "threshold rule tuned: a class is in no image of the tune split"


def _stacks(rows: ScoreRows) -> dict[str, HistogramStack]:
    return {name: one.stack() for (name,), one in rows.groups("class_name")}


def _best(stacks: Mapping[str, HistogramStack], objective: str, lacking: str) -> LevelChoice:
    """Return the best choice; `lacking` says what is missing where there is none."""
    found = best_choice(stacks, objective) if stacks else None
    if found is None:
        raise NoThresholdError(lacking)
    return found
