"""Training of a segmenter on images and label maps.

A run is a function of (settings, seed, data): the order of the images and their views are drawn
from (seed, pass) alone, so a run that resumes from its checkpoint sees what an uninterrupted one
sees. On a CPU it ends in the same bits.

A batch that does not fit into memory is taken in micro-batches, see `wsss_core.training`. Each
counts by the weight of its pixels, so that cross-entropies are those of the whole batch up to
rounding; Dice adds up over a micro-batch instead.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data import IMAGENET_DEFAULT_MEAN
from torch import Tensor

from wsss_core.augmentation import (
    ImagePass,
    ImageViews,
    Passes,
    Stored,
    sample_views,
)
from wsss_core.data import IGNORED, ImageSet
from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.segmentation.losses import counted_weight
from wsss_core.segmentation.saving import TrainedPart
from wsss_core.segmentation.segmenter import Segmenter
from wsss_core.segmentation.settings import FitSettings
from wsss_core.segmentation.weighting import SegmentationLoss, class_weights, count_labels
from wsss_core.tiling import nearest_places
from wsss_core.training import (
    AveragedState,
    CollapseError,
    HasState,
    ParameterGroup,
    WeightAverage,
    batch_gradients,
    build_optimizer,
    restore_checkpoint,
    save_checkpoint,
    set_rate,
)
from wsss_core.transfer import Losses

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitRecord:
    """The steps since the last record.

    Attributes:
        step: steps done so far.
        loss: the mean loss of these steps, auxiliary heads included.
        seconds: their wall time.
        micro_batch: the most images that were taken at once at the end; None: whole batches.

    """

    step: int
    loss: float
    seconds: float
    micro_batch: int | None = None


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with a label for each pixel, at the size that the segmenter takes.

    Attributes:
        images: uint8 [N, H, W, 3], possibly memory-mapped.
        masks: uint8 [N, H, W], 0 the background, k + 1 class k, 255 counts for nothing.
        weights: float [N, H, W], the weight of each pixel, 0 or more, see `label_confidence`; None:
            1 each.

    Raises:
        InputError: arrays of other types or shapes, or no image.

    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    weights: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        shape = self.masks.shape
        if self.images.dtype != np.uint8 or self.images.shape != (*shape, 3) or len(shape) != 3:
            raise InputError(
                f"images: expected uint8 [N, H, W, 3] with masks [N, H, W], got "
                f"{self.images.dtype} {list(self.images.shape)} with masks {list(shape)}"
            )
        if self.masks.dtype != np.uint8:
            raise InputError(f"masks: expected uint8, got {self.masks.dtype}")
        if not len(self.images):
            raise InputError("training expects one image or more, got none")
        if self.weights is not None and self.weights.shape != shape:
            raise InputError(f"weights are {list(self.weights.shape)}, expected {list(shape)}")

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of_image_set(cls, images: ImageSet) -> "LabelledImages":
        """Return an image set with its masks at the images' size, nearest pixel taken.

        Raises:
            InputError: the set has no masks.

        """
        if not images.has_masks:
            raise InputError("this split has image-level labels only, no masks")
        size = images.images.shape[1]
        masks = np.stack([nearest_size(images.mask(i), (size, size)) for i in range(len(images))])
        return cls(images.images, masks)


def nearest_size(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a label map [h, w] at another size; each pixel takes the one at its centre's place.

    >>> nearest_size(np.array([[0, 1], [255, 2]], np.uint8), (2, 4)).tolist()
    [[0, 0, 1, 1], [255, 255, 2, 2]]
    """
    rows, columns = (
        nearest_places(before, after) for before, after in zip(labels.shape, size, strict=True)
    )
    return labels[rows[:, np.newaxis], columns]


def fit(
    segmenter: Segmenter,
    data: LabelledImages,
    settings: FitSettings,
    *,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    on_record: Callable[[FitRecord], None] | None = None,
) -> list[FitRecord]:
    """Train a segmenter in place and leave it in evaluation mode.

    Args:
        segmenter: see `build_segmenter`; frozen parameters stay as they are.
        data: the images.
        settings: how long and how to step.
        seed: decides the order of the images, their views, and dropout.
        device: "cpu", "cuda", ...
        checkpoint: a file written with each record; training resumes from it if it is whole, and
            begins anew, with a warning, if it is not.
        on_record: called with each record.

    Returns:
        A record of every `record_every` steps, those before a restart included.

    Raises:
        InputError: a size that the segmenter cannot take, masks with another value, or without a
            pixel of one of the classes.
        CollapseError: a loss that is not finite.
        torch.OutOfMemoryError: a single image does not fit, or the optimizer's own state.

    """
    counts = _checked_counts(segmenter, data)
    weights = None
    if settings.loss.class_weighting != "none":
        found = class_weights(counts, settings.loss.class_weighting)
        weights = torch.from_numpy(found).float().to(device)
    loss = SegmentationLoss(settings.loss, weights)
    segmenter.to(device)
    optimizer = _optimizer(segmenter, settings)
    state: HasState = TrainedPart(segmenter)
    average, history = None, list[FitRecord]()
    if settings.ema is not None:
        average = WeightAverage(state, settings.ema)
        state = AveragedState(state, average)
    work = _Fit(segmenter, data, settings, loss, optimizer, average, seed, device)
    torch.manual_seed(seed)
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint is not None and checkpoint.exists():
        history = restore_checkpoint(checkpoint, state, optimizer, device, FitRecord)
    while (done := history[-1].step if history else 0) < settings.steps:
        stop = min(done + settings.record_every, settings.steps)
        micro_batch = history[-1].micro_batch if history else None
        try:
            record = work.steps(done, stop, micro_batch)
        except _NotFiniteError as error:
            raise CollapseError(str(error), list(history)) from error
        history.append(record)
        if checkpoint is not None:
            save_checkpoint(checkpoint, state, optimizer, history, device)
        if on_record is not None:
            on_record(record)
    if average is not None:
        average.put_in()
    segmenter.eval()
    return history


