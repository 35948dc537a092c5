"""Encoders, which turn images into feature maps, and the encoder of timm's plain ViTs.

They let inner layers be tapped, and say at which tensor a CAM at a layer takes its gradients.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from wsss_core.backbones.layout import MapLayout
from wsss_core.backbones.names import Layer
from wsss_core.backbones.points import CamPoint
from wsss_core.errors import InputError


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode; afterwards every submodule has its own mode again."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Encoder(nn.Module, ABC):
    """A module that turns normalised images, float [B, 3, H, W], into a map [B, C, h, w]."""

    layers: Sequence[Layer]
    size_multiple = 1
    """The input's height and width have to be multiples of it."""
    head_tensors: frozenset[str] = frozenset()
    """The names of the model's tensors that only a classifier needs, such as attention pooling."""

    @property
    @abstractmethod
    def model(self) -> Any:
        """Return timm's model, whose parameters bear timm's names."""

    @abstractmethod
    def with_taps(self, images: Tensor, taps: Sequence[Layer]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the final map, as `forward` gives it, and the maps of inner layers."""

    @abstractmethod
    def channels_at(self, layer: Layer) -> int:
        """Return the channels of a layer's map; InputError if there is no such layer."""

    @abstractmethod
    def points(self, layers: Sequence[Layer], images: Tensor) -> list[CamPoint]:
        """Return where a CAM at each layer takes gradients, for images like these.

        Raises:
            InputError: there is no such layer, or no point at it.

        """

    @property
    @abstractmethod
    def resizable(self) -> nn.Module | None:
        """Return the timm model if it has to be told another image size; None if it has not."""


class PatchTokens(Encoder):
    """A timm ViT as an encoder: its patch tokens as a map, class and register tokens left out.

    The map of a block is its tokens after the ViT's last norm, without which the residual stream
    grows from block to block.
    """

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit: Any = vit
        self.head_tensors = frozenset(n for n in vit.state_dict() if n.startswith("attn_pool."))

    @property
    def model(self) -> Any:
        """Return the ViT."""
        return self.vit

    @property
    def layers(self) -> Sequence[Layer]:  # type: ignore[override]
        """Return block numbers."""
        return range(len(self.vit.blocks))

    def channels_at(self, layer: Layer) -> int:
        """Return the channels of a block's map, the same for all."""
        self._block(layer)
        return int(self.vit.num_features)

    def _block(self, layer: Layer) -> int:
        depth = len(self.vit.blocks)
        if not isinstance(layer, int) or not -depth <= layer < depth:
            raise InputError(
                f"this ViT has no layer {layer!r}; it has blocks 0 to {depth - 1} (or from -1 down)"
            )
        return layer % depth

    def forward(self, images: Tensor) -> Tensor:
        """Return the map of images float [B, 3, H, W], float [B, C, h, w]."""
        return self._map(self.vit.forward_features(images), images)

    def with_taps(self, images: Tensor, taps: Sequence[Layer]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `Encoder`; every map is [B, C, H / patch, W / patch]."""
        blocks = [self._block(layer) for layer in taps]
        order = sorted(set(blocks))
        final, inner = self.vit.forward_intermediates(
            images, indices=order, norm=True, output_fmt="NCHW"
        )
        if not isinstance(self.vit.fc_norm, nn.Identity):
            inner = [self.vit.fc_norm(one.movedim(1, -1)).movedim(-1, 1) for one in inner]
        return self._map(final, images), tuple(inner[order.index(block)] for block in blocks)

    @property
    def size_multiple(self) -> int:  # type: ignore[override]
        """Return the side of a patch."""
        return int(self.vit.patch_embed.patch_size[0])

    def points(self, layers: Sequence[Layer], images: Tensor) -> list[CamPoint]:
        """See `Encoder`: a block's norm1, or the block's output where it has none."""
        points = []
        for layer in layers:
            block = self.vit.blocks[self._block(layer)]
            norm = getattr(block, "norm1", None)
            module = norm if isinstance(norm, nn.Module) else block
            points.append(CamPoint(module, 0, MapLayout("NLC", int(self.vit.num_prefix_tokens))))
        return points

    @property
    def resizable(self) -> nn.Module | None:
        """Return the ViT, whose position embeddings are of one grid."""
        return self.vit

    def _map(self, tokens: Tensor, images: Tensor) -> Tensor:
        tokens = tokens[:, self.vit.num_prefix_tokens :]
        # Where timm pools the mean, the last norm comes after the pooling; elsewhere this is none.
        return self._on_grid(self.vit.fc_norm(tokens), images)

    def _on_grid(self, patches: Tensor, images: Tensor) -> Tensor:
        rows = images.shape[-2] // self.size_multiple
        return patches.transpose(1, 2).unflatten(2, (rows, -1))
