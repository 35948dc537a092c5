"""Mask proposals of a Segment Anything model, asked at a grid of points, once an image.

The generator is SAM's (Kirillov et al., ICCV 2023, arXiv 2304.02643, section 5 and appendix B)
without crops: three masks a point, kept by predicted IoU, by stability and by box suppression,
cleaned of small holes and islands, and suppressed again. Models and image preparation are those of
`transformers`, SAM or SAM 2. Its own generator is not used: it places points as if SAM 2 kept an
image's proportions, which it does not, and cleans nothing.

Proposals are kept as a bit a pixel, many images in one file, without a pickle.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torchvision.ops import nms

from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.refine.foundation.sam_merging import mask_areas

_FILE = "proposals.npz"


@dataclass(frozen=True, eq=False)
class Proposals:
    """M masks of one image, a bit a pixel.

    Attributes:
        bits: uint8 [M, ceil(H * W / 8)], each mask's pixels row by row (`numpy.packbits`).
        quality: float32 [M], the IoU that the model predicts for each, highest first.
        shape: (H, W).

    """

    bits: NDArray[np.uint8]
    quality: NDArray[np.float32]
    shape: tuple[int, int]

    @classmethod
    def pack(cls, masks: NDArray[np.bool_], quality: NDArray[np.floating]) -> Self:
        """Pack masks, bool [M, H, W]."""
        count, height, width = masks.shape
        bits = np.packbits(masks.reshape(count, height * width), axis=1)
        return cls(bits, np.asarray(quality, np.float32), (height, width))

    def __len__(self) -> int:
        return len(self.bits)

    def masks(self) -> NDArray[np.bool_]:
        """Return the masks, bool [M, H, W]."""
        height, width = self.shape
        pixels = np.unpackbits(self.bits, axis=1, count=height * width)
        return pixels.reshape(len(self), height, width).view(bool)


def save_proposals(folder: Path, proposals: Sequence[Proposals]) -> None:
    """Write the proposals of many images as `proposals.npz` (compressed, no pickle)."""
    np.savez_compressed(
        folder / _FILE,
        bits=np.concatenate([p.bits.ravel() for p in proposals] or [np.zeros(0, np.uint8)]),
        quality=np.concatenate([p.quality for p in proposals] or [np.zeros(0, np.float32)]),
        counts=np.array([len(p) for p in proposals], np.int64),
        shapes=np.array([p.shape for p in proposals], np.int64).reshape(-1, 2),
    )


def load_proposals(folder: Path) -> list[Proposals]:
    """Read what `save_proposals` wrote.

    Raises:
        InputError: no such file, or another content.

    """
    file = Path(folder) / _FILE
    try:
        with np.load(file, allow_pickle=False) as content:
            bits, quality = content["bits"], content["quality"]
            counts, shapes = content["counts"].tolist(), content["shapes"].tolist()
    except FileNotFoundError as error:
        raise InputError(f"proposals file {file} does not exist") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"proposals file {file} cannot be read: {error}") from error
    lengths = [-(-height * width // 8) for height, width in shapes]
    expected = sum(count * length for count, length in zip(counts, lengths, strict=True))
    if len(bits) != expected or len(quality) != sum(counts):
        raise InputError(
            f"proposals file {file} cannot be read: {len(bits)} bytes of masks, expected {expected}"
        )
    proposals, byte, mask = [], 0, 0
    for count, length, (height, width) in zip(counts, lengths, shapes, strict=True):
        own = bits[byte : byte + count * length].reshape(count, length)
        proposals.append(Proposals(own, quality[mask : mask + count], (height, width)))
        byte += count * length
        mask += count
    return proposals


STABILITY_OFFSET = 1.0
"""How far the cut through a mask's logits is moved either way to see whether the mask stays."""

_NEIGHBOURS = np.ones((3, 3), int)  # regions may touch at corners, as in SAM


