"""One map made of the maps of several networks that were trained apart, and one score per class.

The maps are those of 0 to 1 that each network has by itself. With m_1 to m_n the maps of a class at
one pixel, and N the normalisation that each map went through:

| name | map |
|---|---|
| `mean` | N((m_1 + ... + m_n) / n), the CAM fusion of the thesis (arXiv 2507.21959) |
| `product` | N(m_1 * ... * m_n) |
| `minimum` | N(min m_i) |
| `or` | max m_i |
| `and` | min m_i |

`or` and `and` are not stretched again. Their mask at a threshold is therefore exactly the union and
the intersection of the networks' masks at that same threshold (compare ORANDNet, arXiv 2406.19638).
`minimum` is the map of `and` stretched to 0..1, so the same threshold cuts it elsewhere. A sigmoid
stretches nothing, and there the two are equal.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.score_maps import Maps, Normalisation, normalise

MapFusion = Literal["mean", "product", "minimum", "or", "and"]
"""How several maps become one."""

LogitFusion = Literal["logits", "probabilities"]
"""What is averaged for the score of a class in an image."""

STRETCHED = ("mean", "product", "minimum")


def fuse_maps(
    members: Sequence[NDArray[np.floating]],
    how: MapFusion = "mean",
    normalisation: Normalisation = "min_max",
) -> Maps:
    """Fuse the maps of several networks.

    Args:
        members: real [..., H, W] each, in [0, 1] and of one shape.
        how: the name of the fusion, see above.
        normalisation: what each map was normalised by.

    Returns:
        float32 [..., H, W] in [0, 1].

    Raises:
        InputError: another name, no member, or members of different images, classes or sizes.

    Example:
        >>> maps = [np.array([[0.0, 0.5, 1.0]]), np.array([[0.0, 1.0, 0.5]])]
        >>> fuse_maps(maps, "and").tolist(), fuse_maps(maps, "minimum").tolist()
        ([[0.0, 0.5, 0.5]], [[0.0, 1.0, 1.0]])

    """
    if how not in get_args(MapFusion):
        raise InputError(f"fusion {how!r}: expected one of {', '.join(get_args(MapFusion))}")
    shapes = sorted({np.shape(maps) for maps in members})
    if len(shapes) != 1:
        given = ", ".join(str(list(shape)) for shape in shapes) or "none"
        raise InputError(f"maps to fuse: expected several of one shape, got {given}")
    stack = np.stack([np.asarray(maps, np.float32) for maps in members])
    fused: Maps
    if how == "mean":
        fused = np.mean(stack, axis=0)
    elif how == "product":
        fused = np.prod(stack, axis=0)
    elif how == "or":
        fused = np.max(stack, axis=0)
    else:
        fused = np.min(stack, axis=0)
    if how in STRETCHED and normalisation != "sigmoid":
        return normalise(fused, normalisation)
    return fused


def fuse_logits(
    members: Sequence[NDArray[np.floating]], by: LogitFusion = "logits"
) -> NDArray[np.floating]:
    """Fuse the logits of several networks.

    Logits of different architectures may differ in scale, and the more confident network then
    decides a mean of logits. A mean of probabilities bounds what each can say.

    Args:
        members: real [...] each, of one shape.
        by: `logits`: their mean; `probabilities`: the logit of the mean of their sigmoids.

    Returns:
        float [...]; above 0 where the fused networks predict the class.

    Raises:
        InputError: another name.

    Example:
        >>> logits = [np.array([9.0]), np.array([-1.0])]
        >>> fuse_logits(logits).tolist(), fuse_logits(logits, "probabilities").round(2).tolist()
        ([4.0], [0.55])

    """
    if by not in get_args(LogitFusion):
        raise InputError(f"fusion of logits {by!r}: expected {' or '.join(get_args(LogitFusion))}")
    stack = np.stack(list(members))
    if by == "logits":
        mean: NDArray[np.floating] = np.mean(stack, axis=0)
        return mean
    wide = stack.astype(np.float64)
    # log of the means of sigmoid(x) and sigmoid(-x), neither of which rounds to 0.
    present = np.logaddexp.reduce(-np.logaddexp(0, -wide), axis=0)
    absent = np.logaddexp.reduce(-np.logaddexp(0, wide), axis=0)
    logit: NDArray[np.floating] = (present - absent).astype(stack.dtype)
    return logit
