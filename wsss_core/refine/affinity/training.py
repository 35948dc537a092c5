"""Training an affinity head over a frozen encoder: its labels, their pairs, the loss on them.

Ahn & Kwak (PSA), CVPR 2018, "Learning AffinityNet", and Ahn et al. (IRN), CVPR 2019: no mask is
used. Two CRF results of one CAM, of a strong and of a weak background, agree on the pixels that are
sure; pairs of those belong together or do not.

The encoder only ever runs forward, in evaluation mode and without gradient: its parameters and its
running statistics stay what they were.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Layer, Network, evaluating
from wsss_core.data.image_set import IGNORED
from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.refine.affinity.random_walk import half_disc, moved, pixels_with_partner
from wsss_core.refine.affinity.settings import AffinitySettings
from wsss_core.training.loop import check_lengths
from wsss_core.training.micro_batches import batch_gradients
from wsss_core.transfer.losses import bounded
from wsss_core.transfer.paradigms import Losses

_EPSILON = 1e-5  # of PSA and IRN, inside the logarithm and under the count


class Pairs(NamedTuple):
    """Pairs of sure pixels, each bool [B, N, h, w], one map an offset of `half_disc(radius)`.

    Attributes:
        background: both are background.
        foreground: both are of one class.
        negative: they are of different classes, background being one.

    """

    background: Tensor
    foreground: Tensor
    negative: Tensor


def confident_labels(low_alpha: Tensor, high_alpha: Tensor) -> Tensor:
    """Return labels of the pixels that two CRF results of one CAM make sure.

    The background's score is (1 - max)^alpha (PSA takes 4 and 32). A low alpha makes it
    strong, so what is still foreground is sure to be; a high alpha makes it weak, so what is still
    background is. Where each is sure of its own side, background stands, as in PSA's code.

    Args:
        low_alpha: float [..., K + 1, H, W], posteriors or scores, background first.
        high_alpha: the same shape. IRN's two thresholds serve as well: the CRF result of the
            higher foreground threshold (0.30) first, of the lower one (0.05) second.

    Returns:
        uint8 [..., H, W]: 0 background, 1..K a class, 255 not sure.

    Raises:
        InputError: shapes that differ, fewer than 2 or more than 255 maps, or values that are not
            finite.

    Example:
        >>> low = torch.tensor([[0.9, 0.6, 0.1]]).repeat(2, 1)  # background of three pixels
        >>> high = torch.tensor([[0.7, 0.2, 0.0]]).repeat(2, 1)
        >>> low, high = (torch.stack([one, 1 - one]) for one in (low, high))
        >>> confident_labels(low, high)[0]
        tensor([  0, 255,   1], dtype=torch.uint8)

    """
    shapes = f"{list(low_alpha.shape)} and {list(high_alpha.shape)}"
    if low_alpha.shape != high_alpha.shape or low_alpha.ndim < 3:
        raise InputError(f"confident_labels expects two [..., K + 1, H, W] alike; got {shapes}")
    if not 2 <= low_alpha.shape[-3] <= IGNORED:
        raise InputError(f"confident_labels expects 2 to {IGNORED} maps a pixel; got {shapes}")
    if not bool((low_alpha.isfinite() & high_alpha.isfinite()).all()):
        raise InputError("confident_labels got scores that are not finite")
    foreground, background = low_alpha.argmax(-3), high_alpha.argmax(-3)
    labels = torch.where(foreground == 0, IGNORED, foreground)
    return labels.masked_fill(background == 0, 0).to(torch.uint8)


def labels_at_grid(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Read labels uint8 [B, H, W] at the centres of a grid's cells, uint8 [B, h, w] (nearest)."""
    if labels.ndim != 3 or labels.dtype != torch.uint8:
        raise InputError(
            f"expected labels uint8 [B, H, W]; got {labels.dtype} {list(labels.shape)}"
        )
    if tuple(labels.shape[-2:]) == tuple(grid):
        return labels
    return F.interpolate(labels[:, None].float(), grid, mode="nearest-exact")[:, 0].to(torch.uint8)


def pair_labels(labels: Tensor, radius: int) -> Pairs:
    """Find which pairs of pixels less than `radius` apart belong together.

    Every pair of the grid counts once; PSA's code leaves out those whose upper pixel lies in the
    last radius - 1 rows or in the outer radius - 1 columns.

    Args:
        labels: uint8 [B, h, w], 255 where not sure; such pixels have no pair.
        radius: 1 or more.

    """
    if labels.ndim != 3 or labels.dtype != torch.uint8:
        raise InputError(
            f"expected labels uint8 [B, h, w]; got {labels.dtype} {list(labels.shape)}"
        )
    offsets = half_disc(radius)
    batch, height, width = labels.shape
    partner = labels.new_full((batch, len(offsets), height, width), IGNORED)
    for number, offset in enumerate(offsets):
        rows, columns = here = pixels_with_partner(offset, height, width)
        there_rows, there_columns = moved(here, offset)
        partner[:, number, rows, columns] = labels[:, there_rows, there_columns]
    own = labels[:, None]
    sure, alike = (own != IGNORED) & (partner != IGNORED), own == partner
    return Pairs(sure & alike & (own == 0), sure & alike & (own != 0), sure & ~alike)


