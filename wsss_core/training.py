"""The one training loop, for every paradigm.

A run is a function of (settings, seed, data): the order of the images and their flips are drawn
from (seed, epoch) alone, so a run that goes on from its last epoch's checkpoint sees what an
uninterrupted one sees, and two configurations of one seed see the same batches (paired by seed).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError
from wsss_core.transfer.paradigms import Paradigm

Schedule = Literal["constant", "cosine"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how to step.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; the last, smaller batch of an epoch is used too.
        learning_rate: of AdamW, at its highest.
        weight_decay: of AdamW.
        schedule: "constant", or "cosine" (down to 0 over all steps).
        warmup: share of all steps over which the rate rises linearly, 0..1.
        flip: flip images left to right with probability 1/2.

    Raises:
        InputError: a value out of its range.

    """

    epochs: int = 3
    batch_size: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    schedule: str = "constant"
    warmup: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        for name, expected, fits in (
            ("epochs", "1 or more", self.epochs >= 1),
            ("batch_size", "1 or more", self.batch_size >= 1),
            ("learning_rate", "a finite number above 0", 0 < self.learning_rate < math.inf),
            ("weight_decay", "a finite number, 0 or more", 0 <= self.weight_decay < math.inf),
            ("schedule", f"one of {', '.join(SCHEDULES)}", self.schedule in SCHEDULES),
            ("warmup", "0 to 1", 0 <= self.warmup <= 1),
        ):
            if not fits:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected {expected}")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at a step, 0-based, of all steps.

        >>> TrainingSettings(learning_rate=1.0, schedule="cosine").rate(50, 100)
        0.5
        """
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - rising) / max(1, steps - rising)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class EpochRecord:
    """Mean losses over the images of one epoch and its wall time."""

    epoch: int
    loss: float
    classification_loss: float
    transfer_loss: float | None
    seconds: float


class CollapseError(RuntimeError):
    """The loss stopped being a number: a result of the configuration, not a fault of the run.

    `history` holds the epochs before it.
    """

    def __init__(self, message: str, history: list[EpochRecord]) -> None:
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
        settings: see there.
        seed: of the order of the images, their flips, and dropout.
        device: "cpu", "cuda", ...
        checkpoint: a file written after each epoch; if it is there, training goes on from it.
        on_epoch: called after each epoch.

    Returns:
        One record an epoch, those before a restart included.

    Raises:
        CollapseError: a loss that is not finite.
        InputError: labels that do not fit the images.

    """
    if len(images) != len(labels) or len(images) == 0:
        raise InputError(f"training expects labels of N > 0 images; got {len(images)} images, "
                         f"{len(labels)} labels")  # fmt: skip
    paradigm.to(device)
    optimizer = torch.optim.AdamW(
        paradigm.trainable_parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    history: list[EpochRecord] = []
    torch.manual_seed(seed)
    if checkpoint is not None and checkpoint.is_file():
        history = _restore(checkpoint, paradigm, optimizer, device)
    targets = torch.from_numpy(np.asarray(labels, dtype=np.float32))
    for epoch in range(len(history), settings.epochs):
        record = _train_epoch(
            paradigm, optimizer, images, targets, settings, seed, epoch, device, history
        )
        history.append(record)
        if checkpoint is not None:
            _save(checkpoint, paradigm, optimizer, history, device)
        if on_epoch is not None:
            on_epoch(record)
    paradigm.eval()
    return history


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
    flipped = random.random(count) < 0.5 if settings.flip else np.zeros(count, dtype=bool)
    # Summed on the device: reading a loss back at each step would make a GPU wait.
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    for batch in range(batches):
        chosen = order[batch * settings.batch_size : (batch + 1) * settings.batch_size]
        pixels = images[chosen]
        mirror = flipped[chosen]
        pixels[mirror] = pixels[mirror, :, ::-1]
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(epoch * batches + batch, settings.epochs * batches)
        losses = paradigm.losses(to_input(pixels, device), targets[chosen].to(device))
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        optimizer.step()
        transfer = torch.zeros_like(losses.total) if losses.transfer is None else losses.transfer
        terms = torch.stack([losses.total, losses.classification, transfer]).detach()
        sums += len(chosen) * terms.double()
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
        transfer_loss=None if losses.transfer is None else transferred,
        seconds=time.perf_counter() - started,
    )


def _save(
    file: Path,
    paradigm: Paradigm,
    optimizer: torch.optim.Optimizer,
    history: list[EpochRecord],
    device: str,
) -> None:
    state = {
        "paradigm": paradigm.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(record) for record in history],
        "random": torch.get_rng_state(),
    }
    if torch.device(device).type == "cuda":
        state["random_cuda"] = torch.cuda.get_rng_state(device)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    torch.save(state, unfinished)
    unfinished.replace(file)


def _restore(
    file: Path, paradigm: Paradigm, optimizer: torch.optim.Optimizer, device: str
) -> list[EpochRecord]:
    state = torch.load(file, map_location="cpu", weights_only=True)
    paradigm.load_state_dict(state["paradigm"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if "random_cuda" in state and torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(state["random_cuda"], device)
    return [EpochRecord(**record) for record in state["history"]]
