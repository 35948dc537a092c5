"""Mask proposals as they are kept: a bit a pixel, many images in one file, without a pickle."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError

_FILE = "proposals.npz"


@dataclass(frozen=True, eq=False)
class Proposals:
    """M masks of one image, a bit a pixel.

    Attributes:
        bits: uint8 [M, ceil(H * W / 8)], each mask's pixels row by row (`numpy.packbits`).
        quality: float32 [M], the IoU that the model predicts for each, highest first.
        shape: (H, W).

    """

    bits: NDArray[np.uint8]
    quality: NDArray[np.float32]
    shape: tuple[int, int]

    @classmethod
    def pack(cls, masks: NDArray[np.bool_], quality: NDArray[np.floating]) -> Self:
        """Pack masks, bool [M, H, W]."""
        count, height, width = masks.shape
        bits = np.packbits(masks.reshape(count, height * width), axis=1)
        return cls(bits, np.asarray(quality, np.float32), (height, width))

    def __len__(self) -> int:
        return len(self.bits)

    def masks(self) -> NDArray[np.bool_]:
        """Return the masks, bool [M, H, W]."""
        height, width = self.shape
        pixels = np.unpackbits(self.bits, axis=1, count=height * width)
        return pixels.reshape(len(self), height, width).view(bool)


def save_proposals(folder: Path, proposals: Sequence[Proposals]) -> None:
    """Write the proposals of many images as `proposals.npz` (compressed, no pickle)."""
    np.savez_compressed(
        folder / _FILE,
        allow_pickle=False,
        bits=np.concatenate([p.bits.ravel() for p in proposals] or [np.zeros(0, np.uint8)]),
        quality=np.concatenate([p.quality for p in proposals] or [np.zeros(0, np.float32)]),
        counts=np.array([len(p) for p in proposals], np.int64),
        shapes=np.array([p.shape for p in proposals], np.int64).reshape(-1, 2),
    )


def load_proposals(folder: Path) -> list[Proposals]:
    """Read what `save_proposals` wrote.

    Raises:
        InputError: no such file, or another content.

    """
    file = Path(folder) / _FILE
    try:
        with np.load(file, allow_pickle=False) as content:
            bits, quality = content["bits"], content["quality"]
            counts, shapes = content["counts"].tolist(), content["shapes"].tolist()
    except FileNotFoundError as error:
        raise InputError(f"proposals file {file} does not exist") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"proposals file {file} cannot be read: {error}") from error
    lengths = [-(-height * width // 8) for height, width in shapes]
    expected = sum(count * length for count, length in zip(counts, lengths, strict=True))
    if len(bits) != expected or len(quality) != sum(counts):
        raise InputError(
            f"proposals file {file} cannot be read: {len(bits)} bytes of masks, expected {expected}"
        )
    proposals, byte, mask = [], 0, 0
    for count, length, (height, width) in zip(counts, lengths, shapes, strict=True):
        own = bits[byte : byte + count * length].reshape(count, length)
        proposals.append(Proposals(own, quality[mask : mask + count], (height, width)))
        byte += count * length
        mask += count
    return proposals
