"""From an image's scores to the files a segmentation model is trained on: mask and soft maps.

A mask is an indexed PNG: 0 is the background, k + 1 the k-th class, 255 a pixel that is left
undecided. Scores meet the threshold as they do when a study scores them (`studies.stages.scoring`):
at the image's own size, in 256 levels, several classes competing.

The last chunk of each file before the end is a text with the keyword "wsss" (PNG specification,
"tEXt"): digests (BLAKE2b, 128 bit) of the image and of the settings that made the file, and of the
file itself up to there. So a file says by itself, at any time, whether it is whole, of which bytes
of an image it is the mask, and whether these settings made it.
"""

import contextlib
import hashlib
import io
import json
import re
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wsss_core.data.annotations import MaskPart, mask_parts, mean_scores, numbered_parts
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError, as_input_error
from wsss_core.evaluate import compete, quantise, resize
from wsss_core.whole_files import whole_file

if TYPE_CHECKING:
    from studies.masks.worker import MaskJob

UNFINISHED_MASKS = ".unfinished"
"""The folder in which files are written first."""

_KEYWORD = b"wsss"
_SCORES = "wsss-scores"  # the keyword of the text with the scores of a mask's parts
_NO_DIGEST = "0" * 32  # a digest's length


def score_levels(maps: np.ndarray, shape: tuple[int, int], out: np.ndarray) -> np.ndarray:
    """Scores at an image's own size, in 256 levels.

    Args:
        maps: float [K, h, w], 0..1.
        shape: (H, W) of the image.
        out: bool [K], classes that take no part.

    Returns:
        uint8 [K, H, W].

    """
    levels = quantise(resize(maps, shape))
    levels[out] = 0
    return levels


def mask_of(
    levels: np.ndarray, out: np.ndarray, level: int, *, uncertain: float = 0.0
) -> np.ndarray:
    """Cut levels into a mask: the class of the highest level where that reaches the threshold.

    Args:
        levels: uint8 [K, H, W], see `score_levels`.
        out: bool [K], classes that take no part.
        level: the threshold, 0-255. Several classes have a background from level 2 on; 0 is as 1.
        uncertain: pixels whose score is nearer than this to the threshold, level / 255, are left
            undecided; 0: none.

    Returns:
        uint8 [H, W]: 0, k + 1 or 255.

    Raises:
        InputError: a level or a margin out of range, or more classes than a mask has numbers.

    Example:
        >>> levels = np.array([[[10, 90, 140, 200]]], np.uint8)
        >>> mask_of(levels, np.array([False]), 100, uncertain=0.1).tolist()
        [[0, 255, 1, 1]]

    """
    if not 0 <= level <= 255:
        raise InputError(f"threshold level {level}: expected 0 to 255")
    if not 0 <= uncertain <= 1:
        raise InputError(f"uncertain {uncertain}: expected a margin from 0 to 1")
    if len(levels) >= IGNORED:
        raise InputError(f"{len(levels)} classes: expected at most {IGNORED - 1} in an 8-bit mask")
    if len(levels) > 1:
        levels = compete(levels)
        levels[out] = 0
        level = max(1, level)
    winner = levels.argmax(axis=0)
    score = np.take_along_axis(levels, winner[np.newaxis], axis=0)[0]
    mask = np.where(score >= level, winner + 1, 0).astype(np.uint8)
    if uncertain:
        distance = np.abs(score.astype(np.int16) - level)
        mask[(distance < uncertain * 255) & ~out[winner]] = IGNORED
    return mask