def pair_loss(affinity: Tensor, pairs: Pairs) -> Tensor:
    """Return the balanced cross-entropy of the pairs, bg / 4 + fg / 4 + neg / 2, a scalar.

    Each term is the mean over all pairs of its kind in the batch of -log(affinity), of negative
    pairs -log(1 - affinity); a kind without pairs costs 0. PSA's
    loss, and that of IRN's boundary branch.

    Args:
        affinity: float [B, N, h, w] in 0..1; what lies off the grid is never labelled. Half
            precision is computed in float32, where 1 + 1e-5 differs from 1.
        pairs: pairs of the same shape.

    Raises:
        InputError: shapes that differ.

    """
    if any(kind.shape != affinity.shape for kind in pairs):
        raise InputError(
            f"pair_loss expects pairs of the affinity's shape {list(affinity.shape)}; got "
            f"{[list(kind.shape) for kind in pairs]}"
        )
    affinity = affinity.to(torch.promote_types(affinity.dtype, torch.float32))
    alike, unlike = -torch.log(affinity + _EPSILON), -torch.log(1 + _EPSILON - affinity)
    background, foreground, negative = (
        torch.where(kind, cost, 0).sum() / (kind.sum(dtype=cost.dtype) + _EPSILON)
        for kind, cost in zip(pairs, (alike, alike, unlike), strict=True)
    )
    return background / 4 + foreground / 4 + negative / 2


