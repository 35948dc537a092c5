"""The one training loop, for every paradigm.

A run is a function of (settings, seed, data): the order of the images and their flips are drawn
from (seed, epoch) alone, so a run that goes on from its last epoch's checkpoint sees what an
uninterrupted one sees, and two configurations of one seed see the same batches (paired by seed).

Where a batch does not fit into memory, its step is taken again in micro-batches of half as many
images, and so is every step after it: gradients add up, each micro-batch counting by its images,
and the optimizer steps once. For losses that are means over images that is the step of the whole
batch up to rounding. It is another one where images of a batch meet: BatchNorm takes its statistics
of each micro-batch (and moves its running ones once for each), and a loss that compares images with
each other (most of `wsss_core.transfer.relations`, or a plug-in's) compares those of a micro-batch;
dropout draws other masks. Records therefore say what was done, and a run that goes on from its
checkpoint keeps the micro-batches it had.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.training.augmentation import draw_flips, mirror
from wsss_core.training.checkpoint import EpochRecord, restore_checkpoint, save_checkpoint
from wsss_core.training.micro_batches import batch_gradients
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
) -> list[EpochRecord]:
    """Train a paradigm in place and leave it in evaluation mode.

    Args:
        paradigm: see `wsss_core.transfer.paradigms`.
        images: uint8 [N, S, S, 3], possibly memory-mapped.
        labels: bool [N, K], image-level.
        settings: how long and how to step.
        seed: decides the order of the images, their flips, and dropout.
        device: "cpu", "cuda", ...
        checkpoint: a file written after each epoch; training resumes from it if it is whole,
            and begins anew, with a warning, if it is not.
        on_epoch: called after each epoch; each batch is progress, see `wsss_core.progress`.

    Returns:
        One record an epoch, those before a restart included.

    Raises:
        CollapseError: a loss that is not finite.
        InputError: labels that do not fit the images.
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
    paradigm.to(device)
    if settings.compile:
        for network in paradigm.networks.values():
            # In place, so that the parameters keep their names.
            network.encoder.compile()
    optimizer = torch.optim.AdamW(
        paradigm.trainable_parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    history: list[EpochRecord] = []
    torch.manual_seed(seed)
    if checkpoint is not None:
        # Not later: a folder that goes away meanwhile is a file system that does.
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint is not None and checkpoint.exists():
        history = restore_checkpoint(checkpoint, paradigm, optimizer, device, EpochRecord)
    targets = torch.from_numpy(np.asarray(labels, dtype=np.float32))
    for epoch in range(len(history), settings.epochs):
        record = _train_epoch(
            paradigm, optimizer, images, targets, settings, seed, epoch, device, history
        )
        history.append(record)
        if checkpoint is not None:
            save_checkpoint(checkpoint, paradigm, optimizer, history, device)
        if on_epoch is not None:
            on_epoch(record)
    paradigm.eval()
    return history


def check_lengths(images: np.ndarray, labels: np.ndarray) -> None:
    """Raise InputError unless there are N > 0 images and as many labels."""
    if len(images) != len(labels) or len(images) == 0:
        raise InputError(
            f"training expects labels of N > 0 images; got {len(images)} images, "
            f"{len(labels)} labels"
        )


def _train_epoch(
    paradigm: Paradigm,
    optimizer: torch.optim.Optimizer,
    images: np.ndarray,
    targets: torch.Tensor,
    settings: TrainingSettings,
    seed: int,
    epoch: int,
    device: str,
    history: list[EpochRecord],
) -> EpochRecord:
    started = time.perf_counter()
    paradigm.train()
    count = len(images)
    batches = math.ceil(count / settings.batch_size)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(count)
    flipped = draw_flips(random, count) if settings.flip else None
    autocast = settings.autocasts(device)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    micro_batch = history[-1].micro_batch if history else None
    for batch in range(batches):
        chosen = order[batch * settings.batch_size : (batch + 1) * settings.batch_size]
        step, steps = epoch * batches + batch, settings.epochs * batches
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step, steps)

        def losses(part: np.ndarray, done: float = step / steps) -> Losses:
            inputs = to_input(images[part], device)
            if flipped is not None:
                inputs = mirror(inputs, flipped[part])
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=autocast):
                return paradigm.losses(inputs, targets[part].to(device), done)

        terms = batch_gradients(
            paradigm, losses, chosen, micro_batch, device=device, what=_in_words(images, settings)
        )
        optimizer.step()
        paradigm.after_step()
        sums, micro_batch = sums + terms.sums, terms.micro_batch
        made_progress()
    total, classification, transferred = (sums / count).tolist()
    if not math.isfinite(total):
        raise CollapseError(f"the loss became {total} in epoch {epoch + 1}", history)
    # The last step of an epoch can break the weights without any loss having shown it.
    if not all(p.isfinite().all() for p in paradigm.trainable_parameters()):
        raise CollapseError(f"weights were no longer finite after epoch {epoch + 1}", history)
    return EpochRecord(
        epoch=epoch,
        loss=total,
        classification_loss=classification,
        transfer_loss=transferred if terms.has_transfer else None,
        seconds=time.perf_counter() - started,
        micro_batch=micro_batch,
    )


def _in_words(images: np.ndarray, settings: TrainingSettings) -> str:
    height, width = images.shape[1:3]
    return f"training on images of {width} x {height} px (batch_size {settings.batch_size})"