def class_scores(levels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the score of each pixel's own class, float32 [H, W] in 0..1; 0 where it has none.

    Args:
        levels: uint8 [K, H, W], see `score_levels`.
        mask: uint8 [H, W], see `mask_of`.

    """
    of_class = np.where((mask > 0) & (mask <= len(levels)), mask - 1, 0)
    scores = np.take_along_axis(levels, of_class[np.newaxis].astype(np.intp), axis=0)[0]
    return np.where(mask > 0, scores, 0).astype(np.float32) / 255


def voc_palette() -> list[int]:
    """The colours of PASCAL VOC's masks, red, green and blue of each of 256 indices.

    The bits of an index go to the three channels in turn, the first to each channel's highest bit.

    >>> voc_palette()[3:9]
    [128, 0, 0, 0, 128, 0]
    """
    return [
        sum((index >> 3 * place + channel & 1) << 7 - place for place in range(3))
        for index in range(256)
        for channel in range(3)
    ]


@cache
def _palette() -> bytes:
    return bytes(voc_palette())


@dataclass(frozen=True)
class MaskOrigin:
    """What a file was made of.

    Attributes:
        image: the digest of the image, see `image_digest`.
        settings: the digest of the settings.

    """

    image: str = _NO_DIGEST
    settings: str = _NO_DIGEST


def image_digest(file: Path) -> str:
    """Return the digest of an image's bytes.

    Raises:
        InputError: it cannot be read.

    """
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error


def _end(content: bytes, origin: MaskOrigin) -> bytes:
    """Return the chunk with the digests, which follows a content, and the end of the PNG."""
    return closing_chunks(hashlib.blake2b(content, digest_size=16), origin)


def closing_chunks(so_far: hashlib.blake2b, origin: MaskOrigin) -> bytes:
    """Return the chunk with the digests and the end of a PNG whose content had this digest."""
    text = f"image {origin.image} settings {origin.settings} blake2b ".encode()
    so_far.update(text)
    body = b"tEXt" + _KEYWORD + b"\0" + text + so_far.hexdigest().encode()
    return b"".join(
        [
            (len(body) - 4).to_bytes(4, "big"),
            body,
            zlib.crc32(body).to_bytes(4, "big"),
            _PNG_END,
        ]
    )


_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_END_BYTES = len(_end(b"", MaskOrigin()))
_ORIGIN = re.compile(rb"image ([0-9a-f]{32}) settings ([0-9a-f]{32}) ")


def origin_of(file: Path) -> MaskOrigin | None:
    """Return what a file was made of; None if it is not as it was written, or holds no digest.

    Raises:
        FileNotFoundError: there is no such file.

    """
    content = file.read_bytes()
    found = _ORIGIN.search(content, max(0, len(content) - _END_BYTES))
    if found is None:
        return None
    origin = MaskOrigin(found[1].decode(), found[2].decode())
    whole = content[-_END_BYTES:] == _end(content[:-_END_BYTES], origin)
    return origin if whole else None


def write_mask(
    mask: np.ndarray,
    target: Path,
    unfinished: Path,
    origin: MaskOrigin,
    scores: np.ndarray | None = None,
) -> None:
    """Write a mask as an indexed PNG with `voc_palette`; see `write_grey`.

    Args:
        mask: uint8 [H, W].
        target: see `write_grey`.
        unfinished: see `write_grey`.
        origin: see `write_grey`.
        scores: float [H, W], 0 to 1: how sure the network is of each pixel's class. Their mean over
            each part of the mask is kept in a text chunk, for annotation files.

    """
    image = Image.fromarray(mask)
    image.putpalette(_palette())
    kept = PngInfo()
    if scores is not None:
        numbers, codes = numbered_parts(mask)
        means = mean_scores(numbers, len(codes), scores)
        known = [None if code == IGNORED else m for code, m in zip(codes, means, strict=True)]
        kept.add_text(_SCORES, json.dumps(known))
    _write(image, target, unfinished, origin, kept)


def read_mask_parts(file: Path) -> tuple[np.ndarray, tuple[MaskPart, ...]]:
    """Read a mask of `write_mask`, and its parts with their scores where it holds them.

    Returns:
        uint8 [H, W], and the parts.

    Raises:
        InputError: it cannot be read.

    """
    with as_input_error(f"{file}: cannot be read", OSError, ValueError):
        with Image.open(file, formats=("PNG",)) as opened:
            mask = np.asarray(opened)
            text = opened.info.get(_SCORES)
        return mask, mask_parts(mask, None if text is None else json.loads(text))


def write_grey(pixels: np.ndarray, target: Path, unfinished: Path, origin: MaskOrigin) -> None:
    """Write uint8 [H, W] as a grey PNG.

    Args:
        pixels: the grey values.
        target: where; its folder is made. The file is there whole, written through to the disk, or
            not at all.
        unfinished: a folder on the same file system, where it is written first.
        origin: what it was made of.

    Raises:
        InputError: it cannot be written there.

    """
    _write(Image.fromarray(pixels), target, unfinished, origin)


def add_origin(file: Path, unfinished: Path, origin: MaskOrigin) -> None:
    """Write a PNG again with what it was made of.

    Raises:
        InputError: it cannot be written.

    """
    _put(file.read_bytes(), file, unfinished, origin)


def _write(
    image: Image.Image,
    target: Path,
    unfinished: Path,
    origin: MaskOrigin,
    texts: PngInfo | None = None,
) -> None:
    encoded = io.BytesIO()
    image.save(encoded, "png", pnginfo=texts)
    _put(encoded.getvalue(), target, unfinished, origin)


def _put(png: bytes, target: Path, unfinished: Path, origin: MaskOrigin) -> None:
    content = png.removesuffix(_PNG_END)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir(exist_ok=True)
        with whole_file(target, aside=unfinished) as opened:
            opened.write(content + _end(content, origin))
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error


def drop_stale(job: "MaskJob", name: str, digest: str) -> None:
    """Delete the mask of an image that failed, unless it is the mask of these bytes."""
    with contextlib.suppress(OSError):
        mask = job.mask_file(name)
        if origin_of(mask) != MaskOrigin(digest, job.digest_of(name)):
            mask.unlink()
