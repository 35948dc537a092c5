"""Necks: what learns between an encoder's map and the head, so that an alignment can move it.

A neck keeps the grid. Where it keeps the channels too, it begins as the identity: a network with a
neck starts as the network without it, under the same seed. Residual branches end in weights of 0
for that (Goyal et al., "Accurate, Large Minibatch SGD", arXiv 1706.02677, section 5.1).

==============  ====================================================================
conv1x1         a 1x1 convolution
mlp             two 1x1 convolutions with a GELU between, residual
conv            two bottlenecks (He et al., CVPR 2016) of a quarter of the channels
transformer     two pre-norm transformer layers over the locations, MLPs twice as wide
==============  ====================================================================

None has BatchNorm or dropout: an image's map does not depend on its batch.
"""

from torch import Tensor, nn

from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.features.names import NECKS

LAYERS = 2
"""Blocks of the necks `conv` and `transformer`."""

_HEAD_WIDTH = 64  # channels of an attention head, as in ViTs


class Residual(nn.Module):
    """Adds a branch, whose last layer begins at 0, to its input [B, C, h, w]."""

    def __init__(self, channels: int, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.GroupNorm(1, channels), *layers)
        _zero(layers[-1])

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps float [B, C, h, w]."""
        added: Tensor = maps + self.branch(maps)
        return added


class Locations(nn.Module):
    """Two transformer layers over the locations of a map [B, C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        heads = max(1, channels // _HEAD_WIDTH)
        while channels % heads:
            heads -= 1
        layers = [
            nn.TransformerEncoderLayer(
                channels,
                heads,
                2 * channels,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(LAYERS)
        ]
        for layer in layers:
            _zero(layer.self_attn.out_proj)
            _zero(layer.linear2)
        self.layers = nn.ModuleList(layers)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps float [B, C, h, w]."""
        tokens = maps.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens.transpose(1, 2).unflatten(2, maps.shape[-2:])


def build_neck(kind: str, channels: int, width: int) -> nn.Module:
    """Return a neck [B, channels, h, w] -> [B, width, h, w].

    Args:
        kind: one of `NECKS`.
        channels: of the encoder's map.
        width: of the neck's. Where it is another number, a 1x1 convolution comes first.

    Raises:
        InputError: an unknown kind, or a width below 4.

    """
    if kind not in NECKS or width < 4:
        raise InputError(
            f"neck {kind!r} of {width} channels: expected one of {', '.join(NECKS)}, of 4 or more"
        )
    projection = nn.Conv2d(channels, width, 1)
    if kind == "conv1x1":
        return _as_identity(projection) if channels == width else projection
    layers: list[nn.Module] = [] if channels == width else [projection]
    if kind == "mlp":
        layers.append(
            Residual(width, nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, width, 1))
        )
    elif kind == "conv":
        layers += [_bottleneck(width) for _ in range(LAYERS)]
    else:
        layers.append(Locations(width))
    return nn.Sequential(*layers)


def add_neck(network: Network, kind: str, channels: int | None = None) -> None:
    """Put a neck between a network's encoder and its head, in place.

    The head is kept where the channels are; else it is drawn anew.

    Args:
        network: without a neck, with a linear head.
        kind: see `build_neck`.
        channels: of the neck's map; None: as many as the encoder's.

    Raises:
        InputError: see `build_neck`; or a head that looks into the encoder (PCM, TransCAM).

    """
    for head, part in (("pcm", network.refinement), ("transcam", network.class_maps)):
        if part is not None:
            raise InputError(f"neck: the head {head} looks into the encoder; expected head linear")
    width = channels or network.channels
    network.neck = build_neck(kind, network.channels, width)
    if width != network.channels:
        network.head = nn.Linear(width, network.classes)
        network.channels = width


def _bottleneck(channels: int) -> Residual:
    inner = max(1, channels // 4)
    return Residual(
        channels,
        nn.Conv2d(channels, inner, 1),
        nn.GELU(),
        nn.Conv2d(inner, inner, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(inner, channels, 1),
    )


def _as_identity(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.dirac_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
