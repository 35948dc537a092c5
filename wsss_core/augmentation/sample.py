"""Samples: as they are stored, and as a network sees them."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.augmentation.flips import mirror
from wsss_core.data import IGNORED, to_input


class Stored(NamedTuple):
    """B images as they are stored, with what belongs to them.

    Attributes:
        images: uint8 [B, H, W, 3].
        labels: float [B, K], of each image; None without.
        masks: uint8 [B, H, W], of each pixel; None without.
        weights: float [B, H, W], of each pixel; None without.

    """

    images: NDArray[np.uint8]
    labels: Tensor | None = None
    masks: NDArray[np.uint8] | None = None
    weights: NDArray[np.floating] | None = None


class ImageViews(NamedTuple):
    """B views on the device.

    Attributes:
        images: float32 [B, 3, H, W] in 0..1.
        labels: float [B, K] in 0..1; None without.
        masks: int64 [B, H, W], `IGNORED` on padding; None without.
        weights: float32 [B, H, W], 0 on padding; None without.
        valid: float32 [B, 1, H, W], 1 at pixels of an image and 0 on padding; None: no padding.

    """

    images: Tensor
    labels: Tensor | None = None
    masks: Tensor | None = None
    weights: Tensor | None = None
    valid: Tensor | None = None

    @classmethod
    def of_stored(cls, stored: Stored, device: str, images: Tensor | None = None) -> "ImageViews":
        """Return the images as they are stored.

        Args:
            stored: the images with what belongs to them.
            device: where they are taken to.
            images: stand in their place, float32 [B, 3, H, W] on the device.

        """
        masks = None
        if stored.masks is not None:
            masks = torch.from_numpy(stored.masks).to(device).long()
        weights = None
        if stored.weights is not None:
            weights = torch.from_numpy(stored.weights).to(device).float()
        labels = None if stored.labels is None else stored.labels.to(device)
        if images is None:
            images = to_input(stored.images, device)
        return cls(images, labels, masks, weights)

    def mirrored(self, chosen: NDArray[np.bool_]) -> "ImageViews":
        """Return the views, the chosen ones mirrored left to right."""
        flags = torch.from_numpy(chosen).to(self.images.device).view(-1, 1, 1)

        def flipped(maps: Tensor | None) -> Tensor | None:
            return None if maps is None else torch.where(flags, maps.flip(-1), maps)

        valid = None if self.valid is None else mirror(self.valid, chosen)
        return self._replace(
            images=mirror(self.images, chosen),
            masks=flipped(self.masks),
            weights=flipped(self.weights),
            valid=valid,
        )

    def with_valid(self) -> "ImageViews":
        """Return the views with `valid`, all 1 where it was None."""
        if self.valid is not None:
            return self
        return self._replace(valid=torch.ones_like(self.images[:, :1]))

    def at(self, places: Tensor) -> "ImageViews":
        """Return the views at some places, int64 [n]."""

        def part(maps: Tensor | None) -> Tensor | None:
            return None if maps is None else maps[places]

        return ImageViews(
            self.images[places],
            part(self.labels),
            part(self.masks),
            part(self.weights),
            part(self.valid),
        )

    def joined(self, others: "ImageViews") -> "ImageViews":
        """Return the views with others after them."""
        one, two = self, others
        if one.valid is not None or two.valid is not None:
            one, two = one.with_valid(), two.with_valid()

        def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
            return None if first is None or second is None else torch.cat([first, second])

        return ImageViews(
            torch.cat([one.images, two.images]),
            both(one.labels, two.labels),
            both(one.masks, two.masks),
            both(one.weights, two.weights),
            both(one.valid, two.valid),
        )

    def with_others(self, places: Tensor, others: "ImageViews") -> "ImageViews":
        """Return the views with others at some places, int64 [n]."""

        def put(maps: Tensor | None, new: Tensor | None) -> Tensor | None:
            return None if maps is None or new is None else maps.index_copy(0, places, new)

        return ImageViews(
            self.images.index_copy(0, places, others.images),
            put(self.labels, others.labels),
            put(self.masks, others.masks),
            put(self.weights, others.weights),
            put(self.valid, others.valid),
        )

    def empty_like(self) -> "ImageViews":
        """Return views of as many images that are padding alone."""
        return self._replace(
            images=torch.zeros_like(self.images),
            masks=None if self.masks is None else torch.full_like(self.masks, IGNORED),
            weights=None if self.weights is None else torch.zeros_like(self.weights),
            valid=torch.zeros_like(self.images[:, :1]),
        )

    def filled(self, colour: Tensor) -> "ImageViews":
        """Return the views with padding of a colour, float [1, 3, 1, 1] in 0..1."""
        if self.valid is None:
            return self
        images = torch.where(self.valid > 0, self.images, colour.to(self.images))
        return self._replace(images=images)
