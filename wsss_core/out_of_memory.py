"""Running out of memory: free it, and try again with half the batch.

PyTorch's allocator raises `torch.OutOfMemoryError`. Libraries that take memory past it report in
words of their own: cuBLAS and cuDNN when they cannot make a handle or a workspace (it may read as
if they were not initialised, or had no algorithm for a convolution), the CUDA runtime, and the
allocator of the CPU. All are `RuntimeError`.
"""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from wsss_core.progress import made_progress

_SAID = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "unable to find an engine to execute this computation",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "DefaultCPUAllocator: can't allocate memory",
)

_Made = TypeVar("_Made")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of the GPU or of the machine.

    >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..."))
    True
    >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def give_back(device: str) -> None:
    """Give memory back that no tensor holds any more.

    To be called outside the `except` block: the error holds the frames it came through, and these
    hold the tensors that did not fit.
    """
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


def halved(images: int, what: str) -> int:
    """Return half as many images, rounded up.

    Args:
        images: how many did not fit at once.
        what: names the work in the error.

    Raises:
        torch.OutOfMemoryError: a single image did not fit.

    >>> [halved(images, "training") for images in (8, 3, 2)]
    [4, 2, 1]
    """
    if images > 1:
        return (images + 1) // 2
    raise torch.OutOfMemoryError(
        f"{what} runs out of memory even with one image at a time; expected a smaller image size "
        "or network, or a larger share of the GPU (`resources: gpus`)"
    )


def in_batches(
    make: Callable[[slice, int], _Made], count: int, batch_size: int, *, device: str, what: str
) -> list[_Made]:
    """Call a stateless function on parts of a sequence, each as large as fits into memory.

    Args:
        make: called with the part and the batch size that holds for it.
        count: length of the sequence.
        batch_size: at first; halved, for all that follows, whenever a part does not fit.
        device: the device whose memory may run out.
        what: names the work in the error.

    Returns:
        The results of the parts, in order.

    Raises:
        torch.OutOfMemoryError: a single one does not fit.

    """
    made: list[_Made] = []
    done = 0
    while done < count:
        part = slice(done, min(done + batch_size, count))
        try:
            made.append(make(part, batch_size))
            made_progress()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            done = part.stop
            continue
        batch_size = halved(part.stop - part.start, what)
        give_back(device)
    return made
