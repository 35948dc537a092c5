"""The one training loop, for every paradigm.

A run is a function of (settings, seed, data): the order of the images and their views are drawn
from (seed, epoch) alone, so a run that goes on from its last epoch's checkpoint sees what an
uninterrupted one sees, and two configurations of one seed see the same batches (paired by seed).
Two networks that learn together, or from each other, see the same view.

Where a batch does not fit into memory, its step is taken again in micro-batches of half as many
images, and so is every step after it: gradients add up, each micro-batch counting by its images,
and the optimizer steps once. For losses that are means over images that is the step of the whole
batch up to rounding. It is another one where images of a batch meet: BatchNorm takes its statistics
of each micro-batch (and moves its running ones once for each), and a loss that compares images with
each other (most of `wsss_core.transfer.relations`, or a plug-in's) compares those of a micro-batch;
dropout draws other masks. Records therefore say what was done, and a run that goes on from its
checkpoint keeps the micro-batches it had.
"""

import inspect
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss_core.augmentation import (
    ImagePass,
    Load,
    MoreViews,
    Stored,
    draw_pass,
    sample_views,
)
from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.training.averages import AveragedState, WeightAverage
from wsss_core.training.checkpoint import (
    EpochRecord,
    HasState,
    restore_checkpoint,
    save_checkpoint,
)
from wsss_core.training.freezing import moving_state
from wsss_core.training.mask_targets import MaskTargets
from wsss_core.training.micro_batches import batch_gradients
from wsss_core.training.optimizers import paradigm_optimizer, set_rate
from wsss_core.training.settings import TrainingSettings
from wsss_core.transfer.paradigms import Losses, Paradigm


class CollapseError(RuntimeError):
    """The loss stopped being a number: a result of the configuration, not a fault of the run.

    `history` holds the records before it, of the class that the training returns.
    """

    def __init__(self, message: str, history: list[Any]) -> None:
        super().__init__(message)
        self.history = history


def train(
    paradigm: Paradigm,
    images: np.ndarray,
    labels: np.ndarray,
    settings: TrainingSettings,
    *,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    more_views: MoreViews | None = None,
    guide: MaskTargets | None = None,
) -> list[EpochRecord]:
    """Train a paradigm in place and leave it in evaluation mode.

    Args:
        paradigm: see `wsss_core.transfer.paradigms`.
        images: uint8 [N, S, S, 3], possibly memory-mapped.
        labels: bool [N, K], image-level.
        settings: how long and how to step.
        seed: decides the order of the images, their views, and dropout.
        device: "cpu", "cuda", ...
        checkpoint: a file written after each epoch; training resumes from it if it is whole,
            and begins anew, with a warning, if it is not.
        on_epoch: called after each epoch; each batch is progress, see `wsss_core.progress`.
        more_views: gives further forms of the images of each batch; the other settings change them
            as they change the image itself. None: images come as they are alone.
        guide: masks that the student's CAMs are drawn towards; None: labels alone teach.

    Returns:
        One record an epoch, those before a restart included.

    Raises:
        CollapseError: a loss that is not finite.
        InputError: labels that do not fit the images, or padding for a network that has to see
            all pixels.
        torch.OutOfMemoryError: a single image does not fit, or the optimizer's own state.

    Example:
        >>> from wsss_core.backbones import build_network
        >>> from wsss_core.transfer import Single
        >>> tiny = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}
        >>> vit = build_network("vit_tiny_patch16_224", classes=1, image_size=16, options=tiny)
        >>> images = np.zeros((8, 16, 16, 3), np.uint8)
        >>> images[::2] = 255  # every other image is white, and white is the class
        >>> labels = (np.arange(8) % 2 == 0)[:, None]
        >>> settings = TrainingSettings(epochs=15, learning_rate=0.01)
        >>> history = train(Single(vit), images, labels, settings, seed=0)
        >>> len(history), history[-1].loss < history[0].loss / 10
        (15, True)

    """
    check_lengths(images, labels)
    if guide is not None:
        guide.check(paradigm, images)
    if settings.pads:
        _check_knows_padding(paradigm)
    paradigm.to(device)
    if settings.compile:
        for network in paradigm.networks.values():
            # In place, so that the parameters keep their names.
            network.encoder.compile()
    optimizer = paradigm_optimizer(paradigm, settings)
    state, average = _kept(paradigm, settings.ema)
    torch.manual_seed(seed)
    history = _resumed(checkpoint, state, optimizer, device)
    work = _Work(
        paradigm, optimizer, average, images, labels, settings, seed, device, more_views, guide
    )
    for epoch in range(len(history), work.epochs):
        record = work.epoch(epoch, history)
        history.append(record)
        if checkpoint is not None:
            save_checkpoint(checkpoint, state, optimizer, history, device)
        if on_epoch is not None:
            on_epoch(record)
    if average is not None:
        average.put_in()
    paradigm.eval()
    return history


def _resumed(
    checkpoint: Path | None, state: HasState, optimizer: torch.optim.Optimizer, device: str
) -> list[EpochRecord]:
    """Bring a checkpoint's state back, if there is one; return its records."""
    if checkpoint is None:
        return []
    # Not later: a folder that goes away meanwhile is a file system that does.
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if not checkpoint.exists():
        return []
    return restore_checkpoint(checkpoint, state, optimizer, device, EpochRecord)


def _kept(paradigm: Paradigm, decay: float | None) -> tuple[HasState, WeightAverage | None]:
    """Return what a checkpoint keeps of a paradigm, and the average of its networks if asked for.

    What is frozen is part of neither.
    """
    state = moving_state(paradigm)
    if decay is None:
        return state, None
    average = WeightAverage(
        moving_state(torch.nn.ModuleDict({**paradigm.networks, **paradigm.parts})), decay
    )
    return AveragedState(state, average), average


