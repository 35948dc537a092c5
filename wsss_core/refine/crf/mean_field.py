"""Mean field inference of a fully connected CRF, on the permutohedral lattice.

Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
(NIPS 2011), Algorithm 1, with a Potts compatibility and kernels normalised symmetrically, which are
pydensecrf's defaults: K' = D^(-1/2) K D^(-1/2), where D holds the row sums of K.

The filter is linear and the posteriors of a pixel sum to one, so the background is not filtered: it
is what the foreground classes leave of the filtered ones, which are computed once per kernel. Two
classes cost one filtered channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from wsss_core.refine.crf.permutohedral import Lattice, build_lattice


@dataclass(frozen=True)
class Kernel:
    """A symmetrically normalised Gaussian kernel over the pixels of one image or of several.

    Attributes:
        lattice: of P points: N, one image's pixels, shared by all images; or all B * N.
        scale: float32 [1 or B, N], 1 / sqrt of the lattice's row sums.
        ones: float32 [1 or B, N], what the kernel makes of a constant 1.

    """

    lattice: Lattice
    scale: Tensor
    ones: Tensor

    def filter(self, values: Tensor) -> Tensor:
        """Filter values, float32 [V, B, N] to the same."""
        scaled = (values * self.scale).view(-1, self.scale.numel())
        return self.lattice.filter(scaled).reshape(values.shape).mul_(self.scale)


def mean_field(
    log_unary: Tensor, kernels: Sequence[tuple[Kernel, float]], iterations: int
) -> Tensor:
    """Run the updates from the softmax of the unary.

    Args:
        log_unary: float32 [C, B, N], the log of each class's probability; a constant added to a
            pixel's classes changes nothing.
        kernels: each with its compatibility, the energy of two pixels that differ.
        iterations: 0 or more.

    Returns:
        Posteriors, float32 [C, B, N], summing to one over the classes.

    """
    posteriors = log_unary.softmax(0)
    for _ in range(iterations):
        messages = log_unary.clone()
        for kernel, compatibility in kernels:
            filtered = kernel.filter(posteriors[1:])
            messages[0].add_(kernel.ones - filtered.sum(0), alpha=compatibility)
            messages[1:].add_(filtered, alpha=compatibility)
        posteriors = messages.softmax(0)
    return posteriors


@lru_cache(maxsize=4)
def gaussian_kernel(height: int, width: int, sxy: float, device: torch.device) -> Kernel:
    """Return the kernel of pixel positions alone, which is kept for the next picture.

    One of a 512 x 512 image holds 15 MB.
    """
    positions = _positions(height, width, device) / _divisors([sxy, sxy], device)
    return _normalised(build_lattice(positions[None]), (1, height * width))


def bilateral_kernel(images: Tensor, sxy: float, srgb: float) -> Kernel:
    """Return the kernel of positions and colours of uint8 [B, H, W, 3] images."""
    count, height, width, _ = images.shape
    device = images.device
    positions = _positions(height, width, device).expand(count, 2, -1)
    colours = images.view(count, -1, 3).transpose(1, 2).float()
    features = torch.cat([positions, colours], 1)
    features /= _divisors([sxy, sxy, srgb, srgb, srgb], device)
    return _normalised(build_lattice(features), (count, height * width))


def _positions(height: int, width: int, device: torch.device) -> Tensor:
    rows = torch.arange(height, device=device, dtype=torch.float32)
    columns = torch.arange(width, device=device, dtype=torch.float32)
    return torch.stack([columns.repeat(height), rows.repeat_interleave(width)])


def _divisors(deviations: list[float], device: torch.device) -> Tensor:
    # A tensor, since CUDA divides by a Python number as a product with its rounded inverse.
    return torch.tensor(deviations, device=device, dtype=torch.float32)[:, None]


def _normalised(lattice: Lattice, shape: tuple[int, int]) -> Kernel:
    ones = torch.ones(shape, device=lattice.neighbours.device)
    scale = lattice.filter(ones.view(1, -1)).view(shape).add_(1e-20).rsqrt_()
    kernel = Kernel(lattice, scale, ones)
    return Kernel(lattice, scale, kernel.filter(ones[None])[0])
