"""Masks of images that a network sees padded or through windows, in memory of one row of windows.

An image is read from top to bottom twice: for the CAMs of its windows, which are small, and again
for a chain's steps, which see the windows' pixels. Refined maps are blended into a band of rows,
which is cut into a mask and written before the next one is made.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from studies.masks.files import (
    UNFINISHED_MASKS,
    MaskOrigin,
    closing_chunks,
    drop_stale,
    mask_of,
    voc_palette,
)
from studies.stages import NetworkMaps, base_scores
from wsss_core.backbones import Network
from wsss_core.cams import cams, window_cams
from wsss_core.data.framing import PictureRows, check_tiles_fit, checked_file_digest
from wsss_core.data.image_decoding import image_shape
from wsss_core.errors import InputError
from wsss_core.evaluate import quantise
from wsss_core.tiling import BandBlender, Framing, PictureWindows, cut_views
from wsss_core.tiling.windows import framed_boxes
from wsss_core.whole_files import whole_file

if TYPE_CHECKING:
    from studies.masks.worker import Cams, MaskJob

Steps = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Refines scores float32 [n, K, h, w] of images uint8 [n, S, S, 3]."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AT_ONCE = 32
"""Windows whose pixels are held at a time."""


def image_windows(shape: tuple[int, int], framing: Framing) -> PictureWindows:
    """Return the windows over one image of this (height, width)."""
    return PictureWindows.of([shape], [framed_boxes(shape, framing)])


def check_framing(job: "MaskJob", names: list[str]) -> None:
    """Raise InputError if tiles are larger than every image that can be read."""
    if job.framing.aspect != "tiles":
        return
    shapes = []
    for name in names:
        try:
            shapes.append(image_shape(Path(job.images) / name, job.rules))
        except InputError:
            continue  # the worker that opens the image says why it cannot be read
    check_tiles_fit(shapes, job.framing, job.images)


def read_windows(
    job: "MaskJob", network: Network, name: str, device: str
) -> tuple[str | None, np.ndarray | None, np.ndarray | None, np.ndarray | None, str | None]:
    """Return the CAMs of an image's T windows, whose pixels are held a batch at a time.

    Returns:
        Why there are none, or None; maps [T, K, h, w], logits and factors [T, K]; the digest of the
        image. They are in the order of the fields of `Cams`, without the name.

    """
    file, digest, cam = Path(job.images) / name, None, job.cam_recipe.chain.cam
    try:
        digest = checked_file_digest(file, job.rules)
        with PictureRows.opened(file, job.rules) as rows:
            windows = image_windows(rows.shape, job.framing)
            views = cut_views(
                rows, rows.shape, windows.boxes, job.cam_recipe.training.image_size, _AT_ONCE
            )
            if windows.whole:
                raw = cams(network, next(views), cam, device=device)
            else:
                raw = window_cams(network, views, windows, cam, device=device)
    except InputError as error:
        return str(error), None, None, None, digest
    if not (np.isfinite(raw.maps).all() and np.isfinite(raw.logits).all()):
        return "the network's scores of it are not finite", None, None, None, digest
    return None, raw.maps, raw.logits, raw.factors, digest


def write_blended(
    job: "MaskJob", image: "Cams", steps: Steps | None, said: Callable[[Exception], str]
) -> str | None:
    """Refine the maps of an image's windows, blend them, and write its files row by row.

    Args:
        job: the images, the recipe and the folder of the masks.
        image: its CAMs, of its windows.
        steps: the chain's; None: it has none.
        said: says in a line what an error is.

    Returns:
        Why the image has no mask, or None.

    """
    error = image.error
    if error is None:
        try:
            _write(job, image, steps)
        except Exception as raised:
            error = said(raised)
    if error is not None and image.digest is not None:
        drop_stale(job, image.name, image.digest)
    return error


def _write(job: "MaskJob", image: "Cams", steps: Steps | None) -> None:
    file, recipe = Path(job.images) / image.name, job.cam_recipe
    shape = image_shape(file, job.rules)
    windows = image_windows(shape, job.framing)
    maps, logits, factors = (np.asarray(p) for p in (image.maps, image.logits, image.factors))
    raw = NetworkMaps(maps, logits, factors, windows=windows)
    out = job.gated_out(image.name, raw.image_logits[0])
    scores = base_scores(raw, recipe.chain.cam, recipe.scaling)
    scores[:, out] = 0
    with ExitStack() as stack:
        add = stack.enter_context(opened_files(job, image.name, shape, str(image.digest)))
        views: Iterator[np.ndarray] | None = None
        if steps is not None:
            rows = stack.enter_context(PictureRows.opened(file, job.rules))
            views = cut_views(rows, shape, windows.boxes, recipe.training.image_size, _AT_ONCE)
        blender = BandBlender(windows.boxes, shape)
        for start in range(0, len(windows), _AT_ONCE):
            part = scores[start : start + _AT_ONCE]
            if steps is not None and views is not None:
                part = steps(next(views), part)
            for _, band in blender.add(part):
                levels = quantise(band)
                levels[out] = 0
                add(levels, mask_of(levels, out, recipe.level, uncertain=job.uncertain))
        check_same(job, image.name, image.digest)


def check_same(job: "MaskJob", name: str, digest: str | None) -> None:
    """Raise InputError unless an image still has this digest."""
    if digest != checked_file_digest(Path(job.images) / name, job.rules):
        raise InputError("the image changed while its mask was made; run again")


@contextmanager
def opened_files(
    job: "MaskJob", name: str, shape: tuple[int, int], digest: str
) -> Iterator[Callable[[np.ndarray, np.ndarray], None]]:
    """Open the files of an image; the mask is whole last: an image with a mask is done.

    Args:
        job: the folder of the masks.
        name: the image.
        shape: its (height, width).
        digest: of the image.

    Yields:
        A function that takes the next rows: levels uint8 [K, n, W] and mask uint8 [n, W].

    """
    origin, unfinished = MaskOrigin(digest, job.digest_of(name)), Path(job.out) / UNFINISHED_MASKS
    with ExitStack() as stack:
        first, *others = job.files(name)
        put = stack.enter_context(png_rows(first, unfinished, origin, shape, voc_palette()))
        soft = [stack.enter_context(png_rows(file, unfinished, origin, shape)) for file in others]

        def add(levels: np.ndarray, mask: np.ndarray) -> None:
            for grey, put_grey in zip(levels, soft, strict=False):
                put_grey(grey)
            put(mask)

        yield add


@contextmanager
def png_rows(
    target: Path,
    unfinished: Path,
    origin: MaskOrigin,
    shape: tuple[int, int],
    palette: list[int] | None = None,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a PNG from top to bottom, without ever holding it.

    Args:
        target: as of `write_grey`; the file is there when the context ends without an error.
        unfinished: the same.
        origin: what it is made of.
        shape: (height, width) of all rows together.
        palette: the colours of an indexed PNG; None: a grey one.

    Yields:
        A function that takes the next rows, uint8 [n, width].

    Raises:
        InputError: it cannot be written there.

    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir(exist_ok=True)
        with whole_file(target, aside=unfinished) as opened:
            digest, packer = hashlib.blake2b(digest_size=16), zlib.compressobj()

            def put(kind: bytes, body: bytes) -> None:
                crc = zlib.crc32(kind + body).to_bytes(4, "big")
                chunk = len(body).to_bytes(4, "big") + kind + body + crc
                digest.update(chunk)
                opened.write(chunk)

            def add(rows: np.ndarray) -> None:
                # Each row begins with the number of its filter: 0, none.
                packed = packer.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
                if packed:
                    put(b"IDAT", packed)

            digest.update(_SIGNATURE)
            opened.write(_SIGNATURE)
            sizes = b"".join(side.to_bytes(4, "big") for side in reversed(shape))
            put(b"IHDR", sizes + bytes([8, 0 if palette is None else 3, 0, 0, 0]))
            if palette is not None:
                put(b"PLTE", bytes(palette))
            yield add
            put(b"IDAT", packer.flush())
            opened.write(closing_chunks(digest, origin))
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
