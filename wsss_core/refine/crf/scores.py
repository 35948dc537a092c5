"""Scores in, scores out: a dense CRF over a picture, in one call."""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.refine.crf.dense_crf import dense_crf, unary_probabilities
from wsss_core.refine.crf.settings import CrfSettings

_Given = TypeVar("_Given", Tensor, NDArray[np.floating])


def refine_with_crf(
    image: Tensor | NDArray[np.uint8],
    scores: _Given,
    *,
    preset: str | CrfSettings = "thesis",
    backend: str = "torch",
) -> _Given:
    """Refine the scores of foreground classes along the edges of the picture.

    The scores become probabilities of background and classes (`unary_probabilities`), a dense CRF
    redraws them (`dense_crf`), and the classes' posteriors come back. The background's is 1 minus
    their sum, so a single class is predicted where its score exceeds 0.5.

    Args:
        image: uint8 [H, W, 3], RGB; or [B, H, W, 3].
        scores: floats in 0..1, [H, W] of one class or [K, H, W] of K, at the image's size; of B
            images [B, K, H, W]. Only classes that the image holds belong among them.
        preset: a name in `CRF_PRESETS`, or the settings themselves.
        backend: "torch", or "pydensecrf" (extra `crf`).

    Returns:
        float32 of the scores' shape, in 0..1: an array for an array, a tensor for a tensor, on its
        device.

    Raises:
        InputError: other shapes, types or values, an unknown preset or backend.

    Example:
        >>> image = np.zeros((16, 24, 3), np.uint8)
        >>> image[:, 12:] = 255
        >>> scores = np.full((16, 24), 0.2, np.float32)
        >>> scores[:, 10:] = 0.9  # two pixels beyond the edge
        >>> refined = refine_with_crf(image, scores, preset="afa")
        >>> (scores > 0.5).sum(1)[0], (refined > 0.5).sum(1)[0]
        (np.int64(14), np.int64(12))

    """
    picture = image if isinstance(image, Tensor) else np.asarray(image)
    sizes = tuple(picture.shape)
    if (
        str(picture.dtype).rpartition(".")[2] != "uint8"
        or len(sizes) not in (3, 4)
        or sizes[-1] != 3
    ):
        raise InputError(
            "image: expected RGB uint8 [H, W, 3] or [B, H, W, 3], "
            f"got {picture.dtype} {list(sizes)}"
        )
    given = _as_floats(scores)
    if given.ndim not in (2, 3, 4) or (given.ndim == 4) != (len(sizes) == 4):
        raise InputError(
            "scores: expected [H, W] or [K, H, W] with an image [H, W, 3], or [B, K, H, W] with "
            f"images [B, H, W, 3]; got {list(given.shape)} with {list(sizes)}"
        )
    if tuple(given.shape[-2:]) != sizes[-3:-1]:
        raise InputError(
            f"scores: expected the image's size {list(sizes[-3:-1])}, "
            f"got {list(given.shape[-2:])}; wsss_core.evaluate.resize brings them to it"
        )
    classes = given[None] if given.ndim == 2 else given
    probabilities = unary_probabilities(classes, preset=preset)
    posteriors = dense_crf(picture, probabilities, preset=preset, backend=backend)
    found = posteriors.narrow(-3, 1, classes.shape[-3])
    found = found[0] if given.ndim == 2 else found
    return found if isinstance(scores, Tensor) else found.cpu().numpy()


def _as_floats(scores: object) -> Tensor:
    if isinstance(scores, Tensor):
        tensor, kind = scores, str(scores.dtype)
    else:
        array = np.asarray(scores)
        kind = type(scores).__name__ if array.dtype.kind not in "buif" else str(array.dtype)
        tensor = (
            torch.tensor(array) if array.dtype.kind == "f" else torch.empty(0, dtype=torch.uint8)
        )
    if not tensor.is_floating_point():
        raise InputError(f"scores: expected floats in 0..1, got {kind}")
    return tensor
