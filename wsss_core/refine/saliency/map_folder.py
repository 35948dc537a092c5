"""A folder of saliency maps, which belong to images by their names.

The map of `test/images/x.jpg` is `test/images/x.png` in the folder, or `images/x.png`, or `x.png`;
the first of these that is there. It is a grey picture of the image's own size, 255 most salient.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsss_core.data.file_hashes import content_hash, file_hashes
from wsss_core.errors import InputError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_GREY = {"1": 1.0, "L": 255.0, "I;16": 65535.0, "I;16L": 65535.0, "I;16B": 65535.0}
"""Modes of Pillow's that are grey -> their largest value."""


def list_maps(folder: str | Path) -> dict[str, Path]:
    """Return the pictures of a folder by their paths in it, without suffix.

    Raises:
        InputError: it is no folder, holds no picture, or two with one name.

    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(
            f"refiner saliency: maps {root} is no folder; expected one of grey pictures"
        )
    found: dict[str, Path] = {}
    for file in sorted(root.rglob("*")):
        if file.suffix.lower() in _SUFFIXES and file.is_file():
            name = file.relative_to(root).with_suffix("").as_posix()
            if name in found:
                raise InputError(
                    f"refiner saliency: {found[name]} and {file.name} have one name; expected "
                    "one map of an image"
                )
            found[name] = file
    if not found:
        raise InputError(f"refiner saliency: maps {root} holds no picture; expected grey pictures")
    return found


def maps_digest(folder: str | Path) -> str:
    """Return a digest of the names and contents of all maps of a folder."""
    found = list_maps(folder)
    states = tuple(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in found.values()
    )
    return _digest(tuple(found), states)


@lru_cache(maxsize=8)
def _digest(names: tuple[str, ...], states: tuple[tuple[str, int, int], ...]) -> str:
    hashes = file_hashes([Path(file) for file, _, _ in states])
    return content_hash("\n".join(f"{n}\t{h}" for n, h in zip(names, hashes, strict=True)).encode())


def find_map(maps: Mapping[str, Path], name: str) -> Path:
    """Return the map of an image.

    Args:
        maps: see `list_maps`.
        name: of the image, as "test/images/x.jpg".

    Raises:
        InputError: there is none.

    """
    whole = PurePosixPath(name)
    parts = whole.with_suffix("").parts
    for start in range(len(parts)):
        if (found := maps.get("/".join(parts[start:]))) is not None:
            return found
    raise InputError(
        f"refiner saliency: no map of image {name}; expected {whole.with_suffix('.png')} or "
        f"{whole.with_suffix('.png').name} in the folder of maps"
    )


def check_maps(folder: str | Path, images: Iterable[tuple[str, tuple[int, int] | None]]) -> None:
    """Raise InputError unless each image has a map of its own, of its size.

    Args:
        folder: the maps.
        images: names, and (height, width) in pixels where it is known.

    """
    maps, owners = list_maps(folder), dict[Path, str]()
    for name, shape in images:
        file = find_map(maps, name)
        if (other := owners.setdefault(file, name)) != name:
            raise InputError(
                f"refiner saliency: {file} is the map of {other} and of {name}; expected folders "
                "of the splits, as test/images"
            )
        found = _opened(file).size[::-1]
        if shape is not None and found != shape:
            raise InputError(
                f"refiner saliency: {file} is {found[1]} x {found[0]} px; expected the size of its "
                f"image {name}, {shape[1]} x {shape[0]} px"
            )


def read_maps(
    folder: str | Path, names: Sequence[str], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the maps of images, resized bilinearly.

    Args:
        folder: the maps.
        names: of N images.
        size: height and width in pixels.

    Returns:
        float32 [N, H, W], 0..1.

    Raises:
        InputError: an image without a map, or a map that cannot be read.

    """
    maps = list_maps(folder)
    return np.stack([_read(find_map(maps, name), size) for name in names])


def _read(file: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    picture = _opened(file)
    values = np.asarray(picture, np.float32) / _GREY[picture.mode]
    resized = Image.fromarray(values).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized).clip(0, 1)


def _opened(file: Path) -> Image.Image:
    try:
        picture = Image.open(file)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"refiner saliency: {file} cannot be read; expected a picture") from error
    if picture.mode not in _GREY:
        raise InputError(
            f"refiner saliency: {file} is a picture of mode {picture.mode}; expected a grey one"
        )
    return picture