def automatic_masks(
    model: Any,
    processor: Any,
    image: NDArray[np.uint8],
    *,
    points_per_side: int = 8,
    pred_iou: float = 0.7,
    stability: float = 0.85,
    minimum_area: int = 20,
    box_nms: float = 0.7,
    points_per_batch: int = 16,
    device: str = "cpu",
) -> Proposals:
    """Propose masks of one image; the defaults are the thesis's settings.

    The image is encoded once. Point (i, j) of the grid lies at ((i + 0.5) / n, (j + 0.5) / n) of
    width and height, so none lies outside.

    Args:
        model: SamModel or Sam2Model, see `load_foundation`; it is put
            into evaluation mode and on `device`.
        processor: its processor.
        image: uint8 [H, W, 3], RGB.
        points_per_side: n; the grid has n * n points.
        pred_iou: masks whose predicted IoU is not above are dropped.
        stability: masks are dropped whose IoU between the cuts at +1 and -1 of the logits is below.
        minimum_area: in pixels; smaller holes are filled, smaller islands removed, and masks of
            fewer pixels dropped.
        box_nms: of two masks whose boxes have a greater IoU, the better one stays.
        points_per_batch: bounds memory: 3 float32 maps of the image's size a point. Results do not
            depend on it beyond rounding.
        device: where the model runs.

    Returns:
        The masks, best first.

    Raises:
        InputError: an image of another type or shape, or no points.

    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(f"image: expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    if points_per_side < 1 or points_per_batch < 1:
        raise InputError(
            "points_per_side, points_per_batch: expected at least 1, got "
            f"{points_per_side}, {points_per_batch}"
        )
    height, width = image.shape[:2]
    points = point_grid(points_per_side, height, width)
    # A PIL image says which axis holds the channels; of an array of 3 rows that is guessed.
    inputs = processor(
        images=Image.fromarray(image),
        input_points=[[[point] for point in points.tolist()]],
        return_tensors="pt",
    )
    model.eval().to(device)
    kept_masks, kept_quality = [], []
    with torch.inference_mode():
        embedding = model.get_image_embeddings(inputs["pixel_values"].to(device))
        prompts = inputs["input_points"].to(device, torch.float32)
        for start in range(0, len(points), points_per_batch):
            output = model(
                image_embeddings=embedding,
                input_points=prompts[:, start : start + points_per_batch],
                multimask_output=True,
            )
            made_progress()
            quality = output.iou_scores.flatten()
            likely = quality > pred_iou
            if not likely.any():
                continue
            small = output.pred_masks.flatten(0, 2)[likely]
            logits = _at_image_size(processor, small, inputs)
            steady = stability_scores(logits) >= stability
            kept_masks.append(logits[steady] > 0)
            kept_quality.append(quality[likely][steady])
    if not kept_masks:
        return Proposals.pack(np.zeros((0, height, width), bool), np.zeros(0))
    return _cleaned(torch.cat(kept_masks), torch.cat(kept_quality), minimum_area, box_nms)


def _cleaned(masks: Tensor, quality: Tensor, minimum_area: int, box_nms: float) -> Proposals:
    """Clean masks bool [n, H, W] of holes and islands, and keep the best of those that overlap."""
    masks, quality = suppress(masks, quality, box_nms)
    cleaned = [clean(mask, minimum_area) for mask in masks.cpu().numpy()]
    left = [i for i, mask in enumerate(cleaned) if mask.sum() >= max(minimum_area, 1)]
    if not left:
        return Proposals.pack(np.zeros((0, *masks.shape[1:]), bool), np.zeros(0))
    masks = torch.from_numpy(np.stack([cleaned[i] for i in left]))
    masks, quality = suppress(masks, quality.cpu()[left], box_nms)
    return Proposals.pack(masks.numpy(), quality.numpy())


def point_grid(points_per_side: int, height: int, width: int) -> NDArray[np.float64]:
    """Return points (x, y) in pixels, [n * n, 2], row by row, in the middles of their cells.

    >>> point_grid(2, height=10, width=20).tolist()
    [[5.0, 2.5], [15.0, 2.5], [5.0, 7.5], [15.0, 7.5]]
    """
    middles = (np.arange(points_per_side) + 0.5) / points_per_side
    y, x = np.meshgrid(middles * height, middles * width, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def stability_scores(logits: Tensor) -> Tensor:
    """Return the IoU of each mask cut at +`STABILITY_OFFSET` and at -`STABILITY_OFFSET`.

    Args:
        logits: float [M, H, W].

    Returns:
        float [M], 0-1; 0 for a mask that is empty at both.

    """
    inner = mask_areas(logits > STABILITY_OFFSET)
    outer = mask_areas(logits > -STABILITY_OFFSET)
    return inner / outer.clamp_min(1)


def suppress(masks: Tensor, quality: Tensor, box_nms: float) -> tuple[Tensor, Tensor]:
    """Drop a mask whose box has an IoU above `box_nms` with that of a better one.

    Args:
        masks: bool [M, H, W].
        quality: float [M].
        box_nms: the greatest IoU that is left.

    Returns:
        The masks that stay and their quality, best first.

    """
    kept = nms(boxes(masks), quality, box_nms)
    return masks[kept], quality[kept]


def boxes(masks: Tensor) -> Tensor:
    """Return the smallest box around each mask: float32 [M, 4], left, top, right, bottom.

    Right and bottom are exclusive, so that a box of one pixel has the area 1. An empty mask has an
    empty box.
    """
    edges = []
    for axis in (1, 2):  # which columns, then which rows, hold a pixel
        occupied = masks.view(torch.uint8).amax(dim=axis)
        length = occupied.shape[1]
        reach = torch.arange(1, length + 1, device=masks.device)
        last = (occupied * reach).amax(dim=1)
        first = (length - (occupied * reach.flip(0)).amax(dim=1)).minimum(last)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], dim=1).float()


def clean(mask: NDArray[np.bool_], minimum_area: int) -> NDArray[np.bool_]:
    """Fill holes of fewer than `minimum_area` pixels, then remove islands of fewer.

    Regions may hang together by corners. If all islands are that small, the mask becomes empty.

    Args:
        mask: bool [H, W].
        minimum_area: in pixels.

    Returns:
        bool [H, W].

    """
    if minimum_area <= 1:
        return mask
    filled = mask | _small_regions(~mask, minimum_area)
    return filled & ~_small_regions(filled, minimum_area)


def _small_regions(mask: NDArray[np.bool_], minimum_area: int) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask, structure=_NEIGHBOURS)
    small = np.bincount(labels.ravel(), minlength=count + 1) < minimum_area
    small[0] = False
    return small[labels]


def _at_image_size(processor: Any, small: Tensor, inputs: Any) -> Tensor:
    """Resize logits [M, h, w] from the model's grid to the image, without its padding."""
    sizes = {"original_sizes": inputs["original_sizes"].tolist()}
    # SAM pads an image to a square and says how far the image reaches; SAM 2 stretches it.
    if "reshaped_input_sizes" in inputs:
        sizes["reshaped_input_sizes"] = inputs["reshaped_input_sizes"].tolist()
    return processor.image_processor.post_process_masks([small[None]], binarize=False, **sizes)[0][
        0
    ]
