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

import numpy as np
import torch

from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError
from wsss_core.training_settings import Precision, Schedule, TrainingSettings
from wsss_core.transfer.paradigms import Paradigm


@dataclass(frozen=True)
class EpochRecord:
    """Mean losses over the images of one epoch and its wall time."""

    epoch: int
    loss: float
    classification_loss: float
    transfer_loss: float | None
    seconds: float


__all__ = [
    "CollapseError",
    "EpochRecord",
    "Precision",
    "Schedule",
    "TrainingSettings",
    "train",
]


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
    autocast = settings.autocasts(device)
    # Summed on the device: reading a loss back at each step would make a GPU wait.
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    for batch in range(batches):
        chosen = order[batch * settings.batch_size : (batch + 1) * settings.batch_size]
        step, steps = epoch * batches + batch, settings.epochs * batches
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step, steps)
        inputs = to_input(images[chosen], device)
        if settings.flip:
            mirror = torch.from_numpy(flipped[chosen]).to(device)
            inputs = torch.where(mirror.view(-1, 1, 1, 1), inputs.flip(-1), inputs)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=autocast):
            losses = paradigm.losses(inputs, targets[chosen].to(device), step / steps)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        optimizer.step()
        paradigm.after_step()
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
