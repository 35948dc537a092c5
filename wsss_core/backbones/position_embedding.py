"""Learned position embeddings of tokens, from a file's grid of patches to a network's.

The tokens before the patches (a class token, a distillation token, registers) have positions of
their own in some networks and none in others. A file says by its tensors which tokens it has.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from wsss_core.errors import InputError

NAME = "pos_embed"
"""The name of the embedding in timm's models, [1, tokens, channels]."""

_TOKENS = ("cls_token", "dist_token", "reg_token")
"""timm's names of the tokens before the patches, in their order."""

_CLEARLY = 0.1
"""By so much correlation another width has to fit the patches better than that of a square."""

_DEVIATIONS = 6.0
"""And by so many standard deviations of what numbers drawn at random would show."""


@dataclass(frozen=True)
class _Tokens:
    """How the tokens of an embedding are divided.

    Attributes:
        prefix: how many have a position before the patches.
        grid: rows and columns of patches.

    """

    prefix: int
    grid: tuple[int, int]

    def __str__(self) -> str:
        rows, columns = self.grid
        return f"{self.prefix + rows * columns} = {rows} x {columns} patches + {self.prefix}"


def fit_position_embedding(
    state: Mapping[str, Tensor], model: Any, position_grid: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """Return a state dict whose position embedding has the network's grid and tokens.

    Patches are resampled (bicubic, as timm does). A token that the network lacks loses its
    position. Where the network has a class token without a position of its own, the position in the
    file is added to the token, which is the same network.

    Args:
        state: tensors by timm's names.
        model: the timm model; one without such an embedding leaves the state as it is.
        position_grid: rows and columns of patches in the file; None: a square.

    Raises:
        InputError: the file's tokens cannot be divided into patches and known other tokens.

    """
    state = dict(state)
    given, wanted = state.get(NAME), model.state_dict().get(NAME)
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if given is None or wanted is None or grid is None or given.ndim != 3 or wanted.ndim != 3:
        return state
    own = _Tokens(wanted.shape[1] - math.prod(grid), (int(grid[0]), int(grid[1])))
    if own.prefix < 0 or given.shape[2] != wanted.shape[2]:
        return state
    found = _divided(state, own, position_grid)
    if position_grid is None:
        _check_square(given[0, found.prefix :], found)
    if found.prefix != own.prefix:
        _match_prefix(state, found, own, model)
    if found.grid != own.grid:
        state[NAME] = resample_abs_pos_embed(
            state[NAME],
            new_size=list(own.grid),
            old_size=None if position_grid is None else list(found.grid),
            num_prefix_tokens=own.prefix,
        )
    return state


def _lengths(state: Mapping[str, Tensor]) -> list[tuple[str, int]]:
    """Return the tokens before the patches that a file has, with their numbers."""
    return [
        (name, state[name].shape[1]) for name in _TOKENS if name in state and state[name].ndim == 3
    ]


def _divided(
    state: Mapping[str, Tensor], own: _Tokens, position_grid: Sequence[int] | None
) -> _Tokens:
    """Find out which of the file's tokens are patches."""
    tokens = state[NAME].shape[1]
    known = sum(length for _, length in _lengths(state))
    for prefix in dict.fromkeys((own.prefix, known, 0)):
        patches = tokens - prefix
        if position_grid is not None:
            if math.prod(position_grid) == patches:
                return _Tokens(prefix, (position_grid[0], position_grid[1]))
        elif patches > 0 and math.isqrt(patches) ** 2 == patches:
            return _Tokens(prefix, (math.isqrt(patches),) * 2)
    named = ", ".join(f"{name} {length}" for name, length in _lengths(state)) or "none"
    expected = (
        "what is left is no square of patches; for a rectangle give position_grid: [rows, columns]"
        if position_grid is None
        else f"{list(position_grid)} patches are {math.prod(position_grid)}"
    )
    raise InputError(
        f"{NAME} has {tokens} tokens in the file, {own} in the network; the file holds these "
        f"tokens beside patches: {named}; {expected}"
    )


def _match_prefix(state: dict[str, Tensor], found: _Tokens, own: _Tokens, model: Any) -> None:
    """Take positions out that the network lacks, or refuse where it needs one that is not there."""
    wanted = model.state_dict()
    embedding, positions = state[NAME], dict[str, Tensor]()
    start = 0
    for name, length in _lengths(state):
        if start + length <= found.prefix:
            positions[name] = embedding[:, start : start + length]
            start += length
    if start != found.prefix:
        raise InputError(
            f"{NAME} has tokens in the file that no other tensor explains: {found} in the file, "
            f"{own} in the network"
        )
    if own.prefix == 0:
        for name, position in positions.items():
            if name in wanted:
                state[name] = state[name] + position
        kept: list[Tensor] = []
    else:
        needed = [name for name, _ in _lengths(wanted)]
        kept = [position for name, position in positions.items() if name in needed]
    if sum(part.shape[1] for part in kept) != own.prefix:
        way = (
            "options: {no_embed_class: true} builds the network without a position for it"
            if "cls_token" in state
            else "options: {class_token: false, global_pool: avg} builds the network without one"
        )
        raise InputError(
            f"{NAME} is {found} in the file, {own} in the network, whose class token has a "
            f"position that the file lacks; {way}"
            if found.prefix == 0
            else f"{NAME} is {found} in the file, {own} in the network, with other tokens"
        )
    state[NAME] = torch.cat([*kept, embedding[:, found.prefix :]], 1)


def _check_square(patches: Tensor, found: _Tokens) -> None:
    """Raise if the patches, [patches, channels], evidently lie on no square.

    Embeddings of patches that are neighbours are alike. So an embedding is most like itself when it
    is moved by the patches of one row.
    """
    side = found.grid[1]
    if side < 4:
        return
    centred = patches.float() - patches.float().mean(0)
    centred = F.normalize(centred, dim=1)
    count = len(centred)
    widths = [w for w in range(-(-side // 4), 4 * side + 1) if count % w == 0]
    alike = {width: _likeness(centred, width) for width in widths}
    best = max(alike, key=lambda width: alike[width])
    # Parts of a row fit better than a row only where neighbours in a row are hardly apart.
    chance = _DEVIATIONS / math.sqrt((count - best) * centred.shape[1])
    better = alike[best] > alike[side] + max(_CLEARLY, chance)
    if better and alike[best] > _likeness(centred, best // 2):
        raise InputError(
            f"{NAME} in the file looks like {count // best} x {best} patches, not like a square; "
            f"give position_grid: [{count // best}, {best}], or [{side}, {side}] if it is a square"
        )


def _likeness(patches: Tensor, moved: int) -> float:
    """Return the mean cosine of patches, [patches, channels] of length 1, and those so far on."""
    return float((patches[moved:] * patches[: len(patches) - moved]).sum(1).mean())
