"""One split of a data set in memory or on disk, and what a source of such splits offers.

Images are kept at the network's size, so training never decodes or resizes. Masks are kept at
their own resolution, because that is where scores are compared with them; since their sizes may
differ, they lie one after another in a flat array. Saved, a split is a folder of plain `.npy`
files that several processes of a machine share by memory-mapping.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from wsss_core.errors import InputError
from wsss_core.tiling import PictureWindows

SPLITS = ("train", "tune", "test")
JOINING = "join"
"""A further split that some sources have: images with masks, which no network is scored on."""

IGNORED = 255
"""The mask value of pixels that count neither as foreground nor as background."""

COUNTERFACTUALS = ("without_objects", "without_contexts")
"""Copies of the images without a class's object, and without its context."""

_ORIGINS = ("sources", "cameras", "flags")
_FORMAT = 2
_INDEX = "index.json"


@dataclass(frozen=True, eq=False)
class PixelMaps:
    """N maps of different sizes in one flat array; some may be absent.

    Attributes:
        pixels: uint8 [P], the stored maps row by row, one map after another.
        shapes: int32 [N, 2], height and width of every map, absent ones included.
        starts: int64 [N], where each map begins in `pixels`; -1 for an absent map.

    """

    pixels: np.ndarray
    shapes: np.ndarray
    starts: np.ndarray

    @classmethod
    def allocate(cls, shapes: Sequence[tuple[int, int]], stored: Sequence[bool]) -> Self:
        """Return zero-filled maps of these (height, width); only those `stored` take memory.

        A stored map is filled through its view: `maps[i][...] = values`.
        """
        sizes = np.asarray(shapes, np.int32).reshape(len(shapes), 2)
        present = np.asarray(stored, bool)
        lengths = np.where(present, sizes.astype(np.int64).prod(axis=1), 0)
        ends = np.cumsum(lengths)
        starts = np.where(present, ends - lengths, -1).astype(np.int64)
        return cls(np.zeros(int(lengths.sum()), np.uint8), sizes, starts)

    @classmethod
    def from_arrays(
        cls, maps: Sequence[np.ndarray | None], shapes: Sequence[tuple[int, int]] | None = None
    ) -> Self:
        """Copy `maps` (uint8 or bool [h, w]; None: absent) into one `PixelMaps`.

        `shapes` gives every map's (height, width); without it no map may be absent.

        Raises:
            ValueError: a map is absent and has no shape, or does not fit its shape.

        """
        if shapes is None:
            if any(values is None for values in maps):
                raise ValueError("an absent map needs its shape: give `shapes` as well")
            shapes = [values.shape for values in maps if values is not None]
        packed = cls.allocate(shapes, [values is not None for values in maps])
        for index, values in enumerate(maps):
            view = packed[index]
            if values is None or view is None:
                continue
            if values.shape != view.shape or values.dtype not in (np.uint8, np.bool_):
                raise ValueError(
                    f"map {index} is {values.dtype} {values.shape}, expected uint8 {view.shape}"
                )
            view[...] = values
        return packed

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray | None:
        """Return a view of one map, uint8 [h, w], or None where it is absent."""
        start = int(self.starts[index])
        if start < 0:
            return None
        height, width = self.shape(index)
        return self.pixels[start : start + height * width].reshape(height, width)

    def shape(self, index: int) -> tuple[int, int]:
        """Return one map's (height, width), absent or not."""
        height, width = self.shapes[index]
        return int(height), int(width)

    def save(self, folder: Path, name: str) -> None:
        """Write `<name>_pixels.npy`, `<name>_shapes.npy` and `<name>_starts.npy`."""
        for part in ("pixels", "shapes", "starts"):
            np.save(folder / f"{name}_{part}.npy", getattr(self, part), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what `save` wrote, the pixels memory-mapped read-only."""
        return cls(
            pixels=_mapped(folder / f"{name}_pixels.npy"),
            shapes=np.load(folder / f"{name}_shapes.npy", allow_pickle=False),
            starts=np.load(folder / f"{name}_starts.npy", allow_pickle=False),
        )


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split with their labels and, for tune and test, their masks.

    Attributes:
        classes: the K foreground classes; mask value k + 1 is `classes[k]`, 0 the background and
            255 ignored.
        images: uint8 [N, S, S, 3], RGB at the network's size; may be memory-mapped read-only.
        labels: bool [N, K], which classes an image holds.
        identifiers: N names, unique within the split, e.g. "images/test_0001.jpg".
        groups: N names of the frame each image was cut from, for statistics that must not take
            crops of one frame as independent; the identifier where the frame is unknown.
        sources: N names of the data set that each image belongs to; "" where that is unknown.
        cameras: N names of the camera or place of each image; "" where that is unknown.
        flags: N lists of words, separated by ";", that tell images apart ("night;rain"); "" of an
            image without any.
        masks: the N masks, or None for a split without masks. An absent mask is all background.
        contexts: N maps of pixels that tend to accompany a class without belonging to it (the
            chimney below the smoke): k + 1 for `classes[k]`, 0 for none; or None. An absent one is
            unknown, not empty.
        without_objects: uint8 [K, N, S, S, 3], each image without the object of one class, the
            image itself where there is none; None where that is not known.
        without_contexts: the same without the context of one class.
        windows: T windows over pictures, where networks do not see them squashed to squares. In
            training each image is a window, and its picture is the one it was cut from. In tune and
            test an image is a picture, and `images` show it squashed.
        window_pixels: uint8 [T, S, S, 3], what networks see of tune and test; None where that are
            the images themselves.

    Raises:
        ValueError: two of these do not fit together.

    """

    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    identifiers: tuple[str, ...]
    groups: tuple[str, ...]
    masks: PixelMaps | None = None
    contexts: PixelMaps | None = None
    without_objects: np.ndarray | None = None
    without_contexts: np.ndarray | None = None
    sources: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    windows: PictureWindows | None = None
    window_pixels: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.identifiers)
        for name in _ORIGINS:
            if not getattr(self, name):
                object.__setattr__(self, name, ("",) * count)
        side = self.images.shape[1] if self.images.ndim == 4 else 0
        if self.images.dtype != np.uint8 or self.images.shape != (count, side, side, 3):
            raise ValueError(
                f"images are {self.images.dtype} {self.images.shape}, expected uint8 "
                f"[{count}, S, S, 3]"
            )
        if self.labels.dtype != np.bool_ or self.labels.shape != (count, len(self.classes)):
            raise ValueError(
                f"labels are {self.labels.dtype} {self.labels.shape}, expected bool "
                f"({count}, {len(self.classes)})"
            )
        for name in ("groups", *_ORIGINS, "masks", "contexts"):
            values = getattr(self, name)
            if values is not None and len(values) != count:
                raise ValueError(f"{len(values)} {name} for {count} images")
        for name in COUNTERFACTUALS:
            altered = getattr(self, name)
            expected = (len(self.classes), *self.images.shape)
            if altered is not None and (altered.dtype != np.uint8 or altered.shape != expected):
                raise ValueError(f"{name} are {altered.dtype} {altered.shape}, expected {expected}")
        if len(set(self.identifiers)) != count:
            raise ValueError("identifiers are not unique within the split")
        if self.windows is not None and len(self.windows) != len(self.views):
            raise ValueError(f"{len(self.windows)} windows show {len(self.views)} views")

    def __len__(self) -> int:
        return len(self.identifiers)

    @property
    def views(self) -> np.ndarray:
        """Return what networks see, uint8 [V, S, S, 3]: the images, or windows over them."""
        return self.images if self.window_pixels is None else self.window_pixels

    @property
    def has_masks(self) -> bool:
        """Return whether masks are known for this split."""
        return self.masks is not None

    def mask(self, index: int) -> np.ndarray:
        """Return the mask of one image at its own resolution, uint8 [h, w]; do not write to it.

        Raises:
            ValueError: the split has no masks.

        """
        if self.masks is None:
            raise ValueError("this split has image-level labels only, no masks")
        stored = self.masks[index]
        return np.zeros(self.masks.shape(index), np.uint8) if stored is None else stored

    def context(self, index: int, number: int = 0) -> np.ndarray | None:
        """Return the context mask of one image and class, bool [h, w]; None where it is unknown."""
        stored = None if self.contexts is None else self.contexts[index]
        return None if stored is None else stored == number + 1

    def save(self, folder: Path) -> None:
        """Write the split as `.npy` files; `index.json` comes last, so its presence means whole."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "images.npy", self.images, allow_pickle=False)
        np.save(folder / "labels.npy", self.labels, allow_pickle=False)
        for name in ("masks", "contexts"):
            maps = getattr(self, name)
            if maps is not None:
                maps.save(folder, name)
        known = [name for name in COUNTERFACTUALS if getattr(self, name) is not None]
        for name in known:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        if self.windows is not None:
            self.windows.save(folder)
        if self.window_pixels is not None:
            np.save(folder / "window_pixels.npy", self.window_pixels, allow_pickle=False)
        index = {
            "format": _FORMAT,
            "classes": self.classes,
            "identifiers": self.identifiers,
            "groups": self.groups,
            "masks": self.masks is not None,
            "contexts": self.contexts is not None,
            "counterfactuals": known,
            # Left out where nothing is known, as in sets that were saved before there were any.
            **{name: getattr(self, name) for name in _ORIGINS if any(getattr(self, name))},
            **({} if self.windows is None else {"windows": len(self.windows)}),
        }
        (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; images and pixels are memory-mapped read-only.

        Raises:
            InputError: the folder holds no whole image set of this format.

        """
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            if index["format"] != _FORMAT:
                raise InputError(
                    f"{folder}: image set of format {index['format']}, expected {_FORMAT}"
                )
            pixels = folder / "window_pixels.npy"
            return cls(
                classes=tuple(index["classes"]),
                images=_mapped(folder / "images.npy"),
                labels=np.load(folder / "labels.npy", allow_pickle=False),
                identifiers=tuple(index["identifiers"]),
                groups=tuple(index["groups"]),
                masks=PixelMaps.load(folder, "masks") if index["masks"] else None,
                contexts=PixelMaps.load(folder, "contexts") if index["contexts"] else None,
                sources=tuple(index.get("sources", ())),
                cameras=tuple(index.get("cameras", ())),
                flags=tuple(index.get("flags", ())),
                windows=PictureWindows.load(folder) if "windows" in index else None,
                window_pixels=_mapped(pixels) if pixels.exists() else None,
                **{name: _mapped(folder / f"{name}.npy") for name in index["counterfactuals"]},
            )
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}: expected a saved image set ({_INDEX} and .npy files): {error}"
            ) from error


class ImageSource(Protocol):
    """Where the splits of a data set come from: a folder, or the procedural scenes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the foreground classes, in the order of their mask values."""
        ...

    def fingerprint(self, split: str) -> str:
        """Return a hexadecimal digest that changes if and only if the split's content does."""
        ...

    def read(self, split: str, size: int) -> ImageSet:
        """Return a split ("train", "tune" or "test") with images of size x size pixels.

        Raises:
            InputError: the first thing that is wrong with the split.

        """
        ...


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)