class _NotFiniteError(ArithmeticError):
    """The loss or the weights stopped being numbers."""


@dataclass(frozen=True, eq=False)
class _Fit:
    """What the steps between two records share."""

    segmenter: Segmenter
    data: LabelledImages
    settings: FitSettings
    loss: SegmentationLoss
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    seed: int
    device: str

    def steps(self, done: int, stop: int, micro_batch: int | None) -> FitRecord:
        """Take the steps from `done` to `stop` and return their record."""
        started = time.perf_counter()
        segmenter, settings = self.segmenter, self.settings
        segmenter.train()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        height, width = self.data.masks.shape[1:]
        what = f"training on images of {width} x {height} px (batch_size {settings.batch_size})"
        for step in range(done, stop):
            set_rate(self.optimizer, settings.rate(step))
            drawn = self.passes.batch(step, settings.batch_size)
            places = np.arange(len(drawn))
            of_batch = cache(partial(self.counted_weight, drawn))
            terms = batch_gradients(
                segmenter,
                partial(self.losses, drawn, of_batch),
                places,
                micro_batch,
                device=self.device,
                what=what,
            )
            self.optimizer.step()
            if self.average is not None:
                self.average.update(step + 1)
            total, micro_batch = total + terms.sums[0] / len(drawn), terms.micro_batch
            made_progress()
        mean = float(total) / (stop - done)
        if not math.isfinite(mean):
            raise _NotFiniteError(f"the loss became {mean} by step {stop}")
        if not all(p.isfinite().all() for p in segmenter.parameters() if p.requires_grad):
            raise _NotFiniteError(f"weights were no longer finite after step {stop}")
        return FitRecord(stop, mean, time.perf_counter() - started, micro_batch)

    @cached_property
    def passes(self) -> Passes:
        """The passes over the images."""
        classes = None
        if self.settings.sampling == "balanced":
            masks, numbers = self.data.masks, range(1, self.segmenter.classes + 1)
            classes = np.array([[(mask == n).any() for n in numbers] for mask in masks])
        return Passes(
            self.settings,
            len(self.data),
            flip=self.settings.flip,
            seed=self.seed,
            classes=classes,
        )

    @cached_property
    def padding_colour(self) -> Tensor:
        """The colour of padding, float [1, 3, 1, 1]: 0 once the segmenter has normalised it."""
        mean = getattr(self.segmenter, "mean", None)
        colour = mean if isinstance(mean, Tensor) else torch.tensor(IMAGENET_DEFAULT_MEAN)
        return colour.reshape(1, 3, 1, 1)

    def losses(
        self, drawn: ImagePass, of_batch: Callable[[], Tensor], places: NDArray[np.intp]
    ) -> Losses:
        """Return the loss of some places of a batch, times what makes parts add up to the batch.

        Args:
            drawn: the batch.
            of_batch: returns its `counted_weight`; asked for parts alone.
            places: the part.

        """
        views = self.views(drawn, places)
        labels, weights = _needed(views.masks), views.weights
        autocast = self.settings.precision == "bf16"
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=autocast):
            output = self.segmenter.with_auxiliary(views.images)
        total = self.loss(output.logits, labels, weights)
        for logits in output.auxiliary:
            total = total + self.settings.auxiliary_weight * self.loss(logits, labels, weights)
        if len(places) < len(drawn):
            of_part = counted_weight(labels, self.loss.class_weights, weights)
            share = of_part / of_batch().clamp_min(torch.finfo(torch.float32).tiny)
            total = total * share * (len(drawn) / len(places))
        return Losses(total, total, None)

    def counted_weight(self, drawn: ImagePass) -> Tensor:
        """Return the sum of the weights of a batch's pixels, see `losses.counted_weight`."""
        batch = self.views(drawn, np.arange(len(drawn)))
        return counted_weight(_needed(batch.masks), self.loss.class_weights, batch.weights)

    def views(self, drawn: ImagePass, places: NDArray[np.intp]) -> ImageViews:
        """Return the views of some places of a batch, on the device."""
        batch = np.arange(len(drawn))
        views = sample_views(self.settings, drawn, self._load, places, batch, self.device)
        return views.filled(self.padding_colour)

    def _load(self, chosen: NDArray[np.intp]) -> Stored:
        data = self.data
        weights = None if data.weights is None else data.weights[chosen]
        return Stored(data.images[chosen], None, data.masks[chosen], weights)


def _needed(masks: Tensor | None) -> Tensor:
    assert masks is not None
    return masks


def _checked_counts(segmenter: Segmenter, data: LabelledImages) -> NDArray[np.int64]:
    """Return the pixels of each class; raise InputError for data that cannot be trained on."""
    segmenter.check_size(torch.empty(0, 3, *data.masks.shape[1:]))
    counts = count_labels(data.masks, segmenter.classes)
    missing = np.flatnonzero(counts == 0)
    if missing.size:
        name = "the background" if missing[0] == 0 else f"class {int(missing[0])}"
        raise InputError(
            f"the {len(data)} training masks hold no pixel of {name}; expected one or more (value "
            f"{int(missing[0])}, {IGNORED} not counted)"
        )
    return counts


def _optimizer(segmenter: Segmenter, settings: FitSettings) -> torch.optim.Optimizer:
    groups = [
        ParameterGroup(segmenter.encoder_parameters()),
        ParameterGroup(segmenter.head_parameters(), settings.head_multiple),
    ]
    return build_optimizer(
        settings.optimizer,
        groups,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )
