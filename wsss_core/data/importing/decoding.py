"""Images of an import decoded where they lie: pixels, codes, digests, and facts for a check."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsss_core.data.folder.examination import ExaminedImage
from wsss_core.data.folder.layout import ListedImage
from wsss_core.data.formats import Picture
from wsss_core.data.image_decoding import (
    PictureFile,
    decode_image,
    decode_thumbnail,
    read_full_rgb,
)
from wsss_core.data.importing.writing import Target
from wsss_core.data.picture_facts import MaskFacts, PictureFacts
from wsss_core.data.thumbnails import make_thumbnail


class TargetDigests(NamedTuple):
    """What an image is made of.

    Attributes:
        picture: the digest of the bytes of its file, or of the pixels of its frame.
        mask: the digest of its mask's pixels; None where none is read.
        context: the digest of its context mask's pixels; None where none is read.

    """

    picture: str
    mask: str | None
    context: str | None = None


@dataclass(frozen=True, eq=False)
class DecodedTarget:
    """An image as a network and the scoring need it, and what its decoding found.

    Attributes:
        pixels: uint8 [S, S, 3]; None where no size was asked for.
        codes: uint8 [h, w]: 0 background, k + 1 class k, 255 ignored; None without a mask, and for
            training images.
        context: uint8 [h, w]: k + 1 for what accompanies class k; None without a context mask.
        digests: what it is made of.
        facts: what a check looks at.

    """

    pixels: np.ndarray | None
    codes: np.ndarray | None
    context: np.ndarray | None
    digests: TargetDigests
    facts: ExaminedImage


def identifier_of(target: Target) -> str:
    """Return the name of an image in its split, as in the data folder of the import."""
    return target.file.partition("/")[2]


def pixel_digest(pixels: np.ndarray) -> str:
    """Return the digest (128 bit, hexadecimal) of an array's shape and bytes."""
    content = np.ascontiguousarray(pixels)
    digest = hashlib.blake2b(repr(content.shape).encode(), digest_size=16)
    digest.update(content.data)
    return digest.hexdigest()


def decode_target(target: Target, size: int | None) -> DecodedTarget:
    """Decode an image of an import, and the mask that tune and test have.

    Args:
        target: the image.
        size: the side of the pixels to return; None: none are kept.

    Raises:
        InputError: its image or mask cannot be read.

    """
    candidate = target.examined.candidate
    picture = candidate.image.picture
    codes = target.read_mask() if is_scored(target) else None
    context = target.read_context() if target.context is not None else None
    if picture.is_whole_file:
        file = PictureFile.read(picture.path)
        small = decode_thumbnail(file)
        found, thumbnail = small.facts, small.pixels.ravel()
        made_of = shown = file.digest
        pixels = None if size is None else decode_image(file, size).pixels
    else:
        made_of, whole = _read_part(picture)
        shown = pixel_digest(whole)
        height, width = whole.shape[:2]
        image = Image.fromarray(whole)
        found, thumbnail = PictureFacts(picture.path, (height, width)), make_thumbnail(image)
        resized = None if size is None else image.resize((size, size), Image.Resampling.BILINEAR)
        pixels = None if resized is None else np.asarray(resized)
    mask = None if codes is None else _mask_facts(codes, picture)
    entry = ListedImage(
        identifier_of(target),
        candidate.group,
        picture.path,
        tuple(code - 1 for code in target.examined.held if target.examined.split == "train"),
        source=candidate.origin,
        camera=candidate.image.camera or "",
        context=None if context is None else picture.path,
    )
    known = [] if mask is None else [mask]
    known += [] if context is None else [_mask_facts(context, picture)]
    facts = ExaminedImage(entry, found, mask, tuple(known), thumbnail, {picture.path: shown})
    digests = TargetDigests(
        made_of,
        None if codes is None else pixel_digest(codes),
        None if context is None else pixel_digest(context),
    )
    return DecodedTarget(pixels, codes, context, digests, facts)


def is_scored(target: Target) -> bool:
    """Return whether an image's mask is read: it has one, and is not for training."""
    return target.examined.split != "train" and target.mask is not None


def _read_part(picture: Picture) -> tuple[str, np.ndarray]:
    """Return the digest of what a frame, a window or a turned image is made of, and its pixels."""
    if picture.frame is not None:
        pixels = picture.read()
        return pixel_digest(pixels), pixels
    file = PictureFile.read(picture.path)
    pixels = read_full_rgb(file, upright=picture.upright)
    return file.digest, pixels if picture.window is None else picture.window.cut(pixels)


def _mask_facts(codes: np.ndarray, picture: Picture) -> MaskFacts:
    counts = np.bincount(codes.ravel(), minlength=256)
    counted = {int(code): int(counts[code]) for code in np.flatnonzero(counts)}
    height, width = codes.shape
    return MaskFacts(picture.path, (height, width), stored=counted, codes=counted)
