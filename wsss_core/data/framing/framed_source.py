"""A source's splits as networks see them by a framing: padded, or through windows.

A source that takes part has, beside the methods of `ImageSource`,

    shapes(split)     (height, width) of each image, in the order of `read`
    pictures(split)   for each image a function without arguments that decodes it, to uint8
                      [h, w, 3] of its own size

Data folders and published sets do. A plug-in's source may.
"""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from wsss_core.data.file_hashes import content_hash
from wsss_core.data.image_set import SPLITS, ImageSet, ImageSource
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError, as_input_error
from wsss_core.tiling import Framing, PictureWindows, cut_view, evenly_spread
from wsss_core.tiling.windows import Shape, framed_boxes

_MOST_THREADS = 8  # of which each holds one picture at its own size


def framed_fingerprint(fingerprint: str, framing: Framing, split: str) -> str:
    """Return the fingerprint of a split as networks see it; that of a squashed one is unchanged."""
    if framing.squashes:
        return fingerprint
    content = json.dumps([fingerprint, framing.as_config(training=split == "train")])
    return content_hash(content.encode())


def picture_shapes(source: ImageSource, split: str) -> list[Shape]:
    """Return (height, width) of each picture of a split.

    Raises:
        InputError: the source offers none, see the module.

    """
    shapes: Callable[[str], Sequence[Shape]] = _method(source, "shapes")
    return [(int(height), int(width)) for height, width in shapes(split)]


def check_tiles_fit(shapes: Sequence[Shape], framing: Framing, of: str) -> None:
    """Raise InputError if a tile is larger than every picture: padding would be all that it adds.

    Args:
        shapes: (height, width) of the pictures.
        framing: how they are seen.
        of: what the pictures are, for the message.

    """
    if framing.aspect != "tiles" or not shapes:
        return
    size, _ = framing.tile
    height, width = max(shapes, key=max)
    if max(height, width) < size:
        raise InputError(
            f"tiles: size {size} is larger than every image of {of}, the largest has {width}x"
            f"{height} pixels; expected smaller tiles, or aspect: pad"
        )


def read_framed(source: ImageSource, split: str, size: int, framing: Framing) -> ImageSet:
    """Return a split as networks see it, see `wsss_core.data.image_set.ImageSet`.

    In training each window is an image of its own: it has the labels and the group of the picture
    that it was cut from, see `wsss_core.tiling.choosing`. Of tune and test every picture stays an
    image, with windows over it, all of which are seen.

    Args:
        source: the pictures.
        split: "train", "tune" or "test".
        size: the side of the network's input in pixels.
        framing: how pictures are seen.

    Raises:
        InputError: the first thing that is wrong with the split, or a source without pictures.

    """
    if framing.squashes:
        return source.read(split, size)
    shapes = picture_shapes(source, split)
    pictures: Sequence[Callable[[], np.ndarray]] = _method(source, "pictures")(split)
    read = source.read(split, size)
    if not len(pictures) == len(shapes) == len(read):
        raise InputError(f"{split}: {len(pictures)} pictures for {len(read)} images")
    windows = _windows_over(shapes, framing, training=split == "train")
    little = f"{split}: there is too little memory for {len(windows)} windows of {size} px"
    with as_input_error(little, MemoryError):
        pixels = np.empty((len(windows), size, size, 3), np.uint8)
        _fill(pixels, pictures, windows, size, split)
    if split != "train":
        return replace(read, windows=windows, window_pixels=pixels)
    return _training_windows(read, windows, pixels)


def training_windows(source: ImageSource, framing: Framing) -> PictureWindows:
    """Return the windows over the training pictures, one for each image of `read_framed`."""
    return _windows_over(picture_shapes(source, "train"), framing, training=True)


def window_name(identifier: str, windows: PictureWindows, place: int) -> str:
    """Return the identifier of a window in training, of the picture with this identifier."""
    if len(windows) == len(windows.shapes):
        return identifier
    top, left = windows.boxes[place, :2].tolist()
    return f"{identifier}@{top},{left}"


def _windows_over(shapes: Sequence[Shape], framing: Framing, *, training: bool) -> PictureWindows:
    keep = framing.kept(training=training)
    boxes = [framed_boxes(shape, framing) for shape in shapes]
    return PictureWindows.of(shapes, [one[evenly_spread(len(one), keep)] for one in boxes])


def _fill(
    pixels: np.ndarray,
    pictures: Sequence[Callable[[], np.ndarray]],
    windows: PictureWindows,
    size: int,
    split: str,
) -> None:
    """Cut the windows of every picture, which is decoded once, several at a time."""
    progress = ProgressLines(f"{split}: images cut into windows", len(pictures))

    def cut(number: int) -> None:
        picture, shape = pictures[number](), windows.shape(number)
        if picture.shape[:2] != shape:
            raise InputError(f"{split}, image {number}: its size changed while it was read")
        part = windows.part(number)
        for place, box in enumerate(windows.boxes[part], start=part.start):
            pixels[place] = cut_view(picture, shape, box, size)
        progress.step()

    with ThreadPoolExecutor(min(_MOST_THREADS, (os.cpu_count() or 1) + 1)) as pool:
        list(pool.map(cut, range(len(pictures))))


def _training_windows(read: ImageSet, windows: PictureWindows, pixels: np.ndarray) -> ImageSet:
    """Return the windows as images of their own."""
    names = [
        window_name(read.identifiers[at], windows, place)
        for place, at in enumerate(windows.picture.tolist())
    ]

    def repeated(values: Sequence[str]) -> tuple[str, ...]:
        return tuple(values[at] for at in windows.picture.tolist())

    return ImageSet(
        classes=read.classes,
        images=pixels,
        labels=read.labels[windows.picture],
        identifiers=tuple(names),
        groups=repeated(read.groups),
        sources=repeated(read.sources),
        cameras=repeated(read.cameras),
        flags=repeated(read.flags),
        windows=windows,
    )


def _method(source: ImageSource, name: str) -> Any:
    found = getattr(source, name, None)
    if found is None:
        raise InputError(
            f"data: aspect other than squash needs an image source with {name}(split), which "
            f"{type(source).__name__} has not; see `wsss_core.data.framing`"
        )
    return found


def all_shapes(source: ImageSource) -> dict[str, list[Shape]]:
    """Return (height, width) of each picture of every split."""
    return {split: picture_shapes(source, split) for split in SPLITS}