def default_layers(network: Network, count: int) -> tuple[Layer, ...]:
    """Return the layers to tap, lowest first: a CNN's last stages, a ViT's blocks evenly apart.

    At most `count`, fewer where the encoder has fewer. A ViT of 12 blocks gives 3, 7, 11 for 3.

    Raises:
        InputError: a plug-in network without an encoder's list of layers.

    """
    layers = getattr(getattr(network, "encoder", None), "layers", None)
    if not layers:
        raise InputError("this network does not list its layers; name them in `layers`")
    count = min(count, len(layers))
    if isinstance(layers[0], int):
        return tuple(layers[len(layers) * (step + 1) // count - 1] for step in range(count))
    return tuple(layers[-count:])


def tapped_layers(network: Network, settings: AffinitySettings) -> tuple[Layer, ...]:
    """Return the layers of the settings, or the default ones."""
    return settings.layers or default_layers(network, len(settings.widths))


@torch.no_grad()
def encoder_maps(network: Network, images: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, ...]:
    """Return maps of tapped layers, float32 [B, C', h', w'] each, of images [B, 3, H, W].

    Maps beyond `wsss_core.transfer.losses.BOUND` are scaled down to it, since a head's norm
    squares them.
    """
    return tuple(bounded(tap.float()) for tap in network(images, tuple(layers)).taps)


_MOST_KEPT = 2**28
"""Bytes of maps that a training keeps at most."""


class _FrozenMaps:
    """Maps of a frozen encoder's layers, which are the same in every epoch, by image number.

    They are made once and kept if those of all images take no more than `_MOST_KEPT`.
    """

    def __init__(
        self, network: Network, images: np.ndarray, layers: Sequence[Layer], device: str
    ) -> None:
        self._network, self._images, self._layers = network, images, layers
        self._device = device
        self._kept: list[Tensor] = []
        self._known = np.zeros(len(images), dtype=bool)

    def __call__(self, part: np.ndarray) -> Sequence[Tensor]:
        """Return the maps of some images, see `encoder_maps`."""
        numbers = torch.from_numpy(part).to(self._device)
        if self._known[part].all():
            return [kept[numbers] for kept in self._kept]
        maps = encoder_maps(self._network, to_input(self._images[part], self._device), self._layers)
        count = len(self._images)
        if sum(one[0].nbytes for one in maps) * count <= _MOST_KEPT:
            self._kept = self._kept or [one.new_empty(count, *one.shape[1:]) for one in maps]
            for kept, one in zip(self._kept, maps, strict=True):
                kept[numbers] = one
            self._known[part] = True
        return maps


def at_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize maps to a grid: bilinearly to a finer one, by means over cells to a coarser one."""
    height, width = maps.shape[-2:]
    if (height, width) == tuple(grid):
        return maps
    if height > grid[0] or width > grid[1]:
        return F.adaptive_avg_pool2d(maps, grid)
    return F.interpolate(maps, grid, mode="bilinear", align_corners=False)


def check_images(images: np.ndarray) -> None:
    """Raise InputError if these are not N > 0 RGB images as bytes."""
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or 0 in images.shape:
        raise InputError(
            f"expected images uint8 [N, H, W, 3], N > 0; got {images.dtype} {list(images.shape)}"
        )


class PairHead(nn.Module, ABC):
    """A head over tapped layers that tells which neighbouring locations belong together.

    It is made as `kind(channels, widths)`; called with maps float [B, C', h', w'] of each layer and
    a grid (h, w), it returns a map on the grid.
    """

    @abstractmethod
    def pair_affinity(self, maps: Sequence[Tensor], grid: tuple[int, int], radius: int) -> Tensor:
        """Return the affinity of all pairs less than `radius` apart, float [B, N, h, w]."""

    @abstractmethod
    def read(self, run: Callable[[Tensor], Tensor], inputs: Tensor, radius: int) -> Tensor:
        """Return what `predict` returns, of one batch of inputs float [B, 3, S, S].

        `run` takes inputs to the head's map on the affinity grid.
        """

    @classmethod
    def over(cls, network: Network, settings: AffinitySettings) -> Self:
        """Return a head that fits a network's layers; fill it by `load_state_dict`."""
        layers = tapped_layers(network, settings)
        return cls([network.channels_at(layer) for layer in layers], settings.widths)

    @classmethod
    def trained(
        cls,
        network: Network,
        images: np.ndarray,
        labels: np.ndarray,
        settings: AffinitySettings,
        *,
        seed: int,
        device: str = "cpu",
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> Self:
        """Train a head over a frozen network on the sure pairs of its own CAMs.

        A function of (settings, seed, data), to the bit on one CPU; the network's parameters and
        buffers stay as they are, and so does torch's global random state. Where memory runs out a
        batch is taken in parts, see `micro_batches`; the pairs are then balanced within each part.

        Args:
            network: see `wsss_core.backbones`.
            images: uint8 [N, S, S, 3], possibly memory-mapped.
            labels: uint8 [N, h, w], 0 background, 1..K, 255 not sure, see `confident_labels`; of
                another size than the affinity grid they are read at the centres of its cells.
            settings: how the head is trained.
            seed: decides the head's first weights and the order of the images.
            device: "cpu", "cuda", ...
            on_epoch: called after each epoch with its number, from 0, and mean loss.

        Returns:
            The head, in evaluation mode on the device. Its `state_dict` is what to save;
            `over(network, settings)` takes it back.

        Raises:
            InputError: images and labels that do not meet, or a layer that is not there.
            RuntimeError: the loss or a weight is no longer finite.
            torch.OutOfMemoryError: a single image does not fit.

        """
        check_images(images)
        check_lengths(images, labels)
        grid = settings.grid(*images.shape[1:3])
        targets = labels_at_grid(torch.from_numpy(np.array(labels)), grid)
        layers = tapped_layers(network, settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = cls.over(network, settings)
        head.train().to(device)
        optimizer = torch.optim.Adam(head.parameters(), lr=settings.learning_rate)
        micro_batch: int | None = None
        maps = _FrozenMaps(network, images, layers, device)

        def losses(part: np.ndarray) -> Losses:
            affinity = head.pair_affinity(maps(part), grid, settings.training_radius)
            loss = pair_loss(
                affinity, pair_labels(targets[part].to(device), settings.training_radius)
            )
            return Losses(loss, loss, None)

        network.to(device)
        with evaluating(network):
            for epoch in range(settings.epochs):
                order = np.random.default_rng([seed, epoch]).permutation(len(images))
                total = torch.zeros((), dtype=torch.float64, device=device)
                for start in range(0, len(order), settings.batch_size):
                    chosen = order[start : start + settings.batch_size]
                    terms = batch_gradients(
                        head, losses, chosen, micro_batch, device=device, what="learning affinities"
                    )
                    optimizer.step()
                    total, micro_batch = total + terms.sums[0], terms.micro_batch
                    made_progress()
                mean = float(total) / len(images)
                if not (math.isfinite(mean) and all(p.isfinite().all() for p in head.parameters())):
                    raise RuntimeError(f"the affinity loss became {mean} in epoch {epoch + 1}")
                if on_epoch is not None:
                    on_epoch(epoch, mean)
        return head.eval()

    def predict(
        self,
        network: Network,
        images: np.ndarray,
        settings: AffinitySettings,
        *,
        device: str = "cpu",
        batch_size: int = 8,
    ) -> Tensor:
        """Return what the head says of images, see its class; float32 on the CPU.

        Args:
            network: the network it was trained over.
            images: uint8 [N, S, S, 3].
            settings: those of the training.
            device: "cpu", "cuda", ...
            batch_size: images at a time.

        """
        check_images(images)
        grid = settings.grid(*images.shape[1:3])
        layers = tapped_layers(network, settings)
        self.eval().to(device)
        network.to(device)

        def run(inputs: Tensor) -> Tensor:
            return self(encoder_maps(network, inputs, layers), grid)

        with torch.no_grad(), evaluating(network):
            return torch.cat(
                [
                    self.read(
                        run, to_input(images[start : start + batch_size], device), settings.radius
                    ).cpu()
                    for start in range(0, len(images), batch_size)
                ]
            )
