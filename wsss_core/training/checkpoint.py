"""The checkpoint of a training: written after each epoch, with a digest, and read back whole."""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, cast

import torch

from wsss_core.errors import InputError, one_line
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


class HasState(Protocol):
    """What a checkpoint keeps of the networks: any nn.Module, or a part of it."""

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors by name."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take tensors over, all of them."""
        ...


_Record = TypeVar("_Record")


def save_checkpoint(
    file: Path,
    networks: HasState,
    optimizer: torch.optim.Optimizer,
    history: Sequence[Any],
    device: str,
) -> None:
    """Write the state of a training whole, through to the disk.

    Args:
        file: the checkpoint; an older one is replaced.
        networks: what is trained, such as a paradigm.
        optimizer: the state of its parameters.
        history: the records so far, dataclasses such as `EpochRecord`.
        device: its random state is kept too.

    """
    state = {
        "paradigm": networks.state_dict(),
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
    file: Path,
    networks: HasState,
    optimizer: torch.optim.Optimizer,
    device: str,
    record: Callable[..., _Record],
) -> list[_Record]:
    """Bring a training to the state of its checkpoint; return the records so far.

    A checkpoint that differs from its digest, or does not fit the networks, is deleted. The
    training then begins anew, as if there had been none.

    Args:
        file: the checkpoint.
        networks: what is trained, as it begins.
        optimizer: of their parameters, without a state yet.
        device: where the networks are.
        record: the class of the records.

    Raises:
        InputError: a folder lies in the checkpoint's place.

    """
    if file.is_dir():
        raise InputError(f"{file}: a folder, expected the checkpoint of a training; remove it")
    before = copy.deepcopy(networks.state_dict())
    fresh = copy.deepcopy(optimizer.state_dict())
    random = torch.get_rng_state()
    try:
        check_digest(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
        history = [record(**values) for values in state["history"]]
        networks.load_state_dict(state["paradigm"])
        optimizer.load_state_dict(state["optimizer"])
        _set_random(state, device)
    except Exception as error:
        networks.load_state_dict(before)
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
