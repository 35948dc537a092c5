"""Random walk of a CAM over the pixel affinities of a grid, without the dense transition matrix.

Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly
Supervised Semantic Segmentation" (PSA), CVPR 2018, "Revising CAMs": T = A^beta (entrywise, its
diagonal 1) with each column divided by its sum, and the CAM times T^(2^squarings).

The published code squares T as a dense n x n matrix. A row holds only the neighbours within the
radius (69 at radius 5), so here the CAM itself is multiplied, as one shifted product an offset. Two
ways to save steps, and what comes of them: a larger step (T^2, T^4, ...) does not pay, since its
rows fill in as the area of the disc that it reaches, four times the products for half of the steps.
A polynomial does: the eigenvalues of T lie in [-1, 1], where x^m needs only about sqrt(m)
Chebyshev terms (Sachdeva & Vishnoi, "Faster Algorithms via Approximation Theory", 2014, chapter
3), so 256 steps become about 100 products, within the rounding of a float32.
"""

import functools
import math
from typing import Protocol

import torch
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.refine.affinity.settings import MOST_SQUARINGS

Offset = tuple[int, int]
"""(dy, dx) from a pixel to its partner, dy >= 0."""


def half_disc(radius: int) -> tuple[Offset, ...]:
    """Return one offset (dy, dx) of each pair of pixels less than `radius` apart, as PSA does.

    The other half are the same pairs seen from the partner; affinity is symmetric.

    Example:
        >>> half_disc(2)
        ((0, 1), (1, -1), (1, 0), (1, 1))
        >>> len(half_disc(5)), len(half_disc(10))
        (34, 152)

    """
    if radius < 1:
        raise InputError(f"radius is {radius!r}; expected 1 or more")
    right = [(0, dx) for dx in range(1, radius)]
    below = [
        (dy, dx)
        for dy in range(1, radius)
        for dx in range(1 - radius, radius)
        if dy * dy + dx * dx < radius * radius
    ]
    return (*right, *below)


