"""Gaussian filtering of points in d dimensions on the permutohedral lattice, in plain PyTorch.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice" (2010): a
point's value is splatted onto the d + 1 vertices of the simplex that encloses it, the vertices are
blurred along the d + 1 axes of the lattice, and the point slices its result from the same vertices.

Only vertices that some point touches exist; a missing neighbour counts as zero. Which simplex a
point on a border falls into therefore matters, and every step here keeps the order and the float32
rounding of Krähenbühl's densecrf, which pydensecrf wraps. That includes its groups of four points:
where the number of points is no multiple of four, it fills the last group with points at the
origin, whose vertices then exist although no value is splatted on them.

What makes it quick without a compiler is that pixels crowd: at the usual bandwidths the 262,144
pixels of a 512 x 512 image lie in some 40,000 simplices with 10,000 to 20,000 vertices. Sorting is
by simplex, not by vertex, and splat and slice become two sparse matrices of d + 1 entries a point.
"""

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from wsss_core.errors import InputError


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix [R, S], row by row.

    Attributes:
        ends: int32 [R + 1], where each row's entries begin; the last is their number E.
        columns: int32 [E].
        weights: float32 [E].
        width: S.

    """

    ends: Tensor
    columns: Tensor
    weights: Tensor
    width: int

    @cached_property
    def _matrix(self) -> Tensor | None:
        """Return the same as PyTorch's CSR matrix; None where this build cannot multiply by one."""
        if self.weights.device.type == "cpu" and not torch.backends.mkl.is_available():
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                self.ends,
                self.columns,
                self.weights,
                (len(self.ends) - 1, self.width),
                check_invariants=False,
            )

    @cached_property
    def _rows(self) -> Tensor:
        return torch.repeat_interleave(self.ends.diff(), output_size=len(self.columns))

    def apply(self, values: Tensor) -> Tensor:
        """Multiply V vectors, float32 [V, S], by the matrix: float32 [V, R]."""
        if self._matrix is None:
            terms = values.index_select(1, self.columns).mul_(self.weights)
            sums = values.new_zeros(len(values), len(self.ends) - 1)
            return sums.index_add_(1, self._rows, terms)
        # Autocast would halve the precision of the products.
        with torch.autocast(values.device.type, enabled=False):
            if values.device.type != "cpu":
                return (self._matrix @ values.T).T
            # MKL is quicker vector by vector than at a dense matrix, whose layout it also copies.
            return torch.stack([self._matrix.mv(vector) for vector in values])


@dataclass(frozen=True)
class Lattice:
    """The lattice of P points with M vertices, ready to filter any number of value vectors.

    Attributes:
        splat: [M + 1, P], the points' barycentric weights by vertex; the last row is empty.
        slice: [P, M + 1], the same weights by point.
        neighbours: int32 [d + 1, 2, M + 1], both neighbours of each vertex along each axis; M
            stands for a missing one.

    """

    splat: SparseRows
    slice: SparseRows
    neighbours: Tensor

    def filter(self, values: Tensor) -> Tensor:
        """Filter V value vectors, float32 [V, P] to float32 [V, P]; linear in the values."""
        vertices = self.splat.apply(values)
        for before, after in self.neighbours:
            # Vertex M is zero and its own neighbour, so that it stays zero.
            around = vertices.index_select(1, before).add_(vertices.index_select(1, after))
            vertices = vertices + around.mul_(0.5)
        dimensions = len(self.neighbours) - 1
        return self.slice.apply(vertices.mul_(1 / (1 + 2.0**-dimensions)))


