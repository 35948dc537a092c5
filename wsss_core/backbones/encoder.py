"""Encoders, which turn images into feature maps: a timm ViT's patch tokens or a CNN's last stage.

Both let inner layers be tapped, and say which submodule and map a CAM at a layer looks into.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from wsss_core.backbones.names import Layer
from wsss_core.errors import InputError


class Encoder(nn.Module, ABC):
    """A module that turns normalised images, float [B, 3, H, W], into a map [B, C, h, w]."""

    layers: Sequence[Layer]
    size_multiple = 1
    """The input's height and width have to be multiples of it."""

    @abstractmethod
    def with_taps(self, images: Tensor, taps: Sequence[Layer]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the final map, as `forward` gives it, and the maps of inner layers."""

    @abstractmethod
    def channels_at(self, layer: Layer) -> int:
        """Return the channels of a layer's map; InputError if there is no such layer."""

    @abstractmethod
    def module_at(self, layer: Layer) -> nn.Module:
        """Return the submodule whose output a CAM at this layer reads; InputError if none."""

    @abstractmethod
    def as_map(self, output: Tensor, images: Tensor) -> Tensor:
        """Return such a submodule's output for these images (or its gradient) as [B, C, h, w]."""


class PatchTokens(Encoder):
    """A timm ViT as an encoder: its patch tokens as a map, class and register tokens left out.

    The map of a block is its tokens after the ViT's last norm, without which the residual stream
    grows from block to block.
    """

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit: Any = vit

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
        return self._map(final, images), tuple(inner[order.index(block)] for block in blocks)

    @property
    def size_multiple(self) -> int:  # type: ignore[override]
        """Return the side of a patch."""
        return int(self.vit.patch_embed.patch_size[0])

    def module_at(self, layer: Layer) -> nn.Module:
        """Return the submodule whose output a CAM at this layer reads; InputError if none."""
        block = self.vit.blocks[self._block(layer)]
        if not isinstance(getattr(block, "norm1", None), nn.Module):
            raise InputError(f"layer {layer!r}: this ViT's {type(block).__name__} has no norm1")
        return block.norm1

    def as_map(self, output: Tensor, images: Tensor) -> Tensor:
        """Return such a submodule's output for these images (or its gradient) as [B, C, h, w]."""
        return self._on_grid(output[:, self.vit.num_prefix_tokens :], images)

    def _map(self, tokens: Tensor, images: Tensor) -> Tensor:
        tokens = tokens[:, self.vit.num_prefix_tokens :]
        # Where timm pools the mean, the last norm comes after the pooling; elsewhere this is none.
        return self._on_grid(self.vit.fc_norm(tokens), images)

    def _on_grid(self, patches: Tensor, images: Tensor) -> Tensor:
        rows = images.shape[-2] // self.size_multiple
        return patches.transpose(1, 2).unflatten(2, (rows, -1))


class LastStage(Encoder):
    """A timm feature extractor as an encoder: its last stage is the final map, any can be tapped.

    Args:
        extractor: returns the maps of all stages up to the last that is used.
        names: the names of those stages.
        stage_channels: their channels.
        channels_last: whether its maps are [B, h, w, C].

    """

    def __init__(
        self, extractor: nn.Module, names: list[str], stage_channels: list[int], channels_last: bool
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.layers = names
        self.stage_channels = stage_channels
        self.channels_last = channels_last

    def channels_at(self, layer: Layer) -> int:
        """Return the channels of a stage, by its name or timm's index."""
        return self.stage_channels[self._stage(layer)]

    def _stage(self, layer: Layer) -> int:
        if isinstance(layer, str) and layer in self.layers:
            return list(self.layers).index(layer)
        if isinstance(layer, int) and -len(self.layers) <= layer < len(self.layers):
            return layer % len(self.layers)
        there = ", ".join(str(name) for name in self.layers)
        raise InputError(f"this CNN has no layer {layer!r}; it has {there}")

    def forward(self, images: Tensor) -> Tensor:
        """Return the map of images float [B, 3, H, W], float [B, C, h, w]."""
        return self.with_taps(images, ())[0]

    def with_taps(self, images: Tensor, taps: Sequence[Layer]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `Encoder`; the tapped stages have grids of their own."""
        stages = self.extractor(images)
        stages = [self.as_map(stage, images) for stage in stages]
        return stages[-1], tuple(stages[self._stage(layer)] for layer in taps)

    def module_at(self, layer: Layer) -> nn.Module:
        """Return the submodule whose output a CAM at this layer reads; InputError if none."""
        name = str(self.layers[self._stage(layer)])
        modules = dict(self.extractor.named_modules())
        # timm lifts a stage out of its container under its name with underscores, or wraps it all.
        for known in (name, name.replace(".", "_"), f"model.{name}", f"body.{name}"):
            if known in modules:
                return modules[known]
        raise InputError(f"layer {layer!r}: timm gives no module of its own for stage {name!r}")

    def as_map(self, output: Tensor, images: Tensor) -> Tensor:
        """Return such a submodule's output for these images (or its gradient) as [B, C, h, w]."""
        return output.permute(0, 3, 1, 2) if self.channels_last else output