def pixels_with_partner(offset: Offset, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of pixels whose partner at an offset lies on the grid too.

    They may be none. The partners are the same slices moved by the offset, see `moved`.
    """
    dy, dx = offset
    left = min(max(0, -dx), width)
    return slice(0, max(0, height - dy)), slice(left, max(left, width - max(0, dx)))


def moved(window: tuple[slice, slice], offset: Offset) -> tuple[slice, slice]:
    """Move a window (rows, columns) of a grid by (dy, dx); an empty one stays where it is."""
    rows, columns = window
    if rows.start == rows.stop or columns.start == columns.stop:
        return window
    dy, dx = offset
    return slice(rows.start + dy, rows.stop + dy), slice(columns.start + dx, columns.stop + dx)


@torch.no_grad()
def random_walk(scores: Tensor, affinity: Tensor, *, beta: float, squarings: int) -> Tensor:
    """Spread each class's scores over pixels that belong together; constants stay constant.

    A pixel's new score is the mean of its disc's scores, weighted by affinity^beta, itself with
    weight 1; this is repeated 2^squarings times. With d_j the sum of a pixel's weights, the sum of
    d_j times its score never changes, and scores stay between the lowest and the highest. All
    pairs of the grid take part; PSA's code leaves out those whose upper pixel lies in the last
    rows or in the outer columns, which zeros in `affinity` reproduce.

    PSA adds a background map, (1 - max)^alpha, to the scores before; IRN has none and multiplies
    the scores by 1 - edge before, see `wsss_core.refine.affinity.heads.boundary_walk`.

    Args:
        scores: float [B, K, h, w], finite.
        affinity: float [B, N, h, w] in 0..1, one map an offset of `half_disc(radius)`, whose number
            gives the radius: affinity[:, o, y, x] is that of (y, x) and (y + dy, x + dx). Where the
            partner lies off the grid the value is not used.
        beta: exponent of the affinity, above 0; higher walks spread less.
        squarings: 2^squarings steps, 0 to 16.

    Returns:
        float [B, K, h, w] of the scores' dtype (half precision is computed in float32), equal to
        the dense power up to its rounding. It carries no gradient.

    Raises:
        InputError: shapes that do not meet, a number of maps that no radius has, scores that are
            not finite, affinities or settings outside their range.

    Example:
        >>> scores = torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> affinity = torch.zeros(1, 4, 1, 3)  # radius 2
        >>> affinity[0, 0, 0, 0] = 1  # the first two of three pixels belong together
        >>> random_walk(scores, affinity, beta=8, squarings=3)
        tensor([[[[0.5000, 0.5000, 0.0000]]]])

    """
    offsets = _checked_offsets(scores, affinity, beta, squarings)
    wide = torch.promote_types(scores.dtype, torch.float32)
    used = torch.zeros(affinity.shape, dtype=wide, device=scores.device)
    for number, offset in enumerate(offsets):
        rows, columns = pixels_with_partner(offset, *scores.shape[-2:])
        used[:, number, rows, columns] = affinity[:, number, rows, columns].to(wide)
    if not bool(((used >= 0) & (used <= 1)).all()):
        raise InputError("affinity has values outside 0..1; expected one map an offset in 0..1")
    product = _Windows if scores.is_cuda else _Shifts
    # T is symmetric in the norm weighted by d (Levin & Peres, "Markov Chains and Mixing Times",
    # chapter 12). An error bounded there is at a pixel at most sqrt(sum of d / own d) times that,
    # and d lies between 1 and the number of neighbours.
    most = scores.shape[-2:].numel() * (2 * len(offsets) + 1)
    tolerance = torch.finfo(wide).eps / most**0.5
    # One image at a time: the weights of one stay in the cache from step to step.
    walked = [
        _walk(
            product(one.pow(beta), offsets, len(maps)),
            maps.to(wide).flatten(1),
            2**squarings,
            tolerance,
        )
        for maps, one in zip(scores, used, strict=True)
    ]
    return torch.stack(walked).unflatten(2, scores.shape[-2:]).to(scores.dtype)


@functools.cache
def power_terms(steps: int, tolerance: float) -> tuple[float, ...]:
    """Return coefficients c of x^steps = sum_k c_k T_k(x), T_k the Chebyshev polynomials.

    c_k is the chance that a walk of `steps` fair coin tosses ends k away from its start, on either
    side. The last terms whose sum is at most `tolerance` are left out; for x in [-1, 1], where
    |T_k(x)| <= 1, that is the error at most.

    Example:
        >>> power_terms(4, 0.0)
        (0.375, 0.0, 0.5, 0.0, 0.125)

    """
    ups = (steps + 1) // 2
    chance = math.comb(steps, ups) / 2**steps
    terms = [0.0] * (steps % 2)
    while chance > 0 and ups <= steps:
        terms += [chance if 2 * ups == steps else 2 * chance, 0.0]
        ups += 1
        chance *= (steps - ups + 1) / ups
    terms.pop()
    left_out = 0.0
    while len(terms) > 1 and left_out + terms[-1] <= tolerance:
        left_out += terms.pop()
    return tuple(terms)


class _Product(Protocol):
    """A times maps, A the affinity matrix of n pixels: symmetric, its diagonal 0 here."""

    def __call__(self, maps: Tensor) -> Tensor:
        """Multiply maps float [K, n]; the result is the caller's to change until the next call."""
        ...


class _Shifts:
    """A as two shifted products an offset on maps laid out as one line: the way of a CPU.

    A shift by (dy, dx) is one by dy * w + dx of the line. Where it leaves the grid or runs into the
    next row, the affinity is 0. So each product reads and writes whole lines, with room at both
    ends, and half of A is enough: a weight takes the partner's score here, and this one's there.
    """

    def __init__(self, affinity: Tensor, offsets: tuple[Offset, ...], classes: int) -> None:
        count, (height, width) = len(offsets), affinity.shape[-2:]
        size = height * width
        shifts = [dy * width + dx for dy, dx in offsets]
        room = max(map(abs, shifts), default=0)
        lines = affinity.new_zeros(2, classes, size + 2 * room)
        self.source, self.sums = lines[:, :, room : room + size]
        self.products = [
            (weight, *lines[:, :, room + shift : room + shift + size])
            for weight, shift in zip(affinity.reshape(count, size), shifts, strict=True)
        ]

    def __call__(self, maps: Tensor) -> Tensor:
        self.source.copy_(maps)
        self.sums.zero_()
        for weight, partners, partner_sums in self.products:
            self.sums.addcmul_(weight, partners)
            partner_sums.addcmul_(weight, self.source)
        return self.sums


class _Windows:
    """A as the square of weights around each pixel times the window of scores: two kernels a step.

    A GPU spends more on starting a kernel than on the work of `_Shifts` for one offset.
    """

    def __init__(self, affinity: Tensor, offsets: tuple[Offset, ...], classes: int) -> None:
        height, width = affinity.shape[-2:]
        reach = max((max(dy, abs(dx)) for dy, dx in offsets), default=0)
        side, size = 2 * reach + 1, height * width
        weights = affinity.new_zeros(side, side, height, width)
        for weight, (dy, dx) in zip(affinity, offsets, strict=True):
            here = pixels_with_partner((dy, dx), height, width)
            weights[reach + dy, reach + dx][here] = weight[here]
            weights[reach - dy, reach - dx][moved(here, (dy, dx))] = weight[here]
        self.weights = weights.flatten(2)
        room = reach * width + reach
        line = affinity.new_zeros(classes, size + 2 * room)
        self.source = line[:, room : room + size]
        strides = (line.stride(0), width, 1, 1)
        self.windows = line.as_strided((classes, side, side, size), strides)
        self.products = affinity.new_empty(classes, side, side, size)

    def __call__(self, maps: Tensor) -> Tensor:
        self.source.copy_(maps)
        torch.mul(self.weights, self.windows, out=self.products)
        return self.products.sum((1, 2))


def _walk(product: _Product, maps: Tensor, steps: int, tolerance: float) -> Tensor:
    """Apply T^steps to maps [K, n], up to an error of `tolerance` in the norm above."""
    degree = product(torch.ones_like(maps)).clone()
    shares = 1 / (1 + degree)

    def change(of: Tensor) -> Tensor:
        """Return (T - 1) times maps. Added to its maps, it keeps a pixel with hardly any neighbour.

        Multiplied by its rounded share of nearly 1 instead, 256 times, it drifts by 1e-5.
        """
        return product(of).addcmul_(degree, of, value=-1).mul_(shares)

    terms = power_terms(steps, tolerance)
    if len(terms) > 0.8 * steps:
        here = maps.clone()
        for _ in range(steps):
            here += change(here)
        return here
    # T_(k+1) = 2 T T_k - T_(k-1), as the difference of two in a row: 2 (T - 1) T_k more each time.
    step = change(maps).clone()
    here = maps + step
    total = terms[0] * maps + terms[1] * here
    for term in terms[2:]:
        step.add_(change(here), alpha=2)
        here += step
        if term:
            total.add_(here, alpha=term)
    return total


def _checked_offsets(
    scores: Tensor, affinity: Tensor, beta: float, squarings: int
) -> tuple[Offset, ...]:
    shapes = f"scores {list(scores.shape)}, affinity {list(affinity.shape)}"
    if scores.ndim != 4 or affinity.ndim != 4 or 0 in scores.shape:
        raise InputError(f"random_walk expects non-empty [B, K, h, w] and [B, N, h, w]; {shapes}")
    if scores.shape[0] != affinity.shape[0] or scores.shape[2:] != affinity.shape[2:]:
        raise InputError(f"random_walk expects one batch on one grid; got {shapes}")
    if not (scores.is_floating_point() and affinity.is_floating_point()):
        raise InputError(f"random_walk expects floats; got {scores.dtype}, {affinity.dtype}")
    if not 0 < beta < math.inf:
        raise InputError(f"beta is {beta!r}; expected a finite number above 0")
    if squarings not in range(MOST_SQUARINGS + 1):
        raise InputError(f"squarings is {squarings!r}; expected 0 to {MOST_SQUARINGS}, whole")
    if not bool(scores.isfinite().all()):
        raise InputError("random_walk got scores that are not finite")
    radius = 1
    while len(half_disc(radius)) < affinity.shape[1]:
        radius += 1
    offsets = half_disc(radius)
    if len(offsets) != affinity.shape[1]:
        near = len(half_disc(radius - 1))
        raise InputError(
            f"affinity has {affinity.shape[1]} maps; expected one an offset of half_disc(radius): "
            f"{near} at radius {radius - 1}, {len(offsets)} at radius {radius}"
        )
    return offsets
