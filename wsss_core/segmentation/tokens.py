"""Segmenters over the patch tokens of plain ViTs of any patch: blocks tapped, a head on their maps.

A block's map is its tokens after the ViT's last norm, see `wsss_core.backbones.PatchTokens`.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from wsss_core.backbones import PatchTokens, build_network
from wsss_core.errors import InputError, as_input_error
from wsss_core.segmentation.dpt_head import DptHead
from wsss_core.segmentation.segmenter import NormalisedSegmenter, SegmenterOutput, resized
from wsss_core.segmentation.setr import FcnHead, SetrMla, SetrNaive, SetrPup
from wsss_core.segmentation.settings import Architecture, SegmenterSettings

_HEADS = {
    Architecture.SETR_NAIVE: SetrNaive,
    Architecture.SETR_PUP: SetrPup,
    Architecture.SETR_MLA: SetrMla,
    Architecture.VIT_DPT: DptHead,
}


class TokenSegmenter(NormalisedSegmenter):
    """A ViT with a head over the maps of some of its blocks.

    Args:
        encoder: the ViT.
        head: a module from the list of maps [B, C, h, w] to logits of any size.
        blocks: which blocks' maps the head gets, by number.
        auxiliary: block -> a head of its own on that block's map alone; for training.
        classes: K, without the background.
        mean: subtracted from each RGB channel of images in 0..1.
        std: divides each RGB channel then.

    """

    def __init__(
        self,
        encoder: PatchTokens,
        head: nn.Module,
        blocks: Sequence[int],
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

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float [B, K + 1, H, W]."""
        maps = self.encoder.with_taps(self.normalised(images), self.blocks)[1]
        return self._sized(self.head(list(maps)), images)

    def with_auxiliary(self, images: Tensor) -> SegmenterOutput:
        """See `Segmenter`."""
        taps = (*self.blocks, *self.auxiliary_blocks)
        maps = self.encoder.with_taps(self.normalised(images), taps)[1]
        own = maps[: len(self.blocks)]
        others = [
            self._sized(head([one]), images)
            for head, one in zip(self.auxiliary_heads, maps[len(self.blocks) :], strict=True)
        ]
        return SegmenterOutput(self._sized(self.head(list(own)), images), tuple(others))

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the head and the auxiliary heads."""
        yield from self.head.parameters()
        yield from self.auxiliary_heads.parameters()

    def _sized(self, logits: Tensor, images: Tensor) -> Tensor:
        return resized(logits, (images.shape[-2], images.shape[-1]))


def build_token_segmenter(
    settings: SegmenterSettings, classes: int, image_size: int
) -> TokenSegmenter:
    """Build a SETR or DPT-like head over a plain ViT of timm.

    The blocks are those of the papers, scaled to the ViT's depth. Of SETR's options `auxiliary`
    (true unless set) adds the auxiliary heads; the others are arguments of the head.

    Args:
        settings: model, encoder, weights and options.
        classes: K, without the background.
        image_size: side of the square images in pixels, a multiple of the patch.

    Raises:
        InputError: the encoder is no plain ViT of timm, or an option or size that does not fit.

    """
    network = build_network(
        settings.encoder,
        classes=1,
        image_size=image_size,
        weights=settings.weights,
        partial_weights=settings.partial_weights,
        options=settings.encoder_options,
    )
    encoder, model = network.encoder, Architecture(settings.model)
    said = f"segmenter {settings.model} over {settings.encoder}"
    if not isinstance(encoder, PatchTokens):
        raise InputError(f"{said}: expected a plain ViT, such as vit_small_patch16_224")
    depth, channels = len(encoder.layers), encoder.channels_at(-1)
    options = dict(settings.options)
    with_auxiliary = model != Architecture.VIT_DPT and options.pop("auxiliary", True) is True
    with as_input_error(f"{said} with options {dict(settings.options)}", TypeError, ValueError):
        head: nn.Module = _HEADS[model](channels, classes, **options)
    blocks = quarters(depth) if model in _OF_FOUR else (depth - 1,)
    auxiliary: dict[int, nn.Module] = {}
    if with_auxiliary:
        others = quarters(depth) if model is Architecture.SETR_MLA else before_the_last(depth)
        kind = FcnHead if model is Architecture.SETR_MLA else SetrNaive
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
