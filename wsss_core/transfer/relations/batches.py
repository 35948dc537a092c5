"""Two networks' maps of one batch as rows of numbers, one for each image."""

import torch
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.transfer.losses import SHORTEST, bounded

NEGLIGIBLE = 1e-6
"""What is no greater than this share of a batch's largest number counts as 0: in float32 it may be
mere rounding."""


def image_rows(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return a row for each image, [B, ...] to [B, L] and [B, L'], bounded, not in half precision.

    Raises:
        InputError: not the same images, or none.

    """
    if (
        min(student.ndim, teacher.ndim) < 2
        or student.shape[0] != teacher.shape[0]
        or 0 in (*student.shape, *teacher.shape)
    ):
        raise InputError(
            "expected two non-empty [B, ...] of the same images; got "
            f"student {list(student.shape)}, teacher {list(teacher.shape)}"
        )
    if student.dtype in (torch.float16, torch.bfloat16):
        student = student.float()
    return bounded(student).flatten(1), bounded(teacher.to(student.dtype)).flatten(1)


def image_embeddings(maps: Tensor) -> Tensor:
    """Return the mean over locations, [B, C, H, W] to [B, C], of half precision in float32."""
    half = maps.dtype in (torch.float16, torch.bfloat16)
    return (maps.float() if half else maps).mean((2, 3))


def image_logits(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return logits [B, K] or [B, K, 1, 1] as rows [B, K]; see `image_rows`.

    Raises:
        InputError: other shapes, other numbers of classes, or a temperature not above 0.

    """
    if not temperature > 0:
        raise InputError(f"temperature is {temperature!r}; expected a number above 0")
    if student.shape != teacher.shape or student.shape[2:].numel() != 1:
        raise InputError(
            "expected logits [B, K] of the same classes; got "
            f"student {list(student.shape)}, teacher {list(teacher.shape)}"
        )
    return image_rows(student, teacher)


def jointly_scaled(rows: Tensor) -> Tensor:
    """Divide rows by their largest magnitude, for what does not change with a common scale.

    The divisor carries no gradient, which changes nothing: the result does not depend on it. Rows
    that are nowhere above `SHORTEST` become 0.
    """
    return _over(rows, rows.detach().abs().amax())


def scaled_each(rows: Tensor) -> Tensor:
    """Divide each row by its own largest magnitude; see `jointly_scaled`."""
    return _over(rows, rows.detach().abs().amax(1, keepdim=True))


def _over(rows: Tensor, largest: Tensor) -> Tensor:
    short = largest <= SHORTEST
    return (rows / largest.masked_fill(short, 1.0)).masked_fill(short, 0.0)


def no_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return 0 with gradients of 0, for a batch in which there is nothing to compare."""
    return 0 * (student.mean() + teacher.mean())


def other_than_itself(count: int, device: torch.device) -> Tensor:
    """Return bool [count, count], False on the diagonal."""
    return ~torch.eye(count, dtype=torch.bool, device=device)
