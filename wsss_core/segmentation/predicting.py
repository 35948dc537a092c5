"""Predictions of a segmenter at the resolution of each image's mask."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.backbones import evaluating
from wsss_core.cams.settings import scaled_size
from wsss_core.data import to_input
from wsss_core.errors import InputError
from wsss_core.out_of_memory import give_back, halved, is_out_of_memory
from wsss_core.progress import made_progress
from wsss_core.refine import dense_crf
from wsss_core.segmentation.segmenter import Segmenter, resized
from wsss_core.segmentation.settings import NetworkPrecision, PredictionSettings
from wsss_core.tiling import BandBlender, Framing, PictureWindows, cut_views
from wsss_core.tiling.blending import Band
from wsss_core.tiling.cutting import ReadRows
from wsss_core.tiling.windows import framed_boxes


def predict_probabilities(
    segmenter: Segmenter,
    images: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]] | None = None,
    settings: PredictionSettings | None = None,
    *,
    batch_size: int = 8,
    device: str = "cpu",
) -> Iterator[NDArray[np.float32]]:
    """Yield the probabilities of each image, float32 [K + 1, h, w], the background first.

    Logits are enlarged bilinearly, then the softmax is taken. One image's map is in memory at a
    time, beside the logits of a batch. The probabilities of several scales and flips are averaged;
    then those of a batch are in memory. A dense CRF follows at the images' size; its posteriors are
    then enlarged.

    Args:
        segmenter: on `device`; it is in its own mode again between two images and afterwards.
        images: uint8 [N, H, W, 3], possibly memory-mapped.
        sizes: (h, w) of each image's map; None: the images' own.
        settings: scales, flips and the CRF; None: the defaults, one view and no CRF.
        batch_size: images a pass; halved where memory runs out.
        device: where the segmenter is.

    Raises:
        InputError: not as many sizes as images, or a scale that the segmenter cannot take.
        torch.OutOfMemoryError: a single image does not fit.

    """
    settings = settings or PredictionSettings()
    if settings.one_view:
        for logits in _logits(segmenter, images, sizes, settings.precision, batch_size, device):
            yield logits.softmax(0).cpu().numpy()
        return
    sizes = _sizes_of(images, sizes)
    for start in range(0, len(images), batch_size):
        part = np.asarray(images[start : start + batch_size])
        of_part = sizes[start : start + batch_size]
        each = None if settings.crf else of_part
        means = _over_views(segmenter, part, each, settings, device)
        for image, mean, size in zip(part, means, of_part, strict=True):
            if settings.crf is not None:
                posteriors = dense_crf(
                    image, mean, preset=settings.crf, backend=settings.crf_backend
                )
                mean = resized(posteriors[None].cpu(), size)[0].numpy()
            yield mean


def predict_masks(
    segmenter: Segmenter,
    images: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]] | None = None,
    settings: PredictionSettings | None = None,
    *,
    windows: PictureWindows | None = None,
    batch_size: int = 8,
    device: str = "cpu",
) -> Iterator[NDArray[np.uint8]]:
    """Yield the label map of each image, uint8 [h, w]: the class of the highest probability.

    Of equal ones the first wins, the background before all. See `predict_probabilities`.

    Args:
        segmenter: on `device`.
        images: uint8 [N, H, W, 3], possibly memory-mapped.
        sizes: (h, w) of each image's map; None: the images' own.
        settings: scales, flips and the CRF; None: the defaults.
        windows: where the images lie, if they are windows over pictures (`ImageSet.views`). Then a
            map of each picture is yielded, at its own size: the class of the highest mean of its
            windows' probabilities, see `wsss_core.tiling.blending`. Beside the map, memory holds
            the probabilities of one row of windows.
        batch_size: images a pass; halved where memory runs out.
        device: where the segmenter is.

    Raises:
        InputError: not as many sizes or windows as images, or a scale that the segmenter cannot
            take.
        torch.OutOfMemoryError: a single image does not fit.

    """
    settings = settings or PredictionSettings()
    if windows is not None:
        if sizes is not None or len(windows) != len(images):
            raise InputError(
                f"{len(windows)} windows for {len(images)} images; expected as many, and no sizes: "
                "pictures have their own"
            )
        for number in windows.pictures:
            part, shape = windows.part(number), windows.shape(number)
            starts = range(part.start, part.stop, batch_size)
            views = (images[at : min(at + batch_size, part.stop)] for at in starts)
            labels = np.empty(shape, np.uint8)
            boxes = windows.boxes[part]
            for first, band in _blended(segmenter, views, boxes, shape, settings, device):
                labels[first : first + band.shape[1]] = band.argmax(0)
            yield labels
        return
    if settings.one_view:
        for logits in _logits(segmenter, images, sizes, settings.precision, batch_size, device):
            yield logits.argmax(0).to(torch.uint8).cpu().numpy()
        return
    for mean in predict_probabilities(
        segmenter, images, sizes, settings, batch_size=batch_size, device=device
    ):
        yield mean.argmax(0).astype(np.uint8)


def predict_picture(
    segmenter: Segmenter,
    picture: NDArray[np.uint8] | ReadRows,
    shape: tuple[int, int],
    framing: Framing,
    settings: PredictionSettings | None = None,
    *,
    batch_size: int = 8,
    device: str = "cpu",
) -> Iterator[Band]:
    """Yield the probabilities of a picture from top to bottom, a band of rows at a time.

    Memory holds the pixels of a batch of windows and the probabilities of one row of windows,
    however high the picture is.

    Args:
        segmenter: built for images of `segmenter.image_size` pixels; on `device`.
        picture: uint8 [H, W, 3], or what reads some of its rows, such as
            `wsss_core.data.framing.PictureRows`.
        shape: (H, W) of the picture.
        framing: how it is seen.
        settings: scales, flips and a CRF within each window; None: the defaults.
        batch_size: windows a pass; halved where memory runs out.
        device: where the segmenter is.

    Yields:
        The first row of a band, and float32 [K + 1, rows, W].

    Raises:
        InputError: a segmenter that names no size.

    """
    if not segmenter.image_size:
        raise InputError("a segmenter without image_size was put together by hand; expected a size")
    boxes = framed_boxes(shape, framing)
    views = cut_views(picture, shape, boxes, segmenter.image_size, batch_size)
    settings = settings or PredictionSettings()
    yield from _blended(segmenter, views, boxes, shape, settings, device)


def _blended(
    segmenter: Segmenter,
    views: Iterable[NDArray[np.uint8]],
    boxes: NDArray[np.int32],
    shape: tuple[int, int],
    settings: PredictionSettings,
    device: str,
) -> Iterator[Band]:
    """Yield bands of a picture's probabilities, blended from those of its windows."""
    blender = BandBlender(boxes, shape)
    height, width = (int(side) for side in boxes[0, 2:])
    for pixels in views:
        part, sizes = np.asarray(pixels), [(height, width)] * len(pixels)
        for probabilities in predict_probabilities(
            segmenter, part, sizes, settings, batch_size=len(part), device=device
        ):
            yield from blender.add(probabilities[np.newaxis])