def build_lattice(features: Tensor) -> Lattice:
    """Build one lattice for the points of B images; images do not touch each other.

    Args:
        features: float32 [B, d, N], each point's position in units of the standard deviation.

    Returns:
        The lattice of P = B * N points, image by image, on the features' device.

    Raises:
        InputError: the features reach so far that the lattice cannot be numbered in 63 bits.

    """
    images, dimensions, count = features.shape
    device = features.device
    corners = dimensions + 1
    real = images * count
    points = features.transpose(0, 1).reshape(dimensions, real)
    image = torch.arange(images, device=device).repeat_interleave(count)
    if count % 4:
        points = torch.cat([points, points.new_zeros(dimensions, images)], 1)
        image = torch.cat([image, torch.arange(images, device=device)])
    origin, rank, weights = _enclosing_simplices(points)
    weights[real:] = 0

    numbering = _Numbering.over(origin, images)
    keys, by_simplex = numbering.simplices(image, origin, rank).sort()
    keys, simplex, sizes = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
    first = sizes.cumsum(0) - sizes

    member = by_simplex[first]
    vertex_keys = numbering.vertices(image[member], origin[:, member], rank[:, member]).T.reshape(
        -1
    )
    vertex_keys, by_vertex = vertex_keys.sort()
    vertex_keys, vertex, blocks = torch.unique_consecutive(
        vertex_keys, return_inverse=True, return_counts=True
    )
    corner_vertices = torch.empty_like(by_vertex, dtype=torch.int32)
    corner_vertices.scatter_(0, by_vertex, vertex.int())

    vertices = len(vertex_keys)
    simplex_of_point = torch.empty_like(simplex).scatter_(0, by_simplex, simplex)
    slices = SparseRows(
        torch.arange(0, real * corners + 1, corners, device=device, dtype=torch.int32),
        corner_vertices.view(-1, corners).index_select(0, simplex_of_point[:real]).view(-1),
        weights[:real].view(-1),
        vertices + 1,
    )

    # The entries of a vertex are the members of every simplex it is a corner of, block by block.
    block_simplex = by_vertex.div(corners, rounding_mode="floor")
    block_size = sizes[block_simplex]
    block_end = block_size.cumsum(0)
    shift = (first[block_simplex] - (block_end - block_size)).int()
    corner = (by_vertex - block_simplex * corners).int()
    entries = len(by_simplex) * corners
    block = torch.repeat_interleave(block_size.int(), output_size=entries)
    source = torch.arange(entries, device=device, dtype=torch.int32)
    source += shift.index_select(0, block)
    point = by_simplex.int().index_select(0, source)
    weight = (point * corners).add_(corner.index_select(0, block))
    ends = torch.zeros(vertices + 2, device=device, dtype=torch.int32)
    ends[1:-1] = block_end[blocks.cumsum(0) - 1]
    ends[-1] = entries
    splat = SparseRows(
        ends,
        point.clamp_(max=real - 1),
        weights.view(-1).index_select(0, weight),
        real,
    )
    return Lattice(splat, slices, _neighbours(vertex_keys, numbering.strides))


class _Numbering(NamedTuple):
    """Lattice points as whole numbers whose digits are the coordinates of their first d axes.

    Steps along the lattice are then plain additions. The margin keeps the neighbours of the
    outermost vertices from running into the next digit.

    Attributes:
        lowest: float32 [d], the smallest coordinate of any origin.
        strides: what a step along each of the d + 1 axes adds; 0 for the last one.
        image_stride: what lies between two images.
        margin: of each digit.

    """

    lowest: Tensor
    strides: list[int]
    image_stride: int
    margin: int

    @classmethod
    def over(cls, origin: Tensor, images: int) -> Self:
        """Return the numbering of simplices of these origins, float32 [d + 1, P]; see `Lattice`.

        Raises:
            InputError: the numbers would not fit into 63 bits.

        """
        lowest = origin[:-1].amin(1)
        margin = 2 * len(origin)
        spans = (origin[:-1].amax(1) - lowest + 2 * margin).long().tolist()
        strides = [math.prod(spans[axis + 1 :]) for axis in range(len(spans))] + [0]
        image_stride = math.prod(spans)
        if images * image_stride >= 2**63:
            raise InputError(
                f"dense CRF: the features span {spans} lattice steps, too far to number the "
                "lattice; expected larger standard deviations (sxy, srgb) or fewer images at once"
            )
        return cls(lowest, strides, image_stride, margin)

    def simplices(self, image: Tensor, origin: Tensor, rank: Tensor) -> Tensor:
        """Return a number for each simplex, int64 [P].

        A simplex is known by its origin, multiples of d + 1, plus its ranks, 0 to d.
        """
        numbers = image * self.image_stride
        for axis, stride in enumerate(self.strides[:-1]):
            numbers += (origin[axis] - self.lowest[axis] + rank[axis]).long() * stride
        return numbers

    def vertices(self, image: Tensor, origin: Tensor, rank: Tensor) -> Tensor:
        """Return the numbers of the vertices of S simplices, int64 [d + 1, S].

        Vertex k of a simplex lies k further on every axis, and d + 1 back on the axes of the last k
        ranks (p. 4 of the paper, the canonical simplex).
        """
        corners = len(self.strides)
        numbers = image * self.image_stride
        for axis, stride in enumerate(self.strides[:-1]):
            numbers += ((origin[axis] - self.lowest[axis]).long() + self.margin) * stride
        ranks = rank.long()
        strides = torch.tensor(self.strides, device=ranks.device)[:, None].expand_as(ranks)
        back = torch.zeros_like(ranks).scatter_(0, ranks, strides).flip(0).cumsum(0).roll(1, 0)
        back[0] = 0
        steps = torch.arange(corners, device=ranks.device) * sum(self.strides)
        return numbers + steps[:, None] - corners * back