def check_lengths(images: np.ndarray, labels: np.ndarray) -> None:
    """Raise InputError unless there are N > 0 images and as many labels."""
    if len(images) != len(labels) or len(images) == 0:
        raise InputError(
            f"training expects labels of N > 0 images; got {len(images)} images, "
            f"{len(labels)} labels"
        )


class _Work:
    """What the epochs of a training share."""

    def __init__(
        self,
        paradigm: Paradigm,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage | None,
        images: np.ndarray,
        labels: np.ndarray,
        settings: TrainingSettings,
        seed: int,
        device: str,
        more_views: MoreViews | None,
        guide: MaskTargets | None,
    ) -> None:
        self.more_views, self.guide = more_views, guide
        self.paradigm, self.optimizer, self.average = paradigm, optimizer, average
        self.images, self.settings = images, settings
        self.classes = np.asarray(labels, dtype=np.bool_)
        self.targets = torch.from_numpy(np.asarray(labels, dtype=np.float32))
        self.seed, self.device = seed, device
        self.batches = math.ceil(len(images) / settings.batch_size)
        self.steps = settings.steps(len(images))

    @property
    def epochs(self) -> int:
        """The passes that the steps need, the last of them perhaps cut short."""
        return math.ceil(self.steps / self.batches)

    def epoch(self, number: int, history: list[EpochRecord]) -> EpochRecord:
        """Take the steps of an epoch, 0-based, and return its record."""
        started = time.perf_counter()
        paradigm, settings = self.paradigm, self.settings
        paradigm.train()
        first, last = number * self.batches, min((number + 1) * self.batches, self.steps)
        drawn = draw_pass(
            settings,
            len(self.images),
            flip=settings.flip,
            seed=self.seed,
            number=number,
            classes=self.classes,
        )
        more = () if self.more_views is None else self.more_views(self.seed, number)
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        micro_batch = history[-1].micro_batch if history else None
        taken = 0
        for step in range(first, last):
            start = (step - first) * settings.batch_size
            batch = np.arange(start, min(start + settings.batch_size, len(self.images)))
            set_rate(self.optimizer, settings.rate(step, self.steps))
            terms = batch_gradients(
                paradigm,
                partial(self.losses, drawn, more, batch, step / self.steps),
                batch,
                micro_batch,
                device=self.device,
                what=_in_words(self.images, settings),
            )
            self.optimizer.step()
            paradigm.after_step()
            if self.average is not None:
                self.average.update(step + 1)
            sums, micro_batch = sums + terms.sums, terms.micro_batch
            taken += len(batch)
            made_progress()
        total, classification, transferred = (sums / taken).tolist()
        if not math.isfinite(total):
            raise CollapseError(f"the loss became {total} in epoch {number + 1}", history)
        # The last step of an epoch can break the weights without any loss having shown it.
        if not all(p.isfinite().all() for p in paradigm.trainable_parameters()):
            raise CollapseError(f"weights were no longer finite after epoch {number + 1}", history)
        return EpochRecord(
            epoch=number,
            loss=total,
            classification_loss=classification,
            transfer_loss=transferred if terms.has_transfer else None,
            seconds=time.perf_counter() - started,
            micro_batch=micro_batch,
        )

    def losses(
        self,
        drawn: ImagePass,
        more: Sequence[Load],
        batch: np.ndarray,
        done: float,
        places: np.ndarray,
    ) -> Losses:
        """Return the losses of some places of a batch, each with its further forms."""
        settings, device = self.settings, self.device
        images = drawn.order[places]
        self.paradigm.look(images, None if drawn.flipped is None else drawn.flipped[places])
        autocast = torch.autocast(
            torch.device(device).type, torch.bfloat16, enabled=settings.autocasts(device)
        )
        if not self.paradigm.needs_images:
            # Their shape alone is looked at.
            unread = torch.zeros(1, device=device).expand(len(images), 3, *self.images.shape[1:3])
            with autocast:
                return self.paradigm.losses(unread, self.targets[images].to(device), done)

        def load(chosen: np.ndarray) -> Stored:
            masks = None if self.guide is None else self.guide.masks[chosen]
            return Stored(self.images[chosen], self.targets[chosen], masks)

        views = sample_views(settings, drawn, load, places, batch, device)
        for form in more:
            views = views.joined(sample_views(settings, drawn, form, places, batch, device))
        assert views.labels is not None
        padding = {} if views.valid is None else {"valid": views.valid}
        own = partial(self.paradigm.losses, views.images, views.labels, done, **padding)
        with autocast:
            if self.guide is None:
                return own()
            assert views.masks is not None
            return self.guide.added(self.paradigm, own, views.masks)


def _check_knows_padding(paradigm: Paradigm) -> None:
    """Raise InputError unless a paradigm and its networks leave padding out."""
    teacher = getattr(paradigm, "teacher", None)
    networks = [*paradigm.networks.values(), *([] if teacher is None else [teacher])]
    networks += getattr(paradigm, "teachers", ())
    for method, owner in ((paradigm.losses, paradigm), *((n.forward, n) for n in networks)):
        parameters = inspect.signature(method).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if "valid" not in parameters and not takes_any:
            raise InputError(
                f"rescale (below 1) and randaugment pad images; expected a {type(owner).__name__} "
                f"whose `{method.__name__}` takes `valid`, which says what is padding"
            )


def _in_words(images: np.ndarray, settings: TrainingSettings) -> str:
    height, width = images.shape[1:3]
    return f"training on images of {width} x {height} px (batch_size {settings.batch_size})"
