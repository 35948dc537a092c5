"""The common form in which every reader of a format yields a data set.

Its images say how to decode themselves; they have labels, masks, groups and splits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from wsss_core.data.formats.common.clips import read_frame
from wsss_core.data.image_decoding import exif_orientation, image_shape, read_full_rgb

IGNORE_NAME = "ignore"
"""In a list of mask values or colours, the name of pixels that count neither way."""

BACKGROUND_NAME = "background"
"""In a list of mask values or colours, the name of pixels of no class."""

_TURNED = (5, 6, 7, 8)  # the EXIF orientations that exchange height and width


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Return the part of an array [h, w, ...] that lies in the window."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Picture:
    """Where the pixels of an image are: a file, or a frame of a clip, or a window of these.

    Attributes:
        path: the image file, or the clip (.npy or a video).
        frame: the position of the frame in the clip, from 0; None for an image file.
        window: the part that is meant; None for all of it.
        upright: whether the file's EXIF orientation is applied.
        untagged: whether it has an EXIF orientation that is not meant, and must not be copied.

    """

    path: Path
    frame: int | None = None
    window: Window | None = None
    upright: bool = False
    untagged: bool = False

    @property
    def is_whole_file(self) -> bool:
        """Whether the file may be copied or linked as it is."""
        changed = self.upright or self.untagged
        return self.frame is None and self.window is None and not changed

    def shape(self) -> tuple[int, int]:
        """Return (height, width); of an image file from its header alone.

        Raises:
            InputError: the file cannot be read.

        """
        if self.window is not None:
            return self.window.height, self.window.width
        if self.frame is not None:
            height, width = self.read().shape[:2]
            return height, width
        height, width = image_shape(self.path)
        if self.upright and exif_orientation(self.path) in _TURNED:
            return width, height
        return height, width

    def read(self) -> np.ndarray:
        """Decode to uint8 [h, w, 3].

        Raises:
            InputError: the file cannot be read.

        """
        if self.frame is None:
            pixels = read_full_rgb(self.path, upright=self.upright)
        else:
            pixels = read_frame(self.path, self.frame)
        return pixels if self.window is None else self.window.cut(pixels)


class MaskMaker(Protocol):
    """What decodes a mask when it is asked to; readers give frozen dataclasses, which pickle."""

    def read(self) -> np.ndarray:
        """Return uint8 [h, w]: 0 background, k + 1 the class k of the set, 255 ignored.

        Raises:
            InputError: the mask cannot be read as what it is taken for.

        """


def innermost(mask: MaskMaker) -> MaskMaker:
    """Return the mask that a mask is made from by cutting windows and exchanging codes."""
    while (inner := getattr(mask, "inner", None)) is not None:
        mask = inner
    return mask


def with_picture(mask: MaskMaker, picture: Picture) -> MaskMaker:
    """Return a mask that takes its size from its picture, with another picture; others as is."""
    inner = getattr(mask, "inner", None)
    changed: Any = mask
    if inner is not None:
        changed = replace(changed, inner=with_picture(inner, picture))
    elif takes_size_of_picture(mask):
        changed = replace(changed, picture=replace(picture, window=None))
    made: MaskMaker = changed
    return made


def takes_size_of_picture(mask: MaskMaker) -> bool:
    """Return whether a mask has the size of its image by its making, not by a file of its own."""
    return hasattr(innermost(mask), "picture")


@dataclass(frozen=True)
class CutMask:
    """A window of a mask."""

    inner: MaskMaker
    window: Window

    def read(self) -> np.ndarray:
        """Decode the mask and cut the window."""
        return self.window.cut(self.inner.read())


@dataclass(frozen=True)
class EmptyMask:
    """The mask of an image that is known to hold nothing."""

    picture: Picture

    def read(self) -> np.ndarray:
        """Return zeros of the picture's size."""
        return np.zeros(self.picture.shape(), np.uint8)