def _over_views(
    segmenter: Segmenter,
    images: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]] | None,
    settings: PredictionSettings,
    device: str,
) -> list[NDArray[np.float32]]:
    """Return each image's mean probabilities over scales and flips, float32 [K + 1, h, w]."""
    height, width = images.shape[1:3]
    sizes = [(height, width)] * len(images) if sizes is None else sizes
    one_view = PredictionSettings(precision=settings.precision)
    sums: list[NDArray[np.float32]] = []
    views = 0
    for scale in settings.scales:
        sides = (scaled_size(side, scale, segmenter.size_multiple) for side in (height, width))
        scaled = _rescaled(images, tuple(sides))
        for flipped in (False, True)[: 1 + settings.flip]:
            shown = np.ascontiguousarray(scaled[:, :, ::-1]) if flipped else scaled
            found = predict_probabilities(
                segmenter, shown, sizes, one_view, batch_size=len(shown), device=device
            )
            maps = [one[:, :, ::-1] if flipped else one for one in found]
            sums = [a + b for a, b in zip(sums, maps, strict=True)] if sums else maps
            views += 1
    return [one / np.float32(views) for one in sums]


def _rescaled(images: NDArray[np.uint8], sides: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return images uint8 [N, h, w, 3] at another size, bilinear."""
    if images.shape[1:3] == sides:
        return images
    planes = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    enlarged = F.interpolate(planes, size=sides, mode="bilinear", align_corners=False)
    return enlarged.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _logits(
    segmenter: Segmenter,
    images: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]] | None,
    precision: NetworkPrecision,
    batch_size: int,
    device: str,
) -> Iterator[Tensor]:
    """Yield the logits of each image at its size, float [K + 1, h, w] on the device."""
    sizes = _sizes_of(images, sizes)
    bf16 = precision == "bf16"
    autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16)
    done = 0
    while done < len(images):
        part = images[done : done + batch_size]
        try:
            with torch.no_grad(), evaluating(segmenter), autocast:
                batch = segmenter(to_input(part, device)).float()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            batch = None
        if batch is None:
            height, width = images.shape[1:3]
            batch_size = halved(len(part), f"predicting masks of {width} x {height} px")
            give_back(device)
            continue
        for logits, size in zip(batch, sizes[done : done + len(part)], strict=True):
            yield resized(logits[None], size)[0]
        done += len(part)
        made_progress()


def _sizes_of(
    images: NDArray[np.uint8], sizes: Sequence[tuple[int, int]] | None
) -> Sequence[tuple[int, int]]:
    """Return (h, w) of each image's map, checked."""
    if sizes is None:
        return [(images.shape[1], images.shape[2])] * len(images)
    if len(sizes) != len(images):
        raise InputError(f"{len(sizes)} sizes for {len(images)} images")
    return sizes
