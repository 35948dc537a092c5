"""Training of a segmenter on images and label maps.

A run is a function of (settings, seed, data): the order of the images and their flips are drawn
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
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.data import IGNORED, ImageSet, to_input
from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.segmentation.losses import counted_weight
from wsss_core.segmentation.saving import TrainedPart
from wsss_core.segmentation.segmenter import Segmenter
from wsss_core.segmentation.settings import FitSettings
from wsss_core.segmentation.weighting import SegmentationLoss, class_weights, count_labels
from wsss_core.training import (
    CollapseError,
    batch_gradients,
    draw_flips,
    mirror,
    restore_checkpoint,
    save_checkpoint,
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
        ((np.arange(after) + 0.5) * before / after).astype(np.intp)
        for before, after in zip(labels.shape, size, strict=True)
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
        seed: decides the order of the images, their flips, and dropout.
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
    part, history = TrainedPart(segmenter), list[FitRecord]()
    torch.manual_seed(seed)
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint is not None and checkpoint.exists():
        history = restore_checkpoint(checkpoint, part, optimizer, device, FitRecord)
    while (done := history[-1].step if history else 0) < settings.steps:
        stop = min(done + settings.record_every, settings.steps)
        micro_batch = history[-1].micro_batch if history else None
        state = _Fit(segmenter, data, settings, loss, optimizer, seed, device)
        try:
            record = state.steps(done, stop, micro_batch)
        except _NotFiniteError as error:
            raise CollapseError(str(error), list(history)) from error
        history.append(record)
        if checkpoint is not None:
            save_checkpoint(checkpoint, part, optimizer, history, device)
        if on_record is not None:
            on_record(record)
    segmenter.eval()
    return history


def draw_batch(
    count: int, batch_size: int, seed: int, step: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return which images a step takes, and which of them are mirrored where that is asked for.

    Passes over the images follow each other without a gap; each is drawn from (seed, pass).

    >>> [draw_batch(3, 2, 0, step)[0].tolist() for step in range(3)]
    [[2, 0], [1, 2], [0, 1]]
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    passes = [_draw_pass(count, seed, number) for number in (places // count).tolist()]
    within = (places % count).tolist()
    chosen = [order[place] for (order, _), place in zip(passes, within, strict=True)]
    flipped = [flips[place] for (_, flips), place in zip(passes, within, strict=True)]
    return np.array(chosen, np.intp), np.array(flipped, np.bool_)


@lru_cache(maxsize=4)
def _draw_pass(count: int, seed: int, number: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    random = np.random.default_rng([seed, number])
    order = random.permutation(count)
    return order, draw_flips(random, count)


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
            rate = settings.rate(step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["multiple"]
            chosen, flipped = draw_batch(len(self.data), settings.batch_size, self.seed, step)
            if not settings.flip:
                flipped = np.zeros_like(flipped)
            places = np.arange(len(chosen))
            terms = batch_gradients(
                segmenter,
                partial(self.losses, chosen, flipped),
                places,
                micro_batch,
                device=self.device,
                what=what,
            )
            self.optimizer.step()
            total, micro_batch = total + terms.sums[0] / len(chosen), terms.micro_batch
            made_progress()
        mean = float(total) / (stop - done)
        if not math.isfinite(mean):
            raise _NotFiniteError(f"the loss became {mean} by step {stop}")
        if not all(p.isfinite().all() for p in segmenter.parameters() if p.requires_grad):
            raise _NotFiniteError(f"weights were no longer finite after step {stop}")
        return FitRecord(stop, mean, time.perf_counter() - started, micro_batch)

    def losses(
        self, chosen: NDArray[np.intp], flipped: NDArray[np.bool_], places: NDArray[np.intp]
    ) -> Losses:
        """Return the loss of some places of a batch, times what makes parts add up to the batch."""
        images, labels, weights = self.batch(chosen[places], flipped[places])
        autocast = self.settings.precision == "bf16"
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=autocast):
            output = self.segmenter.with_auxiliary(images)
        total = self.loss(output.logits, labels, weights)
        for logits in output.auxiliary:
            total = total + self.settings.auxiliary_weight * self.loss(logits, labels, weights)
        if len(places) < len(chosen):
            _, every, all_weights = self.batch(chosen, flipped)
            of_part = counted_weight(labels, self.loss.class_weights, weights)
            of_batch = counted_weight(every, self.loss.class_weights, all_weights)
            share = of_part / of_batch.clamp_min(torch.finfo(torch.float32).tiny)
            total = total * share * (len(chosen) / len(places))
        return Losses(total, total, None)

    def batch(
        self, chosen: NDArray[np.intp], flipped: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images float [B, 3, H, W], labels int64 [B, H, W] and weights on the device."""
        images = to_input(self.data.images[chosen], self.device)
        labels = torch.from_numpy(self.data.masks[chosen]).to(self.device).long()
        weights = None
        if self.data.weights is not None:
            weights = torch.from_numpy(self.data.weights[chosen]).to(self.device).float()
        if flipped.any():
            images, flags = mirror(images, flipped), torch.from_numpy(flipped).to(self.device)
            labels = torch.where(flags.view(-1, 1, 1), labels.flip(-1), labels)
            if weights is not None:
                weights = torch.where(flags.view(-1, 1, 1), weights.flip(-1), weights)
        return images, labels, weights


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
        {"params": [p for p in parameters if p.requires_grad], "multiple": multiple}
        for parameters, multiple in (
            (segmenter.encoder_parameters(), 1.0),
            (segmenter.head_parameters(), settings.head_multiple),
        )
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InputError("the segmenter has no parameter to train")
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(
        groups, lr=rate, weight_decay=decay, momentum=settings.momentum, fused=True
    )
