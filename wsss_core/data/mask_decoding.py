"""From a mask file to codes: 0 for the background, k + 1 for class k, 255 for ignored pixels.

A mask is read as it is meant or refused: grey edges, probabilities, colours and void values that
nobody explained are errors that say how to explain them.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_core.data.image_decoding import (
    PictureFile,
    check_pixels,
    count_pages,
    has_16_bits,
    image_shape,
    named_errors,
    opened_picture,
    path_of,
)
from wsss_core.data.image_set import IGNORED
from wsss_core.data.orientation import header_orientation, loaded_orientation, upright_pixels
from wsss_core.data.picture_facts import MaskFacts, PictureError, PictureFacts, PictureFault
from wsss_core.data.pixel_rules import AS_STORED, PixelRules

_ARRAY = b"\x93NUMPY"
_FEW = 8  # values of a mask that may still be numbers of classes


@dataclass(frozen=True)
class MaskMeaning:
    """What the values of a set's masks mean.

    Attributes:
        class_values: the value of each class, 0 to 65535; None for a single class that every value
            above 0 stands for, of which a mask may hold only one.
        ignored: values of pixels that count neither way.
        threshold: the least value that is object, for a single class; None: masks are not cut.

    """

    class_values: tuple[int, ...] | None = None
    ignored: tuple[int, ...] = ()
    threshold: int | None = None


@dataclass(frozen=True, eq=False)
class DecodedMask:
    """A mask.

    Attributes:
        codes: uint8 [h, w], 0 background, k + 1 class k, 255 ignored.
        facts: what its decoding found.

    """

    codes: np.ndarray
    facts: MaskFacts


def mask_shape(path: Path, rules: PixelRules = AS_STORED) -> tuple[int, int]:
    """Return (height, width) of a mask as it is read, without decoding it.

    Raises:
        InputError: as `wsss_core.data.image_decoding.image_shape`.

    """
    with named_errors(path):
        if not _is_array(path):
            return image_shape(path, rules)
        height, width = _checked_array(path, np.load(path, mmap_mode="r", allow_pickle=False)).shape
        check_pixels(path, width, height, rules)
        return height, width


def decode_mask(
    file: PictureFile, meaning: MaskMeaning, rules: PixelRules = AS_STORED, *, scored: bool = True
) -> DecodedMask:
    """Decode a mask.

    Args:
        file: an image or an `.npy` array of whole numbers [h, w].
        meaning: what its values mean.
        rules: how its pixels are read.
        scored: whether predictions are compared with it, so that it must not be ignored throughout.

    Raises:
        InputError: the file is unreadable, or holds values that cannot mean what they are read as.

    """
    values, facts = _stored_values(file, rules)
    stored = _counted(values)
    codes_of = _codes_of(file.path, stored, meaning)
    counts: dict[int, int] = {}
    for value, count in stored.items():
        counts[codes_of[value]] = counts.get(codes_of[value], 0) + count
    if scored and counts.keys() == {IGNORED}:
        raise PictureError(
            PictureFault.MASK_VALUES,
            file.path,
            "every pixel is ignored, so that nothing can be scored; leave the image out, or say "
            "in classes.yaml that its value is a class",
            f"value {', '.join(map(str, stored))}, ",
        )
    known = MaskFacts(**vars(facts), stored=stored, codes=dict(sorted(counts.items())))
    return DecodedMask(_coded(values, codes_of), known)


def read_mask_values(file: Path | PictureFile) -> np.ndarray:
    """Decode a mask to the values stored in it, an integer array [h, w].

    One-bit masks give 0 and 1, palette masks their indices, 16-bit masks their values, colour masks
    the value that their channels share.

    Raises:
        InputError: the file is unreadable, or holds reals or colours.

    """
    return _stored_values(file, AS_STORED)[0]


def read_stored_pixels(file: Path | PictureFile, *, colours: bool = False) -> np.ndarray:
    """Decode a mask as stored: integers [h, w], or uint8 [h, w, 3] where its channels differ.

    Args:
        file: the mask.
        colours: give the colours of a palette, not its indices, and always [h, w, 3];
            transparency is dropped.

    Raises:
        InputError: the file is unreadable or holds reals, or transparency that may be the mask.

    """
    with opened_picture(file) as image:
        if colours:
            _check_whole_numbers(path_of(file), image)
            return np.asarray(image.convert("RGB"))
        return _pixels(path_of(file), image)


def _stored_values(file: Path | PictureFile, rules: PixelRules) -> tuple[np.ndarray, PictureFacts]:
    path = path_of(file)
    if _is_array(file):
        with named_errors(path):
            source = io.BytesIO(file.content) if isinstance(file, PictureFile) else path
            values = _checked_array(path, np.load(source, allow_pickle=False))
            height, width = values.shape
            check_pixels(path, width, height, rules)
            return values, PictureFacts(path, (height, width))
    with opened_picture(file, rules) as image:
        before, deep = header_orientation(image), has_16_bits(image)
        values = _pixels(path, image)
        if values.ndim == 3:
            raise PictureError(
                PictureFault.MASK_VALUES,
                path,
                "expected one number per pixel, or channels that agree; `wsss data import` reads "
                "a list of colours (--colours)",
                f"mask of mode {image.mode} with colours, ",
            )
        orientation = loaded_orientation(path, image, rules, before)
        if rules.orientation == "apply":
            values = upright_pixels(values, orientation)
        height, width = values.shape
        bits = 16 if deep else 8
        pages = count_pages(image)
        return values, PictureFacts(path, (height, width), orientation, pages, bits=bits)


def _is_array(file: Path | PictureFile) -> bool:
    if isinstance(file, PictureFile):
        return file.content.startswith(_ARRAY)
    return file.suffix.lower() == ".npy"


def _checked_array(path: Path, values: np.ndarray) -> np.ndarray:
    whole = isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "bui"
    if not whole or not values.size:
        raise PictureError(
            PictureFault.MASK_VALUES, path, "expected an array of whole numbers [height, width]"
        )
    return values.view(np.uint8) if values.dtype == np.bool_ else values


def _check_whole_numbers(path: Path, image: Image.Image) -> None:
    if image.mode == "F":
        raise PictureError(
            PictureFault.MASK_VALUES, path, "mask of reals, expected whole numbers or colours"
        )


def _pixels(path: Path, image: Image.Image) -> np.ndarray:
    """Return the stored numbers [h, w] of an opened mask, or its colours where channels differ."""
    _check_whole_numbers(path, image)
    if image.mode == "1":  # Pillow gives 255 in place of 1
        return (np.asarray(image).view(np.uint8) != 0).view(np.uint8)
    if image.mode in ("L", "P", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode == "PA":
        image = _without_alpha(path, image)
        return np.asarray(image.getchannel(0))
    if has_16_bits(image):
        raise PictureError(
            PictureFault.BIT_DEPTH,
            path,
            "mask of 16 bits in several channels, expected one channel, or 8 bits",
        )
    if image.mode in ("LA", "RGBA"):
        image = _without_alpha(path, image)
    if image.mode in ("L", "LA"):
        return np.asarray(image.getchannel(0))
    rgb = np.asarray(image.convert("RGB"))
    grey = (rgb[..., :1] == rgb[..., 1:]).all()
    return rgb[..., 0] if grey else rgb


def _without_alpha(path: Path, image: Image.Image) -> Image.Image:
    """Return a mask as it is if its transparency says no more than its values do."""
    alpha = np.asarray(image.getchannel("A"))
    hidden = alpha != 255
    if hidden.any():
        values = np.asarray(image)[..., :-1]
        alone = not hidden.all() and not values.any()  # nothing but the transparency differs
        if alone or (alpha[hidden] != 0).any() or values[hidden].any():
            raise PictureError(
                PictureFault.TRANSPARENCY,
                path,
                "mask with transparency, which may be the mask; expected one number per pixel",
            )
    return image


def _counted(values: np.ndarray) -> dict[int, int]:
    """Return value -> pixels of it, ascending."""
    if values.dtype == np.uint8:  # Pillow counts bytes several times as fast as NumPy
        histogram = Image.fromarray(np.ascontiguousarray(values)).histogram()
        return {value: count for value, count in enumerate(histogram) if count}
    if values.dtype == np.uint16:
        counts = np.bincount(values.ravel())
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _codes_of(path: Path, stored: Mapping[int, int], meaning: MaskMeaning) -> dict[int, int]:
    """Return the code of each value of a mask."""
    if stored and (least := min(stored)) < 0:
        said = "expected values from 0; a mask of PNG or unsigned numbers says 255 for void"
        raise PictureError(PictureFault.MASK_VALUES, path, said, f"mask value {least}, ")
    codes = {value: IGNORED for value in meaning.ignored}
    if meaning.threshold is not None:
        others = [value for value in stored if value not in codes]
        _check_threshold(path, others, meaning.threshold)
        return codes | {value: int(value >= meaning.threshold) for value in others}
    if meaning.class_values is not None:
        codes = {0: 0} | codes
        codes |= {value: code for code, value in enumerate(meaning.class_values, start=1)}
        unknown = [value for value in stored if value not in codes]
        if unknown:
            raise _unlisted(path, unknown, sorted(codes), one_class=len(meaning.class_values) == 1)
        return codes
    above = [value for value in stored if value != 0 and value not in codes]
    if len(above) > 1:
        raise _several(path, above)
    return {0: 0} | codes | dict.fromkeys(above, 1)


def _check_threshold(path: Path, values: list[int], threshold: int) -> None:
    """Raise if a threshold cannot be meant for the values of a mask."""
    most = max(values, default=0)
    if most == 1 < threshold:
        raise PictureError(
            PictureFault.MASK_VALUES,
            path,
            f"values 0 and 1, expected a mask that the threshold {threshold} can cut",
        )
    if most > 255 >= threshold > 1 and len(values) > 2:
        raise PictureError(
            PictureFault.MASK_VALUES,
            path,
            f"expected at most 255 with the threshold {threshold}; for 16 bits give one above 255, "
            "e.g. 32768",
            f"values up to {most}, ",
        )


def _several(path: Path, above: list[int]) -> PictureError:
    """Return why a mask of a single class may not hold several values above 0."""
    if len(above) == 2 and above[-1] == IGNORED:
        return PictureError(
            PictureFault.MASK_VALUES,
            path,
            f"expected one value; say `ignore: {IGNORED}` in classes.yaml if {IGNORED} is void, "
            "or list what each value means there",
            f"values {above[0]} and {above[1]} beside 0, ",
        )
    if len(above) <= _FEW:
        return PictureError(
            PictureFault.EDGES if above[-1] > _FEW else PictureFault.MASK_VALUES,
            path,
            "expected one value; list what each value means in classes.yaml, or say "
            f"`threshold: {_half(above)}` there if lower values are edges",
            f"values {', '.join(map(str, above))} beside 0, ",
        )
    return PictureError(
        PictureFault.EDGES,
        path,
        "which look like grey edges or a probability map; say in classes.yaml where to cut them, "
        f"e.g. `threshold: {_half(above)}`",
        f"{len(above)} values from {above[0]} to {above[-1]} beside 0, ",
    )


def _half(values: list[int]) -> int:
    """Return a threshold for soft masks: half of what 8 bits hold, or as many as the values need.

    It is the same for all masks of one depth, so that their faults are counted as one.
    """
    bits = max(8, values[-1].bit_length())
    return 1 << (bits - 1)


def _unlisted(path: Path, unknown: list[int], known: list[int], *, one_class: bool) -> PictureError:
    said = f"expected one of {', '.join(map(str, known))}"
    if len(unknown) <= _FEW:
        return PictureError(PictureFault.MASK_VALUES, path, said, f"mask value {unknown[0]}, ")
    cut = f"; `threshold: {_half(unknown)}` cuts the masks of a single class" if one_class else ""
    return PictureError(
        PictureFault.EDGES,
        path,
        f"{said}; so many look like grey edges{cut}",
        f"mask value {unknown[0]} and {len(unknown) - 1} more, ",
    )


def _coded(values: np.ndarray, codes_of: Mapping[int, int]) -> np.ndarray:
    keys = sorted(codes_of)
    if values.dtype in (np.uint8, np.uint16):
        table = np.zeros(np.iinfo(values.dtype).max + 1, np.uint8)
        for key in keys:
            if 0 <= key < len(table):
                table[key] = codes_of[key]
        return table[values]
    listed = np.array(keys, np.int64)
    at = np.searchsorted(listed, values)  # every value of a mask is among the keys
    return np.array([codes_of[key] for key in keys], np.uint8)[at]
