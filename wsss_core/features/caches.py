"""Reading maps of frozen networks batch by batch, in place of computing them.

On a GPU all views are uploaded once if they take at most half of the memory that is free. Else each
batch is read into pinned memory and copied from there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from wsss_core.backbones import Output
from wsss_core.features.making import StoredOutputs
from wsss_core.out_of_memory import give_back, is_out_of_memory

SHARE_OF_DEVICE = 0.5
"""The largest share of a device's free memory that maps may take; training needs the rest."""

_AT_ONCE = 256  # images that are uploaded together


def free_on_device(device: str) -> int:
    """Return the bytes of a GPU that this process may still take; 0 for the CPU."""
    if torch.device(device).type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    allowed = torch.cuda.get_per_process_memory_fraction(device) * total
    return int(min(free, allowed - torch.cuda.memory_allocated(device)))


class ViewStack:
    """Maps of the same N images in one view or two: as they are, and mirrored.

    Args:
        views: memory-mapped float [N, ...] each, of the same shape and type.
        device: where batches go.
        room: says how many bytes of the device are free, see `free_on_device`.

    Attributes:
        uploaded: the views on the device, [V, N, ...]; None where batches are read one by one.

    """

    def __init__(
        self,
        views: Sequence[np.ndarray],
        device: str = "cpu",
        *,
        room: Callable[[str], int] = free_on_device,
    ) -> None:
        self._views, self._device = list(views), device
        self.uploaded: Tensor | None = None
        size = sum(view.nbytes for view in views)
        if size <= SHARE_OF_DEVICE * room(device):
            try:
                self.uploaded = self._upload()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if self.uploaded is None:
                give_back(device)

    def _upload(self) -> Tensor:
        first = self._views[0]
        kind = torch.from_numpy(np.empty(0, first.dtype)).dtype
        whole = torch.empty((len(self._views), *first.shape), dtype=kind, device=self._device)
        for number, view in enumerate(self._views):
            for start in range(0, len(view), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                whole[number, part].copy_(torch.from_numpy(np.array(view[part])))
        return whole

    def at(self, places: np.ndarray, mirrored: np.ndarray | None) -> Tensor:
        """Return a batch as it is stored, [B, ...] on the device.

        Args:
            places: int [B], which images.
            mirrored: bool [B], which of them in the mirrored view; None: none.

        """
        which = np.zeros(len(places), np.int64) if mirrored is None else mirrored.astype(np.int64)
        if self.uploaded is not None:
            at = [torch.from_numpy(one).to(self._device) for one in (which, places)]
            found: Tensor = self.uploaded[at[0], at[1]]
            return found
        first = self._views[0]
        kind = torch.from_numpy(np.empty(0, first.dtype)).dtype
        on_gpu = torch.device(self._device).type == "cuda"
        batch = torch.empty((len(places), *first.shape[1:]), dtype=kind, pin_memory=on_gpu)
        rows = batch.numpy()
        for number, view in enumerate(self._views):
            chosen = which == number
            if chosen.any():
                rows[chosen] = view[places[chosen]]
        return batch.to(self._device, non_blocking=True) if on_gpu else batch


class _Looking:
    """A cache that is turned to a batch; copies of a network share it."""

    _places = np.empty(0, np.int64)
    _mirrored: np.ndarray | None = None

    def look(self, places: np.ndarray, mirrored: np.ndarray | None) -> None:
        """Turn to a batch, see `ViewStack.at`."""
        self._places, self._mirrored = places, mirrored

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class FeatureCache(_Looking):
    """A frozen encoder's maps, see `wsss_core.backbones.Network.cache`."""

    def __init__(self, stack: ViewStack) -> None:
        self._stack = stack

    def maps(self) -> Tensor:
        """Return the maps of the batch that is looked at, float32 [B, C, h, w]."""
        return self._stack.at(self._places, self._mirrored).float()


class OutputCache(_Looking):
    """A frozen teacher's answers, see `wsss_core.transfer.TeacherStudent.asked_before`.

    A part that is not kept is given as NaN of its shape, so that nothing can rest on it.

    Args:
        views: as they are and, where training mirrors images, mirrored.
        device: where batches go.

    """

    def __init__(self, views: Sequence[StoredOutputs], device: str = "cpu") -> None:
        self._about = views[0]
        self._device = device
        self._stacks = {
            name: ViewStack([view.arrays[name] for view in views], device)
            for name in views[0].arrays
        }

    def output(self) -> Output:
        """Return the answer for the batch that is looked at, in the types that the teacher gave."""
        parts = {name: self._part(name) for name in self._about.shapes}
        taps = tuple(part for name, part in parts.items() if name.startswith("tap_"))
        return Output(parts["features"], parts["activation_maps"], parts["logits"], taps)

    def _part(self, name: str) -> Tensor:
        kind = getattr(torch, self._about.dtypes[name])
        stack = self._stacks.get(name)
        if stack is not None:
            return stack.at(self._places, self._mirrored).to(kind)
        shape = len(self._places), *self._about.shapes[name]
        return torch.full((1,), torch.nan, dtype=kind, device=self._device).expand(shape)