def _enclosing_simplices(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the simplex around each point, float32 [d, P] (pp. 3-5 of the paper).

    Returns:
        Its vertex of remainder 0, float32 [d + 1, P] of whole numbers; the rank of each coordinate
        of the point's offset from there, int8 [d + 1, P], 0 the largest; and the point's
        barycentric weights, float32 [P, d + 1].

    """
    dimensions, count = points.shape
    corners = dimensions + 1
    # Both factors are rounded to float32 where densecrf rounds them.
    spread = float(np.float32(math.sqrt(2 / 3) * corners))
    shrink = float(np.float32(1 / corners))
    elevated = points.new_empty(corners, count)
    total = points.new_zeros(count)
    for axis in range(dimensions, 0, -1):
        step = points[axis - 1] * float(np.float32(spread / math.sqrt(axis * (axis + 1))))
        elevated[axis] = total - step * axis
        total = total + step
    elevated[0] = total

    rounded = (elevated * shrink).round_()
    origin = rounded * corners
    offset = elevated - origin
    rank = torch.arange(corners, device=points.device, dtype=torch.int8)
    rank = rank[:, None].repeat(1, count)
    for one in range(dimensions):
        for other in range(one + 1, corners):
            behind = (offset[one] < offset[other]).view(torch.int8)
            rank[one] += behind
            rank[other] -= behind
    rank += rounded.sum(0).to(torch.int8)
    wrap = ((rank < 0).view(torch.int8) - (rank > dimensions).view(torch.int8)) * corners
    rank += wrap
    origin += wrap

    offset = (elevated - origin).mul_(shrink)
    by_rank = torch.empty_like(offset).scatter_(0, rank.long(), offset).flip(0)
    weights = points.new_empty(count, corners)
    weights[:, 0] = by_rank[0] + (1 - by_rank[-1])
    weights[:, 1:] = (by_rank[1:] - by_rank[:-1]).T
    return origin, rank, weights


def _neighbours(vertex_keys: Tensor, strides: list[int]) -> Tensor:
    """Look up both neighbours of each of M vertices, int64 [M] sorted: see `Lattice`."""
    count, corners = len(vertex_keys), len(strides)
    found = torch.full((corners, 2, count + 1), count, device=vertex_keys.device, dtype=torch.int64)
    every = torch.arange(count + 1, device=vertex_keys.device)
    for axis, stride in enumerate(strides):
        wanted = vertex_keys + (corners * stride - sum(strides))
        place = torch.searchsorted(vertex_keys, wanted).clamp_(max=count - 1)
        before, after = found[axis]
        before[:-1] = torch.where(vertex_keys[place] == wanted, place, count)
        after.scatter_(0, before, every)
        after[-1] = count
    return found.int()
