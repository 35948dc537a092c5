"""Does a map change where the image changes? And at which sizes is a model looked at?"""

from collections.abc import Callable, Sequence

import timm
import torch
from torch import Tensor, nn

PLACES = ((0.125, 0.625), (0.625, 0.125), (0.375, 0.875), (0.875, 0.375))
"""Centres of the changed blocks, as fractions of height and width; none is on the diagonal."""

SIDE = 0.25
"""The side of a changed block, as a fraction of the image's."""

CLEARLY = 1.1
"""A map changed at the block if it changed so many times more there than at the mirrored place."""

IMAGES = 2


def sizes_of(model: str) -> list[int]:
    """Small sides to try, then the model's own; a patch of 14 px divides 112."""
    config = timm.get_pretrained_cfg(model)
    own = config.input_size[1]
    if own > 288:
        own = 224
    small = 112 if "patch14" in model else 128
    return [small, *([own] if own != small else [])]


def random_images(size: int, count: int = IMAGES, seed: int = 0) -> Tensor:
    """Noise, float [count, 3, size, size] in 0..1, smooth over 4 px."""
    noise = torch.rand(
        count, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed)
    )
    return nn.functional.interpolate(noise, (size, size), mode="bilinear")


@torch.no_grad()
def place_shown(features: Callable[[Tensor], Tensor], size: int) -> str:
    """Change a block of an image at four places and see where a map changes.

    Args:
        features: images float [B, 3, size, size] -> a map float [B, C, h, w].
        size: the side of the images.

    Returns:
        "right": it changes more there than at the place with rows and columns exchanged, than in
        other columns of the same rows, and than in other rows of the same columns. "wrong": it
        changes more at each exchanged place, it depends on rows but not on columns or the other way
        round, or it is not a square as the image is. Else "not shown".

    """
    images = random_images(size)
    plain = features(images).float()
    if plain.shape[-1] != plain.shape[-2]:
        return "wrong"
    scale = plain.abs().amax().clamp(min=1e-30)
    logs = torch.zeros(len(PLACES), 3)
    for number, (row, column) in enumerate(PLACES):
        changed = images.clone()
        at = _block(size, row, column)
        height, width = at[0].stop - at[0].start, at[1].stop - at[1].start
        changed[(..., *at)] = random_images(size, seed=1 + number)[..., :height, :width]
        # Scaled first: the squares of untrained features can overflow, or vanish.
        change = ((features(changed).float() - plain) / scale).abs().mean((0, 1))
        elsewhere = ((column, row), (row, (column + 0.5) % 1), ((row + 0.5) % 1, column))
        own, *others = (
            change[_block(plain.shape[-1], *place)].mean().clamp(min=1e-30)
            for place in ((row, column), *elsewhere)
        )
        logs[number] = torch.stack([(own / other).log() for other in others])
    exchanged, columns, rows = logs.mean(0).exp().tolist()
    if min(exchanged, columns, rows) > CLEARLY:
        return "right"
    one_way = max(columns, rows) > 2 * CLEARLY and min(columns, rows) < CLEARLY
    everywhere_exchanged = float(logs[:, 0].max().exp()) < 1 / CLEARLY
    return "wrong" if everywhere_exchanged or one_way else "not shown"


def _block(cells: int, row: float, column: float) -> tuple[slice, slice]:
    """The cells of a map that a block around this place lies on, at least one each way."""

    def span(centre: float) -> slice:
        first = min(cells - 1, max(0, round((centre - SIDE / 2) * cells)))
        return slice(first, max(first + 1, round((centre + SIDE / 2) * cells)))

    return span(row), span(column)


def completed_order(model: nn.Module, run: Callable[[], object]) -> Sequence[nn.Module]:
    """Modules in the order in which they gave their output, each at its last call."""
    order: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output: order.append(module))
        for module in model.modules()
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    last = {id(module): position for position, module in enumerate(order)}
    return [module for position, module in enumerate(order) if last[id(module)] == position]
