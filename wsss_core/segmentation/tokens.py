"""Segmenters over encoders of this package: layers tapped, a head on their maps.

Some heads take the patch tokens of plain ViTs of any patch, others any encoder. A ViT's block gives
its tokens after the last norm, see `wsss_core.backbones.PatchTokens`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from wsss_core.backbones import Encoder, Layer, Network, PatchTokens, build_network
from wsss_core.cams import resized_for
from wsss_core.errors import InputError, as_input_error
from wsss_core.segmentation.heads import (
    AllMlp,
    DptHead,
    FcnHead,
    FusedLayers,
    LargeFov,
    SetrMla,
    SetrNaive,
    SetrPup,
)
from wsss_core.segmentation.segmenter import NormalisedSegmenter, SegmenterOutput, resized
from wsss_core.segmentation.settings import OF_TOKENS, Architecture, SegmenterSettings

_HEADS: Mapping[str, Callable[..., nn.Module]] = {
    Architecture.SETR_NAIVE: SetrNaive,
    Architecture.SETR_PUP: SetrPup,
    Architecture.SETR_MLA: SetrMla,
    Architecture.VIT_DPT: DptHead,
    Architecture.ALL_MLP: AllMlp,
    Architecture.LARGE_FOV: LargeFov,
    Architecture.FUSED_LAYERS: FusedLayers,
}


class TokenSegmenter(NormalisedSegmenter):
    """An encoder with a head over the maps of some of its layers.

    Args:
        encoder: the encoder, most often a ViT.
        head: a module from the list of maps [B, C, h, w] to logits of any size.
        blocks: which layers' maps the head gets; None stands for the final map, which comes last.
        auxiliary: block -> a head of its own on that block's map alone; for training.
        classes: K, without the background.
        mean: subtracted from each RGB channel of images in 0..1.
        std: divides each RGB channel then.

    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        blocks: Sequence[Layer | None],
        auxiliary: dict[int, nn.Module],
        *,
        classes: int,
        mean: Tensor,
        std: Tensor,
    ) -> None:
        super().__init__(classes, mean, std)
        self.encoder = encoder
        self.head = head
        self.blocks = tuple(blocks)
        self.auxiliary_blocks = tuple(auxiliary)
        self.auxiliary_heads = nn.ModuleList(auxiliary.values())
        self.size_multiple = encoder.size_multiple

    @property
    def taps(self) -> tuple[Layer, ...]:
        """The inner layers among those that the head gets."""
        return tuple(block for block in self.blocks if block is not None)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float [B, K + 1, H, W]."""
        with self._of_size(images):
            final, maps = self._seen(self.normalised(images), self.taps)
        return self.decoded(final, maps, (int(images.shape[-2]), int(images.shape[-1])))

    def decoded(self, final: Tensor, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Return the logits of maps that the encoder has given already.

        Args:
            final: the encoder's final map, float [B, C, h, w].
            maps: one for each of `taps`, float [B, C', h', w'].
            size: of the images.

        """
        whole = len(self.taps) < len(self.blocks)
        return resized(self.head([*maps, final] if whole else [*maps]), size)

    def _seen(self, images: Tensor, taps: Sequence[Layer]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.encoder.with_taps(images, taps) if taps else (self.encoder(images), ())

    def _of_size(self, images: Tensor) -> AbstractContextManager[None]:
        """Let a ViT that was built for one size take square images of another, to predict them."""
        model, side = self.encoder.resizable, int(images.shape[-1])
        own = side == self.image_size or side != images.shape[-2]
        if self.training or not self.image_size or own or model is None:
            return nullcontext()
        return resized_for(model, side)

    def with_auxiliary(self, images: Tensor) -> SegmenterOutput:
        """See `Segmenter`."""
        taps = (*self.taps, *self.auxiliary_blocks)
        final, maps = self._seen(self.normalised(images), taps)
        own, size = len(self.taps), (int(images.shape[-2]), int(images.shape[-1]))
        others = [
            resized(head([one]), size)
            for head, one in zip(self.auxiliary_heads, maps[own:], strict=True)
        ]
        return SegmenterOutput(self.decoded(final, maps[:own], size), tuple(others))

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the head and the auxiliary heads."""
        yield from self.head.parameters()
        yield from self.auxiliary_heads.parameters()


def build_token_segmenter(
    settings: SegmenterSettings, classes: int, image_size: int
) -> TokenSegmenter:
    """Build a head of this package over an encoder.

    SETR and the DPT-like head take a plain ViT of timm; the others any timm model. A ViT's blocks
    are those of the papers, scaled to its depth. Of SETR's options `auxiliary` (true unless set)
    adds the auxiliary heads; the others are arguments of the head.

    Args:
        settings: model, encoder, weights and options.
        classes: K, without the background.
        image_size: side of the square images in pixels; a multiple of a ViT's patch.

    Raises:
        InputError: an encoder that the head does not take, or an option or size that does not fit.

    """
    with as_input_error(f"segmenter {settings.model} over {settings.encoder}: network", TypeError):
        network = build_network(
            settings.encoder,
            classes=1,
            image_size=image_size,
            weights=settings.weights,
            partial_weights=settings.partial_weights,
            options=settings.encoder_options,
            **settings.network,
        )
    return segmenter_over(network, settings, classes)


def segmenter_over(network: Network, settings: SegmenterSettings, classes: int) -> TokenSegmenter:
    """Put a head of this package on the encoder of a network, which both then share.

    Args:
        network: its encoder, mean and std are taken.
        settings: model and options.
        classes: K, without the background.

    Raises:
        InputError: see `build_token_segmenter`.

    """
    encoder, model = network.encoder, Architecture(settings.model)
    said = f"segmenter {settings.model} over {settings.encoder}"
    if not isinstance(encoder, Encoder):
        raise InputError(f"{said}: expected a timm model, whose layers this package knows")
    options = dict(settings.options)
    depth, with_auxiliary = len(encoder.layers), False
    blocks: tuple[Layer | None, ...]
    channels: int | list[int]
    if model in OF_TOKENS:
        if not isinstance(encoder, PatchTokens):
            raise InputError(f"{said}: expected a plain ViT, such as vit_small_patch16_224")
        channels = encoder.channels_at(-1)
        with_auxiliary = model != Architecture.VIT_DPT and options.pop("auxiliary", True) is True
        blocks = quarters(depth) if model in _OF_FOUR else (depth - 1,)
    else:
        blocks = (*inner_layers(encoder, model), None)
        channels = [network.channels_at(layer) for layer in blocks]
    with as_input_error(f"{said} with options {dict(settings.options)}", TypeError, ValueError):
        head = _HEADS[model](channels, classes, **options)
    auxiliary: dict[int, nn.Module] = {}
    if with_auxiliary:
        others = quarters(depth) if model is Architecture.SETR_MLA else before_the_last(depth)
        kind: Callable[..., nn.Module] = FcnHead if model is Architecture.SETR_MLA else SetrNaive
        auxiliary = {block: kind(channels, classes) for block in others}
    return TokenSegmenter(
        encoder,
        head,
        blocks,
        auxiliary,
        classes=classes,
        mean=network.mean,
        std=network.std,
    )


def inner_layers(encoder: Encoder, model: Architecture) -> tuple[Layer, ...]:
    """Return the layers whose maps a head gets beside the final map.

    The all-MLP decoder gets four maps in all: of a ViT the last block of each quarter, of others
    the last stages. LargeFOV gets the final map alone, and fused layers all there are.
    """
    numbers = range(len(encoder.layers))
    if model is Architecture.LARGE_FOV:
        return ()
    if model is Architecture.ALL_MLP:
        chosen = quarters(len(numbers)) if isinstance(encoder, PatchTokens) else numbers[-4:]
        return tuple(dict.fromkeys(chosen[:-1]))
    return tuple(numbers[:-1])


_OF_FOUR = (Architecture.SETR_MLA, Architecture.VIT_DPT)


def quarters(depth: int) -> tuple[int, ...]:
    """Return the last block of each quarter of a ViT: 6, 12, 18 and 24 of 24, counted from 0.

    >>> quarters(24), quarters(2)
    ((5, 11, 17, 23), (0, 0, 1, 1))
    """
    return tuple(max(1, round(depth * part / 4 + 1e-9)) - 1 for part in (1, 2, 3, 4))


def before_the_last(depth: int) -> tuple[int, ...]:
    """Return the blocks of SETR's auxiliary heads: 10, 15 and 20 of 24, counted from 0.

    >>> before_the_last(24), before_the_last(2)
    ((9, 14, 19), (0, 1))
    """
    return tuple(
        dict.fromkeys(max(1, round(depth * part / 24 + 1e-9)) - 1 for part in (10, 15, 20))
    )
