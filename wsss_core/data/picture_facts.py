"""What the decoding of an image or mask file found beside its pixels, and why a file is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from wsss_core.errors import InputError


class PictureFault(StrEnum):
    """Why an image or mask file is refused; the words are those of the kinds of findings."""

    UNREADABLE = "unreadable"
    SIZES = "sizes"
    ORIENTATION = "orientation"
    TRANSPARENCY = "transparency"
    BIT_DEPTH = "bit depth"
    MASK_VALUES = "mask values"
    EDGES = "grey edges"


class PictureError(InputError):
    """An image or mask file that is refused.

    Attributes:
        fault: why.
        path: the file.
        reason: what is wrong with it, and what to do, without its name; the same for every file
            that is refused for the same reason.

    """

    def __init__(self, fault: PictureFault, path: Path, reason: str, detail: str = "") -> None:
        """Say what is wrong with a file.

        Args:
            fault: why it is refused.
            path: the file.
            reason: what is wrong, and what to do.
            detail: what is so in this file alone; it stands before the reason.

        """
        super().__init__(f"{path}: {detail}{reason}")
        self.fault, self.path, self.reason, self._detail = fault, path, reason, detail

    def __reduce__(self) -> tuple[type["PictureError"], tuple[object, ...]]:
        """Let a worker's error reach its driver."""
        return PictureError, (self.fault, self.path, self.reason, self._detail)


@dataclass(frozen=True)
class PictureFacts:
    """What the decoding of an image file found beside its pixels.

    Attributes:
        path: the file.
        shape: (height, width) in pixels, as the image is read.
        orientation: its EXIF orientation, 1 (upright, or no tag) to 8; 1 for TIFF.
        pages: how many pictures the file holds, of which the first is read.
        transparent: how many pixels are transparent in part or wholly; their stored colours are
            read.
        bits: per channel, 8 or 16.
        largest: the largest value of a 16-bit image, of several channels to the next 256; None for
            8 bits.

    """

    path: Path
    shape: tuple[int, int]
    orientation: int = 1
    pages: int = 1
    transparent: int = 0
    bits: int = 8
    largest: int | None = None

    @property
    def turned(self) -> bool:
        """Whether its EXIF orientation is another than upright."""
        return self.orientation != 1


@dataclass(frozen=True)
class MaskFacts(PictureFacts):
    """What the decoding of a mask file found beside its codes.

    Attributes:
        stored: value in the file -> how many pixels have it, ascending.
        codes: 0 (background), k + 1 (class k) or 255 (ignored) -> how many pixels have it,
            ascending.

    """

    stored: Mapping[int, int] = field(default_factory=dict)
    codes: Mapping[int, int] = field(default_factory=dict)

    @property
    def ignored(self) -> int:
        """How many pixels count neither way."""
        return self.codes.get(255, 0)

    @property
    def objects(self) -> int:
        """How many pixels are of a class."""
        return sum(count for code, count in self.codes.items() if code not in (0, 255))