@dataclass(frozen=True)
class Labels:
    """The image-level labels of an image; a class in neither set is absent.

    Attributes:
        present: the classes that it holds.
        unknown: the classes of which that is not known.

    """

    present: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FormatImage:
    """One image of a data set, as its format describes it.

    Attributes:
        name: its path in the set without the suffix, unique there, e.g. "train/img/a".
        picture: where its pixels are.
        split: the split it belongs to in the format's own words, e.g. "val"; None where the format
            has none.
        labels: its classes; None where its mask alone can say.
        mask: decodes its mask; None where there is none.
        group: what it was taken from (a frame, a clip, a city); None: it stands for itself.
        camera: the camera or place, where the format knows it.
        time: seconds from the beginning of its clip, where the format knows it.
        flags: what else the format says of it, e.g. "synthetic".
        source: the data set that it came from, where the set was itself made of several.
        context: decodes its context mask, k + 1 for what accompanies class k; None where there is
            none.

    """

    name: str
    picture: Picture
    split: str | None = None
    labels: Labels | None = None
    mask: MaskMaker | None = None
    group: str | None = None
    camera: str | None = None
    time: float | None = None
    flags: tuple[str, ...] = ()
    source: str | None = None
    context: MaskMaker | None = None


@dataclass(frozen=True)
class FormatContent:
    """A data set as a reader found it; no image has been decoded for it.

    Attributes:
        classes: the foreground classes; mask value k + 1 is `classes[k]`.
        images: sorted by name.
        notes: one line each, on what was left out or read otherwise than it may be meant.

    """

    classes: tuple[str, ...]
    images: tuple[FormatImage, ...]
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> set[Path]:
        """The files of its images, masks and context masks."""
        masks = (
            getattr(innermost(mask), "path", None)
            for image in self.images
            for mask in (image.mask, image.context)
            if mask
        )
        found = {mask for mask in masks if isinstance(mask, Path)}
        return found | {image.picture.path for image in self.images}


@dataclass(frozen=True)
class FormatOptions:
    """How a format is to be read where its files leave that open.

    Attributes:
        images: the pattern of the image files, see `wsss_core.data.formats.common.patterns`; or
            the folder of the images of COCO or VOC annotations that lie elsewhere.
        masks: the pattern of the mask files.
        values: mask value -> class; "ignore" and "background" may stand for classes.
        colours: a list of colours and classes, see `wsss_core.data.formats.common.mask_values`.
        threshold: the least mask value, of one channel, that is object.
        clear: values of `{class}` in a pattern that mean no class.
        crowd: whether COCO's crowd regions are object or ignored.
        boxes: whether COCO's annotations without a shape are ignored in their box, or object.
        frames: how many frames are taken of a clip.
        scheme: of several lists of splits the one to take, e.g. "split_0_by_camera".
        crops: "thesis": windows of 512 px on the objects; "none": whole images.
        runs: whether a table's run lengths follow the columns of the image or its rows.

    """

    images: str | None = None
    masks: str | None = None
    values: Mapping[int, str] | None = None
    colours: Path | None = None
    threshold: int | None = None
    clear: tuple[str, ...] = ("clear",)
    crowd: Literal["object", "ignore"] = "object"
    boxes: Literal["ignore", "object"] = "ignore"
    frames: int = 2
    scheme: str | None = None
    crops: Literal["none", "thesis"] = "none"
    runs: Literal["columns", "rows"] = "columns"


@dataclass(frozen=True)
class Format:
    """A format that can be read.

    Attributes:
        name: its name on the command line.
        about: the layout in a few words.
        recognise: returns why a path is of this format, in a few words, or None.
        read: returns the content of a path of this format.
        specific: whether its recognition rests on names that no other format uses; a general one
            is asked only where no specific one knows the path.
        instead_of: formats whose layout it shares, and which it goes before.
        uses: the fields of `FormatOptions` that change how it is read.

    """

    name: str
    about: str
    recognise: Callable[[Path], str | None] = field(repr=False)
    read: Callable[[Path, FormatOptions], FormatContent] = field(repr=False)
    specific: bool = True
    instead_of: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
