"""The checkpoint of a training: written after each epoch, with a digest, and read back whole."""

import copy
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from wsss_core.errors import InputError, one_line
from wsss_core.transfer.paradigms import Paradigm
from wsss_core.whole_files import DigestWriter, check_digest, whole_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochRecord:
    """Mean losses over the images of one epoch and its wall time.

    `micro_batch` is the most images that were taken at once at its end; None: whole batches.
    """

    epoch: int
    loss: float
    classification_loss: float
    transfer_loss: float | None
    seconds: float
    micro_batch: int | None = None


def save_checkpoint(
    file: Path,
    paradigm: Paradigm,
    optimizer: torch.optim.Optimizer,
    history: list[EpochRecord],
    device: str,
) -> None:
    """Write the state of a training whole, through to the disk.

    Args:
        file: the checkpoint; an older one is replaced.
        paradigm: the networks.
        optimizer: the state of its parameters.
        history: the epochs so far.
        device: its random state is kept too.

    """
    state = {
        "paradigm": paradigm.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(record) for record in history],
        "random": torch.get_rng_state(),
    }
    if torch.device(device).type == "cuda":
        state["random_cuda"] = torch.cuda.get_rng_state(device)
    with whole_file(file) as opened:
        writer = DigestWriter(opened)
        torch.save(state, cast(IO[bytes], writer))
        writer.end()


def restore_checkpoint(
    file: Path, paradigm: Paradigm, optimizer: torch.optim.Optimizer, device: str
) -> list[EpochRecord]:
    """Bring a training to the state of its checkpoint; return the epochs so far.

    A checkpoint that differs from its digest, or does not fit the networks, is deleted. The
    training then begins anew, as if there had been none.

    Args:
        file: the checkpoint.
        paradigm: the networks as they begin.
        optimizer: of their parameters, without a state yet.
        device: where the networks are.

    Raises:
        InputError: a folder lies in the checkpoint's place.

    """
    if file.is_dir():
        raise InputError(f"{file}: a folder, expected the checkpoint of a training; remove it")
    before = copy.deepcopy(paradigm.state_dict())
    fresh = copy.deepcopy(optimizer.state_dict())
    random = torch.get_rng_state()
    try:
        check_digest(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
        history = [EpochRecord(**record) for record in state["history"]]
        paradigm.load_state_dict(state["paradigm"])
        optimizer.load_state_dict(state["optimizer"])
        _set_random(state, device)
    except Exception as error:
        paradigm.load_state_dict(before)
        optimizer.load_state_dict(fresh)
        torch.set_rng_state(random)
        logger.warning(
            "checkpoint %s cannot be used (%s); the training begins anew",
            file,
            one_line(error, 200),
        )
        file.unlink(missing_ok=True)
        return []
    return history


def _set_random(state: dict[str, Any], device: str) -> None:
    torch.set_rng_state(state["random"])
    if "random_cuda" in state and torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(state["random_cuda"], device)
