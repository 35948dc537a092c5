"""What an error inside a unit says: of it, of what it builds upon, of the storage or of a GPU.

An error of the unit itself is a result and goes to the ledger. One of the storage is not: nothing
can be kept, so the run ends. An error of a file system that came back is tried again. One of the
GPU would be every following unit's: the GPU is set aside, and the unit started elsewhere.
"""

from __future__ import annotations

import errno
import os
import socket
import uuid
from typing import Any, Literal

from reports.storage.errors import FULL, StorageError
from reports.storage.folder import Folder
from reports.storage.opening import open_folder
from studies.formatting import error_line
from studies.store.artifacts import ArtifactStore, CorruptArtifactError

Fault = Literal["own", "again", "damaged", "storage", "device"]

PROBE_BYTES = 2**16
"""A full disk still takes a few bytes here and there."""

_WRITING_FAILED = (
    "No space left", "os error 28", "Disk quota", "PytorchStreamWriter", "I/O error",
    "Parent directory",
)  # fmt: skip
"""What PyTorch and safetensors say, in errors that are no OSError, of a file they could not write.
"""


_GPU_FAILED = (
    # At the start.
    "Torch not compiled with CUDA enabled",
    "No CUDA GPUs are available", "Found no NVIDIA driver", "CUDA driver initialization failed",
    "no CUDA-capable device is detected", "CUDA unknown error", "CUDA error: initialization error",
    "busy or unavailable", "system not yet initialized",
    "driver version is insufficient", "driver/library version mismatch",
    "forward compatibility was attempted", "no kernel image is available", "invalid device ordinal",
    # Later.
    "uncorrectable ECC error", "uncorrectable NVLink error", "hardware stack error",
    "unspecified launch failure", "launch timed out", "CUDA error: unknown error",
)  # fmt: skip
"""What CUDA says of a GPU that no other trial could use either (`cudaGetErrorString`). An illegal
address and a failed assertion are not among them: they are mostly the code's."""


class LeaseLostError(RuntimeError):
    """Another has taken over what this process was working on, which stood still for too long."""


def fault_of(
    error: Exception, unit: dict[str, Any], context: dict[str, Any], store: ArtifactStore
) -> tuple[Fault, str]:
    """Tell what an error inside a unit means, with a line that says so.

    Args:
        error: what was raised.
        unit: `studies.planning.plan.Unit.as_config()`.
        context: see `studies.runner.run_context`.
        store: where the unit's artifacts lie.

    Returns:
        "own": the unit has failed. "again": its next try will do, as what was in the way is gone.
        "damaged": the driver has to make again what it builds upon. "storage": nothing can be kept.
        "device": this process's GPU cannot be used.

    """
    said = error_line(error)
    try:
        for folder in (store.folder, open_folder(context["results"])):
            _write_to(folder)
        if isinstance(error, CorruptArtifactError):
            return ("again" if _builds_upon(unit, store) else "damaged"), str(error)
    except StorageError as away:
        return "storage", str(away)
    if isinstance(error, OSError) and error.errno in FULL:
        return "storage", f"{error.filename or store.where}: no space left on the storage"
    if isinstance(error, StorageError):
        # It answers again, but was waited for as long as anyone wanted.
        return "storage", str(error)
    if is_gpu_failure(error):
        return "device", f"{_gpu_in_words()}: {said}"
    passing = isinstance(error, OSError) and error.errno != errno.EACCES
    if passing or any(text in str(error) for text in _WRITING_FAILED):
        return "again", said
    return "own", said


def is_gpu_failure(error: Exception) -> bool:
    """Whether an error says that this process's GPU cannot be used, by this trial or another.

    >>> is_gpu_failure(RuntimeError("CUDA error: uncorrectable ECC error encountered"))
    True
    >>> is_gpu_failure(RuntimeError("CUDA error: device-side assert triggered"))
    False
    """
    by_cuda = isinstance(error, RuntimeError | AssertionError)
    return by_cuda and any(said in str(error) for said in _GPU_FAILED)


def gpu_failed(error: Exception) -> dict[str, Any]:
    """How a unit ended whose GPU could not even be looked at, see `studies.stages.job.run_unit`."""
    return {"status": "device", "error": f"{_gpu_in_words()}: {error_line(error)}"}


def _gpu_in_words() -> str:
    """This process's GPU, as whoever has to repair it would look for it."""
    return f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES', '0')} of {socket.gethostname()}"


def _write_to(folder: Folder) -> None:
    """Wait until a storage is there, and see that it takes what is written to it."""
    probe = f".written-{uuid.uuid4().hex[:12]}"
    try:
        folder.write(probe, bytes(PROBE_BYTES))
    finally:
        folder.delete(probe)


def _builds_upon(unit: dict[str, Any], store: ArtifactStore) -> bool:
    """Whether all is there that others make for a unit."""
    if unit["parent"] is not None and not store.has("train", unit["parent"]):
        return False
    return all(store.has("images", key) for key in unit["images"].values())
